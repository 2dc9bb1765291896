"""What the arguments of a metric object choose: its recipe, its weights, and the identity of its backbone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.backbones.pretrained import PretrainedBackbone
from audiogen_metrics.backbones.published import WEIGHTS, beside, weights_name
from audiogen_metrics.embedding.reference import MACHINE_SETTINGS
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.options import as_path
from audiogen_metrics.protocols import get_protocol


def chosen_recipe(protocol: str, metric: str, backbone: str | Backbone | None, options: Mapping[str, Any]) -> Recipe:
    """Return the protocol's recipe for a metric with its options, on another backbone if one is given."""
    recipes = get_protocol(protocol).select([metric])
    name = recipes[0].backbone if backbone is None else backbone
    kind = BACKBONES.get(name) if isinstance(name, str) else name
    recipe = next((each for each in recipes if each.backbone == kind.name), recipes[0])
    return replace(recipe, definition=replace(recipe.definition, **options)).on(kind)


def weights_file(backbone: str | Backbone, given: str | Path | Mapping[str, str | Path] | None) -> Path | None:
    """Return the file given for a backbone; UsageError if it takes no file, MissingWeightsError if it is missing."""
    if isinstance(given, Mapping):
        for name in given:
            if name not in BACKBONES.names():
                WEIGHTS.get(name)
        if isinstance(backbone, str) and (others := sorted({*beside(weights_name(backbone))} & {*given})):
            fix = "Leave it out and put it beside the weights file, or score folders with audiogen_metrics.score"
            raise UsageError(f"{others[0]} cannot be given to an object", where="weights", fix=fix)
        given = given.get(weights_name(backbone)) if isinstance(backbone, str) else None
    if given is None:
        return None
    if not isinstance(backbone, str) or "weights" not in inspect.signature(BACKBONES.get(backbone)).parameters:
        name = backbone if isinstance(backbone, str) else backbone.name
        raise UsageError(f"{name} takes no weights file", where="weights", fix="Leave it out")
    path = as_path(given).absolute()
    if not path.is_file() and (issubclass(BACKBONES.get(backbone), PretrainedBackbone) or not path.is_dir()):
        raise MissingWeightsError("there is no such weights file", where=path)
    return path


def identity_of(backbone: str | Backbone, weights: Path | None) -> str:
    """Return what tells a backbone from others with its name, on any machine; empty if its weights are not here."""
    if isinstance(backbone, str):
        kind: Any = BACKBONES.get(backbone)
        return "" if weights is None else str(kind("cpu", weights=weights).weights_sha256)
    try:
        settings = backbone.settings
    except MissingWeightsError:
        return ""
    return " ".join(f"{name}={settings[name]}" for name in sorted(settings.keys() - MACHINE_SETTINGS))
