"""``agm compare GEN_A GEN_B [REF]``: which of two systems is better, and how sure is that."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    page_as_result,
    say_what_is_lacking,
    show,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.cli.parsing import output_file
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.rendering import FORMATS
from audiogen_metrics.run_options import CompareOptions

if TYPE_CHECKING:
    from audiogen_metrics.evaluation.compare import Systems


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "compare",
        description="Compare two folders of generated audio against one folder of references: the difference of every "
        "score with its 95 % interval and p, and which is better if both agree. Metrics that look at generated audio "
        "alone need no reference.",
        allow_abbrev=False,
    )
    parser.add_argument("gen_a", metavar="GEN_A", help="clips of system A")
    parser.add_argument("gen_b", metavar="GEN_B", help="clips of system B, if possible of the same prompts")
    parser.add_argument(
        "ref",
        nargs="?",
        metavar="REF",
        help="folder of reference audio, or statistics as agm score takes them; without it, only metrics that need "
        "none are compared",
    )
    add_options(parser, CompareOptions, " (default: those of the protocol that can be compared)")
    parser.add_argument(
        "--html",
        type=output_file,
        metavar="FILE",
        help="also write a page with the prompts where they differ most, to hear",
    )
    add_format_options(parser, FORMATS["Comparison"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and write the result."""
    from audiogen_metrics.evaluation.compare import compare

    page_as_result(arguments)

    seen: list[Systems] = []
    found = compare(
        arguments.gen_a,
        arguments.gen_b,
        arguments.ref,
        observe=seen.append,
        **arguments_of(arguments, CompareOptions),
    )
    given = {"ref": arguments.ref is not None, "prompts": arguments.prompts is not None}
    recipes = get_protocol(arguments.protocol).select(None, None if arguments.metrics else arguments.backbone)
    say_what_is_lacking(recipes, **given, by_name=arguments.metrics is not None)
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        files.append(lambda: found.to_html(arguments.html, seen[0]))
    show(found, arguments, files)
    return 0
