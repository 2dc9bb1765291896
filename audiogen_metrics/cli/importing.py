"""``agm import GEN REF``: score features that are there already."""

from __future__ import annotations

import argparse

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    chosen_columns,
    say_warning,
    show,
)
from audiogen_metrics.cli.flags import add_flags, add_metrics_option, arguments_of
from audiogen_metrics.cli.scoring import SCORE_COLUMNS
from audiogen_metrics.rendering import FORMATS, HUB, WITHOUT_WARNINGS
from audiogen_metrics.report.tables import LATEX_COLUMNS, LATEX_PARTS
from audiogen_metrics.run_options import FeatureOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "import",
        description="Score features without their audio: a folder of .npy files, one per clip (fadtk), one .npy of "
        "rows (audioldm_eval, frechet-audio-distance), an av-benchmark cache folder, or a .safetensors or .npz of agm "
        "embed. Code in them is not run.",
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
    formats = [form for form in FORMATS["ScoreReport"] if form not in (*HUB, "html")]
    add_format_options(parser, formats, SCORE_COLUMNS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read both sets, score, write."""
    from audiogen_metrics.evaluation.external import score_features

    columns = chosen_columns(arguments, LATEX_COLUMNS, LATEX_PARTS)
    report = score_features(arguments.gen, arguments.ref, **arguments_of(arguments, FeatureOptions))
    if arguments.format in WITHOUT_WARNINGS:
        for warning in report.warnings:
            say_warning(warning)
    show(report, arguments, **columns)
    return 0
