"""The networks that recipes need: whether their weights are here, one instance of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.errors import UsageError

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.metrics.recipe import Recipe


def require_weights(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> None:
    """Raise MissingWeightsError unless the recipes' published weights are here; needs no torch, so it is quick.

    UsageError for a file that no recipe needs.
    """
    from audiogen_metrics.backbones.weights import WEIGHTS, find_all, weights_name, with_what_is_beside

    check_weights_names(recipes, given)
    needed = with_what_is_beside({weights_name(recipe.backbone) for recipe in recipes} - given.keys())
    find_all([WEIGHTS.get(name) for name in sorted(needed & set(WEIGHTS.names()))])


def check_weights_names(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> None:
    """Raise UsageError for a weights file that no recipe needs."""
    from audiogen_metrics.backbones.weights import weights_name

    needed = {weights_name(recipe.backbone) for recipe in recipes}
    for name in given:
        if name not in needed:
            raise UsageError(
                f"weights for {name!r}, which is not used here", fix=f"In use: {', '.join(sorted(needed))}"
            )


def create_backbones(
    recipes: Sequence[Recipe], device: torch.device, weights: Mapping[str, str | Path] | None = None
) -> dict[str, Backbone]:
    """Return one instance of each backbone that the recipes need; weights are found, not yet loaded."""
    from audiogen_metrics.backbones import BACKBONES
    from audiogen_metrics.backbones.weights import weights_name

    backbones = {}
    for recipe in recipes:
        if recipe.backbone not in backbones:
            given = (weights or {}).get(weights_name(recipe.backbone))
            options = {} if given is None else {"weights": given}
            backbone = BACKBONES.get(recipe.backbone)(device, **options)  # type: ignore[arg-type]
            require_output(recipe, backbone)
            _ = backbone.weights_sha256
            backbones[recipe.backbone] = backbone
    return backbones


def require_output(recipe: Recipe, backbone: Backbone | type[Backbone]) -> None:
    """Raise UsageError unless the backbone gives the output that the recipe's metric is computed on."""
    output = recipe.definition.output
    if output not in backbone.outputs:
        raise UsageError(
            f"{recipe.metric} needs {output}, which {recipe.backbone} does not give",
            where=recipe.score_id,
            fix=f"It gives {', '.join(sorted(backbone.outputs))}",
        )
