"""What differs between two sets of clips beyond chance: classes, and variety."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.functional.student import student_quantile
from audiogen_metrics.functional.uncertainty import jackknife_error

DRAWS = 399
"""Random exchanges of gen and ref that the classes' differences are compared with."""

DRAWS_AT_ONCE = 57

LEVEL = 0.05


def class_chances(gen: torch.Tensor, ref: torch.Tensor, *, paired: bool, seed: int = 0) -> torch.Tensor:
    """Return for each class how often chance alone makes *any* class differ as much, ``(classes,)``.

    The largest of all classes' studentised differences in each of 399 random exchanges of gen and ref is what a class
    is compared with (max-T of Westfall and Young), so that the number of classes is allowed for: two sets of one
    distribution have any class at or below 0.05 in 5 % of cases at most, whatever the distribution.

    Parameters
    ----------
    gen, ref
        Probabilities, ``(n, classes)`` and ``(m, classes)``.
    paired
        Whether rows of one place belong together: then members of pairs are exchanged, else clips of both sets.
    seed
        Of the exchanges.

    References
    ----------
    P. Westfall, S. Young, "Resampling-Based Multiple Testing", 1993.

    Examples
    --------
    >>> rows = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    >>> moved = rows + torch.tensor([0.0, 0.5, 0.0])
    >>> (class_chances(moved, rows, paired=True) <= 0.05).tolist()
    [False, True, False]
    """
    rng = np.random.default_rng(seed)
    pool = gen - ref if paired else torch.cat([gen, ref])
    if not paired:
        pool = pool - pool.mean(0)  # variances lose no digits to a common offset
    squares = pool.square()
    n, m = len(gen), len(ref)

    def statistics(weights: torch.Tensor) -> torch.Tensor:
        """Return the absolute t of every class for each draw, ``(draws, classes)``, up to a monotone function."""
        if paired:
            # The sum of squares is the same whichever signs: |t| rises with |sum|.
            top, below = weights @ pool, squares.sum(0).sqrt().expand(len(weights), -1)
        else:
            first, second = weights @ pool, weights @ squares
            means = first / n, (pool.sum(0) - first) / m
            top = means[0] - means[1]
            spreads = (
                (second - n * means[0].square()) / (n * (n - 1)),
                (squares.sum(0) - second - m * means[1].square()) / (m * (m - 1)),
            )
            below = (spreads[0].clamp(min=0) + spreads[1].clamp(min=0)).sqrt()
        found = top.abs() / below
        # Where no clip differs nothing does; rounding must not make a difference of it.
        still = top.abs() <= 1e-12 * squares.max(0).values.sqrt()
        return torch.where(still, torch.zeros_like(found), found.nan_to_num(posinf=torch.inf))

    def exchanged(draws: int) -> torch.Tensor:
        if paired:
            drawn = rng.integers(0, 2, (draws, n)) * 2.0 - 1
        else:
            drawn = rng.permuted(np.tile(np.arange(n + m) < n, (draws, 1)), axis=1).astype(float)
        return torch.from_numpy(drawn).to(pool)

    own = torch.ones(1, n, dtype=pool.dtype, device=pool.device)
    if not paired:
        own = torch.cat([own, own.new_zeros(1, m)], dim=1)
    seen = statistics(own)[0]
    # Equal draws must count as equal, however the sum is rounded.
    bound = seen * (1 - 1e-9)
    reached = torch.ones_like(seen)
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        largest = statistics(exchanged(min(DRAWS_AT_ONCE, DRAWS - start))).max(1).values
        reached += (largest[:, None] >= bound).sum(0)
    return reached / (DRAWS + 1)


class Variety(NamedTuple):
    """Total variance of gen over that of ref, its 95 % interval, and how often chance alone takes it as far from 1."""

    ratio: float
    low: float
    high: float
    p: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the difference is beyond chance: the interval leaves 1 out, and p is at most 0.05.

        Where few clips hold much of the variance, the interval alone finds a difference too often.
        """
        return self.p <= LEVEL and not self.low <= 1 <= self.high


def variety(
    gen: torch.Tensor, ref: torch.Tensor, counts: tuple[Sequence[int], Sequence[int]], *, paired: bool, seed: int = 0
) -> Variety:
    """Return how the total variances compare.

    The interval is that of the jackknife over clips of the logarithm of their ratio; p comes from 399 random exchanges
    of clips between the sets.

    Parameters
    ----------
    gen, ref
        Rows, those of one clip together.
    counts
        Rows of each clip of either set.
    paired
        Whether clips of one place belong together, and leave both sets together.
    seed
        Of the exchanges.

    Examples
    --------
    >>> rows = torch.randn(80, 8, generator=torch.Generator().manual_seed(1)).double()
    >>> variety(rows[:40], rows[40:], ([1] * 40, [1] * 40), paired=False).beyond_chance
    False
    >>> variety(2 * rows[:40], rows[40:], ([1] * 40, [1] * 40), paired=False).beyond_chance
    True
    """
    (first, without_first), (second, without_second) = (
        _log_variances(rows, blocks) for rows, blocks in zip((gen, ref), counts, strict=True)
    )
    if paired:
        error, freedom = jackknife_error(without_first - without_second), len(without_first) - 1.0
    else:
        errors = [jackknife_error(without) ** 2 for without in (without_first, without_second)]
        sizes = len(without_first), len(without_second)
        # Welch and Satterthwaite.
        parts = sum(each**2 / (size - 1) for each, size in zip(errors, sizes, strict=True))
        error, freedom = math.sqrt(sum(errors)), sum(errors) ** 2 / parts if parts > 0 else math.inf
    half = error * student_quantile(1 - LEVEL / 2, freedom)
    p = _exchange_p(torch.cat([gen, ref]), counts, paired, np.random.default_rng(seed))
    ratio = math.exp(first - second)
    return Variety(ratio, ratio * math.exp(-half), ratio * math.exp(half), p)


def _log_variances(rows: torch.Tensor, counts: Sequence[int]) -> tuple[float, torch.Tensor]:
    """Return the logarithm of the total variance of all rows, and without each clip."""
    sums, squares, lengths = _clips(rows, counts)
    left = lengths.sum() - lengths
    # Rows are centred, so that what is left without a clip sums to the opposite of its sum.
    scatter = squares.sum() - squares - sums.square().sum(1) / left
    return math.log(float(squares.sum() / (lengths.sum() - 1))), (scatter / (left - 1)).log()


def _clips(rows: torch.Tensor, counts: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return for each clip the sum of its rows from the mean of all, the sum of their squares, and their number."""
    blocks = (rows - rows.mean(0)).split(list(counts))
    lengths = torch.tensor(counts, dtype=rows.dtype, device=rows.device)
    return torch.stack([b.sum(0) for b in blocks]), torch.stack([b.square().sum() for b in blocks]), lengths


def _exchange_p(
    rows: torch.Tensor, counts: tuple[Sequence[int], Sequence[int]], paired: bool, rng: np.random.Generator
) -> float:
    """Return how often exchanged clips take the ratio of variances as far from 1."""
    sums, squares, lengths = _clips(rows, [*counts[0], *counts[1]])
    n, clips = len(counts[0]), len(lengths)

    def log_variance(chosen: torch.Tensor) -> torch.Tensor:
        size = chosen @ lengths
        return ((chosen @ squares - (chosen @ sums).square().sum(1) / size) / (size - 1)).log()

    def distance(drawn: npt.NDArray[np.bool_]) -> torch.Tensor:
        chosen = torch.from_numpy(drawn.astype(float)).to(rows)
        return (log_variance(chosen) - log_variance(1 - chosen)).abs()

    seen = distance((np.arange(clips) < n)[None])
    reached = 1
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        draws = min(DRAWS_AT_ONCE, DRAWS - start)
        if paired:
            swapped = rng.random((draws, n)) < 0.5
            drawn = np.concatenate([~swapped, swapped], axis=1)
        else:
            drawn = rng.permuted(np.tile(np.arange(clips) < n, (draws, 1)), axis=1)
        reached += int((distance(drawn) >= seen * (1 - 1e-9)).sum())
    return reached / (DRAWS + 1)
