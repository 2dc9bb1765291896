"""PQ, PC, CE, CU: how people would rate a clip, by Audiobox Aesthetics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.citations import Citation
from audiogen_metrics.metrics.clip_mean import ClipMean
from audiogen_metrics.metrics.definition import Reported

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Output

TJANDRA = Citation(
    "tjandra2025aes",
    "Tjandra, Andros and Wu, Yi-Chiao and Guo, Baishan and Hoffman, John and Ellis, Brian and Vyas, Apoorv and "
    "Shi, Bowen and Chen, Sanyuan and Le, Matt and Zacharov, Nick and Wood, Carleigh and Lee, Ann and Hsu, Wei-Ning",
    "Meta Audiobox Aesthetics: Unified Automatic Quality Assessment for Speech, Music, and Sound",
    "arXiv",
    2025,
    "https://arxiv.org/abs/2502.05139",
)


@dataclass(frozen=True)
class Rating(ClipMean):
    """The mean over clips of one axis of a network's ratings."""

    output: ClassVar[Output] = "ratings"
    columns: ClassVar[tuple[str, ...]] = AESTHETICS
    higher_is_better = True
    home = "audiobox-aesthetics"
    citation: ClassVar[Citation | None] = TJANDRA

    def explain(self, score: Reported) -> str:
        """Say whose ratings these are."""
        return "Higher is better, on a scale from 1 to 10. It estimates the mean rating of listeners; no reference."


@dataclass(frozen=True)
class ProductionQuality(Rating):
    """PQ: how well a clip is made: clear, undistorted, balanced."""

    name = "pq"
    symbol = "PQ"
    axis = "PQ"
    title = "Production quality"
    reading = "how clear, undistorted and balanced a clip is, as listeners would rate it"


@dataclass(frozen=True)
class ProductionComplexity(Rating):
    """PC: how many sources and events a clip has."""

    name = "pc"
    symbol = "PC"
    axis = "PC"
    title = "Production complexity"
    reading = "how many parts a clip has, as listeners would rate it; more is not better by itself"

    def explain(self, score: Reported) -> str:
        """Say that it is not a quality."""
        return "Higher is more complex, from 1 to 10, which is not better by itself: compare it with the reference's."


@dataclass(frozen=True)
class ContentEnjoyment(Rating):
    """CE: how much listeners enjoy a clip."""

    name = "ce"
    symbol = "CE"
    axis = "CE"
    title = "Content enjoyment"
    reading = "how much listeners would enjoy a clip"


@dataclass(frozen=True)
class ContentUsefulness(Rating):
    """CU: how useful a clip is as material for making something."""

    name = "cu"
    symbol = "CU"
    axis = "CU"
    title = "Content usefulness"
    reading = "how useful a clip would be as source material, as listeners would rate it"
