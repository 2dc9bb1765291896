"""``agm protocols compare GEN REF``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    write_result,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.comparison import ProtocolComparison, compare_protocols
from audiogen_metrics.report.tables import records_to_csv, records_to_markdown
from audiogen_metrics.run_options import SweepOptions

_FORMATS: dict[str, Callable[[ProtocolComparison], str]] = {
    "table": str,
    "json": ProtocolComparison.to_json,
    "csv": lambda comparison: records_to_csv(comparison.records()),
    "markdown": lambda comparison: records_to_markdown(comparison.records()),
}


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("protocols", allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    compare = actions.add_parser(
        "compare",
        help="score two folders under every protocol, and with one option changed at a time",
        description="Score two folders under every protocol whose weights are here, and under the base protocol with "
        "one option changed at a time: why a number is not the paper's.",
        allow_abbrev=False,
    )
    compare.add_argument("gen", metavar="GEN", help="folder of generated audio")
    compare.add_argument("ref", metavar="REF", help="folder of reference audio")
    add_options(compare, SweepOptions)
    add_format_options(compare, list(_FORMATS))
    compare.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and write the result."""
    comparison = compare_protocols(arguments.gen, arguments.ref, **arguments_of(arguments, SweepOptions))
    write_result(_FORMATS[arguments.format](comparison), arguments.output, arguments.format)
    return 0
