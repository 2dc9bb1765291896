"""The recipes of features that another run or tool has made, with the score ids that a run on audio gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.embedding.foreign_networks import known
from audiogen_metrics.errors import DataError
from audiogen_metrics.evaluation.external.reading import OWN_TOOL, ImportedFeatures
from audiogen_metrics.metrics import Metric, catalogue
from audiogen_metrics.metrics.kl import ByPairs
from audiogen_metrics.metrics.recipe import Recipe, spelled
from audiogen_metrics.protocols import PROTOCOLS

IMPORTED = "imported"
"""The protocol of reports on features that are there already."""

_PROTOCOLS: Mapping[str, tuple[str, ...]] = {"av-benchmark": ("av-benchmark",)}
"""Which protocols here do what a tool does, where its networks have one each."""


def known_recipes(features: ImportedFeatures, backbone: str) -> list[Recipe]:
    """Return the recipes of all metrics on a backbone of these features, in the order of the protocol.

    Of ``agm embed`` they are the protocol's own, moved to the backbone where it has another. Of other tools, what was
    done to the audio is over; their preprocessing here is nobody's and enters no number.
    """
    if features.tool != OWN_TOOL or not features.protocol:
        return [_of_others(kind(), backbone, features.tool) for kind in catalogue().values()]
    if features.protocol not in PROTOCOLS:
        raise DataError(
            f"was embedded for protocol {features.protocol!r}, which this version does not have",
            where=features.path,
            fix="Upgrade audiogen-metrics, or embed it again",
        )
    every = [*PROTOCOLS[features.protocol].every.values()]
    own = [recipe for recipe in every if recipe.backbone == backbone]
    if own:
        return own
    first: dict[str, Recipe] = {}
    for recipe in every:
        first.setdefault(recipe.metric, recipe)
    return [
        replace(recipe, score_id=f"{recipe.metric}_{spelled(backbone)}", backbone=backbone) for recipe in first.values()
    ]


def made_like(features: ImportedFeatures, recipe: Recipe) -> tuple[str, Recipe]:
    """Return the protocol and the recipe that make these features of audio, where one is known; else "" and itself."""
    if features.protocol:
        try:
            stated = type(recipe.preprocessing)(**features.stamps[recipe.backbone]["preprocessing"])
        except (TypeError, KeyError) as error:
            raise DataError(
                f"does not say how {recipe.backbone} was prepared ({error})", where=features.path
            ) from error
        return features.protocol, replace(recipe, preprocessing=stated)
    theirs = known(recipe.backbone) if features.tool == "fadtk" else None
    protocols = (theirs.protocol,) if theirs is not None and theirs.protocol else _PROTOCOLS.get(features.tool, ())
    for name in protocols:
        for like in PROTOCOLS[name].every.values():
            if like.score_id == recipe.score_id:
                return name, like
    return "", recipe


def gives_window_logits(backbone: str) -> bool:
    """Tell whether windows of this name are class logits; those of networks that are not known here are embeddings."""
    return backbone in BACKBONES.names() and BACKBONES.get(backbone).window_logits


def _of_others(metric: Metric, backbone: str, tool: str) -> Recipe:
    if tool == "av-benchmark" and isinstance(metric, ByPairs):
        metric = replace(metric, eps=0.0)
    return Recipe(f"{metric.name}_{backbone.replace('-', '_')}", metric, backbone, Preprocessing(sample_rate=16_000))
