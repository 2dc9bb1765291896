"""``agm import GEN REF``: score features that are there already."""

from __future__ import annotations

import argparse

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    chosen_columns,
    say_warning,
    write_result,
)
from audiogen_metrics.cli.flags import add_flags, add_metrics_option, arguments_of
from audiogen_metrics.cli.scoring import FORMATS, SCORE_COLUMNS, WARN_ON_STDERR, rendered
from audiogen_metrics.report.tables import LATEX_COLUMNS, LATEX_PARTS
from audiogen_metrics.run_options import FeatureOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "import",
        description="Score features without their audio: a folder of .npy files, one per clip (fadtk), one .npy of "
        "rows (audioldm_eval, frechet-audio-distance), an av-benchmark cache folder, or a .safetensors or .npz of agm "
        "embed. No code in them is run.",
        allow_abbrev=False,
    )
    parser.add_argument("gen", metavar="GEN", help="features of the generated set")
    parser.add_argument(
        "ref",
        metavar="REF",
        help="features of the reference set, written by the same tool, or its statistics as agm score takes them",
    )
    add_metrics_option(parser, " (default: what can be computed)")
    add_flags(parser, FeatureOptions)
    add_format_options(parser, list(FORMATS), SCORE_COLUMNS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read both sets, score, write."""
    from audiogen_metrics.imported import score_features

    columns = chosen_columns(arguments, LATEX_COLUMNS, LATEX_PARTS)
    report = score_features(arguments.gen, arguments.ref, **arguments_of(arguments, FeatureOptions))
    if arguments.format in WARN_ON_STDERR:
        for warning in report.warnings:
            say_warning(warning)
    write_result(rendered(report, arguments.format, columns), arguments.output, arguments.format)
    return 0
