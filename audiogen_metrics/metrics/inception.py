"""IS: the inception score of the generated set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audiogen_metrics.citations import Citation
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, Side, StandardError, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from audiogen_metrics.metrics.measured import Measured

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
    seed: int = option(2020, 0, 2**32 - 1, meaning="of the permutation before the set is cut into parts")

    name = "is"
    symbol = "IS"
    title = "Inception score"
    reading = "confident classes on each clip, varied over the set; looks at gen only; depends on n and splits"
    output = "logits"
    higher_is_better = True
    sides = ("gen",)
    worst = 1.0
    citation = SALIMANS

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return mean and standard deviation over splits."""
        from audiogen_metrics.functional import inception_score

        result = inception_score(gen.logits(), splits=self.splits, seed=self.seed)
        return Measurement(result.mean, result.std, self.options)

    def whole(self) -> InceptionScore:
        """Return the score of one split."""
        return replace(self, splits=1)

    def variants(self) -> Mapping[str, Metric]:
        """Return the score of one split: splits are what evaluators differ in."""
        return {"splits 1": self.whole()}

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the score without each clip, which leaves its split."""
        from audiogen_metrics.functional.uncertainty import inception_leave_one_out

        return inception_leave_one_out(gen.logits(), self._parts(gen))

    def standard_error(self, measured: Measured) -> StandardError:
        """Return the error of a jackknife within each split: the splits are apart."""
        return StandardError(self._error(measured.without("gen"), measured.gen), None)

    def difference_error(self, a: Measured, b: Measured, paired: bool) -> float:
        """Return the same for the difference of two systems."""
        without = a.without("gen"), b.without("gen")
        if paired:
            return self._error(without[0] - without[1], a.gen)
        return math.hypot(self._error(without[0], a.gen), self._error(without[1], b.gen))

    def warnings(self, value: float, n_gen: int, details: Mapping[str, float | int]) -> list[str]:
        """Warn of small splits."""
        size = n_gen // self.splits
        if size >= SMALL_SPLIT:
            return []
        return [
            f"splits of {size} clips: the score grows with their size; compare it at equal n and splits only",
        ]

    def explain(self, value: float, details: Mapping[str, float | int]) -> str:
        """Say how many classes that would be."""
        return (
            f"Higher is better, 1 is the least. As clear and varied as about {value:.3g} equally frequent classes, "
            "each heard with certainty. The reference plays no part."
        )

    def _parts(self, gen: FeatureSource) -> list[npt.NDArray[np.int64]]:
        from audiogen_metrics.functional.inception import inception_parts

        return inception_parts(len(gen), self.splits, self.seed)

    def _error(self, without: torch.Tensor, gen: FeatureSource) -> float:
        from audiogen_metrics.functional.uncertainty import inception_error

        return inception_error(without, self._parts(gen))
