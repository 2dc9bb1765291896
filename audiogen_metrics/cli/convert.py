"""``agm convert``: a checkpoint of AudioLDM's own code as the folder that everything else opens."""

from __future__ import annotations

import argparse
import warnings

from audiogen_metrics.cli.common import Subparsers, say, say_warning
from audiogen_metrics.cli.parsing import output_folder


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "convert",
        description="Convert a checkpoint of AudioLDM's own code into a folder for diffusers and for --model of the "
        "other commands, with its CLAP. Code in the file is not run. --model also takes the file itself, and keeps the "
        "converted folder in the cache. It needs the extra audioldm.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="FILE", help="checkpoint, such as audioldm-s-full.ckpt")
    parser.add_argument("-o", "--output", type=output_folder, required=True, metavar="OUT", help="new or empty folder")
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="take the moving average of the denoiser's weights, as AudioLDM's own code does when it generates, or the "
        "weights as trained (default: the average, if the file has one)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="DIR",
        help="folder with RoBERTa's vocab.json and merges.txt, or tokenizer.json (default: those beside FILE, else "
        "those that agm weights fetch roberta-base-vocab roberta-base-merges brings)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert a checkpoint, and say on stderr where the folder is."""
    from audiogen_metrics.audioldm.original import convert_checkpoint

    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        warnings.simplefilter("once")
        folder = convert_checkpoint(
            arguments.checkpoint, arguments.output, ema=arguments.ema, tokenizer=arguments.tokenizer
        )
    say(f"{folder}: converted from {arguments.checkpoint}")
    return 0
