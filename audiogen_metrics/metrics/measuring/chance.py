"""What chance alone gives: the score of the same clips once they are dealt out to gen and ref at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.kolmogorov import kolmogorov_p

if TYPE_CHECKING:
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.metrics.definition import Side
    from audiogen_metrics.metrics.measuring.links import Links
    from audiogen_metrics.metrics.measuring.pool import RowPool

DRAWS = 99
"""Random deals by default: p is at least 0.01."""

LARGEST = 2000
"""Clips of the larger set up to which p is computed without being asked for."""

SIGNIFICANT = 0.05

ENOUGH, FEWEST_DRAWS = 10, 20
"""Deals at least as extreme after which no more are drawn (Besag and Clifford, 1991), and the fewest that are drawn."""

HALVES = 10
"""Random halves that a score at n / 2 is the mean of."""

FEWEST_DEALS = 64
"""Ways to deal out the clips, below which p says nothing: six pairs."""

APART = 0.1
"""Share of the mean by which the numbers of rows per clip may differ between two sets that are compared."""

BY_CHANCE = 0.05
"""p from which on such a difference may be chance."""

MOST_COPIES = 0.05
"""Share of a set's clips that may be copies of others where clips are dealt out one by one."""


@dataclass(frozen=True)
class Chance:
    """What chance alone gives.

    Parameters
    ----------
    p
        Chance of a score at least this bad if gen and ref were one distribution.
    expected
        Mean score of the deals: what to expect at this n if they were one distribution.
    draws
        How many deals were made.
    halves_gen, halves_ref, halves_n
        Where p is at most 0.05: the mean score of half of gen against half of ref, of that half of ref against the
        other, and the clips of a half. None elsewhere.
    """

    p: float
    expected: float
    draws: int
    halves_gen: float | None = None
    halves_ref: float | None = None
    halves_n: int | None = None

    def details(self) -> dict[str, float | int]:
        """Return the numbers by name, as a score's details hold them."""
        named = {
            "chance_p": self.p,
            "chance_expected": self.expected,
            "chance_draws": self.draws,
            "halves_gen": self.halves_gen,
            "halves_ref": self.halves_ref,
            "halves_n": self.halves_n,
        }
        return {name: number for name, number in named.items() if number is not None}


def chance(
    pool: RowPool,
    score: Callable[[Places, Places], float],
    strata: npt.NDArray[np.int64],
    *,
    higher_is_better: bool,
    draws: int,
    seed: int,
    rounding: float,
    exact: float | None = None,
) -> Chance:
    """Return how a score compares with those of random deals of the same clips.

    Parameters
    ----------
    pool
        The clips of gen, then those of ref.
    score
        The score of a part of the pool against another.
    strata
        A number for each clip: clips of equal numbers may change sides with each other.
    higher_is_better
        Direction.
    draws
        Deals at most. No more are made once ten are at least as bad.
    seed
        Of the deals.
    rounding
        How far rounding may move a score: deals as near as that to it are at least as bad.
    exact
        The distance, where ``score`` leaves a little out: what it is short of for gen and ref is added to the mean of
        the deals.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(strata), dtype=bool)
    labels[: pool.sizes[0]] = True
    value, worse = score(*_sides(labels)), -1.0 if higher_is_better else 1.0
    # Deals that change nothing, such as swaps of equal clips, must not be lost to rounding.
    near = 1e-7 * abs(value) + rounding
    found: list[float] = []
    extreme = 0
    for drawn in range(1, draws + 1):
        found.append(score(*_sides(_dealt(labels, strata, rng))))
        extreme += worse * (found[-1] - value) >= -near
        if extreme >= ENOUGH and drawn >= FEWEST_DRAWS:
            break
    p = (1 + extreme) / (1 + len(found))
    # A distance that is the exact one has no negative mean: rounding must not make one.
    expected = float(np.mean(found)) if exact is None else max(0.0, float(np.mean(found)) + exact - value)
    halves: tuple[float | None, float | None, int | None] = (None, None, None)
    if p <= SIGNIFICANT:
        with suppress(InsufficientDataError):  # half of a set may be too few where the whole is not: p stands
            halves = _halves(score, labels, strata, rng)
    return Chance(p, expected, len(found), *halves)


def refuse(pool: RowPool, links: Links, ids: Mapping[Side, tuple[str, ...]], strata: npt.NDArray[np.int64]) -> None:
    """Raise InsufficientDataError where dealing out the clips would mislead."""
    rows = pool.counts[: pool.sizes[0]], pool.counts[pool.sizes[0] :]
    if rows_apart(*rows):
        means = [float(np.mean(side)) for side in rows]
        raise InsufficientDataError(
            f"gen has {means[0]:.3g} rows a clip and ref {means[1]:.3g}, so it would be a test of lengths"
        )
    for side, clips in ids.items():
        copies = links.copies(side, clips)
        if copies > MOST_COPIES * len(clips):
            raise InsufficientDataError(f"{copies} of {len(clips)} {side} clips are copies of others")
    deals = 0.0
    for stratum in np.unique(strata):
        inside = strata == stratum
        gen, total = int(inside[: pool.sizes[0]].sum()), int(inside.sum())
        deals += math.lgamma(total + 1) - math.lgamma(gen + 1) - math.lgamma(total - gen + 1)
    if deals < math.log(FEWEST_DEALS) - 1e-9:
        raise InsufficientDataError("there are fewer than six pairs, or too few clips to deal out")


def rows_apart(first: list[int], second: list[int]) -> bool:
    """Tell whether two sets differ in how many rows their clips have, so that a comparison would be one of lengths.

    Two samples of one distribution of lengths always differ, so they must do so beyond chance, too.
    """
    area, largest = _between(first, second)
    if area <= APART * min(np.mean(first), np.mean(second)):
        return False
    count = round(len(first) * len(second) / (len(first) + len(second)))
    return kolmogorov_p(largest, count) < BY_CHANCE


def _between(first: list[int], second: list[int]) -> tuple[float, float]:
    """Return the area between the distribution functions of two samples (Wasserstein), and their largest distance."""
    values = np.sort([*first, *second])
    shares = [np.searchsorted(np.sort(each), values, side="right") / len(each) for each in (first, second)]
    apart = np.abs(shares[0] - shares[1])
    return float(apart[:-1] @ np.diff(values)), float(apart.max())


def _sides(labels: npt.NDArray[np.bool_]) -> tuple[Places, Places]:
    return np.flatnonzero(labels), np.flatnonzero(~labels)


def _dealt(
    labels: npt.NDArray[np.bool_], strata: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return the labels permuted within each stratum."""
    ordered, shuffled = np.lexsort((np.arange(len(strata)), strata)), np.lexsort((rng.random(len(strata)), strata))
    dealt = np.empty_like(labels)
    dealt[shuffled] = labels[ordered]
    return dealt


def _halves(
    score: Callable[[Places, Places], float],
    labels: npt.NDArray[np.bool_],
    strata: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[float | None, float | None, int | None]:
    """Return the mean scores of gen's and of ref's halves against the other half of ref, and the clips of a half."""
    gen, ref = _sides(labels)
    size = min(len(gen), len(ref)) // 2
    if size < 2:
        return None, None, None
    found = []
    for _ in range(HALVES):
        order = rng.permutation(ref)
        first, second = np.sort(order[:size]), np.sort(order[size : 2 * size])
        # The half of gen has the prompts of the half of ref that it stands beside, and as few as can be of the other:
        # partners are alike.
        fellow, rival = (np.isin(strata[gen], strata[half][strata[half] > 0]) for half in (first, second))
        ours = np.sort(gen[np.lexsort((rng.random(len(gen)), rival, ~fellow))[:size]])
        found.append((score(ours, second), score(first, second)))
    means = np.mean(found, axis=0)
    return float(means[0]), float(means[1]), size
