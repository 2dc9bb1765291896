"""Where two sets lie: both on the two principal axes of their embeddings, and how much each of them varies."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from audiogen_metrics.backbones.base import Output
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.evaluation import Evaluation
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.report.chance import Variety, variety

MAX_POINTS = 1500
"""Points of one set in the projection, so that the page stays light; axes are fitted to all clips."""

TINY = 1e-300

FEWEST_CLIPS = 6
"""Clips from which on an exchange of clips can be told from chance."""


@dataclass(frozen=True)
class Cloud:
    """One set in the plane: points with their clip ids, and the ellipse of two standard deviations.

    Parameters
    ----------
    clip_ids, points
        Clips that are drawn, and where; empty for a set known by statistics only.
    centre
        Mean of all clips.
    axes
        Half-axes of the ellipse as two vectors.
    total
        Clips or rows that mean and ellipse stand for; None if that is not known.
    """

    clip_ids: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    centre: tuple[float, float]
    axes: tuple[tuple[float, float], tuple[float, float]]
    total: int | None


@dataclass(frozen=True)
class Projection:
    """Both sets on the two principal axes of their pooled distribution; ``shares`` of variance by axis."""

    backbone: str
    gen: Cloud
    ref: Cloud
    shares: tuple[float, float]
    spread: float
    """Total variance of gen relative to ref."""
    variety: Variety | None
    """How sure that is; None where the clips of a set are not known, or too few."""


def projected(evaluation: Evaluation) -> Projection:
    """Return both sets in the plane; InsufficientDataError where they are too small, or a set has no embeddings."""
    recipe = embedding_recipe(evaluation)
    if evaluation.ref is None:
        raise InsufficientDataError("there is no reference")
    output: Output = "embeddings" if "embeddings" in evaluation.backbones[recipe.backbone].outputs else "windows"
    gen, ref = evaluation.gen.features(recipe), evaluation.ref.features(recipe)
    gen_gauss, ref_gauss = gen.statistics(output), ref.statistics(output)
    for gauss in (gen_gauss, ref_gauss):
        gauss.require_covariance()
    pooled = gen_gauss.merge(ref_gauss)
    _, sizes, axes = torch.linalg.svd(pooled.factor, full_matrices=False)
    if len(axes) < 2:
        raise InsufficientDataError("it needs at least three clips")
    # The sign of a principal axis is arbitrary: the same one on every machine.
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(dim=1, keepdim=True)).sign()
    shares = (sizes[:2].square() / sizes.square().sum().clamp(min=TINY)).tolist()
    clouds = (_cloud(gen, gen_gauss, pooled.mean, axes), _cloud(ref, ref_gauss, pooled.mean, axes))
    spread = float(gen_gauss.factor.square().sum() / ref_gauss.factor.square().sum().clamp(min=TINY))
    return Projection(recipe.backbone, *clouds, (shares[0], shares[1]), spread, _variety(evaluation, recipe, output))


def _variety(evaluation: Evaluation, recipe: Recipe, output: Output) -> Variety | None:
    """Return how sure the sets' variances are; of the pairs only where all clips of a set have one."""
    sides = evaluation.gen.features(recipe), evaluation.ref.features(recipe) if evaluation.ref is not None else None
    if not all(isinstance(side, EmbeddingSet) and len(side) >= FEWEST_CLIPS for side in sides):
        return None
    gen, ref = sides
    assert isinstance(gen, EmbeddingSet)
    assert isinstance(ref, EmbeddingSet)
    paired = bool(evaluation.paired) and gen.clip_ids == ref.clip_ids and evaluation.asked.prompts is None
    rows = (gen.rows(output).double(), ref.rows(output).double())
    if not all(bool((side - side[0]).any()) for side in rows):
        return None
    return variety(*rows, (gen.counts(output), ref.counts(output)), paired=paired)


def _cloud(
    features: EmbeddingSet | GivenFeatures, gauss: GaussianStatistics, origin: torch.Tensor, axes: torch.Tensor
) -> Cloud:
    """Return one set in the plane of two axes ``(2, d)``."""
    clip_ids: tuple[str, ...] = ()
    points: list[list[float]] = []
    if isinstance(features, EmbeddingSet):
        step = max(1, -(-len(features) // MAX_POINTS))
        clip_ids = features.clip_ids[::step]
        points = ((clip_rows(features)[::step] - origin) @ axes.T).tolist()
    _, lengths, directions = torch.linalg.svd(gauss.factor @ axes.T)
    half = 2 * torch.nn.functional.pad(lengths, (0, 2 - len(lengths)))[:, None] * directions
    (x, y), ((ax, ay), (bx, by)) = ((gauss.mean - origin) @ axes.T).tolist(), half.tolist()
    return Cloud(clip_ids, tuple((x, y) for x, y in points), (x, y), ((ax, ay), (bx, by)), gauss.count)


def clip_rows(features: EmbeddingSet) -> torch.Tensor:
    """Return one float64 row per clip: its embedding, or the mean of its windows."""
    if not len(features):
        raise InsufficientDataError("no clip is left")
    if "embeddings" in features.outputs:
        return features.rows("embeddings").double()
    return torch.stack(
        [clip.mean(dim=0) for rows, counts in features.blocks("windows") for clip in rows.split(counts)]
    ).double()


def embedding_recipe(evaluation: Evaluation) -> Recipe:
    """Return the recipe whose rows the map shows: embeddings before windows; InsufficientDataError without either."""
    recipe = evaluation.recipe("embeddings") or evaluation.recipe("windows")
    if recipe is None:
        raise InsufficientDataError("no backbone of this run gives embeddings")
    return recipe
