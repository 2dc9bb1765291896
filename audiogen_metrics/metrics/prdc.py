"""Precision, recall, density and coverage: fidelity and variety apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, ScoreInterval, option
from audiogen_metrics.metrics.measuring.measured import GROUPS

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.metrics.measuring.measured import Measured
    from audiogen_metrics.metrics.measuring.rivals import Rivals

KYNKAANNIEMI = Citation(
    "kynkaanniemi2019improved",
    "Kynkäänniemi, Tuomas and Karras, Tero and Laine, Samuli and Lehtinen, Jaakko and Aila, Timo",
    "Improved Precision and Recall Metric for Assessing Generative Models",
    "NeurIPS",
    2019,
    "https://arxiv.org/abs/1904.06991",
)
NAEEM = Citation(
    "naeem2020reliable",
    "Naeem, Muhammad Ferjad and Oh, Seong Joon and Uh, Youngjung and Choi, Yunjey and Yoo, Jaejun",
    "Reliable Fidelity and Diversity Metrics for Generative Models",
    "ICML",
    2020,
    "https://arxiv.org/abs/2002.09797",
)


@dataclass(frozen=True)
class Neighbourhoods(Metric):
    """What the four share: each is a share of clips in the neighbourhoods of the other set."""

    nearest: int = option(5, 1, meaning="which neighbour bounds a neighbourhood")

    output: ClassVar[Output] = "embeddings"
    higher_is_better = True
    worst: ClassVar[float | None] = 0.0

    def comparisons(self, gen: int, ref: int, *, ci: bool) -> int:
        """Return those within both sets and between them, in both directions."""
        return (gen + ref) ** 2

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the one of the four that this metric is."""
        from audiogen_metrics.functional import manifold

        result = manifold(gen.rows(self.output), ref.rows(self.output), nearest=self.nearest)
        return Measurement(getattr(result, self.name), details={"nearest": self.nearest})


class Share(Neighbourhoods):
    """A share of clips. Neither the jackknife nor groups of clips give an interval of it that holds: see the docs."""

    span: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def interval(self, measured: Measured) -> ScoreInterval:
        """Raise InsufficientDataError: none is known."""
        raise InsufficientDataError(f"no interval of {self.name} that holds is known")

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Raise InsufficientDataError: none is known."""
        raise InsufficientDataError(f"no interval of {self.name} that holds is known")


class Precision(Share):
    """Share of gen among the reference."""

    name = "precision"
    title = "Precision"
    reading = "share of generated clips that lie among the reference: does it sound right?"
    citation: ClassVar[Citation | None] = KYNKAANNIEMI


class Recall(Share):
    """Share of the reference among gen."""

    name = "recall"
    title = "Recall"
    reading = "share of the reference that lies among the generated clips: is all of it made?"
    citation: ClassVar[Citation | None] = KYNKAANNIEMI


class Density(Neighbourhoods):
    """How many neighbourhoods of the reference a generated clip lies in."""

    span: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def comparisons(self, gen: int, ref: int, *, ci: bool) -> int:
        """Return those of the value, and of what groups of clips do to it on either side."""
        return (1 + 2 * GROUPS * ci) * super().comparisons(gen, ref, ci=ci)

    name = "density"
    title = "Density"
    reading = "how densely the reference lies around generated clips; not bounded by 1"
    citation: ClassVar[Citation | None] = NAEEM


class Coverage(Share):
    """Share of the reference's neighbourhoods with a generated clip in them."""

    name = "coverage"
    title = "Coverage"
    reading = "share of the reference's neighbourhoods with a generated clip in them"
    citation: ClassVar[Citation | None] = NAEEM
