"""What a protocol is: named recipes that fix everything which shapes a score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from audiogen_metrics.errors import UsageError, option, spoken
from audiogen_metrics.metrics import catalogue, metric_names
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.options import split_list

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone


@dataclass(frozen=True)
class Protocol:
    """A named set of recipes.

    Parameters
    ----------
    name
        Name used everywhere: ``--protocol``, ``FAD(protocol=…)``, reports.
    summary
        Description in one line.
    source
        Evaluator whose numbers it reproduces.
    recipes
        The recipes by the names of their metrics; further recipes of one metric by their score ids.
    caveat
        What must be said beside scores on the networks of this protocol; empty if nothing.
    defects
        Known defects that the protocol keeps on purpose.
    """

    name: str
    summary: str
    source: str
    recipes: Mapping[str, Recipe]
    caveat: str = ""
    defects: tuple[str, ...] = field(default=())

    def select(self, metrics: str | Iterable[str] | None, backbone: str | None = None) -> list[Recipe]:
        """Return recipes in the protocol's order. A metric's name selects all of its recipes, a score id one.

        Parameters
        ----------
        metrics
            Names; ``fd@hf:facebook/wav2vec2-base`` is a metric on another backbone than the protocol's. None selects
            the protocol's own recipes.
        backbone
            Backbone of all metrics that do not name one. Without ``metrics``, it selects the recipes that it can serve.

        Raises
        ------
        UsageError
            A metric that the protocol does not have, a backbone that cannot serve it or is no name, or two scores of
            one id.
        """
        if backbone is not None and not isinstance(backbone, str):
            raise _not_a_name(backbone)
        if metrics is None:
            return list(self.recipes.values()) if backbone is None else self._served(backbone)
        asked = [name.partition("@")[::2] for name in split_list(metrics)]
        known = [*self.every.values()]
        names = dict.fromkeys([*(recipe.metric for recipe in known), *(recipe.score_id for recipe in known)])
        metric_names([name for name, _ in asked], names)
        found = []
        for name, network in asked:
            places = [place for place, recipe in enumerate(known) if name in (recipe.metric, recipe.score_id)]
            if network or backbone:
                kind = _network(network or str(backbone))
                place = next((each for each in places if known[each].backbone == kind.name), places[0])
                found.append((place, known[place].on(kind)))
            else:
                found += [(place, known[place]) for place in places]
        return _distinct([recipe for _, recipe in sorted(found, key=itemgetter(0))])

    def _served(self, backbone: str) -> list[Recipe]:
        """Return the protocol's own recipes that a backbone can serve, on that backbone, one for each metric."""
        kind = _network(backbone)
        metrics = dict.fromkeys(
            recipe.metric
            for recipe in self.recipes.values()
            if recipe.definition.output in kind.outputs
            and (recipe.definition.output != "windows" or recipe.definition.window_logits == kind.window_logits)
        )
        if not metrics:
            needed = ", ".join(sorted({recipe.definition.output for recipe in self.recipes.values()}))
            raise UsageError(
                f"protocol {self.name} needs {needed}, and {kind.name} gives {', '.join(sorted(kind.outputs))}",
                where=spoken("backbone", "--backbone"),
                fix=f"Name a metric that it can serve: {option('metrics', 'NAME')}",
            )
        return self.select([*metrics], backbone)

    def caveat_of(self, computed: Iterable[Recipe]) -> str:
        """Return the caveat if it is about one of these recipes; empty if all are on networks of the user's choice."""
        networks = {recipe.backbone for recipe in self.recipes.values()}
        return self.caveat if any(recipe.backbone in networks for recipe in computed) else ""

    def name_of(self, recipe: Recipe) -> str:
        """Return the name by which `select` finds only this recipe; with its backbone if the protocol has another."""
        ids = [other.score_id for other in self.every.values() if other.metric == recipe.metric]
        if recipe.score_id not in ids:
            return f"{recipe.metric}@{recipe.backbone}"
        return recipe.metric if len(ids) == 1 else recipe.score_id

    @property
    def every(self) -> Mapping[str, Recipe]:
        """All recipes that can be asked for by the name of their metric, or their score id."""
        return {**self.recipes, **self.on_request, **self.from_home}

    @property
    def on_request(self) -> Mapping[str, Recipe]:
        """Recipes of the other metrics, each on the backbone that gives its output to this protocol's own ones."""
        found = {}
        for name, kind in catalogue().items():
            giving = [
                recipe
                for recipe in self.recipes.values()
                if (recipe.definition.output, recipe.definition.window_logits) == (kind.output, kind.window_logits)
            ]
            if kind.on_request and giving and name not in self.recipes:
                place = giving[0].score_id.removeprefix(giving[0].metric)
                found[name] = replace(giving[0], score_id=f"{name}{place}", definition=kind())
        return found

    @property
    def from_home(self) -> Mapping[str, Recipe]:
        """Recipes of metrics whose output no backbone of this protocol gives, as their home protocol has them."""
        from audiogen_metrics.protocols import PROTOCOLS

        here = {**self.recipes, **self.on_request}
        homes = {name: kind.home for name, kind in catalogue().items() if kind.home and name not in here}
        at_home = {home: {**PROTOCOLS[home].recipes, **PROTOCOLS[home].on_request} for home in homes.values()}
        return {name: at_home[home][name] for name, home in homes.items()}

    def differences(self, other: Protocol) -> dict[str, str]:
        """Return how each score that both protocols have differs from ``other``'s: ``"channel mean, eps 0"``.

        Only scores with one id are compared, so scores on different backbones are left out.
        """
        theirs = {recipe.score_id: recipe for recipe in other.recipes.values()}
        found = {
            recipe.score_id: ", ".join(
                f"{name} {value}"
                for name, value in recipe.options().items()
                if value != theirs[recipe.score_id].options()[name]
            )
            for recipe in self.recipes.values()
            if recipe.score_id in theirs
        }
        return {score_id: text for score_id, text in found.items() if text}


def _network(name: str) -> type[Backbone]:
    from audiogen_metrics.backbones import BACKBONES

    return BACKBONES.get(name)


def _not_a_name(backbone: object) -> UsageError:
    """Return the error for an object where a name is needed: a report must say what to run it again with."""
    return UsageError(
        f"is a {type(backbone).__name__}, not the name of a backbone",
        where="backbone",
        fix="Give it to a metric, FD(backbone=…).score(gen, ref), or give its class a name, BACKBONES.add(name, class)",
    )


def _distinct(recipes: list[Recipe]) -> list[Recipe]:
    """Return recipes, each once; UsageError if two different ones have one id."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        if found.setdefault(recipe.score_id, recipe) != recipe:
            raise UsageError(
                f"{recipe.score_id} would be the score on {found[recipe.score_id].backbone} and on {recipe.backbone}",
                fix="Compute them in two runs, or rename a folder",
            )
    return [*found.values()]


def recipes(*given: Recipe) -> Mapping[str, Recipe]:
    """Return recipes by the names of their metrics; all but the first of a metric by their score ids."""
    found: dict[str, Recipe] = {}
    for recipe in given:
        found[recipe.score_id if recipe.metric in found else recipe.metric] = recipe
    return MappingProxyType(found)
