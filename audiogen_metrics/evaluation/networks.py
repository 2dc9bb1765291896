"""The networks that recipes need: whether they are here, which a run can do without, one instance of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from audiogen_metrics import distributed as processes
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError, UsageError, speaking_flags
from audiogen_metrics.metrics.recipe import require_output
from audiogen_metrics.settings import resolve_device, tell

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.backbones.pretrained import PretrainedBackbone
    from audiogen_metrics.metrics.recipe import Recipe


@dataclass(frozen=True)
class Networks:
    """The networks of a run.

    Parameters
    ----------
    backbones
        Those that are here, by name.
    missing
        Why the run goes on without others, by name; options are named as in Python, since reports keep it.
    """

    backbones: Mapping[str, Backbone]
    missing: Mapping[str, str] = field(default_factory=dict)

    def agreed(self) -> Networks:
        """Return what all processes of a distributed run have: a network that one of them lacks is missing in all."""
        everywhere = processes.all_gather(dict(self.missing))
        missing = {name: why for each in everywhere for name, why in each.items()}
        for name in missing.keys() - self.missing.keys():
            tell(f"{name} is missing in another process: {missing[name]}")
        backbones = {name: backbone for name, backbone in self.backbones.items() if name not in missing}
        if not backbones:
            raise MissingWeightsError("no network is here in all processes", fix="Give all of them the same weights")
        return Networks(backbones, missing)


def added(recipes: Sequence[Recipe]) -> set[str]:
    """Return the backbones that a default run can do without: all scores on them were added to the protocol later."""
    return {recipe.backbone for recipe in recipes} - {recipe.backbone for recipe in recipes if not recipe.added}


def find_networks(
    recipes: Sequence[Recipe],
    device: str | torch.device = "auto",
    weights: Mapping[str, str | Path] | None = None,
    spared: Collection[str] = (),
) -> Networks:
    """Return one instance of each backbone that the recipes need; weights are found, not yet loaded.

    Parameters
    ----------
    recipes
        What is to be computed.
    device, weights
        As in `audiogen_metrics.score`.
    spared
        Backbones that the run can do without, as long as one network is here: see `added`. A backbone
        whose file is given is required.

    Raises
    ------
    MissingWeightsError, MissingDependencyError
        A network that is not spared, or all of them, cannot be had.
    UsageError
        Weights that no recipe needs, or a backbone without the output that a recipe needs.
    """
    from audiogen_metrics.backbones.published import beside, weights_name

    given = weights or {}
    check_weights_names(recipes, given)
    on: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        on.setdefault(recipe.backbone, []).append(recipe)
    asked = {name for name in on if given.keys() & {weights_name(name), *beside(weights_name(name))}}
    spare = [name for name in on if name in spared and name not in asked]
    required = [recipe for recipe in recipes if recipe.backbone not in spare]
    require_weights(required, given)
    chosen = resolve_device(device)
    found, missing = create_backbones(required, chosen, given), dict[str, str]()

    def why_not(name: str) -> str:
        try:
            require_weights(on[name], {})
            found.update(create_backbones(on[name], chosen))
        except (MissingWeightsError, MissingDependencyError) as error:
            return str(error)
        return ""

    for name in spare:
        with speaking_flags(False):
            kept = why_not(name)
        if kept:
            missing[name] = kept
            tell(f"{', '.join(recipe.score_id for recipe in on[name])} cannot be computed: {why_not(name) or kept}")
    if not found:
        require_weights(recipes, given)
        create_backbones(recipes, chosen)
    return Networks({name: found[name] for name in on if name in found and name not in missing}, missing)


def require_weights(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> None:
    """Raise MissingWeightsError unless the recipes' published weights are here; needs no torch, so it is quick.

    UsageError for a file that no recipe needs.
    """
    from audiogen_metrics.backbones.published import WEIGHTS, beside, weights_name, with_what_is_beside
    from audiogen_metrics.backbones.weights import find_all

    check_weights_names(recipes, given)
    needed = with_what_is_beside({weights_name(recipe.backbone) for recipe in recipes} - given.keys())
    prompted = {weights_name(recipe.backbone) for recipe in recipes if recipe.definition.prompted}
    needed |= {file for name in prompted for file in beside(name)}
    find_all([WEIGHTS.get(name) for name in sorted((needed - given.keys()) & set(WEIGHTS.names()))])


def check_weights_names(recipes: Sequence[Recipe], given: Mapping[str, str | Path]) -> None:
    """Raise UsageError for a weights file that no recipe needs."""
    from audiogen_metrics.backbones.published import beside, weights_name

    needed = {weights_name(recipe.backbone) for recipe in recipes}
    needed |= {other for name in needed for other in beside(name)}
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
    from audiogen_metrics.backbones.published import beside, weights_name

    backbones = {}
    for recipe in recipes:
        if recipe.backbone not in backbones:
            name, given = weights_name(recipe.backbone), weights or {}
            options = {"weights": given[name]} if name in given else {}
            others = {other: given[other] for other in beside(name) if other in given}
            backbone = BACKBONES.get(recipe.backbone)(device, **options)  # type: ignore[arg-type]
            if others:
                cast("PretrainedBackbone", backbone).take(others)
            require_output(recipe, backbone)
            backbone.require()
            backbones[recipe.backbone] = backbone
        if recipe.definition.prompted:
            _ = backbones[recipe.backbone].text_settings
    return backbones
