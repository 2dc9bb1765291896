"""``agm clap``: do clips sound like their prompts?"""

from __future__ import annotations

import argparse

from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    say_warning,
    show,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.rendering import FORMATS, Facts
from audiogen_metrics.run_options import FolderOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "clap",
        description="Compute the CLAP score: the mean cosine of the CLAP embeddings of clips and their prompts, paired "
        "by clip id, with its 95 % interval. It needs the extra clap and a CLAP.",
        allow_abbrev=False,
    )
    parser.add_argument("gen", metavar="GEN", help="folder of generated audio")
    parser.add_argument("prompts", metavar="PROMPTS", help=".csv, .tsv, .jsonl or .json with clip_id and prompt")
    parser.add_argument("--clap", metavar="DIR", help="folder or hub name (default: laion/clap-htsat-unfused)")
    add_options(parser, FolderOptions)
    add_format_options(parser, FORMATS["Facts"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score and write the result."""
    from audiogen_metrics.audioldm.clap import clap_score

    found = clap_score(arguments.gen, arguments.prompts, clap=arguments.clap, **arguments_of(arguments, FolderOptions))
    for warning in found.warnings:
        say_warning(warning)
    interval = "" if found.ci95 is None else " [{:.4f}, {:.4f}]".format(*found.ci95)
    text = f"clap_score  {found.value:.4f}{interval}  {found.n} clips  higher is better"
    show(Facts(found.to_dict(), text), arguments)
    return 0
