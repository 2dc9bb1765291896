"""How sure a score is: intervals of its expected value, and what leaving single clips out does to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.blocks import NUMBERS, Block, Read, clip_blocks, place_blocks
from audiogen_metrics.functional.statistics import GaussianStatistics
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
_REACH = 24.0
"""Nodes of the integral over ln t, and how far they reach beyond the singular values. The trapezoidal rule converges
exponentially here: at this step its error is below float64's."""


NEARLY_ZERO = 1e-5
"""Trace of a matrix K up to which ``ln det(1 − K)`` is taken by two terms of its series: to 3e-11 of it."""


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
    from scipy.stats import t

    error, freedom = joined(parts)
    half = float(t.ppf((1 + level) / 2, freedom)) * error
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
    statistics = ref if isinstance(ref, GaussianStatistics) else GaussianStatistics.from_embeddings(ref)
    counts = [1] * len(rows) if counts is None else list(counts)
    if sum(counts) != len(rows) or any(count < 0 for count in counts):
        raise DataError(f"counts add up to {sum(counts)} rows of {len(rows)}", fix="Count the rows of every clip")
    return frechet_without_each(clip_blocks(rows, counts), GaussianStatistics.from_embeddings(rows), statistics)


def frechet_without_each(blocks: Iterable[Block], whole: GaussianStatistics, ref: GaussianStatistics) -> torch.Tensor:
    """Return what `frechet_leave_one_out` does, for rows that come in blocks of whole clips.

    Parameters
    ----------
    blocks
        Rows of some clips, and how many rows each of them has.
    whole
        Statistics of the rows of all blocks.
    ref
        Statistics of the reference.

    Raises
    ------
    DataError, InsufficientDataError
        As there.
    """
    found: list[torch.Tensor] = []
    downdates: _Downdates | None = None
    for block in blocks:
        for part, counts in clip_blocks(*block):
            rows = float64_tensor(part, "gen", ndim=2)
            downdates = downdates or _Downdates(whole, ref, rows.device)
            found.append(downdates.without(rows, counts))
    return torch.cat(found)


class _Downdates:
    """Fréchet distances between sets of which single clips are taken out, and a reference."""

    def __init__(self, whole: GaussianStatistics, ref: GaussianStatistics, device: torch.device) -> None:
        if whole.dimension != ref.dimension:
            raise DataError(f"dimensions {whole.dimension} and {ref.dimension} differ", fix="Use one backbone")
        if whole.count is None or whole.count < 2:
            raise InsufficientDataError("a set has fewer than two rows", fix="Score more clips")
        self.count = whole.count
        self.mean = whole.mean.to(device)
        self.shift = self.mean - ref.mean.to(device)
        self.scatter = whole.factor.to(device).square().sum() * (self.count - 1)
        factor = ref.factor.to(device)
        self.variance = factor.square().sum()
        # Rows in the basis of the right singular vectors of F_gen F_refᵀ, where the inner matrix is diagonal.
        _, self.singular, basis = torch.linalg.svd(whole.factor.to(device) @ factor.T, full_matrices=False)
        # The cheaper order of the two products.
        self.turns = [factor.T @ basis.T] if self.count > whole.dimension else [factor.T, basis.T]

    def without(self, rows: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """Return the distance without each of some clips, ``(clips,)``, from their rows."""
        if self.count - max(counts) < 2:
            raise InsufficientDataError(
                "without its longest clip, a set has fewer than two rows", fix="Score more clips"
            )
        centred = rows - self.mean
        projected = centred
        for turn in self.turns:
            projected = projected @ turn
        projected = projected / math.sqrt(self.count - 1)
        values = torch.empty(len(counts), dtype=torch.float64, device=rows.device)
        starts = torch.tensor([0, *counts], dtype=torch.int64, device=rows.device).cumsum(0)[:-1]
        for width in sorted(set(counts)):
            clips = [index for index, count in enumerate(counts) if count == width]
            places = starts[clips][:, None] + torch.arange(width, dtype=torch.int64, device=rows.device)
            values[clips] = self._distances(centred, projected, places)
        return values

    def _distances(self, centred: torch.Tensor, projected: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return the distances without each clip whose rows are at ``places``, ``(clips, width)``."""
        width = places.shape[1]
        left = self.count - width
        # Centring again after rows have left adds a term of rank one to the downdate.
        weight = torch.eye(width, dtype=torch.float64, device=centred.device) + 1 / left
        taken = centred[places]
        gram = taken @ taken.mT
        scale = 1 / (left - 1)
        spread = (self.scatter - (gram * weight).sum((1, 2))) * scale
        moved = self.shift - taken.sum(1) / left
        root = _root_changes(projected, self.singular, places, weight)
        root = math.sqrt((self.count - 1) * scale) * (self.singular.sum() + root)
        distance: torch.Tensor = moved.square().sum(1) + spread + self.variance - 2 * root
        return distance.clamp(min=0)


def _root_changes(
    projected: torch.Tensor, singular: torch.Tensor, places: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Return the change of the sum of singular values without each clip: ``(1/π) ∫ ln det(1 − W K(t)) dt``."""
    known = singular > singular[0] * 1e-14 if len(singular) else singular > 0
    if not bool(known.any()):
        return torch.zeros(len(places), dtype=torch.float64, device=projected.device)
    rows, squares = projected[:, known], singular[known].square()
    low = math.log(float(singular[known].min())) - _REACH
    high = math.log(float(singular[0])) + _REACH
    nodes = torch.arange(low, high, _STEP, dtype=torch.float64, device=rows.device).exp()
    total = torch.zeros(len(places), dtype=torch.float64, device=rows.device)
    taken = rows[places]
    if places.shape[1] == 1:
        parts = taken[:, 0].square() * weight[0, 0]
        for block in nodes.split(32):
            inside = parts @ (1 / (block[:, None].square() + squares)).T
            total += (torch.log1p(-inside.clamp(max=1 - 1e-15)) * block).sum(1)
    else:
        turned = torch.linalg.cholesky(weight).T @ taken
        width = places.shape[1]
        most = max(1, NUMBERS // max(1, width * (width + 1) // 2 * rows.shape[1]))
        total = torch.cat([_determinants(part, squares, nodes) for part in turned.split(most)])
    # Beyond the last node the logarithm is its first term, whose integral is known.
    tail = ((taken @ taken.mT) * weight).sum((1, 2)) / nodes[-1]
    return (total * _STEP - tail) / math.pi


def _determinants(taken: torch.Tensor, squares: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
    """Return ``∑ t ln det(1 − Y (t² + s²)⁻¹ Yᵀ)`` over the nodes for each ``Y`` ``(width, axes)`` of several."""
    width = taken.shape[1]
    first, second = torch.triu_indices(width, width, device=taken.device)
    # What two rows of a clip make on each axis: for all nodes together, the inner matrices are then one product.
    pairs = taken[:, first] * taken[:, second]
    total = torch.zeros(len(taken), dtype=torch.float64, device=taken.device)
    for block in nodes.split(32):
        entries = (pairs @ (1 / (block[:, None].square() + squares)).T).mT
        traces = entries[..., first == second].sum(-1)
        # Of a matrix that is nearly the unit, a determinant has few digits, and its logarithm a series.
        logs = -traces - entries.square().mul_(2 - (first == second).double()).sum(-1) / 2
        large = traces > NEARLY_ZERO
        inner = entries.new_empty(int(large.sum()), width, width)
        inner[:, first, second] = inner[:, second, first] = entries[large]
        logs[large] = _log_determinants(inner)
        total += (logs * block).sum(1)
    return total


def _log_determinants(inner: torch.Tensor) -> torch.Tensor:
    """Return ``ln det(1 − K)`` of symmetric matrices ``(n, width, width)``."""
    unit = torch.eye(inner.shape[-1], dtype=torch.float64, device=inner.device)
    factor, failed = torch.linalg.cholesky_ex(unit - inner)
    logs: torch.Tensor = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    # A clip that spans an axis alone leaves a determinant of 0, which rounding can bring below it.
    doubtful = (failed != 0) | ~(logs > math.log(1e-12))
    if bool(doubtful.any()):
        sizes = torch.linalg.eigvalsh(inner[doubtful]).clamp(max=1 - 1e-15)
        logs[doubtful] = torch.log1p(-sizes).sum(1)
    return logs


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
    from scipy.stats import t

    n = len(without)
    if n < 3:
        return None
    squares = (without - without.mean()).square()
    place = int(squares.argmax())
    total = float(squares.sum())
    if not total > 0:
        return None
    share = float(squares[place]) / total
    tail = float(t.ppf(1 - OUTLIER / (2 * n), n - 2)) ** 2
    grubbs = (n - 1) / math.sqrt(n) * math.sqrt(tail / (n - 2 + tail))
    return (place, share) if share > 0.2 and math.sqrt(share * (n - 1)) > grubbs else None
