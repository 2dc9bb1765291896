"""PQ, PC, CE, CU: how people would rate a clip, by Audiobox Aesthetics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, Reported, Side

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.functional.pooled import Places
    from audiogen_metrics.metrics.measuring.pool import Pool
    from audiogen_metrics.metrics.measuring.rivals import Rivals

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
class Rating(Metric):
    """The mean over clips of one axis of a network's ratings."""

    axis: ClassVar[str]
    output = "ratings"
    higher_is_better = True
    sides = ("gen",)
    home = "audiobox-aesthetics"
    citation = TJANDRA

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the mean over clips, their standard deviation, and each clip's rating."""
        ratings = self.column(gen.rows(self.output))
        if len(ratings) == 0:
            raise InsufficientDataError("there is no clip", fix="Score at least one")
        std = float(ratings.std()) if len(ratings) > 1 else None
        counts = gen.counts(self.output)
        by_clip = dict(zip(gen.clip_ids, ratings.tolist(), strict=True)) if len(counts) == len(ratings) else None
        return Measurement(float(ratings.mean()), std, by_clip=by_clip)

    def column(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this axis of rows ``(clips, 4)``, float64; DataError for rows of another network."""
        import torch

        if rows.ndim != 2 or rows.shape[1] != len(AESTHETICS):
            raise DataError(
                f"ratings of shape {tuple(rows.shape)}", where=self.name, fix=f"Rows are {', '.join(AESTHETICS)}"
            )
        return rows[:, AESTHETICS.index(self.axis)].to(torch.float64)

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the mean without each clip, or without each group of clips that are tied."""
        import torch

        ratings = self.column(gen.rows(self.output))
        counts = torch.tensor(gen.counts(self.output), dtype=torch.int64, device=ratings.device)
        if len(counts) < 2:
            raise InsufficientDataError("one clip has no spread", fix="Score more clips")
        sums = torch.stack([part.sum() for part in ratings.split(counts.tolist())])
        return (sums.sum() - sums) / (counts.sum() - counts)

    def scorer(self, pool: Pool) -> Callable[[Places, Places], float]:
        """Return the mean of some clips of a pool."""
        ratings = self.column(pool.rows).cpu().numpy()
        return lambda gen, _: float(ratings[gen].mean())

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the mean difference over its standard error."""
        ratings = self.column(rivals.pool.rows).cpu().numpy()

        def studentised(a: Places, b: Places) -> float:
            parts = [ratings[a] - ratings[b]] if rivals.paired else [ratings[a], ratings[b]]
            error = math.hypot(*(float(part.std(ddof=1)) / math.sqrt(len(part)) for part in parts))
            difference = float(ratings[a].mean() - ratings[b].mean())
            return difference / error if error > 0 else 0.0

        return studentised

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
        """Say that it is no quality."""
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
