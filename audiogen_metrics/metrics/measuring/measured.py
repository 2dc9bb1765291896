"""One metric on two sets: its value and all that follows from it, each computed once, when it is first asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.measuring.links import Links

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Block, Places
    from audiogen_metrics.functional.extrapolation import Extrapolation
    from audiogen_metrics.functional.statistics import GaussianStatistics
    from audiogen_metrics.functional.uncertainty import Spread
    from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, ScoreInterval, Side
    from audiogen_metrics.metrics.measuring.chance import Chance
    from audiogen_metrics.metrics.measuring.pool import RowPool

__all__ = ["Measured"]

UNTIED = Links()

GROUPS = 20
"""Groups of clips that leave a set, one at a time, for an interval where single clips do not."""


class Measured:
    """A metric on two sets of features.

    Parameters
    ----------
    metric
        With its options.
    gen, ref
        The sets; ``ref`` may be None for a metric that looks at gen only.
    links
        Which clips belong together.
    seed
        Of all that is drawn.
    draws
        Random deals behind p; None takes 99, and none for large sets.
    keep
        Looks for what chance gives before it is drawn, by the features and a description of all else that shapes it.
    """

    def __init__(
        self,
        metric: Metric,
        gen: FeatureSource,
        ref: FeatureSource | None,
        *,
        links: Links = UNTIED,
        seed: int = 0,
        draws: int | None = None,
        keep: Callable[[torch.Tensor, str, Callable[[], Chance]], Chance] | None = None,
    ) -> None:
        self.metric = metric
        self.gen = gen
        self.links = links
        self.seed = seed
        self.draws = draws
        self.keep = keep
        self._ref = ref
        self._without: dict[Side, torch.Tensor] = {}

    @property
    def ref(self) -> FeatureSource:
        """The reference; gen itself for a metric that does not look at it."""
        if "ref" not in self.metric.sides:
            return self.gen
        if self._ref is None:
            raise InsufficientDataError("there is no reference set", fix="Pass ref")
        return self._ref

    @property
    def n_ref(self) -> int | None:
        """Clips of the reference; None if it plays no part, or if they are not known."""
        if "ref" not in self.metric.sides or self._ref is None:
            return None
        with suppress(InsufficientDataError):
            return len(self._ref)
        return None

    @property
    def uncounted(self) -> bool:
        """Whether the reference plays a part, and how many clips are behind it is not known."""
        return "ref" in self.metric.sides and self._ref is not None and self.n_ref is None

    @cached_property
    def measurement(self) -> Measurement:
        """The score; InsufficientDataError where there is too little data."""
        if self.metric.needs != "pairs":
            return self.metric.compute(self.gen, self.ref)
        if not self.links.paired:
            raise pairing_is_off(self.metric)
        if self.uncounted:
            raise InsufficientDataError(
                f"{self.metric.symbol} compares pairs, and which clips are in the reference is not known",
                fix="Pass the folder of the reference",
            )
        if self.links.prompts is None:
            return self.metric.compute(self.gen, self.ref)
        prompts = {clip: self.links.partner(clip) for clip in self.gen.clip_ids}
        ref = _Prompted(self.ref, prompts)
        if not ref.clip_ids:
            raise InsufficientDataError("no gen clip has a reference in ref by the pairs that were given")
        return self.metric.compute(self.gen, ref)

    @cached_property
    def interval(self) -> ScoreInterval:
        """The 95 % interval; InsufficientDataError where none is known."""
        return self.metric.interval(self)

    @cached_property
    def chance(self) -> Chance:
        """What chance alone gives; InsufficientDataError where that cannot be told."""
        from audiogen_metrics.metrics.measuring.chance import DRAWS, LARGEST, chance, refuse

        if not self.metric.tests_chance():
            raise InsufficientDataError(f"{self.metric.symbol} does not compare two distributions")
        largest = max(len(self.gen), len(self.ref))
        if self.draws is None and largest > LARGEST:
            raise InsufficientDataError(f"{largest} clips take long: it is computed on request", fix="Pass draws")
        pool = self.pool()
        ids: dict[Side, tuple[str, ...]] = {"gen": self.gen.clip_ids, "ref": self.ref.clip_ids}
        strata = self.links.strata(ids["gen"], ids["ref"])
        refuse(pool, self.links, ids, strata)
        draws = DRAWS if self.draws is None else self.draws

        def drawn() -> Chance:
            return chance(
                pool,
                self.metric.scorer(pool),
                strata,
                higher_is_better=self.metric.higher_is_better,
                draws=draws,
                seed=self.seed,
                rounding=self.metric.rounding(pool),
                exact=self.measurement.value if self.metric.needs == "moments" else None,
            )

        if self.keep is None:
            return drawn()
        # The value stands for the formula: another version of a metric, or of another package's, has another.
        metric = self.metric.name, self.metric.options, self.measurement.value
        shape = (metric, pool.sizes, pool.counts, strata.tolist(), draws, self.seed)
        return self.keep(pool.rows, str(shape), drawn)

    def pool(self) -> RowPool:
        """Return the clips of gen and ref as one; they are dealt out anew from it."""
        from audiogen_metrics.metrics.measuring.pool import RowPool

        return RowPool(self.metric.output, self.gen, self.ref)

    @cached_property
    def fit(self) -> Extrapolation:
        """The line of the score over 1 / n."""
        return self.metric.extrapolate(self.gen, self.ref, self.seed)

    @cached_property
    def ties(self) -> dict[Side, Places]:
        """A number for each clip of each side; clips that are left out together share one."""
        gen, ref = self.links.ties(self.gen.clip_ids, () if self._ref is None else self._ref.clip_ids)
        return {"gen": gen, "ref": ref}

    def units(self, side: Side) -> dict[int, Places]:
        """Return the places of the clips of one side that leave together, by the number of their tie."""
        import numpy as np

        found: dict[int, list[int]] = {}
        for place, tie in enumerate(self.ties[side].tolist()):
            found.setdefault(tie, []).append(place)
        return {tie: np.array(places, dtype=np.int64) for tie, places in found.items()}

    def names(self, side: Side) -> list[str]:
        """Return what each group is called: the id of its first clip, and how many more there are."""
        ids = self.gen.clip_ids if side == "gen" else self.ref.clip_ids
        units = self.units(side).values()
        return [ids[unit[0]] + f" and {len(unit) - 1} tied to it" * (len(unit) > 1) for unit in units]

    def without(self, side: Side) -> torch.Tensor:
        """Return the score without each group of clips that leave one side together, mostly single clips.

        For a metric that cannot leave out single clips, groups of them are drawn.
        """
        if side not in self._without:
            leave = self._leave_units if self.metric.leaves_one_out() else self.leave_groups
            self._without[side] = leave(side)
        return self._without[side]

    def spread(self, sides: Iterable[Side], other: Measured | None = None) -> Spread:
        """Return the standard error that some sides make, by the jackknife.

        What a pair does to the score as part of gen and as part of ref is added: it leaves both sets.

        Parameters
        ----------
        sides
            Which.
        other
            Another system, whose clips leave together with those of this one: the standard error is that of the
            difference.
        """
        from audiogen_metrics.functional.uncertainty import Spread, jackknife, joined

        without = {side: self.without(side) - (0.0 if other is None else other.without(side)) for side in sides}
        if not self.metric.leaves_one_out():
            return joined([jackknife(scores) for scores in without.values()])
        total: dict[int, float] = {}
        for side, scores in without.items():
            for tie, change in zip(self.units(side), (scores - scores.mean()).tolist(), strict=True):
                total[tie] = total.get(tie, 0.0) + change
        fewest = min(map(len, without.values()))
        return Spread(math.sqrt((fewest - 1) / fewest * math.fsum(each**2 for each in total.values())), fewest - 1)

    def doubts(self, sides: Iterable[Side]) -> str:
        """Return why the interval is doubtful: a clip of one of the sides that alone makes much of it; or nothing."""
        from audiogen_metrics.functional.uncertainty import outlier

        if not self.metric.leaves_one_out():
            return ""
        for side in sides:
            found = outlier(self.without(side))
            if found is not None:
                name, share = self.names(side)[found[0]], found[1]
                return f"the interval may be too narrow: {side} {name!r} alone makes {share:.0%} of the variance"
        return ""

    def _leave_units(self, side: Side) -> torch.Tensor:
        units, sets = [*self.units(side).values()], {"gen": self.gen, "ref": self.ref}
        if len(units) == 1 < len(sets[side]):
            raise InsufficientDataError(f"all {len(sets[side])} {side} clips are tied to each other, as copies are")
        if len(units) < len(sets[side]):
            sets[side] = _Tied(sets[side], self.metric.output, units)
        return self.metric.leave_one_out(sets["gen"], sets["ref"], side)

    def leave_groups(self, side: Side) -> torch.Tensor:
        """Return the score without each of twenty random groups of clips of one side."""
        import numpy as np
        import torch

        from audiogen_metrics.metrics.measuring.pool import RowPool

        units = [*self.units(side).values()]
        if len(units) < GROUPS:
            what = "clips" if len(units) == len(self.ties[side]) else f"different {side} prompts or contents"
            raise InsufficientDataError(f"{len(units)} {what} are too few to leave out groups of them")
        pool = RowPool(self.metric.output, *([self.gen, self.ref] if "ref" in self.metric.sides else [self.gen]))
        score, whole = self.metric.scorer(pool), [pool.places(number) for number in range(len(pool.sizes))]
        order = np.random.default_rng(self.seed).permutation(len(units))
        place, found = ("gen", "ref").index(side), []
        for number in range(GROUPS):
            gone = np.concatenate([units[unit] for unit in order[number::GROUPS]])
            parts = [np.delete(clips, gone) if at == place else clips for at, clips in enumerate(whole)]
            found.append(score(parts[0], parts[-1]))
        return torch.tensor(found, dtype=torch.float64, device="cpu")


@dataclass(frozen=True, eq=False)
class _Tied:
    """A set in which several clips count as one."""

    source: FeatureSource
    output: Output
    units: list[Places]

    @property
    def clip_ids(self) -> tuple[str, ...]:
        ids = self.source.clip_ids
        return tuple(ids[unit[0]] for unit in self.units)

    def __len__(self) -> int:
        return len(self.units)

    def statistics(self, output: Output) -> GaussianStatistics:
        return self.source.statistics(output)

    def rows(self, output: Output) -> torch.Tensor:
        import torch

        blocks = self.source.rows(output).split(self.source.counts(output))
        return torch.cat([blocks[place] for unit in self.units for place in unit])

    def blocks(self, output: Output, clips: Places | None = None) -> Iterator[Block]:
        from audiogen_metrics.functional.blocks import clip_blocks

        return clip_blocks(self.rows(output), self.counts(output), clips)

    def counts(self, output: Output) -> list[int]:
        counts = self.source.counts(output)
        return [sum(counts[place] for place in unit) for unit in self.units]

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        raise InsufficientDataError("clips that are tied to each other have no logits of their own")


@dataclass(frozen=True, eq=False)
class _Prompted:
    """A reference under the ids of the generated clips that were made for it."""

    source: FeatureSource
    prompts: Mapping[str, str]

    @property
    def clip_ids(self) -> tuple[str, ...]:
        known = set(self.source.clip_ids)
        return tuple(sorted(clip for clip, prompt in self.prompts.items() if prompt in known))

    def __len__(self) -> int:
        return len(self.source)

    def statistics(self, output: Output) -> GaussianStatistics:
        return self.source.statistics(output)

    def rows(self, output: Output) -> torch.Tensor:
        import torch

        blocks = self.source.rows(output).split(self.source.counts(output))
        own = dict(zip(self.source.clip_ids, blocks, strict=True))
        return torch.cat([own[self.prompts[clip]] for clip in self.clip_ids])

    def blocks(self, output: Output, clips: Places | None = None) -> Iterator[Block]:
        from audiogen_metrics.functional.blocks import clip_blocks

        return clip_blocks(self.rows(output), self.counts(output), clips)

    def counts(self, output: Output) -> list[int]:
        counts = dict(zip(self.source.clip_ids, self.source.counts(output), strict=True))
        return [counts[self.prompts[clip]] for clip in self.clip_ids]

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        partners = [self.prompts[clip] for clip in (self.clip_ids if clip_ids is None else clip_ids)]
        once = [*dict.fromkeys(partners)]
        place = {partner: row for row, partner in enumerate(once)}
        return self.source.logits(once)[[place[partner] for partner in partners]]


def pairing_is_off(metric: Metric) -> InsufficientDataError:
    """Return what to say of a metric that compares pairs where the sets do not pair."""
    return InsufficientDataError(f"{metric.symbol} compares pairs, and pairing is off", fix="Use pairing auto or id")
