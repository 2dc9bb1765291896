"""Distances between many parts of one pool of clips, for permutation tests, at one decomposition for each draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import DataError
from audiogen_metrics.functional.blocks import Places
from audiogen_metrics.functional.distances import squared_distance_blocks
from audiogen_metrics.functional.kernel import median_squared
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array, float64_tensor

TAIL = 1e-3
"""Share of the pool's variance that its smallest principal axes may hold to be left out."""

KEPT_AXES = 256
"""Principal axes that are never left out."""


class PooledFrechet:
    """Fréchet distances between parts of one pool.

    The pool is turned onto its principal axes once; those that hold less than a thousandth of its variance are left
    out. The axes do not depend on how the pool is dealt out, so a permutation test on these distances is exact.

    Parameters
    ----------
    rows
        ``(n, d)``, those of one clip together.
    counts
        Rows of each clip.

    Examples
    --------
    >>> from audiogen_metrics.functional import GaussianStatistics, frechet_distance
    >>> rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    >>> gen, ref = np.arange(20), np.arange(20, 40)
    >>> direct = frechet_distance(*map(GaussianStatistics.from_embeddings, (rows[:20], rows[20:]))).value
    >>> abs(PooledFrechet(rows, [1] * 40).value(gen, ref) - direct) < 1e-6
    True
    """

    def __init__(self, rows: Array, counts: Sequence[int]) -> None:
        self.rows: torch.Tensor = _principal(float64_tensor(rows, "rows", ndim=2))
        self.counts: npt.NDArray[np.int64] = np.asarray(counts, dtype=np.int64)
        self._owner = torch.from_numpy(np.repeat(np.arange(len(self.counts)), self.counts)).to(self.rows.device)

    def value(self, gen: Places, ref: Places) -> float:
        """Return the distance of two parts: to a thousandth of the variance, and 1e-6 where no axis is left out."""
        ours, theirs = self._part(gen), self._part(ref)
        shift = ours.mean(0) - theirs.mean(0)
        ours, theirs = ours - ours.mean(0), theirs - theirs.mean(0)
        variance = float(ours.square().sum()) / (len(ours) - 1) + float(theirs.square().sum()) / (len(theirs) - 1)
        if min(len(ours), len(theirs)) <= ours.shape[1]:
            small, large = sorted((ours, theirs), key=len)
            product = small @ large.T
            squares = product @ product.T
        else:
            product = _factor(ours.T @ ours).T @ theirs.T
            squares = product @ product.T
        norm = float(torch.linalg.eigvalsh(squares).clamp(min=0).sqrt().sum())
        return float(shift.square().sum()) + variance - 2 * norm / math.sqrt((len(ours) - 1) * (len(theirs) - 1))

    def influences(self, gen: Places, ref: Places) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how the distance changes with the weight of each clip of gen, and of ref: its influence functions.

        They scale like the jackknife's and are cheaper, with one decomposition and without an integral. With fewer
        clips than dimensions they are up to half as large: too small for the interval of one distance, but right for
        the difference of two, in which the missing bias cancels.
        """
        ours, theirs = self._part(gen), self._part(ref)
        shift = ours.mean(0) - theirs.mean(0)
        ours, theirs = ours - ours.mean(0), theirs - theirs.mean(0)
        n, m = len(ours), len(theirs)
        sizes, axes = torch.linalg.eigh(theirs.T @ theirs / m)
        root = (axes * sizes.clamp(min=0).sqrt()) @ axes.T
        turned = ours @ root
        inner, basis = torch.linalg.eigh(turned.T @ turned / n)
        known = inner > float(inner[-1]) * 1e-12
        scales, basis = inner[known].sqrt(), basis[:, known]
        norm = float(scales.sum())
        ours_root = ((turned @ basis).square() / scales).sum(1)
        # C_ref^{-1/2} of the rows of ref, on the axes that both sets have.
        inverse = torch.where(sizes > float(sizes[-1]) * 1e-12, sizes.clamp(min=1e-300).rsqrt(), sizes.new_zeros(()))
        whitened = theirs @ ((axes * inverse) @ axes.T)
        theirs_root = ((whitened @ basis).square() * scales).sum(1)
        changes = (
            2 * ours @ shift + ours.square().sum(1) - float(ours.square().sum()) / n - (ours_root - norm),
            -2 * theirs @ shift + theirs.square().sum(1) - float(theirs.square().sum()) / m - (theirs_root - norm),
        )
        return self._by_clip(changes[0], gen), self._by_clip(changes[1], ref)

    def _part(self, clips: Places) -> torch.Tensor:
        if len(self.rows) == len(self.counts):
            return self.rows[torch.from_numpy(clips).to(self.rows.device)]
        chosen = torch.zeros(len(self.counts), dtype=torch.bool, device=self.rows.device)
        chosen[torch.from_numpy(clips).to(self.rows.device)] = True
        return self.rows[chosen[self._owner]]

    def _by_clip(self, changes: torch.Tensor, clips: Places) -> torch.Tensor:
        """Return the sum of the rows' changes for each clip, in the clips' order, per mean number of rows."""
        counts = self.counts[clips]
        if len(self.rows) != len(self.counts):
            order = np.argsort(clips)
            owner = torch.from_numpy(np.repeat(order, counts[order])).to(changes.device)
            changes = torch.zeros(len(clips), dtype=torch.float64, device=changes.device).index_add_(0, owner, changes)
        scaled: torch.Tensor = changes / float(counts.mean())
        return scaled


class AgainstStatistics:
    """Fréchet distances from parts of one pool to a fixed reference, of which only the statistics are known.

    The square root is that of the parts as the reference's factor sees them, on the principal axes of the whole pool;
    those that hold less than a thousandth of the variance are left out, as in `PooledFrechet`.

    Parameters
    ----------
    rows
        ``(n, d)``, those of one clip together.
    counts
        Rows of each clip.
    ref
        Statistics of the reference.

    Examples
    --------
    >>> from audiogen_metrics.functional import GaussianStatistics, frechet_distance
    >>> rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    >>> gen, ref = map(GaussianStatistics.from_embeddings, (rows[:20], rows[20:]))
    >>> pooled = AgainstStatistics(rows[:20], [1] * 20, ref)
    >>> abs(pooled.value(np.arange(20)) - frechet_distance(gen, ref).value) < 1e-6
    True
    """

    def __init__(self, rows: Array, counts: Sequence[int], ref: GaussianStatistics) -> None:
        checked = float64_tensor(rows, "rows", ndim=2)
        if checked.shape[1] != ref.dimension:
            raise DataError(f"dimensions {checked.shape[1]} and {ref.dimension} differ", fix="Use one backbone")
        self.rows: torch.Tensor = checked - ref.mean.to(checked.device)
        self.turned: torch.Tensor = _principal(self.rows @ ref.factor.to(checked.device).T)
        self.counts: npt.NDArray[np.int64] = np.asarray(counts, dtype=np.int64)
        self.variance = float(ref.factor.square().sum())
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])

    def value(self, gen: Places) -> float:
        """Return the distance of a part."""
        ours, turned = self._part(gen)
        shift, spread = ours.mean(0), ours - ours.mean(0)
        turned = turned - turned.mean(0)
        squares = turned @ turned.T if len(turned) <= turned.shape[1] else turned.T @ turned
        norm = float(torch.linalg.eigvalsh(squares).clamp(min=0).sqrt().sum())
        left = len(ours) - 1
        return (
            float(shift.square().sum())
            + float(spread.square().sum()) / left
            + self.variance
            - 2 * norm / math.sqrt(left)
        )

    def influences(self, gen: Places) -> torch.Tensor:
        """Return how the distance changes with the weight of each clip of a part, as `PooledFrechet` does."""
        ours, turned = self._part(gen)
        shift, spread = ours.mean(0), ours - ours.mean(0)
        turned = turned - turned.mean(0)
        n = len(ours)
        inner, basis = torch.linalg.eigh(turned.T @ turned / n)
        known = inner > float(inner[-1]) * 1e-12
        scales, basis = inner[known].sqrt(), basis[:, known]
        root = ((turned @ basis).square() / scales).sum(1)
        lengths = spread.square().sum(1)
        changes = 2 * spread @ shift + lengths - lengths.mean() - (root - float(scales.sum()))
        counts = self.counts[gen]
        blocks = changes.split(counts.tolist())
        return torch.stack([block.sum() for block in blocks]) / float(counts.mean())

    def _part(self, clips: Places) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of some clips, in the clips' order, as they are and as the reference sees them."""
        places = torch.from_numpy(
            np.concatenate([np.arange(self._starts[clip], self._starts[clip + 1]) for clip in clips])
        ).to(self.rows.device)
        return self.rows[places], self.turned[places]


def _factor(scatter: torch.Tensor) -> torch.Tensor:
    """Return a factor ``F`` of a scatter matrix, ``F Fᵀ``."""
    factor: torch.Tensor
    factor, failed = torch.linalg.cholesky_ex(scatter)
    if int(failed):
        sizes, axes = torch.linalg.eigh(scatter)
        factor = axes * sizes.clamp(min=0).sqrt()
    return factor


def _principal(rows: torch.Tensor) -> torch.Tensor:
    """Return centred rows on their principal axes, without axes that hold almost no variance."""
    rows = rows - rows.mean(0)
    if len(rows) <= rows.shape[1]:
        sizes, basis = torch.linalg.eigh(rows @ rows.T)
        turned = basis * sizes.clamp(min=0).sqrt()
    else:
        sizes, basis = torch.linalg.eigh(rows.T @ rows)
        turned = rows @ basis
    left_out = int((sizes.clamp(min=0).cumsum(0) <= TAIL * float(sizes.clamp(min=0).sum())).sum())
    kept: torch.Tensor = turned[:, min(left_out, max(0, len(sizes) - KEPT_AXES)) :].contiguous()
    return kept


class PooledKernel:
    """Unbiased squared MMDs between parts of one pool, with a kernel that is given for all pairs of rows.

    Parameters
    ----------
    kernel
        ``(n, n)``.

    Examples
    --------
    >>> from audiogen_metrics.functional import kernel_distance
    >>> rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    >>> pooled = PooledKernel((rows @ rows.T / 6 + 1) ** 3)  # what KID takes
    >>> direct = kernel_distance(rows[:20], rows[20:]).value
    >>> abs(pooled.value(np.arange(20), np.arange(20, 40)) - direct) < 1e-9
    True
    """

    def __init__(self, kernel: torch.Tensor) -> None:
        self.kernel = kernel

    def value(self, gen: Places, ref: Places) -> float:
        """Return the squared MMD of two parts."""
        ours, theirs = (torch.from_numpy(clips).to(self.kernel.device) for clips in (gen, ref))
        between = float(self.kernel[ours][:, theirs].mean())
        return self.within(gen) + self.within(ref) - 2 * between

    def within(self, clips: Places) -> float:
        """Return the mean kernel between two different rows of a part."""
        chosen, n = torch.from_numpy(clips).to(self.kernel.device), len(clips)
        block = self.kernel[chosen][:, chosen]
        return float(block.sum() - block.diagonal().sum()) / (n * (n - 1))


class PooledGaussian:
    """Unbiased squared MMDs between parts of one pool, with a Gaussian kernel as wide as each reference.

    Parameters
    ----------
    rows
        ``(n, d)``.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        self.squares: torch.Tensor = torch.cat([block for _, block in squared_distance_blocks(rows, rows)])

    def value(self, gen: Places, ref: Places) -> float:
        """Return the squared MMD of two parts."""
        ours, theirs = (torch.from_numpy(clips).to(self.squares.device) for clips in (gen, ref))
        own, other, between = (
            self.squares[rows][:, columns] for rows, columns in ((ours, ours), (theirs, theirs), (ours, theirs))
        )
        width = 2 * median_squared([other[torch.ones_like(other, dtype=torch.bool).triu(1)]])
        kernels = [(block / -width).exp_() for block in (own, other, between)]
        n, m = len(gen), len(ref)
        # The diagonals, k(x, x) = 1, are not pairs.
        within = (float(kernels[0].sum()) - n) / (n * (n - 1)) + (float(kernels[1].sum()) - m) / (m * (m - 1))
        return within - 2 * float(kernels[2].mean())
