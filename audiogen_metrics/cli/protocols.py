"""``agm protocols compare GEN REF``."""

from __future__ import annotations

import argparse

from audiogen_metrics.cli.common import Subparsers, add_format_options, say_what_is_lacking, show
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.evaluation.protocol_sweep import compare_protocols
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.rendering import FORMATS
from audiogen_metrics.run_options import SweepOptions


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
    add_format_options(compare, FORMATS["ProtocolComparison"])
    compare.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and write the result."""
    every = [recipe for protocol in PROTOCOLS.values() for recipe in protocol.recipes.values()]
    say_what_is_lacking(every, ref=True, prompts=arguments.prompts is not None)
    comparison = compare_protocols(arguments.gen, arguments.ref, **arguments_of(arguments, SweepOptions))
    show(comparison, arguments)
    return 0
