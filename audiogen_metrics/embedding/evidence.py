"""What stands behind the numbers of one run: both sets with their features, for pages and one's own analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.embedding.sides import FolderSide, Side
from audiogen_metrics.protocols import METRICS, Recipe


@dataclass(frozen=True, eq=False)
class Evidence:
    """The two sets of a finished run, as `audiogen_metrics.score` hands them to ``observe``.

    Parameters
    ----------
    gen, ref
        The sets; ``ref`` may be known by a statistics file only.
    recipes
        What was computed.
    backbones
        By name.
    paired
        Clip ids in both sets, in order; empty if pairing was off.
    """

    gen: FolderSide
    ref: Side
    recipes: tuple[Recipe, ...]
    backbones: Mapping[str, Backbone]
    paired: tuple[str, ...]

    def recipe(self, output: Output) -> Recipe | None:
        """Return the first recipe whose metric is computed on an output, else whose backbone gives it, else None."""
        using = [recipe for recipe in self.recipes if METRICS[recipe.metric].output == output]
        giving = [recipe for recipe in self.recipes if output in self.backbones[recipe.backbone].outputs]
        # Statistics files hold nothing for IS.
        return next(iter(sorted(using, key=lambda recipe: recipe.metric == "is") + giving), None)
