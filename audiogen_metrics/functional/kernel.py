"""Kernel distances: the squared maximum mean discrepancy, without the bias that a Fréchet distance has at small n."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.distances import rows_at_once, squared_distance_blocks
from audiogen_metrics.functional.validation import Array, float64_tensor
from audiogen_metrics.options import whole

KAD_SCALE = 100.0

LISTED_PAIRS = 2**24
"""Pairs up to which all distances are listed for their median (128 MB); of more pairs, only those near it."""


class Kernel(Protocol):
    """A kernel between all rows of two sets."""

    def __call__(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the whole matrix."""

    def blocks(self, rows: torch.Tensor, others: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield some rows of the matrix at a time, and where they begin."""


class KernelDistance(NamedTuple):
    """Squared MMD, unbiased, so that values near 0 may be negative; ``std`` over subsets, None for a single one."""

    value: float
    std: float | None
    subset_size: int


def kernel_distance(
    gen: Array, ref: Array, *, subsets: int | None = None, subset_size: int = 1000, seed: int = 2020
) -> KernelDistance:
    """Return the kernel distance with a cubic polynomial kernel (KID on images).

    ``k(x, y) = (x·y / d + 1)³``; the unbiased estimator of the squared MMD, on all rows or as a mean over random
    subsets. The kernel depends on where the origin lies: rows that all lie far from it give large values with few exact
    digits (a mean 100 times the spread costs four of sixteen, 10 000 times eight).

    Parameters
    ----------
    gen, ref
        ``(n, d)`` and ``(m, d)``.
    subsets, subset_size
        None for one estimate on all rows of both sets. Otherwise the number of subsets, drawn from both sets without
        replacement, and the rows of each: the value is their mean. If a set has fewer rows than that, there is one
        subset, with all rows of the smaller set and as many of the larger.
    seed
        Seed of the draws, which are those of torch-fidelity.

    Returns
    -------
    KernelDistance
        Lower is better; 0 is expected for one distribution, and values a little below 0 occur.

    Raises
    ------
    DataError
        Shapes that do not fit.
    InsufficientDataError
        A set of fewer than two rows.

    References
    ----------
    M. Bińkowski et al., "Demystifying MMD GANs", ICLR 2018.

    Examples
    --------
    >>> import torch
    >>> rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> abs(kernel_distance(rows[:100], rows[100:]).value) < 0.05
    True
    >>> kernel_distance(rows[:100] + 1, rows[100:]).value > 1
    True
    """
    gen, ref = _checked(gen, ref)
    subset_size, seed = whole("subset_size", subset_size, 2), whole("seed", seed, 0, 2**32 - 1)
    if subsets is None:
        return KernelDistance(discrepancy(gen, ref, cubic), None, min(len(gen), len(ref)))
    subsets = whole("subsets", subsets, 1)
    size = min(subset_size, len(gen), len(ref))
    rng = np.random.RandomState(seed)
    if size < subset_size:
        subsets = 1
    draws = [tuple(rng.choice(len(rows), size, replace=False) for rows in (gen, ref)) for _ in range(subsets)]
    n, m = len(gen), len(ref)
    if n * n + m * m + n * m < 3 * subsets * size**2:
        values = _on_subsets(gen, ref, draws)
    else:
        values = [_on_subsets(gen[ours], ref[theirs], [(np.arange(size),) * 2])[0] for ours, theirs in draws]
    spread = float(np.std(values)) if subsets > 1 else None
    return KernelDistance(float(np.mean(values)), spread, size)


def kernel_audio_distance(gen: Array, ref: Array, *, bandwidth: Literal["ref", "gen"] = "ref") -> KernelDistance:
    """Return the kernel audio distance (KAD): 100 times the unbiased squared MMD with a Gaussian kernel.

    ``k(x, y) = exp(−|x − y|² / 2σ²)`` with σ the median distance between two rows of one of the sets. The median of a
    few pairs depends on the rows that it is then used on. So for one distribution and fewer than about ten rows the
    expected value is not quite 0: in 2 dimensions it is 2.0 at n = 3, 0.76 at n = 5 and 0.18 at n = 10 (6 % of its
    standard deviation and less from n = 5 on), and less in more dimensions.

    Parameters
    ----------
    gen, ref
        ``(n, d)`` and ``(m, d)``, all rows are used.
    bandwidth
        The set whose median distance is σ: the reference, as in the paper, or the evaluated set, as in its code, kadtk.

    Raises
    ------
    DataError
        Shapes that do not fit.
    InsufficientDataError
        A set has fewer than two rows, or most of its rows are equal, so that the bandwidth would be 0.

    References
    ----------
    Y. Chung et al., "KAD: No More FAD! An Effective and Efficient Evaluation Metric for Audio Generation", 2025.

    Examples
    --------
    >>> import torch
    >>> rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> abs(kernel_audio_distance(rows[:100], rows[100:]).value) < 1
    True
    """
    gen, ref = _checked(gen, ref)
    kernel = gaussian(ref) if bandwidth == "ref" else gaussian(gen, "gen")
    return KernelDistance(KAD_SCALE * discrepancy(gen, ref, kernel), None, min(len(gen), len(ref)))


class Cubic:
    """The cubic kernel ``(x·y / d + 1)³``."""

    def __call__(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the kernel between rows ``(n, d)`` and ``(m, d)``."""
        return torch.addmm(rows.new_ones(()), rows, others.T, alpha=1 / rows.shape[1]).pow_(3)

    def blocks(self, rows: torch.Tensor, others: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield some rows of it at a time, and where they begin."""
        size = rows_at_once(len(others))
        for start in range(0, len(rows), size):
            yield start, self(rows[start : start + size], others)


cubic = Cubic()


@dataclass(frozen=True)
class Gaussian:
    """The Gaussian kernel ``exp(−|x − y|² / width)``."""

    width: float

    def __call__(self, rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the kernel between rows ``(n, d)`` and ``(m, d)``."""
        return torch.cat([block for _, block in self.blocks(rows, others)])

    def blocks(self, rows: torch.Tensor, others: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield some rows of it at a time, and where they begin."""
        for start, squares in squared_distance_blocks(rows, others):
            yield start, squares.div_(-self.width).exp_()


def gaussian(rows: Array, name: str = "ref") -> Gaussian:
    """Return the Gaussian kernel as wide as the median distance between two rows of a set, which must not be 0."""
    checked = float64_tensor(rows, name, ndim=2)
    return Gaussian(2 * median_of_pairs(checked, name))


def discrepancy(gen: torch.Tensor, ref: torch.Tensor, kernel: Kernel) -> float:
    """Return the unbiased squared MMD of all rows."""
    within_gen, within_ref = (_row_sums(rows, rows, kernel, own=True).sum() for rows in (gen, ref))
    return float(_squared(within_gen, within_ref, _row_sums(gen, ref, kernel).sum(), len(gen), len(ref)))


def mean_kernel(rows: torch.Tensor, others: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """Return the mean of each row's kernel with all others, ``(n,)``."""
    return _row_sums(rows, others, kernel) / len(others)


def discrepancy_leave_one_out(gen: Array, ref: Array, kernel: Kernel, counts: Sequence[int]) -> torch.Tensor:
    """Return the unbiased squared MMD without each clip of *gen*, ``(clips,)`` float64.

    Parameters
    ----------
    gen, ref
        ``(n, d)``, rows of one clip together, and ``(m, d)``. Exchanging them changes only which clips are left out.
    kernel
        Kernel of two blocks of rows; it stays the same for all clips.
    counts
        Rows of each clip of gen.

    Raises
    ------
    InsufficientDataError
        Fewer than two rows are left without a clip.
    """
    gen, ref = _checked(gen, ref)
    sizes = torch.tensor(counts, dtype=torch.int64, device=gen.device)
    if len(gen) - int(sizes.max()) < 2:
        raise InsufficientDataError("without its longest clip, a set has fewer than two rows", fix="Score more clips")
    within, between = _row_sums(gen, gen, kernel, own=True), _row_sums(gen, ref, kernel)
    owner = torch.arange(len(sizes), dtype=torch.int64, device=gen.device).repeat_interleave(sizes)
    own, cross = (gen.new_zeros(len(sizes)).index_add_(0, owner, sums) for sums in (within, between))
    inner = torch.zeros_like(own)
    for place, block in enumerate(gen.split(list(counts))):
        if len(block) > 1:
            inner[place] = _row_sums(block, block, kernel, own=True).sum()
    other = _row_sums(ref, ref, kernel, own=True).sum()
    left = len(gen) - sizes
    return _squared(within.sum() - 2 * own + inner, other, between.sum() - cross, left, len(ref))


def _squared(
    within_gen: torch.Tensor, within_ref: torch.Tensor, between: torch.Tensor, n: torch.Tensor | int, m: int
) -> torch.Tensor:
    return within_gen / (n * (n - 1)) + within_ref / (m * (m - 1)) - 2 * between / (n * m)


def _row_sums(rows: torch.Tensor, others: torch.Tensor, kernel: Kernel, *, own: bool = False) -> torch.Tensor:
    """Return the sum of each row's kernel with all others, block by block; ``own`` leaves out the row itself."""
    sums = []
    for start, block in kernel.blocks(rows, others):
        sums.append(block.sum(1) - block.diagonal(start) if own else block.sum(1))
    return torch.cat(sums)


def _on_subsets(
    gen: torch.Tensor, ref: torch.Tensor, draws: Sequence[tuple[npt.NDArray[np.int64], ...]]
) -> list[float]:
    """Return the unbiased squared MMD of each draw of rows; the kernel between all rows is computed once, in blocks."""
    dimension, size = gen.shape[1], len(draws[0][0])
    # Each draw is a column with 1 for each of its rows: the sum over a subset of a matrix K is vᵀKv.
    ours, theirs = (gen.new_zeros(len(rows), len(draws)) for rows in (gen, ref))
    for column, (first, second) in enumerate(draws):
        ours[torch.from_numpy(first), column] = 1
        theirs[torch.from_numpy(second), column] = 1

    def total(rows: torch.Tensor, others: torch.Tensor, v: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        sums = v.new_zeros(len(draws))
        for start, block in cubic.blocks(rows, others):
            sums += (v[start : start + len(block)] * (block @ w)).sum(0)
        return sums

    def within(rows: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        diagonal = (rows.square().sum(1) / dimension + 1) ** 3
        return (total(rows, rows, v, v) - diagonal @ v) / (size * (size - 1))

    between = total(gen, ref, ours, theirs) / size**2
    return (within(gen, ours) + within(ref, theirs) - 2 * between).tolist()


def median_squared(squares: Iterable[torch.Tensor], name: str = "ref") -> float:
    """Return the median of squared distances; with two middle values, the square of the mean of their roots.

    Raises
    ------
    InsufficientDataError
        The median is 0, which cannot be a bandwidth.
    """
    values = torch.cat([*squares])
    middle = len(values) // 2
    high = float(values.kthvalue(middle + 1).values)
    low = float(values.kthvalue(middle).values) if len(values) % 2 == 0 else high
    return _median(low, high, name)


def median_of_pairs(rows: torch.Tensor, name: str = "ref") -> float:
    """Return `median_squared` of the distances between all pairs of different rows, ``(n, d)``."""
    pairs = len(rows) * (len(rows) - 1) // 2
    if pairs <= LISTED_PAIRS:
        return median_squared(_pairs(rows), name)
    low, high = middle_values(lambda: _pairs(rows), pairs)
    return _median(low, high, name)


def middle_values(blocks: Callable[[], Iterable[torch.Tensor]], count: int) -> tuple[float, float]:
    """Return the two middle values of ``count`` numbers ≥ 0, which are the same number if ``count`` is odd.

    The numbers are not kept: a few passes count those with equal leading bits, which have the order of the numbers,
    until only a few can be the middle ones.

    Parameters
    ----------
    blocks
        Function that yields all numbers, float64, a part at a time, and the same numbers at each call.
    count
        How many numbers there are.

    Examples
    --------
    >>> middle_values(lambda: torch.arange(8.0).double().split(3), 8)
    (3.0, 4.0)
    """
    rank, low, below, shift = (count - 1) // 2, 0, 0, 63
    inside = count
    while shift and inside > LISTED_PAIRS:
        narrower = max(0, shift - 16)
        counts = torch.zeros(2 ** (shift - narrower), dtype=torch.int64, device="cpu")
        for block in blocks():
            bits = block.view(torch.int64) - low
            bins = bits[(bits >= 0) & (bits >> shift == 0)] >> narrower
            counts += torch.bincount(bins, minlength=len(counts)).cpu()
        upto = counts.cumsum(0) + below
        chosen = int((upto > rank).nonzero()[0])
        inside = int(counts[chosen])
        below, low, shift = int(upto[chosen]) - inside, low + (chosen << narrower), narrower
    kept, above = [], math.inf
    for block in blocks():
        bits = block.view(torch.int64) - low
        # Without further bits, all candidates are equal.
        kept.append(block[(bits >= 0) & (bits >> shift == 0)][: 1 if shift == 0 else None])
        beyond = block[(bits > 0) & (bits >> shift != 0)]
        above = min(above, float(beyond.min())) if len(beyond) else above
    values = torch.cat(kept).sort().values
    if shift == 0:
        values = values[:1].expand(inside)
    first, second = rank - below, count // 2 - below
    return float(values[first]), float(values[second]) if second < len(values) else above


def _median(low: float, high: float, name: str) -> float:
    found = math.pow((math.sqrt(low) + math.sqrt(high)) / 2, 2)
    if not found > 0:
        raise InsufficientDataError(
            f"most rows of {name} are equal: there is no bandwidth", fix="Use a set of different clips"
        )
    return found


def _pairs(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the squared distances of all pairs of different rows."""
    for start, squares in squared_distance_blocks(rows, rows):
        yield squares[torch.ones_like(squares, dtype=torch.bool).triu(start + 1)]


def _checked(gen: Array, ref: Array) -> tuple[torch.Tensor, torch.Tensor]:
    ours, theirs = float64_tensor(gen, "gen", ndim=2), float64_tensor(ref, "ref", ndim=2)
    if ours.shape[1] != theirs.shape[1]:
        raise DataError(
            f"embeddings of dimension {ours.shape[1]} and {theirs.shape[1]} cannot be compared",
            fix="Both must come from one backbone",
        )
    for name, rows in (("gen", ours), ("ref", theirs)):
        if len(rows) < 2:
            raise InsufficientDataError(f"{name} has {len(rows)} row: there are no pairs", fix="Pass at least two")
    return ours, theirs.to(ours.device)
