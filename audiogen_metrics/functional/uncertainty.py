"""How sure a score is: intervals of its expected value, and what leaving single clips out does to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.blocks import NUMBERS, Block, Read, clip_blocks, place_blocks
from audiogen_metrics.functional.decomposition import singular_vectors
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.student import student_quantile
from audiogen_metrics.functional.validation import Array, float64_tensor

RESAMPLES = 999
"""Of the studentised bootstrap, at 95 %; more where fewer lie beyond the ends of the interval."""

RESAMPLED_AT_ONCE = 10**6
"""Values of a bootstrap that are held at a time."""

OUTLIER = 0.001
"""Chance that Grubbs's test calls a clip an outlier where all are drawn from one normal distribution."""

FEWEST_GROUPS = 5
"""Of a bootstrap."""

_STEP = 0.25
_BELOW, _ABOVE = 36.0, 24.0
"""Nodes of the integral over ln t, and how far they reach beyond the singular values. The trapezoidal rule converges
exponentially here: at this step its error is below float64's."""

_FAR = 1e4
"""Of the largest singular value: beyond it, the logarithm is its first term to 1e-12."""

_NEARLY_ZERO = 1e-5
"""Trace of a matrix K up to which ``ln det(1 − K)`` is taken by two terms of its series: to 3e-11 of it."""

EPSILON = 2.0**-52


class Interval(NamedTuple):
    """A standard error, the interval, 95 % unless said, and the degrees of freedom that the standard error has."""

    standard_error: float
    low: float
    high: float
    freedom: float = math.inf


class Spread(NamedTuple):
    """One independent part of a standard error: that of one set, and its degrees of freedom."""

    standard_error: float
    freedom: float = math.inf


def interval(value: float, *parts: Spread, level: float = 0.95) -> Interval:
    """Return the interval of a score from the independent parts of its standard error, by Student's t.

    The degrees of freedom of the parts together are those of Welch and Satterthwaite.

    Examples
    --------
    >>> round(interval(10.0, Spread(1.0)).high, 6)
    11.959964
    >>> round(interval(10.0, Spread(3.0, 9), Spread(4.0, 9)).freedom, 2)
    16.69
    """
    error, freedom = joined(parts)
    half = student_quantile((1 + level) / 2, freedom) * error
    return Interval(error, value - half, value + half, freedom)


def joined(parts: Sequence[Spread]) -> Spread:
    """Return the standard error of independent parts together, with the degrees of freedom of Satterthwaite."""
    error = math.hypot(*(part.standard_error for part in parts))
    shares = sum(part.standard_error**4 / part.freedom for part in parts)
    return Spread(error, error**4 / shares if shares else math.inf)


def frechet_leave_one_out(
    gen: Array, ref: Array | GaussianStatistics, counts: Sequence[int] | None = None
) -> torch.Tensor:
    """Return the Fréchet distance without each clip of *gen* in turn, ``(clips,)``, exactly.

    Taking rows out of a covariance is a downdate of low rank, and the trace of a root has an integral form,
    ``√λ = (1/π) ∫₀^∞ ln(1 + λ/t²) dt``; so the change of the sum of singular values is an integral over the determinant
    of a matrix no larger than a clip's rows. One decomposition serves all clips.

    Parameters
    ----------
    gen, ref
        Rows ``(n, d)``, those of one clip together; and rows ``(m, d)`` or their statistics.
    counts
        Rows of each clip of gen; None for one each.

    Returns
    -------
    torch.Tensor
        The distances, float64. ``distance − result[i]`` is what clip i adds to the distance.

    Raises
    ------
    DataError
        Shapes or counts that do not fit.
    InsufficientDataError
        A clip without which fewer than two rows are left.

    Examples
    --------
    >>> from audiogen_metrics.functional import frechet_distance
    >>> rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    >>> without = frechet_leave_one_out(rows[:20], rows[20:])
    >>> rest = GaussianStatistics.from_embeddings(rows[1:20])
    >>> direct = frechet_distance(rest, GaussianStatistics.from_embeddings(rows[20:])).value
    >>> abs(float(without[0]) - direct) < 1e-9
    True
    """
    rows = float64_tensor(gen, "gen", ndim=2)
    if isinstance(ref, GaussianStatistics):
        statistics = GaussianStatistics(ref.mean.to(rows.device), ref.factor.to(rows.device), ref.count)
    else:
        statistics = GaussianStatistics.from_embeddings(float64_tensor(ref, "ref", ndim=2).to(rows.device))
    counts = [1] * len(rows) if counts is None else list(counts)
    if sum(counts) != len(rows) or any(count < 0 for count in counts):
        raise DataError(f"counts add up to {sum(counts)} rows of {len(rows)}", fix="Count the rows of every clip")
    if rows.shape[1] != statistics.dimension:
        raise DataError(f"dimensions {rows.shape[1]} and {statistics.dimension} differ", fix="Use one backbone")
    return frechet_without_each(clip_blocks(rows, counts), GaussianStatistics.from_embeddings(rows), statistics)


def frechet_without_each(
    blocks: Iterable[Block], whole: GaussianStatistics, ref: GaussianStatistics, root: Root | None = None
) -> torch.Tensor:
    """Return what `frechet_leave_one_out` does, for rows that come in blocks of whole clips.

    Parameters
    ----------
    blocks
        Rows of some clips, and how many rows each of them has.
    whole, ref
        Statistics of the rows of all blocks, and of the reference.
    root
        That of the statistics of both, if it is there already.

    Raises
    ------
    DataError, InsufficientDataError
        As there.
    """
    if whole.dimension != ref.dimension:
        raise DataError(f"dimensions {whole.dimension} and {ref.dimension} differ", fix="Use one backbone")
    found: list[torch.Tensor] = []
    downdates = None
    for block in blocks:
        for part, counts in clip_blocks(*block):
            if (whole.count or 0) - max(counts) < 2:
                raise InsufficientDataError(
                    "without its longest clip, a set has fewer than two rows", fix="Score more clips"
                )
            if downdates is None:
                downdates = _Downdates(whole, ref, Root.of(whole, ref) if root is None else root)
            rows = float64_tensor(part, "gen", ndim=2).to(whole.mean.device)
            found.append(downdates.without(rows, counts))
    return torch.cat(found)


class _Axes(NamedTuple):
    """Rows of a set on the axes of a root, ``(n, r)``, orthonormal; its singular values; and how far both are off."""

    rows: torch.Tensor
    singular: torch.Tensor
    slack: float


@dataclass(frozen=True, eq=False)
class Root:
    """``F_gen F_refᵀ = U diag(s) Vᵀ``: what the square root in a Fréchet distance is made of, for both of its sides.

    Parameters
    ----------
    left, singular, right
        ``U (k, r)``, ``s (r,)`` and ``V (m, r)``.
    """

    left: torch.Tensor
    singular: torch.Tensor
    right: torch.Tensor

    @classmethod
    def of(cls, gen: GaussianStatistics, ref: GaussianStatistics) -> Root:
        """Decompose the root of two sets."""
        return cls(*singular_vectors(gen.factor, ref.factor.to(gen.factor.device)))

    def turned(self) -> Root:
        """Return the root with ref as gen."""
        return Root(self.right, self.singular, self.left)


class _Downdates:
    """Fréchet distances between a set of which single clips are taken out, and a reference."""

    def __init__(self, whole: GaussianStatistics, ref: GaussianStatistics, root: Root) -> None:
        assert whole.count is not None
        self.count, self.mean, device = whole.count, whole.mean, whole.mean.device
        self.shift = whole.mean - ref.mean.to(device)
        self.scale = math.sqrt(whole.count - 1)
        self.variances = whole.factor.square().sum(), ref.factor.to(device).square().sum()
        self.silent = (whole.factor == 0).all(0)
        width = max(len(root.left), len(root.right))
        lost = max(1e-14, EPSILON * width) * (float(root.singular[0]) if len(root.singular) else 0.0)
        known = root.singular > lost
        self.singular, right = (part[..., known].to(device) for part in (root.singular, root.right))
        # Where the rows lie on the axes that are not lost to rounding.
        self.turn = ref.factor.to(device).T @ right / (self.singular * self.scale)
        ratio = float(self.singular[0] / self.singular[-1]) if len(self.singular) else 1.0
        self.slack = min(64 * EPSILON * ratio, 1e-6)

    def without(self, rows: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """Return the distance without each of some clips, ``(clips,)``, by their rows."""
        scatter = rows - self.mean
        scatter[:, self.silent] = 0
        axes = _Axes(scatter @ self.turn, self.singular, self.slack)
        values = torch.empty(len(counts), dtype=torch.float64, device=rows.device)
        starts = torch.tensor([0, *counts], dtype=torch.int64, device=rows.device).cumsum(0)[:-1]
        for width in sorted(set(counts)):
            clips = [index for index, count in enumerate(counts) if count == width]
            places = starts[clips][:, None] + torch.arange(width, dtype=torch.int64, device=rows.device)
            values[clips] = self.distances(scatter, axes, places)
        return values

    def distances(self, scatter: torch.Tensor, axes: _Axes, places: torch.Tensor) -> torch.Tensor:
        """Return the distances without each clip whose rows are at ``places``, ``(clips, width)``."""
        width = places.shape[1]
        left = self.count - width
        # Centring again after rows have left adds a term of rank one to the downdate.
        weight = torch.eye(width, dtype=torch.float64, device=scatter.device) + 1 / left
        taken = scatter[places]
        gram = taken @ taken.mT
        scale = 1 / (left - 1)
        spread = (self.variances[0] * (self.count - 1) - (gram * weight).sum((1, 2))) * scale
        moved = self.shift - taken.sum(1) / left
        root = math.sqrt((self.count - 1) * scale) * (axes.singular.sum() + _root_changes(axes, places, weight))
        distance: torch.Tensor = moved.square().sum(1) + spread + self.variances[1] - 2 * root
        return distance.clamp(min=0)


def _root_changes(axes: _Axes, places: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the change of the sum of singular values without each clip: ``(1/π) ∫ ln det(1 − H(t) Hᵀ) dt``.

    ``H(t)``, ``(width, r)``, is the clip's part of the root at ``t``: its rows on the axes, times ``s / √(t² + s²)``.
    """
    singular = axes.singular
    if not len(singular) or not places.shape[1]:
        return torch.zeros(len(places), dtype=torch.float64, device=singular.device)
    low, high = math.log(float(singular[-1])) - _BELOW, math.log(float(singular[0])) + _ABOVE
    nodes = torch.arange(low, high, _STEP, dtype=torch.float64, device=singular.device).exp()
    whole = torch.linalg.cholesky(weight).T @ axes.rows[places]
    # H Hᵀ has an eigenvalue of 1 at t = 0 where a clip spans an axis alone. What is left of 1 is kept by itself, so
    # that nothing cancels below.
    unit = torch.eye(whole.shape[1], dtype=torch.float64, device=singular.device)
    rest, basis = torch.linalg.eigh(unit - whole @ whole.mT)
    rest = torch.where(rest > axes.slack, rest, rest.new_zeros(()))
    whole = basis.mT @ whole
    near, far = nodes[nodes <= _FAR * singular[0]], nodes[nodes > _FAR * singular[0]]
    logarithms = _log_of_one if whole.shape[1] == 1 else _log_of_several
    width = whole.shape[1]
    most = max(1, NUMBERS // (width * (width + 1) // 2 * len(singular)))
    parts = zip(whole.split(most), rest.split(most), strict=True)
    total = torch.cat([logarithms(part, left, singular, near) @ near for part, left in parts])
    # Far out the logarithm is its first term, and beyond the last node its integral is known.
    weights = (far / (1 + (far / singular[:, None]).square())).sum(1) * _STEP + singular.square() / nodes[-1]
    changes: torch.Tensor = (total * _STEP - whole.square().sum(1) @ weights) / math.pi
    return changes


def _log_of_one(whole: torch.Tensor, rest: torch.Tensor, singular: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
    """Return ``ln (1 − H(t) Hᵀ)``, ``(clips, nodes)``, of clips of one row."""
    squares = whole[:, 0].square()
    inner, outer = nodes[nodes < singular[0]], nodes[nodes >= singular[0]]
    small = (rest + squares @ (1 / (1 + (singular[:, None] / inner).square()))).log()
    return torch.cat([small, torch.log1p(-(squares @ (1 / (1 + (outer / singular[:, None]).square()))))], dim=1)


def _log_of_several(
    whole: torch.Tensor, rest: torch.Tensor, singular: torch.Tensor, nodes: torch.Tensor
) -> torch.Tensor:
    """Return ``ln det(1 − H(t) Hᵀ)``, ``(clips, nodes)``, of clips of several rows."""
    width = whole.shape[1]
    first, second = torch.triu_indices(width, width, device=whole.device)
    # What two rows of a clip make on each axis: the matrices of several nodes are then one product.
    pairs = whole[:, first] * whole[:, second]
    unit = torch.eye(width, dtype=torch.float64, device=whole.device)

    def matrices(entries: torch.Tensor) -> torch.Tensor:
        found = entries.new_empty(*entries.shape[:-1], width, width)
        found[..., first, second] = found[..., second, first] = entries
        return found

    found = []
    inner, outer = nodes[nodes < singular[0]], nodes[nodes >= singular[0]]
    for part in inner.split(32):
        entries = (pairs @ (1 / (1 + (singular[:, None] / part).square()))).mT
        inside = torch.diag_embed(rest)[:, None] + matrices(entries)
        found.append(torch.linalg.slogdet(inside).logabsdet)
    for part in outer.split(32):
        entries = (pairs @ (1 / (1 + (part / singular[:, None]).square()))).mT
        traces = entries[..., first == second].sum(-1)
        # Of a matrix that is nearly the unit, a determinant has few digits, and its logarithm a series.
        logs = -traces - (entries.square() * (2 - (first == second).double())).sum(-1) / 2
        large = traces > _NEARLY_ZERO
        logs[large] = torch.linalg.slogdet(unit - matrices(entries[large])).logabsdet
        found.append(logs)
    return torch.cat(found, dim=1)


def jackknife_error(without: torch.Tensor) -> float:
    """Return the standard error from a score without each of n clips, ``(n,)``: ``√((n−1)/n · Σ (θᵢ − θ̄)²)``."""
    n = len(without)
    return math.sqrt((n - 1) / n * float((without - without.mean()).square().sum()))


def inception_leave_one_out(logits: Array, parts: Sequence[npt.NDArray[np.int64]]) -> torch.Tensor:
    """Return the inception score without each clip, in closed form, ``(clips,)``.

    Parameters
    ----------
    logits
        ``(n, classes)``.
    parts
        Rows of each split, as `inception_score` makes them; each of at least two.

    Raises
    ------
    InsufficientDataError
        A split of one clip: without it there is none.
    """
    rows = float64_tensor(logits, "logits", ndim=2)
    return inception_without_each(lambda places: rows[torch.from_numpy(places).to(rows.device)], parts)


def inception_without_each(read: Read, parts: Sequence[npt.NDArray[np.int64]]) -> torch.Tensor:
    """Return what `inception_leave_one_out` does, for logits that are read a part at a time.

    Parameters
    ----------
    read
        Gives the logits at some places, ``(places, classes)``.
    parts
        As there; together they are all places.
    """
    if any(len(part) < 2 for part in parts):
        raise InsufficientDataError("a split has one clip", fix="Score at least twice as many clips as splits")
    width = read(parts[0][:1]).shape[1]
    scores, changes = [], []
    for part in parts:
        own, total = [], torch.zeros(width, dtype=torch.float64, device="cpu")
        for places in place_blocks(part, width):
            rows = float64_tensor(read(places), "logits", ndim=2)
            own.append((rows.softmax(1) * rows.log_softmax(1)).sum(1))
            total = total.to(rows.device) + rows.softmax(1).sum(0)
        sharp, n = torch.cat(own), len(part)
        marginal = total / n
        scores.append(float((sharp.mean() - torch.xlogy(marginal, marginal).sum()).exp()))
        changed = []
        for places, sharpness in zip(place_blocks(part, width), own, strict=True):
            probabilities = float64_tensor(read(places), "logits", ndim=2).softmax(1)
            others = (total - probabilities).clamp(min=0) / (n - 1)
            kept = (sharp.sum() - sharpness) / (n - 1)
            changed.append((kept - torch.xlogy(others, others).sum(1)).exp())
        changes.append(torch.cat(changed))
    found = torch.empty(sum(map(len, parts)), dtype=torch.float64, device=changes[0].device)
    for part, score, changed_scores in zip(parts, scores, changes, strict=True):
        places_of_part = torch.from_numpy(part).to(found.device)
        found[places_of_part] = (math.fsum(scores) - score + changed_scores) / len(parts)
    return found


def mean_interval(totals: Array, counts: Array | None = None, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the interval of a mean by the studentised bootstrap, which follows a skewed distribution.

    Parameters
    ----------
    totals
        ``(groups,)``: the sum of each group of values that belong together, such as the samples of a prompt.
    counts
        ``(groups,)``: how many values each sum has; None for one each.
    seed
        Of the resamples.
    level
        Share of intervals that are to hold the mean. The higher it is, the more resamples are drawn: as many lie beyond
        each end.

    Raises
    ------
    InsufficientDataError
        Fewer than five groups.

    Examples
    --------
    >>> values = torch.arange(40.0).square()
    >>> found = mean_interval(values)
    >>> found.high - float(values.mean()) > float(values.mean()) - found.low  # the long tail is above
    True
    """
    sums = float64_tensor(totals, "totals", ndim=1).cpu().numpy()
    sizes = np.ones(len(sums)) if counts is None else float64_tensor(counts, "counts", ndim=1).cpu().numpy()
    if len(sums) < FEWEST_GROUPS:
        raise InsufficientDataError(f"{len(sums)} values are too few for an interval", fix="Score more clips")
    rng = np.random.default_rng(seed)
    value, error = _ratio(sums[None], sizes[None])
    if not error[0] > 0:
        return Interval(0.0, float(value[0]), float(value[0]))
    found, resamples = [], round((RESAMPLES + 1) * 0.05 / (1 - level)) - 1
    for block in np.array_split(np.arange(resamples), math.ceil(resamples * len(sums) / RESAMPLED_AT_ONCE)):
        draws = rng.integers(0, len(sums), (len(block), len(sums)))
        found.append(_ratio(sums[draws], sizes[draws]))
    values, errors = (np.concatenate(part) for part in zip(*found, strict=True))
    usable = errors > 1e-12 * error[0]
    low, high = np.quantile((values[usable] - value[0]) / errors[usable], ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(error[0]), float(value[0] - high * error[0]), float(value[0] - low * error[0]), len(sums) - 1)


def _ratio(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the mean of values in groups, ``(resamples,)``, and its standard error."""
    groups = sums.shape[1]
    means = sums.sum(1) / sizes.sum(1)
    residuals = (sums - means[:, None] * sizes) / sizes.mean(1)[:, None]
    return means, np.sqrt((residuals**2).sum(1) / (groups * (groups - 1)))


def jackknife(without: torch.Tensor) -> Spread:
    """Return the part of a standard error that the clips of one set make, from a score without each, ``(n,)``."""
    return Spread(jackknife_error(without), len(without) - 1)


def outlier(without: torch.Tensor) -> tuple[int, float] | None:
    """Return the clip that makes the jackknife doubtful and its share of the variance, or None.

    It makes more than a fifth of the sum of squares, and Grubbs's test calls it an outlier: of a distribution with such
    rare clips, another sample may have two or none, which no resampling of this one can tell.

    Parameters
    ----------
    without
        ``(n,)``: the score without each clip.
    """
    n = len(without)
    if n < 3:
        return None
    squares = (without - without.mean()).square()
    place = int(squares.argmax())
    total = float(squares.sum())
    if not total > 0:
        return None
    share = float(squares[place]) / total
    tail = student_quantile(1 - OUTLIER / (2 * n), n - 2) ** 2
    grubbs = (n - 1) / math.sqrt(n) * math.sqrt(tail / (n - 2 + tail))
    return (place, share) if share > 0.2 and math.sqrt(share * (n - 1)) > grubbs else None
