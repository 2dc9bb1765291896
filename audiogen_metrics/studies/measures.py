"""One metric as a study asks it, and how far it can move on a set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.probes.base import clip_rng

COPIED_CLIPS = 10
"""Clips whose copies give the scale of a metric without a bound, at most."""


@dataclass(frozen=True)
class Measure:
    """One metric as a study asks it.

    Parameters
    ----------
    score_id
        Its name in the results.
    recipe
        Backbone and preprocessing.
    higher_is_better
        Direction.
    value
        Score of ``(gen, ref)``, two sets of features with the same clip ids where the metric needs pairs.
    """

    score_id: str
    recipe: Recipe
    higher_is_better: bool
    value: Callable[[EmbeddingSet, EmbeddingSet], float]

    @classmethod
    def of(cls, recipe: Recipe) -> Measure:
        """Return the metric of a recipe; IS with one split, since it compares sets here."""
        metric = recipe.definition.whole()

        def value(gen: EmbeddingSet, ref: EmbeddingSet) -> float:
            try:
                return metric.compute(gen, ref).value
            except InsufficientDataError as error:
                raise InsufficientDataError(str(error), where=recipe.score_id) from error

        return cls(recipe.score_id, replace(recipe, definition=metric), metric.higher_is_better, value)


def scale_of(measure: Measure, clean: EmbeddingSet, seed: int) -> float:
    """Return how far a metric moves on this set when nothing is left to recognise; see `Study`."""
    order = [clean.clip_ids[place] for place in clip_rng(seed, "", "scale").permutation(len(clean))]
    kind = measure.recipe.definition
    if kind.worst is not None or "ref" not in kind.sides:
        scale = abs(measure.value(clean, clean) - (kind.worst or 0.0))
    elif kind.needs == "pairs":
        # Each clip against the next one in a random order: no clip meets itself.
        strangers = dict(zip(order, order[1:] + order[:1], strict=True))
        scale = measure.value(clean.renamed({clip_id: strangers[clip_id] for clip_id in clean.clip_ids}), clean)
    elif kind.needs == "moments":
        scale = float(clean.statistics(kind.output).factor.square().sum())
    else:
        copies = [clean.renamed(dict.fromkeys(clean.clip_ids, clip)) for clip in order[:COPIED_CLIPS]]
        scale = math.fsum(measure.value(copied, clean) for copied in copies) / len(copies)
    if not scale > 0:
        raise InsufficientDataError(
            f"{measure.score_id} has no scale on this set: with nothing left to recognise it would be {scale:.3g} off",
            fix="Take a set with more clips and more kinds of sound",
        )
    return scale
