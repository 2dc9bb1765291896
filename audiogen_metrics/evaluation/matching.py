"""One score of two systems, on the clips that both have, or on as many of each; and how sure their difference is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.sides import EmbeddedSide, FolderSide, between, mixed_forms
from audiogen_metrics.metrics.measuring.chance import rows_apart
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.score_text import EXACT

if TYPE_CHECKING:
    from audiogen_metrics.metrics.recipe import Recipe

SIGNIFICANT = 0.05

POWER = 0.8416212335729143
"""Of a normal distribution: what is found with 80 % chance lies this many standard errors beyond the interval."""

SUBSAMPLES = 5
"""Random parts of the larger of two systems without common clips."""

SHARED = 0.5
"""Share of the smaller system's clips that the other must have too, for the systems to be compared on those."""


def abreast(first: FolderSide, second: EmbeddedSide) -> list[str]:
    """Return what to know of two sets together before they are compared clip by clip."""
    near = pair(first.clip_ids, second.clip_ids).near_misses(first.name, second.name)
    unpaired = [f"clips of {first.name} and {second.name} do not pair: {near}"] * bool(near)
    return between(first, second) + mixed_forms(first, second) + unpaired


@dataclass(frozen=True)
class MatchedSystems:
    """One score of two systems cut to equal size, once or several times, and what was done for that.

    Parameters
    ----------
    recipe
        The score.
    names
        What the systems are called.
    rivals
        The systems; several where parts of the larger one were drawn.
    notes
        What to know of it.
    """

    recipe: Recipe
    names: tuple[str, str]
    rivals: tuple[Rivals, ...]
    notes: tuple[str, ...]

    @property
    def lengths(self) -> str:
        """Why a difference would come from the clips' lengths; empty if it would not."""
        first, output = self.rivals[0], self.recipe.definition.output
        counts = [each.gen.counts(output) for each in (first.a, first.b)]
        if not rows_apart(*counts):
            return ""
        means = [float(np.mean(side)) for side in counts]
        a, b = self.names
        return f"{a} has {means[0]:.3g} rows a clip and {b} {means[1]:.3g}, so it would compare lengths"

    @property
    def equal(self) -> bool:
        """Whether both have one score."""
        return self.rivals[0].difference == 0 and len(self.rivals) == 1

    def values(self) -> tuple[float, float]:
        """Return both scores."""
        a, b = (np.mean([getattr(each, side).measurement.value for each in self.rivals]) for side in "ab")
        return float(a), float(b)

    def permutation(self, permutations: int, seed: int) -> tuple[float, int]:
        """Return p, and how many permutations were made."""
        tests = [each.permutation(permutations, seed) for each in self.rivals]
        return float(np.median([p for p, _ in tests])), min(made for _, made in tests)

    def bounds(self, level: float = 0.95) -> Bounds:
        """Return the interval of the difference; InsufficientDataError where none is known."""
        intervals = [each.at(level).interval for each in self.rivals]
        error, half = (
            float(np.sqrt(np.mean(np.square(part))))
            for part in (
                [each.standard_error for each in intervals],
                [(each.high - each.low) / 2 for each in intervals],
            )
        )
        # Of one interval its ends, which need not be as far from the middle; of several the same width around the mean.
        if len(intervals) == 1:
            return Bounds(error, intervals[0].low, intervals[0].high, half, level)
        a, b = self.values()
        return Bounds(error, a - b - half, a - b + half, half, level)


@dataclass(frozen=True)
class Bounds:
    """The interval of a difference, at a level, with its standard error and half of its width."""

    standard_error: float
    low: float
    high: float
    half: float
    level: float

    @property
    def apart(self) -> bool:
        """Whether 0 lies outside."""
        return not self.low <= 0 <= self.high

    @property
    def detectable(self) -> float:
        """The difference that would be found with 80 % chance."""
        return self.half + POWER * self.standard_error

    def p(self, difference: float) -> float:
        """Return the two-sided p of a difference as the width of the interval gives it."""
        if self.standard_error == 0:
            return 1.0 if difference == 0 else 0.0
        reach = NormalDist().inv_cdf((1 + self.level) / 2)
        return math.erfc(abs(difference) / self.half * reach / math.sqrt(2))


def matched(
    recipe: Recipe,
    a: FolderSide,
    b: FolderSide,
    ref: EmbeddedSide | None,
    prompts: Mapping[str, str] | None,
    seed: int,
    pairing: bool = True,
) -> MatchedSystems:
    """Take the clips that both systems have; where these are few, random parts of the larger system.

    Parameters
    ----------
    recipe
        The score.
    a, b, ref
        The systems, whose names stand in notes, and the reference; None for a score that needs none.
    prompts, seed
        As in `compare`.
    pairing
        False takes no notice of clip ids.
    """
    sets, files = [side.features(recipe) for side in (a, b)], [side.summary().files for side in (a, b)]
    common = sorted({*sets[0].clip_ids} & {*sets[1].clip_ids})
    sizes = [len(each) for each in sets]
    paired = pairing and len(common) >= max(2, SHARED * min(sizes))
    had = f"{a.name} has {sizes[0]} clips and {b.name} {sizes[1]}"
    notes: list[str] = []
    if paired:
        # A set as it is keeps the Gaussian that was fitted to it.
        parts = [[each if [*each.clip_ids] == common else each.select(common) for each in sets]]
        if len(common) < max(sizes):
            notes.append(f"{had}: compared on the {len(common)} that both have")
    elif sizes[0] == sizes[1]:
        parts = [sets]
    else:
        rng, size = np.random.default_rng(seed), min(sizes)
        parts = [[_part(each, size, rng) for each in sets] for _ in range(SUBSAMPLES)]
        notes.append(f"{had}: numbers are means over {SUBSAMPLES} random parts of {size} clips of the larger one")
    own = {} if ref is None else {"ref": (ref.summary().files,)}
    links = [
        Links(pairing, prompts, {**own, "gen": tuple(files) if paired else (each,)})  # type: ignore[dict-item]
        for each in files
    ]
    if recipe.definition.prompted:
        links = [
            one.told(side.captions.by_clip) if side.captions else one for one, side in zip(links, (a, b), strict=True)
        ]

    def measured(number: int, part: EmbeddingSet) -> Measured:
        reference = None if ref is None else ref.features(recipe)
        return Measured(recipe.definition, part, reference, links=links[number], seed=seed)

    rivals = tuple(Rivals(measured(0, first), measured(1, second), paired) for first, second in parts)
    if ref is not None and rivals[0].exact is not None:
        notes.append(f"{recipe.score_id}: {EXACT}: its own sampling is not in the intervals of differences")
    return MatchedSystems(recipe, (a.name, b.name), rivals, tuple(notes))


def _part(source: EmbeddingSet, size: int, rng: np.random.Generator) -> EmbeddingSet:
    if len(source) == size:
        return source
    return source.select([source.clip_ids[place] for place in np.sort(rng.permutation(len(source))[:size])])


def better(difference: float, higher_is_better: bool) -> int:
    """Return 0 if the first of two systems has the better score, else 1."""
    return 0 if (difference > 0) == higher_is_better else 1


def unseparated(bounds: Bounds) -> str:
    """Return the verdict on two systems that cannot be told apart."""
    return f"not separable at this n, which would find a difference of {bounds.detectable:.2g} with 80 % chance"
