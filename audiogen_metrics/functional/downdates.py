"""The Fréchet distance without each clip in turn, from one decomposition."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.blocks import NUMBERS, Block, clip_blocks
from audiogen_metrics.functional.decomposition import singular_vectors
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array, float64_tensor

_STEP = 0.25
_BELOW, _ABOVE = 36.0, 24.0
"""Nodes of the integral over ln t, and how far they reach beyond the singular values. The trapezoidal rule converges
exponentially here: at this step its error is below float64's."""

_FAR = 1e4
"""Multiple of the largest singular value beyond which the logarithm equals its first term to 1e-12."""

_NEARLY_ZERO = 1e-5
"""Trace of a matrix K up to which two terms of its series give ``ln det(1 − K)``, to 3e-11 of it."""

EPSILON = 2.0**-52


def frechet_leave_one_out(
    gen: Array, ref: Array | GaussianStatistics, counts: Sequence[int] | None = None
) -> torch.Tensor:
    """Return the Fréchet distance without each clip of *gen* in turn, ``(clips,)``, exactly.

    Taking rows out of a covariance changes it by a matrix of low rank, and the trace of a root has an integral form,
    ``√λ = (1/π) ∫₀^∞ ln(1 + λ/t²) dt``. So the change of the sum of singular values is an integral over the determinant
    of a matrix as small as the number of a clip's rows. One decomposition serves all clips.

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
        Shapes or counts do not fit.
    InsufficientDataError
        Fewer than two rows are left without one of the clips.

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
        Root of both statistics, if it is known already.

    Raises
    ------
    DataError, InsufficientDataError
        As `frechet_leave_one_out`.
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
        # The rows on those axes that rounding has not lost.
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
        # Centring again after rows have left adds a term of rank one.
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
    # H Hᵀ has an eigenvalue of 1 at t = 0 where a clip spans an axis alone. The rest of 1 is kept separately, so that
    # nothing cancels below.
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
        # The determinant of a matrix near the unit matrix has few digits, so its logarithm is taken by a series.
        logs = -traces - (entries.square() * (2 - (first == second).double())).sum(-1) / 2
        large = traces > _NEARLY_ZERO
        logs[large] = torch.linalg.slogdet(unit - matrices(entries[large])).logabsdet
        found.append(logs)
    return torch.cat(found, dim=1)
