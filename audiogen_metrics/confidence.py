"""Standard errors, intervals and noise floors of scores, clip by clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.protocols import METRICS, Recipe
from audiogen_metrics.results import Score

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from audiogen_metrics.embedding.reference import FeatureSource
    from audiogen_metrics.functional.extrapolation import Extrapolation

FLOOR_REPEATS = 5
"""Random halves of the reference that a noise floor is the mean of."""


class StandardError(NamedTuple):
    """A standard error over clips, and whether the reference's sampling is in it; None if the reference plays no part.

    ``sampled`` and ``exact`` errors are those of two different quantities: what another draw of both sets would give,
    and what another draw of gen alone would.
    """

    value: float
    ref: Literal["sampled", "exact"] | None


def with_interval(recipe: Recipe, score: Score, gen: FeatureSource, ref: FeatureSource | None, seed: int = 0) -> Score:
    """Return a score with its standard error, its 95 % interval and, for a Fréchet distance, its noise floor.

    The interval is that of the expected score at this n: the value ± 1.96 jackknife standard errors over clips. A
    Fréchet distance's bias at small n is not in it; the noise floor, the same distance between disjoint halves of the
    reference, shows how large that is. What cannot be had is said in the score's remarks.
    """
    if score.value is None:
        return score
    try:
        error = standard_error(recipe, gen, ref)
    except InsufficientDataError as reason:
        return replace(score, remarks=(*score.remarks, f"no interval: {reason.what}"))
    from audiogen_metrics.functional.uncertainty import interval

    found = interval(score.value, error.value)
    details = {**score.details, "standard_error": error.value}
    score = replace(score, ci95=(found.low, found.high), ci95_ref=error.ref, details=details)
    if recipe.metric not in ("fd", "fad") or ref is None:
        return score
    try:
        return replace(score, details={**details, **noise_floor(recipe, ref, len(gen), seed)})
    except InsufficientDataError as reason:
        return replace(score, remarks=(*score.remarks, f"no noise floor: {reason.what}"))


def extrapolated(recipe: Recipe, score: Score, gen: FeatureSource, ref: FeatureSource | None) -> Score:
    """Return a Fréchet score with its value at infinite n in the details; any other score as it is."""
    if score.value is None or recipe.metric not in ("fd", "fad") or ref is None:
        return score
    fit = fit_size(recipe, gen, ref)
    details = {"extrapolated": fit.value, "extrapolation_slope": fit.slope, "extrapolation_r2": fit.r_squared}
    return replace(score, details={**score.details, **details})


def fit_size(recipe: Recipe, gen: FeatureSource, ref: FeatureSource) -> Extrapolation:
    """Return the line of a Fréchet score over 1 / n, as `extrapolate`; InsufficientDataError for too few clips."""
    from audiogen_metrics.functional.extrapolation import extrapolate

    output = METRICS[recipe.metric].output
    rows, counts = clip_rows(gen, output)
    return extrapolate(rows, ref.statistics(output), counts)


def standard_error(recipe: Recipe, gen: FeatureSource, ref: FeatureSource | None) -> StandardError:
    """Return the standard error of a score over clips.

    Where the reference's clips are not known, only their statistics, it is taken as exact: the error is that of gen
    alone. InsufficientDataError for too few clips, or a metric for which no standard error is known here.
    """
    from audiogen_metrics.functional import uncertainty

    if recipe.metric in ("fd", "fad") and ref is not None:
        output = METRICS[recipe.metric].output
        rows, counts = clip_rows(gen, output)
        error = uncertainty.jackknife_error(uncertainty.frechet_leave_one_out(rows, ref.statistics(output), counts))
        try:
            ref_rows, ref_counts = clip_rows(ref, output)
        except InsufficientDataError:
            return StandardError(error, "exact")
        without = uncertainty.frechet_leave_one_out(ref_rows, gen.statistics(output), ref_counts)
        return StandardError(math.hypot(error, uncertainty.jackknife_error(without)), "sampled")
    if recipe.metric == "is":
        parts = inception_parts(recipe, len(gen))
        without = uncertainty.inception_leave_one_out(gen.logits(), parts)
        return StandardError(uncertainty.inception_error(without, parts), None)
    if recipe.metric == "kl" and ref is not None:
        return StandardError(uncertainty.mean_error(pair_divergences(recipe, gen, ref)[1]), "sampled")
    raise InsufficientDataError(f"the standard error of {recipe.metric} is not known here")


def noise_floor(recipe: Recipe, ref: FeatureSource, n_gen: int, seed: int = 0) -> dict[str, float | int]:
    """Return a Fréchet score between disjoint random halves of the reference, and the clips of each half.

    Halves have as many clips as gen, or as there are. InsufficientDataError where the reference's clips are not known
    or too few.
    """
    import numpy as np
    import torch

    from audiogen_metrics.functional import GaussianStatistics, frechet_distance

    rows, counts = clip_rows(ref, METRICS[recipe.metric].output)
    size = min(n_gen, len(counts) // 2)
    if size < 2:
        raise InsufficientDataError("halves of the reference would have fewer than two clips", fix="Pass at least four")
    blocks = rows.split(list(counts))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(FLOOR_REPEATS):
        order = rng.permutation(len(blocks))
        halves = (order[:size], order[size : 2 * size])
        statistics = [GaussianStatistics.from_embeddings(torch.cat([blocks[i] for i in half])) for half in halves]
        values.append(frechet_distance(*statistics).value)
    return {"noise_floor": float(np.mean(values)), "noise_floor_n": size}


def clip_rows(source: FeatureSource, output: str) -> tuple[torch.Tensor, list[int]]:
    """Return the rows of an output and how many each clip has; InsufficientDataError if only statistics are known."""
    from audiogen_metrics.embedding.extraction import EmbeddingSet

    rows = source.rows(output)  # type: ignore[arg-type]
    if output == "windows" and isinstance(source, EmbeddingSet):
        return rows, [len(features["windows"]) for features in source.features.values()]
    if output == "windows":
        raise InsufficientDataError("which window is of which clip is not known", fix="Pass folders")
    return rows, [1] * len(rows)


def inception_parts(recipe: Recipe, count: int) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each split of an inception score, as `inception_score` makes them."""
    import numpy as np

    order = np.random.RandomState(recipe.seed).permutation(count)
    return [order[i * count // recipe.splits : (i + 1) * count // recipe.splits] for i in range(recipe.splits)]


def pair_divergences(recipe: Recipe, gen: FeatureSource, ref: FeatureSource) -> tuple[Sequence[str], torch.Tensor]:
    """Return the clip ids that both sets have, sorted, and the KL divergence of each."""
    from audiogen_metrics.audio.pairing import pair
    from audiogen_metrics.functional import kl_divergence

    common = pair(gen.clip_ids, ref.clip_ids).paired
    if not common:
        raise InsufficientDataError("no clip id is in both sets", fix="Name clips after their references")
    return common, kl_divergence(gen.logits(common), ref.logits(common), eps=recipe.eps).per_pair
