"""One metric on two systems against one reference: their difference, and all that follows from it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.measuring.pool import RowPool

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.functional.statistics import GaussianStatistics
    from audiogen_metrics.functional.uncertainty import Spread
    from audiogen_metrics.metrics.definition import ScoreInterval
    from audiogen_metrics.metrics.measuring.measured import Measured

ENOUGH = 0.1
"""Share of the permutations, at least as extreme, after which p is surely above 0.05 and no more are made."""


class Rivals:
    """One metric on two systems, with as many clips each.

    Parameters
    ----------
    a, b
        Both against one reference.
    paired
        Whether both have clips of the same ids, in the same order.
    level
        Of the interval. More than 0.95 where several pairs of systems are compared, which must not be wrong together.
    """

    def __init__(self, a: Measured, b: Measured, paired: bool, level: float = 0.95) -> None:
        self.a = a
        self.b = b
        self.paired = paired
        self.level = level

    def at(self, level: float) -> Rivals:
        """Return the same with an interval of another level."""
        return self if level == self.level else Rivals(self.a, self.b, self.paired, level)

    @property
    def difference(self) -> float:
        """The score of A minus that of B."""
        return self.a.measurement.value - self.b.measurement.value

    @cached_property
    def interval(self) -> ScoreInterval:
        """The interval of the difference; InsufficientDataError where none is known at this level."""
        found = self.a.metric.difference_interval(self)
        if found.level != self.level:
            raise InsufficientDataError(f"its interval is known at {found.level:.0%} only, not at {self.level:.2%}")
        return found

    @cached_property
    def exact(self) -> GaussianStatistics | None:
        """Statistics of the reference where nothing else of it is known: it is taken as exact. None elsewhere."""
        metric = self.a.metric
        if "ref" not in metric.sides or metric.needs != "moments":
            return None
        try:
            self.a.ref.counts(metric.output)
        except InsufficientDataError:
            return self.a.ref.statistics(metric.output)
        return None

    @cached_property
    def pool(self) -> RowPool:
        """The clips of A, then of B, then of the reference where the metric looks at it and they are known."""
        metric = self.a.metric
        with_ref = "ref" in metric.sides and self.exact is None
        return RowPool(metric.output, self.a.gen, self.b.gen, *([self.a.ref] if with_ref else []))

    def spreads(self, gen_a: torch.Tensor, gen_b: torch.Tensor, ref: torch.Tensor | None) -> list[Spread]:
        """Return the independent parts of the standard error of the difference, from what each clip does to it.

        Parameters
        ----------
        gen_a, gen_b
            What each clip of A does to the score of A, and each clip of B to that of B.
        ref
            What each clip of the reference does to the difference; None where it is taken as exact.
        """
        ties = self.a.ties["gen"], self.b.ties["gen"], self.a.ties["ref"]
        of_ref = [] if ref is None else [(ref, ties[2])]
        if self.paired:
            return [_spread((gen_a - gen_b, ties[0]), *of_ref)]
        return [_spread(each) for each in ((gen_a, ties[0]), (gen_b, ties[1]), *of_ref)]

    def permutation(self, permutations: int, seed: int) -> tuple[float, int]:
        """Return p of a permutation test, and how many permutations were made: fewer where p is far above 0.05.

        Clips of the same id are swapped; where there are none, all are shuffled. Clips that are tied to each other,
        as samples of one prompt or copies, change sides together.
        """
        statistic = self.a.metric.contest(self)
        n, m = len(self.a.gen), len(self.b.gen)
        ours, theirs = np.arange(n), np.arange(n, n + m)
        observed = abs(statistic(ours, theirs))
        rng = np.random.default_rng(seed)
        extreme = made = 0
        while made < permutations and extreme < max(20, ENOUGH * permutations):
            made += 1
            extreme += abs(statistic(*self._dealt(rng))) >= observed * (1 - 1e-9)
        return (1 + extreme) / (1 + made), made

    def _dealt(self, rng: np.random.Generator) -> tuple[Places, Places]:
        n = len(self.a.gen)
        if not self.paired:
            units = [*self.a.units("gen").values(), *(unit + n for unit in self.b.units("gen").values())]
            order = np.concatenate([units[unit] for unit in rng.permutation(len(units))])
            return np.sort(order[:n]), np.sort(order[n:])
        swapped = np.zeros(n, dtype=bool)
        units = [*self.a.units("gen").values()]
        for unit, swap in zip(units, rng.random(len(units)) < 0.5, strict=True):
            swapped[unit] = swap
        places = np.arange(n)
        return np.where(swapped, n + places, places), np.where(swapped, places, n + places)


def _spread(*sides: tuple[torch.Tensor, Places]) -> Spread:
    """Return the standard error of means over clips, whose ties are given: clips of equal ties vary together."""
    from audiogen_metrics.functional.uncertainty import Spread

    total = np.zeros(max(int(ties.max()) for _, ties in sides) + 1)
    for changes, ties in sides:
        centred = (changes - changes.mean()).cpu().numpy()
        total += np.bincount(ties, centred / len(ties), minlength=len(total))
    fewest = min(len(np.unique(ties)) for _, ties in sides)
    if fewest < 2:
        raise InsufficientDataError(
            "all clips of a set are tied to each other", fix="Compare systems on several prompts"
        )
    return Spread(float(np.sqrt(fewest / (fewest - 1) * np.sum(total**2))), fewest - 1)
