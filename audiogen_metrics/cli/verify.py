"""``agm verify REPORT``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from audiogen_metrics.cli.common import Subparsers, add_format_options, show
from audiogen_metrics.cli.flags import add_options, add_trust_option, arguments_of
from audiogen_metrics.cli.parsing import between
from audiogen_metrics.errors import CheckFailedError, UsageError
from audiogen_metrics.evaluation.differences import NOTES, TOLERANCE
from audiogen_metrics.evaluation.verify import Verification, is_several, verify, verify_systems
from audiogen_metrics.records import load_json
from audiogen_metrics.rendering import FORMATS, Facts
from audiogen_metrics.results import Score
from audiogen_metrics.run_options import RepetitionOptions
from audiogen_metrics.text import escaped


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "verify",
        description="Compute the scores of a JSON report again, with its options, from the folders and weights that it "
        "names, and compare files, weights, recipes, scores with n and intervals, and warnings. Exits with 5 if "
        "anything but the machine or versions differs. For several systems, each report is computed again, but not the "
        "differences between them.",
        allow_abbrev=False,
    )
    parser.add_argument("report", metavar="REPORT", help="JSON report of agm score")
    parser.add_argument(
        "--gen",
        action="append",
        metavar="DIR",
        help="where the generated audio is now (default: as in the report); for several systems, "
        "once for each, in order",
    )
    parser.add_argument("--ref", metavar="PATH", help="where the reference is now (default: as in the report)")
    add_options(parser, RepetitionOptions)
    add_trust_option(parser)
    parser.add_argument(
        "--tolerance",
        type=between(0),
        default=TOLERANCE,
        metavar="X",
        help="relative difference up to which scores and intervals are equal (default: %(default)s)",
    )
    add_format_options(parser, FORMATS["Facts"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify and write the verdict."""
    options = {
        "ref": arguments.ref,
        "tolerance": arguments.tolerance,
        **arguments_of(arguments, RepetitionOptions),
    }
    several, gen = is_several(load_json(arguments.report)), arguments.gen
    if several:
        found = verify_systems(arguments.report, gen=gen, **options)
    elif len(gen or ()) > 1:
        raise UsageError("the report is of one system", where="--gen", fix="Give it once")
    else:
        found = {"": verify(arguments.report, gen=gen[0] if gen else None, **options)}
    show(_of_several(found) if several else _of_one(found[""]), arguments)
    count = sum(each.kind not in NOTES for verification in found.values() for each in verification.differences)
    if count:
        raise CheckFailedError(f"{count} difference{'s' * (count > 1)} from the report", where=arguments.report)
    return 0


def _table(verification: Verification) -> str:
    lines = []
    for score_id in dict.fromkeys([*verification.recorded.scores, *verification.found.scores]):
        was, now = (_value(report.scores.get(score_id)) for report in (verification.recorded, verification.found))
        lines.append(f"{score_id}: {was} in the report, {now} now")
    verdict = "equal" if verification.equal else "DIFFERENT"
    found = [f"{'note' if each.kind in NOTES else each.kind}: {each}" for each in verification.differences]
    return "\n".join(map(escaped, [*lines, *found, verdict]))


def _value(score: Score | None) -> str:
    if score is None:
        return "not there"
    return "null" if score.value is None else f"{score.value:.9g}"


def _content(verification: Verification) -> dict[str, Any]:
    return {
        "equal": verification.equal,
        "differences": [asdict(difference) for difference in verification.differences],
        "scores": {score_id: asdict(score) for score_id, score in verification.found.scores.items()},
    }


def _of_one(verification: Verification) -> Facts:
    return Facts(_content(verification), _table(verification))


def _of_several(found: Mapping[str, Verification]) -> Facts:
    equal = all(verification.equal for verification in found.values())
    content = {"equal": equal, "systems": {label: _content(each) for label, each in found.items()}}
    return Facts(content, "\n\n".join(f"{escaped(label)}\n{_table(each)}" for label, each in found.items()))
