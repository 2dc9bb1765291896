"""IS: the inception score of the generated set."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.definition import (
    FeatureSource,
    Measurement,
    Metric,
    Reported,
    ScoreInterval,
    Side,
    option,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Places, Read
    from audiogen_metrics.functional.uncertainty import Spread
    from audiogen_metrics.metrics.measuring.measured import Measured
    from audiogen_metrics.metrics.measuring.pool import RowPool
    from audiogen_metrics.metrics.measuring.rivals import Rivals

FEWEST_LEFT = 10
"""Clips of a split from which a jackknife within it holds."""

SMALL_SPLIT = 100
"""Clips of a split below which a warning is due."""

SALIMANS = Citation(
    "salimans2016improved",
    "Salimans, Tim and Goodfellow, Ian and Zaremba, Wojciech and Cheung, Vicki and Radford, Alec and Chen, Xi",
    "Improved Techniques for Training GANs",
    "NeurIPS",
    2016,
    "https://arxiv.org/abs/1606.03498",
)


@dataclass(frozen=True)
class InceptionScore(Metric):
    """IS: clear classes on each clip, varied over the set."""

    splits: int = option(10, 1, meaning="parts whose scores are averaged")
    seed: int = option(2020, 0, 2**32 - 1, meaning="seed of the permutation before the set is cut into parts")

    name = "is"
    symbol = "IS"
    title = "Inception score"
    reading = "confident classes on each clip, varied over the set; looks at gen only; depends on n and splits"
    output: ClassVar[Output] = "logits"
    higher_is_better = True
    sides: ClassVar[tuple[Side, ...]] = ("gen",)
    worst: ClassVar[float | None] = 1.0
    span: ClassVar[tuple[float, float]] = (1.0, math.inf)
    citation: ClassVar[Citation | None] = SALIMANS

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return mean and standard deviation over splits."""
        from audiogen_metrics.functional.inception import inception_of

        result = inception_of(_reading(gen), len(gen), self.splits, self.seed)
        return Measurement(result.mean, result.std, {"splits": self.splits, "seed": self.seed})

    def whole(self) -> InceptionScore:
        """Return the score of one split."""
        return replace(self, splits=1)

    def variants(self) -> Mapping[str, Metric]:
        """Return the score of one split: splits are what evaluators differ in."""
        return {"splits 1": self.whole()}

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the score without each clip, which leaves its split."""
        from audiogen_metrics.functional.uncertainty import inception_without_each

        return inception_without_each(_reading(gen), self._parts(gen))

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the score of parts of a set, each clip in its split of the whole set.

        Were a part split anew, its score would differ by that too: more than by the clips that have left.
        """
        import numpy as np

        from audiogen_metrics.functional import inception_score
        from audiogen_metrics.functional.inception import inception_parts

        parts = inception_parts(pool.sizes[0], self.splits, self.seed)

        def score(gen: Places, _: Places) -> float:
            kept = [left for part in parts if len(left := part[np.isin(part, gen)])]
            return float(np.mean([inception_score(pool.rows[left], splits=1).mean for left in kept]))

        return score

    def interval(self, measured: Measured) -> ScoreInterval:
        """Return the interval of a mean over splits, which share no clip; of one split, by a jackknife within it.

        Clips that are tied, as samples of one prompt, are spread over splits: groups of them are left out.
        """
        from audiogen_metrics.functional.uncertainty import interval

        value, parts = measured.measurement.value, self._parts_of_error(measured, None)
        found = interval(value, *parts)
        return ScoreInterval(found.standard_error, max(found.low, self.span[0]), found.high)

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Return the interval of the difference of two systems, over splits of the same clips where they pair."""
        from audiogen_metrics.functional.uncertainty import interval

        if rivals.paired:
            parts = self._parts_of_error(rivals.a, rivals.b)
        else:
            parts = self._parts_of_error(rivals.a, None) + self._parts_of_error(rivals.b, None)
        found = interval(rivals.difference, *parts, level=rivals.level)
        return ScoreInterval(found.standard_error, found.low, found.high, level=rivals.level)

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the difference over its standard error over splits."""
        import numpy as np

        from audiogen_metrics.functional import inception_score

        logits, paired = rivals.pool.rows, rivals.paired

        def studentised(a: Places, b: Places) -> float:
            found = [inception_score(logits[part], splits=self.splits, seed=self.seed) for part in (a, b)]
            difference = found[0].mean - found[1].mean
            if self.splits == 1:
                return difference
            scores = [np.array(each.splits) for each in found]
            parts = [scores[0] - scores[1]] if paired else scores
            error = math.hypot(*(float(np.std(part, ddof=1)) for part in parts))
            return difference / error if error > 0 else 0.0

        return studentised

    def _parts_of_error(self, measured: Measured, other: Measured | None) -> list[Spread]:
        """Return the parts of the standard error of a score, or of its difference to another of the same clips."""
        import numpy as np

        from audiogen_metrics.functional.inception import inception_of
        from audiogen_metrics.functional.uncertainty import Spread, jackknife

        both = [measured] if other is None else [measured, other]
        if self.splits > 1 and len(measured.gen) < 2 * self.splits:
            raise InsufficientDataError(
                f"{len(measured.gen)} clips in {self.splits} splits: a split of one clip scores 1, whatever it holds"
            )
        if len(measured.units("gen")) < len(measured.gen):
            found = [each.leave_groups("gen") for each in both]
            return [jackknife(found[0] - found[1] if other is not None else found[0])]
        if self.splits > 1:
            splits = [
                np.array(inception_of(_reading(each.gen), len(each.gen), self.splits, self.seed).splits)
                for each in both
            ]
            scores = splits[0] - splits[1] if other is not None else splits[0]
            return [Spread(float(np.std(scores, ddof=1)) / math.sqrt(self.splits), self.splits - 1)]
        if len(measured.gen) < FEWEST_LEFT:
            raise InsufficientDataError(f"{len(measured.gen)} clips in one split are too few", fix="Score more clips")
        found = [each.without("gen") for each in both]
        return [jackknife(found[0] - found[1] if other is not None else found[0])]

    def warnings(self, score: Reported) -> list[str]:
        """Warn of small splits."""
        size = score.n_gen // self.splits
        if size >= SMALL_SPLIT:
            return []
        return [
            f"splits of {size} clips: the score grows with their size; compare it at equal n and splits only",
        ]

    def explain(self, score: Reported) -> str:
        """Say how many classes the score stands for."""
        return (
            f"Higher is better, 1 is the least. As clear and varied as about {score.value:.3g} equally frequent "
            "classes, each heard with certainty. The reference plays no part."
        )

    def _parts(self, gen: FeatureSource) -> list[npt.NDArray[np.int64]]:
        from audiogen_metrics.functional.inception import inception_parts

        return inception_parts(len(gen), self.splits, self.seed)


def _reading(gen: FeatureSource) -> Read:
    """Return what reads the logits of some clips, by their places."""
    ids = gen.clip_ids
    return lambda places: gen.logits([ids[place] for place in places])
