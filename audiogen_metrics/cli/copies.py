"""``agm copies GEN TRAIN``: did the generator copy its training data."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    page_as_result,
    show,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.cli.parsing import between, output_file
from audiogen_metrics.errors import CheckFailedError
from audiogen_metrics.rendering import FORMATS
from audiogen_metrics.run_options import CopiesOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "copies",
        description="Find the nearest training clip of every generated clip, by mel similarity over all time lags and "
        "by embedding, and say which are nearer than real clips that were not trained on: copies. Identical files and "
        "identical audio are found too.",
        allow_abbrev=False,
    )
    parser.add_argument("gen", metavar="GEN", help="folder of generated audio")
    parser.add_argument("train", metavar="TRAIN", help="folder of the clips that the generator was trained on")
    parser.add_argument(
        "--heldout",
        metavar="REAL",
        help="folder of real clips of the same kind and length that were not trained on, which set the thresholds "
        "(default: up to 500 training clips, each compared with all others)",
    )
    parser.add_argument(
        "--false-alarms",
        type=between(0, 1),
        metavar="RATE",
        help="share of real clips that each measure may call copies (default: 0.01, or the lowest rate that the "
        "held-out clips can show)",
    )
    parser.add_argument("--no-embedding", action="store_true", help="use mel similarity only, which needs no network")
    parser.add_argument(
        "--fail-on-copies",
        action="store_true",
        help="exit with 5 if clips are identical, or more of them are copies than false alarms explain",
    )
    add_options(parser, CopiesOptions)
    parser.add_argument(
        "--html",
        type=output_file,
        metavar="FILE",
        help="also write a page with the copies beside their sources, to hear",
    )
    add_format_options(parser, FORMATS["Copies"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search for copies and write what was found."""
    from audiogen_metrics.copies import find_copies

    page_as_result(arguments)
    found = find_copies(
        arguments.gen,
        arguments.train,
        heldout=arguments.heldout,
        false_alarms=arguments.false_alarms,
        embedding=not arguments.no_embedding,
        **arguments_of(arguments, CopiesOptions),
    )
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        files.append(lambda: found.to_html(arguments.html))
    show(found, arguments, files)
    if arguments.fail_on_copies and found.beyond_chance:
        raise CheckFailedError(f"copies of training clips: {', '.join(found.beyond_chance)}", where=arguments.gen)
    return 0
