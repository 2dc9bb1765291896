"""``agm copies GEN TRAIN``: did the generator copy its training data."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from audiogen_metrics.cli.common import (
    Subparsers,
    add_backbone_options,
    add_extraction_options,
    add_format_options,
    add_protocol_option,
    extraction_arguments,
    page_as_result,
    show,
)
from audiogen_metrics.cli.parsing import at_least, between, output_file
from audiogen_metrics.errors import CheckFailedError
from audiogen_metrics.rendering import FORMATS


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
    parser.add_argument("train", metavar="TRAIN", help="folder of what the generator was trained on")
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
        help="share of real clips that may be called copies, by each measure (default: 0.01, or the least that the "
        "held-out clips can tell)",
    )
    parser.add_argument("--no-embedding", action="store_true", help="mel similarity alone, which needs no network")
    parser.add_argument(
        "--fail-on-copies",
        action="store_true",
        help="exit with 5 if clips are identical, or more of them are copies than false alarms explain",
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of all that is drawn (default: %(default)s)"
    )
    parser.add_argument("--limit", type=at_least(1), metavar="N", help="take the first N clips of each folder only")
    add_protocol_option(parser)
    add_backbone_options(parser)
    add_extraction_options(parser)
    parser.add_argument(
        "--html",
        type=output_file,
        metavar="FILE",
        help="also write a page with the copies beside their sources, to hear",
    )
    add_format_options(parser, FORMATS["Copies"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Search and write the result."""
    from audiogen_metrics.copies import find_copies

    page_as_result(arguments)
    found = find_copies(
        arguments.gen,
        arguments.train,
        heldout=arguments.heldout,
        false_alarms=arguments.false_alarms,
        embedding=not arguments.no_embedding,
        protocol=arguments.protocol,
        backbone=arguments.backbone,
        limit=arguments.limit,
        seed=arguments.seed,
        **extraction_arguments(arguments),
    )
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        files.append(lambda: found.to_html(arguments.html))
    show(found, arguments, files)
    if arguments.fail_on_copies and found.beyond_chance:
        raise CheckFailedError(f"copies of training clips: {', '.join(found.beyond_chance)}", where=arguments.gen)
    return 0
