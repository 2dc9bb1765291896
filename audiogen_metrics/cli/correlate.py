"""``agm correlate SCORES RATINGS``: does a metric agree with people?"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    chosen_columns,
    say_warning,
    show,
)
from audiogen_metrics.cli.parsing import at_least, output_file
from audiogen_metrics.errors import UsageError
from audiogen_metrics.rendering import FORMATS, WITHOUT_WARNINGS


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "correlate",
        description="Correlate scores with people's ratings, of systems and of clips: Spearman, Kendall and Pearson "
        "with 95 % intervals, p, and a test whether one metric agrees better than another.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "scores",
        nargs="+",
        metavar="SCORES",
        help="reports of agm score (JSON, CSV, --per-clip), JSON of agm clap, or tables with the columns system, "
        "clip_id or both and one for each metric; NAME=FILE says which system a file is about (default for a report: "
        "the file's name)",
    )
    parser.add_argument(
        "ratings", metavar="RATINGS", help="table with the columns system, clip_id or both, and rating; rater if known"
    )
    parser.add_argument(
        "--metric", action="append", metavar="NAME", help="column or score id; repeatable (default: all)"
    )
    parser.add_argument(
        "--rating", default="rating", metavar="NAME", help="column of the ratings (default: %(default)s)"
    )
    parser.add_argument(
        "--lower-is-better",
        action="append",
        default=[],
        metavar="NAME",
        help="direction of a metric, where neither a report nor its name says it (repeatable)",
    )
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="seed of the random orders behind p (default: %(default)s)",
    )
    parser.add_argument(
        "--differences",
        type=output_file,
        metavar="FILE",
        help="also write the difference of every pair of metrics as CSV",
    )
    add_format_options(parser, FORMATS["Agreement"], "n, spearman, kendall, pearson, ci95 (default: all)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Correlate and write the result."""
    from audiogen_metrics.agreement.running import correlate_files
    from audiogen_metrics.functional.correlation import COEFFICIENTS

    columns = chosen_columns(arguments, ("n", *COEFFICIENTS), ("ci95",))
    sources = [_named(text) for text in arguments.scores]
    found = correlate_files(
        sources,
        arguments.ratings,
        metrics=arguments.metric,
        rating=arguments.rating,
        lower_is_better=arguments.lower_is_better,
        seed=arguments.seed,
    )
    if arguments.format in WITHOUT_WARNINGS:
        for warning in found.warnings:
            say_warning(warning)
    files: list[Callable[[], object]] = []
    if arguments.differences is not None:
        files.append(lambda: found.differences_to_csv(arguments.differences))
    show(found, arguments, files, **columns)
    return 0


def _named(text: str) -> tuple[str | None, str]:
    """Return a file with the name of its system, where one stands before it."""
    name, equals, path = text.partition("=")
    if not equals or re.search(r"[/\\]", name):
        return None, text
    if not (name and path):
        raise UsageError(f"{text!r} is not NAME=FILE", where="SCORES")
    return name, path
