"""``agm stats build|show``: a reference set as one portable file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    say,
    say_warning,
    show,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.cli.parsing import output_file
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.rendering import FORMATS, Facts
from audiogen_metrics.run_options import SetOptions
from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    from audiogen_metrics.embedding.foreign import ForeignStatistics
    from audiogen_metrics.embedding.reference import ReferenceStatistics


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "stats",
        description="Keep everything that scores need to know of a reference set in one file, stamped with protocol "
        "and weights, to use as agm score GEN FILE. It is refused if either differs.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="make a statistics file of a folder", allow_abbrev=False)
    build.add_argument("folder", metavar="FOLDER", help="folder of reference audio")
    build.add_argument(
        "-o", "--output", type=output_file, metavar="FILE", required=True, help="the file, with or without a suffix"
    )
    add_options(build, SetOptions, " (default: all of the protocol)")
    build.set_defaults(run=run_build)
    show = actions.add_parser("show", help="say what a statistics file holds", allow_abbrev=False)
    show.add_argument("file", metavar="FILE", help="a statistics file, or others' statistics as REF of agm score")
    add_format_options(show, FORMATS["Facts"])
    show.set_defaults(run=run_show)


def run_build(arguments: argparse.Namespace) -> int:
    """Embed a folder and write its statistics."""
    statistics = reference_statistics(arguments.folder, **arguments_of(arguments, SetOptions))
    statistics.save(arguments.output)
    summary = statistics.summary
    for warning in statistics.warnings:
        say_warning(warning)
    say(f"{arguments.output}: statistics of {summary.scored} of {summary.found} clips")
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """Print protocol, origin, recipes and versions of a file, or what others' statistics hold, each checked."""
    from audiogen_metrics.embedding.foreign import open_foreign
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    foreign = open_foreign(arguments.file)
    if foreign is not None:
        _show_foreign(foreign, arguments)
        return 0
    content = _content(ReferenceStatistics.load(arguments.file))
    origin = content["summary"]
    lines = [
        f"protocol {content['protocol']}",
        f"from {origin['path']}: {origin['scored']} of {origin['found']} clips, {origin['seconds']:.1f} s",
    ]
    for score_id, record in content["scores"].items():
        backbone = record["backbone"]
        lines.append(
            f"    {score_id}: {record['kind']} of {record['rows']} rows, dimension {record['dimension']}; "
            f"{backbone['name']} on {backbone['device_type']}, weights {str(backbone['weights_sha256'])[:16]}…"
        )
    lines.append("made with " + ", ".join(f"{name} {version}" for name, version in content["versions"].items()))
    show(Facts(content, "\n".join(map(escaped, lines))), arguments)
    return 0


def _show_foreign(foreign: ForeignStatistics, arguments: argparse.Namespace) -> None:
    """Print where others' statistics come from, and what can be told of each mean and covariance."""
    summary = foreign.summary
    found = {name: _told(foreign, name) for name in foreign.moments}
    content = {"path": summary.path, "n": None, **summary.statistics, "statistics": found}
    lines = [f"others' statistics: {summary.statistics['layout']}; n is not known"]
    lines += [f"{what} {said}" for what, said in summary.statistics.items() if what != "layout"]
    for told in found.values():
        spread = "eigenvalues {:.3g} to {:.3g}".format(*told["eigenvalues"])
        lines.append(
            f"    {told['arrays']}: {told['dimension']} wide, variance {told['variance']:.4g}, {spread}; {told['here']}"
        )
    show(Facts(content, "\n".join(map(escaped, lines))), arguments)


def _told(foreign: ForeignStatistics, name: str) -> dict[str, Any]:
    from audiogen_metrics.embedding.foreign_networks import known

    gaussian, network = foreign.gaussian(name), known(name)
    eigenvalues = gaussian.factor.square().sum(1)
    here = "not known here by name" if network is None else f"the network {network.network}"
    if network is not None and network.protocol:
        metric = "fad" if network.output == "windows" else "fd"
        here += f": --protocol {network.protocol} -m {metric}@{network.backbone}"
    return {
        "arrays": foreign.moments[name].arrays,
        "dimension": gaussian.dimension,
        "variance": float(eigenvalues.sum()),
        "eigenvalues": [float(eigenvalues.min()), float(eigenvalues.max())],
        "here": here,
    }


def _content(statistics: ReferenceStatistics) -> dict[str, Any]:
    scores = {}
    for score_id, given in statistics.features.items():
        if given.gaussian is not None:
            described = {"kind": "statistics", "rows": given.gaussian.count, "dimension": given.gaussian.dimension}
        else:
            described = {"kind": "logits", "rows": len(given), "dimension": given.logits().shape[1]}
        scores[score_id] = {**described, "clips": len(given), **statistics.stamps[score_id]}
    return {
        "protocol": statistics.protocol,
        "summary": asdict(statistics.summary),
        "scores": scores,
        "versions": dict(statistics.versions),
    }
