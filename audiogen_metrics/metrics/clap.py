"""The CLAP score: do clips sound like their prompts?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.citations import Citation
from audiogen_metrics.metrics.clip_mean import ClipMean
from audiogen_metrics.metrics.definition import Reported

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Output

HUANG = Citation(
    "huang2023makeanaudio",
    "Huang, Rongjie and Huang, Jiawei and Yang, Dongchao and Ren, Yi and Liu, Luping and Li, Mingze and "
    "Ye, Zhenhui and Liu, Jinglin and Yin, Xiang and Zhao, Zhou",
    "Make-An-Audio: Text-To-Audio Generation with Prompt-Enhanced Diffusion Models",
    "ICML",
    2023,
    "https://arxiv.org/abs/2301.12661",
)

COSINES = ("mean", "best")
"""What is known of a clip: mean and largest of the cosines with its captions."""


@dataclass(frozen=True)
class CLAPScore(ClipMean):
    """The mean over clips of the cosine between a clip's embedding and its prompt's; the mean over its captions."""

    name = "clap"
    title = "CLAP score"
    reading = "how much clips sound like their prompts; needs the prompts"
    output: ClassVar[Output] = "similarity"
    columns: ClassVar[tuple[str, ...]] = COSINES
    axis = "mean"
    higher_is_better = True
    prompted = True
    span: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    home = "clap-laion"
    citation: ClassVar[Citation | None] = HUANG

    def explain(self, score: Reported) -> str:
        """Say what is compared, and what cannot be."""
        return (
            "Higher is better, at most 1: the cosine of a clip's embedding and its prompt's. Numbers of two CLAP "
            "networks or recipes have nothing in common."
        )


@dataclass(frozen=True)
class BestCLAPScore(CLAPScore):
    """The CLAP score with the caption that each clip sounds most like."""

    name = "clap_best"
    title = "CLAP score of the best caption"
    reading = "how much clips sound like the best of their captions; needs the prompts"
    axis = "best"
