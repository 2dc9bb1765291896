"""``agm list metrics|backbones|probes|protocols|datasets``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.cli.common import Subparsers, add_format_options, show
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.metrics import METRICS, OWN, Metric
from audiogen_metrics.probes import PROBES
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.registry import Registry
from audiogen_metrics.rendering import FORMATS, Facts

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.datasets.base import DatasetInfo
    from audiogen_metrics.probes.base import Probe

T = TypeVar("T")


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "list",
        description="List metrics, backbones, probes, protocols or datasets by the names that all commands use.",
        allow_abbrev=False,
    )
    parser.add_argument("what", choices=list(_LISTS), help="what to list")
    add_format_options(parser, FORMATS["Facts"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one list."""
    rows = _LISTS[arguments.what]()
    show(Facts(rows, "\n".join(map(_entry, rows))), arguments)
    return 0


def _entry(row: dict[str, str]) -> str:
    name, *others = row.items()
    return "\n".join([name[1], *(f"    {key}: {value}" for key, value in others if value)])


def _metrics() -> list[dict[str, str]]:
    def describe(metric: type[Metric]) -> dict[str, str]:
        return {
            "title": metric.title,
            "better": "higher" if metric.higher_is_better else "lower",
            "computed on": metric.output,
            "needs": _needs(metric),
            "options": ", ".join(f"{name}={_number(value)}" for name, value in metric().options.items()),
            "reading": metric.reading,
        }

    return _described(METRICS, describe, OWN)


def _number(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else value or "none"


def _backbones() -> list[dict[str, str]]:
    def describe(backbone: type[Backbone]) -> dict[str, str]:
        return {
            "summary": (backbone.__doc__ or "").strip().partition("\n")[0].rstrip(".").replace("``", ""),
            "sample rate": f"{backbone.sample_rate} Hz",
            "gives": ", ".join(sorted(backbone.outputs)),
        }

    return _described(BACKBONES, describe)


def _probes() -> list[dict[str, str]]:
    from audiogen_metrics.probes.gallery import describe

    def text(probe: type[Probe[Any]]) -> dict[str, str]:
        entry = describe(probe)
        return {
            "summary": entry.summary.rstrip("."),
            "needs": entry.needs,
            "settings": ", ".join(f"{name}={setting.cells[-1]}" for name, setting in entry.settings.items()),
        }

    return _described(PROBES, text)


def _datasets() -> list[dict[str, str]]:
    def describe(info: DatasetInfo) -> dict[str, str]:
        return {"title": info.title, "address": info.url, "licence": info.licence}

    return _described(DATASETS, describe)


def _described(
    registry: Registry[T], describe: Callable[[T], dict[str, str]], first: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Return a row per name, some of them first; what other packages have brought and cannot be used says why."""
    rows = []
    for name in dict.fromkeys([*first, *registry.names()]):
        try:
            row = describe(registry.get(name))
        except Exception as error:  # a plug-in may be anything
            row = {"broken": f"{type(error).__name__}: {error}"}
        rows.append({"name": name} | row | ({"warning": registry.faults[name]} if name in registry.faults else {}))
    return rows


def _protocols() -> list[dict[str, str]]:
    return [
        {
            "name": protocol.name,
            "summary": protocol.summary,
            "scores": ", ".join(recipe.score_id for recipe in protocol.recipes.values()),
            "added, so null where their network is missing": ", ".join(
                recipe.score_id for recipe in protocol.recipes.values() if recipe.added
            ),
            "source": protocol.source,
            "differs from audioldm": "; ".join(
                f"{score_id}: {what}" for score_id, what in protocol.differences(PROTOCOLS["audioldm"]).items()
            ),
            "note": protocol.caveat,
            "known defects": "; ".join(protocol.defects),
        }
        for protocol in PROTOCOLS.values()
    ]


def _needs(metric: type[Metric]) -> str:
    if "ref" not in metric.sides:
        return "the generated set and its prompts" if metric.prompted else "the generated set only"
    ids = " with the same clip ids" * (metric.needs == "pairs")
    return f"a reference{ids}: a folder{' or a statistics file' * metric.fits_statistics()}"


_LISTS = {
    "metrics": _metrics,
    "backbones": _backbones,
    "probes": _probes,
    "protocols": _protocols,
    "datasets": _datasets,
}
