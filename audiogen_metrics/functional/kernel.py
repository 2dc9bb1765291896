"""Kernel distances: the squared maximum mean discrepancy, without the bias that a Fréchet distance has at small n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.distances import squared_distance_blocks
from audiogen_metrics.functional.validation import Array, float64_tensor
from audiogen_metrics.options import whole

KAD_SCALE = 100.0

ROWS_AT_ONCE = 1024
"""Rows of the kernel matrix held in memory at a time."""


class KernelDistance(NamedTuple):
    """Squared MMD; ``std`` over subsets, None where there was one. Unbiased, so values near 0 may be negative."""

    value: float
    std: float | None
    subset_size: int


def kernel_distance(
    gen: Array, ref: Array, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> KernelDistance:
    """Return the kernel distance with a cubic polynomial kernel (KID on images).

    ``k(x, y) = (x·y / d + 1)³``; the unbiased estimator of the squared MMD, as a mean over random subsets.

    Parameters
    ----------
    gen, ref
        ``(n, d)`` and ``(m, d)``.
    subsets, subset_size
        Subsets of both sets, drawn without replacement each. Where a set has no more rows than that, one estimate on
        all rows is made instead, of the first ``subset_size`` in seeded order of the larger set.
    seed
        Of the draws, as torch-fidelity makes them.

    Returns
    -------
    KernelDistance
        Unbounded below by a little: the estimator is unbiased. Lower is better, 0 is expected for one distribution.

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
    subsets, subset_size = whole("subsets", subsets, 1), whole("subset_size", subset_size, 2)
    seed = whole("seed", seed, 0, 2**32 - 1)
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


def kernel_audio_distance(gen: Array, ref: Array) -> KernelDistance:
    """Return the kernel audio distance (KAD): 100 times the unbiased squared MMD with a Gaussian kernel.

    ``k(x, y) = exp(−|x − y|² / 2σ²)`` with σ the median distance between two rows of *ref*.

    Parameters
    ----------
    gen, ref
        ``(n, d)`` and ``(m, d)``, all rows are used.

    Raises
    ------
    DataError
        Shapes that do not fit, or a reference whose rows are mostly equal, so that there is no bandwidth.
    InsufficientDataError
        A set of fewer than two rows.

    References
    ----------
    Y. Chung et al., "KAD: No More FAD! An Effective and Efficient Evaluation Metric for Audio Generation", 2025. Its
    code takes the bandwidth from the evaluated set; its text, and this function, from the reference.

    Examples
    --------
    >>> import torch
    >>> rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> abs(kernel_audio_distance(rows[:100], rows[100:]).value) < 1
    True
    """
    gen, ref = _checked(gen, ref)
    width = 2 * _median_squared_distance(ref)
    if not width > 0:
        raise DataError("most rows of ref are equal: there is no bandwidth", fix="Use a reference of different clips")

    def total(rows: torch.Tensor, others: torch.Tensor) -> float:
        return sum(float((-squares / width).exp().sum()) for _, squares in squared_distance_blocks(rows, others))

    n, m = len(gen), len(ref)
    # The diagonals, k(x, x) = 1, are no pairs.
    within = (total(gen, gen) - n) / (n * (n - 1)) + (total(ref, ref) - m) / (m * (m - 1))
    return KernelDistance(KAD_SCALE * (within - 2 * total(gen, ref) / (n * m)), None, min(n, m))


def _on_subsets(
    gen: torch.Tensor, ref: torch.Tensor, draws: Sequence[tuple[npt.NDArray[np.int64], ...]]
) -> list[float]:
    """Return the unbiased squared MMD of each draw of rows; the kernel between all rows is computed once, in blocks."""
    dimension, size = gen.shape[1], len(draws[0][0])
    # One column a draw, 1 where a row is in it: the sum over a subset of a matrix K is vᵀKv.
    ours, theirs = (gen.new_zeros(len(rows), len(draws)) for rows in (gen, ref))
    for column, (first, second) in enumerate(draws):
        ours[torch.from_numpy(first), column] = 1
        theirs[torch.from_numpy(second), column] = 1

    def total(rows: torch.Tensor, others: torch.Tensor, v: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        sums = v.new_zeros(len(draws))
        for part, weights in zip(rows.split(ROWS_AT_ONCE), v.split(ROWS_AT_ONCE), strict=True):
            kernel = torch.addmm(part.new_ones(()), part, others.T, alpha=1 / dimension).pow_(3)
            sums += (weights * (kernel @ w)).sum(0)
        return sums

    def within(rows: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        diagonal = (rows.square().sum(1) / dimension + 1) ** 3
        return (total(rows, rows, v, v) - diagonal @ v) / (size * (size - 1))

    between = total(gen, ref, ours, theirs) / size**2
    return (within(gen, ours) + within(ref, theirs) - 2 * between).tolist()


def _median_squared_distance(rows: torch.Tensor) -> float:
    """Return the median over pairs of different rows; of two middle values the mean of the roots, squared."""
    distances = []
    for start, squares in squared_distance_blocks(rows, rows):
        above = torch.ones_like(squares, dtype=torch.bool).triu(start + 1)
        distances.append(squares[above])
    ordered = torch.cat(distances).sort().values.sqrt()
    middle = len(ordered) // 2
    low = ordered[middle - 1] if len(ordered) % 2 == 0 else ordered[middle]
    return math.pow(float(low + ordered[middle]) / 2, 2)


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
