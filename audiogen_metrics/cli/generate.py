"""``agm generate``: a folder of clips by AudioLDM, ready to be scored."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics import distributed
from audiogen_metrics.audioldm.model_options import ModelOptions
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.common import (
    Subparsers,
    add_caption_option,
    add_processes_option,
    check_processes,
    say,
    say_warning,
)
from audiogen_metrics.cli.flags import add_flags, add_protocol_option, arguments_of
from audiogen_metrics.cli.parsing import at_least, between, output_folder
from audiogen_metrics.errors import UsageError
from audiogen_metrics.run_options import EmbeddingOptions, NetworkOptions

if TYPE_CHECKING:
    from audiogen_metrics.generation.base import Generator, Request


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "generate",
        description="Make one clip per prompt or recording with AudioLDM, and a manifest.jsonl. Clips are named "
        "after their clip ids, so that the folder pairs with its references. Needs the extra audioldm.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODEL",
        help="a folder, AudioLDM's own .ckpt, a name on the hub such as cvssp/audioldm-s-full-v2, or tiny-random, "
        "whose sound means nothing",
    )
    add_flags(parser, ModelOptions)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--prompts", type=Path, metavar="FILE", help="text, CSV, TSV, JSON or Parquet")
    source.add_argument("--prompt", action="append", metavar="TEXT", help="one prompt (repeatable)")
    source.add_argument("--audio", type=Path, metavar="DIR", help="recordings whose CLAP embeddings are the conditions")
    add_caption_option(
        parser,
        None,
        "which of several captions of a clip count; all makes a clip of each, {clip_id}_0, {clip_id}_1, … (default: "
        "the first of a list; several records with one clip id are refused)",
    )
    parser.add_argument("-o", "--output", type=output_folder, required=True, metavar="OUT", help="new or empty folder")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="length of a clip, where the prompts do not say it; recording: that of each recording of --audio "
        "(default: %(default)s)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="0 or more (default: %(default)s)")
    add_flags(parser, Sampling)
    add_choice_options(parser)
    parser.add_argument(
        "--audio-format",
        choices=["wav", "wav-float", "flac"],
        default="wav",
        help="16-bit WAV, float32 WAV or 16-bit FLAC (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="continue a folder: make what is missing, nothing else")
    add_flags(parser, EmbeddingOptions, "suffixes")
    add_processes_option(parser)
    parser.set_defaults(run=run)


def add_choice_options(parser: argparse.ArgumentParser) -> None:
    """Add what chooses among candidates instead of the checkpoint's own CLAP."""
    parser.add_argument(
        "--choose-by",
        metavar="NAME",
        help="keep the candidate that this metric scores best, such as pq, clap or clap@clap-laion-music: any that "
        "scores single clips without a reference (default: the checkpoint's own CLAP chooses)",
    )
    add_protocol_option(parser)
    add_flags(parser, NetworkOptions, "weights", help="use this file for the network of --choose-by")


def run(arguments: argparse.Namespace) -> int:
    """Make the clips; say how many on stderr."""
    # What the command line can get wrong is said before anything heavy loads.
    _check_choice(arguments)
    if check_processes(arguments):
        distributed.join()  # first, so that the others hear of a file that this one cannot read
    requests = _requests(arguments)

    from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
    from audiogen_metrics.generation.folder import generate_folder

    sampling = Sampling(**arguments_of(arguments, Sampling))
    if arguments.choose_by:
        sampling = replace(sampling, candidates=1)
    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        warnings.simplefilter("once")
        model = AudioLDM.from_pretrained(arguments.model, **arguments_of(arguments, ModelOptions))
        generator: Generator = AudioLDMGenerator(model, sampling, needs_clap=arguments.audio is not None)
        if arguments.choose_by:
            generator = _choosing(generator, arguments, requests)
        summary = generate_folder(
            generator,
            requests,
            arguments.output,
            audio_format=arguments.audio_format,
            resume=arguments.resume,
            progress=sys.stderr.isatty(),
            distributed=distributed.is_joined(),
        )
    for warning in summary.warnings:
        say_warning(warning)
    kept = f", {summary.kept} were there already" if summary.kept else ""
    say(f"{arguments.output}: made {summary.made} clips{kept}")
    return 0


def _check_choice(arguments: argparse.Namespace) -> None:
    """Raise UsageError for a choice that cannot be made."""
    if not arguments.choose_by:
        for flag, given in (("--weights", arguments.weights), ("--protocol", arguments.protocol != "audioldm")):
            if given:
                raise UsageError("belongs to --choose-by, which is missing", where=flag)
        return
    from audiogen_metrics.generation.choosing import recipe_for_clips

    if arguments.candidates < 2:
        raise UsageError("there is one candidate of each clip", where="--choose-by", fix="Add --candidates 4")
    recipe_for_clips(arguments.choose_by, arguments.protocol)


def _choosing(generator: Generator, arguments: argparse.Namespace, requests: Sequence[Request]) -> Generator:
    from audiogen_metrics.generation.choosing import BestOf

    best = BestOf(
        generator,
        arguments.choose_by,
        arguments.candidates,
        protocol=arguments.protocol,
        device=arguments.device,
        weights=parse_weights(arguments.weights),
    )
    best.require_prompts(requests)
    return best


def _seconds(text: str) -> float | str:
    """Read a length, or the word for that of the recording."""
    try:
        return text if text == "recording" else between(0)(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor recording") from None


def _requests(arguments: argparse.Namespace) -> Sequence[Request]:
    from audiogen_metrics.generation.prompts import requests_from_audio, requests_from_file, requests_from_prompts

    if arguments.suffix and arguments.audio is None:
        raise UsageError("chooses recordings, and there are none", where="--suffix", fix="Leave it out, or use --audio")
    if arguments.caption and arguments.prompts is None:
        raise UsageError(
            "chooses among the captions of a file", where="--caption", fix="Leave it out, or use --prompts"
        )
    if arguments.seconds == "recording" and arguments.audio is None:
        raise UsageError("there are no recordings", where="--seconds", fix="Pass a number, or use --audio")
    if arguments.prompt is not None:
        return requests_from_prompts(arguments.prompt, arguments.seconds, arguments.seed)
    if arguments.prompts is not None:
        return requests_from_file(arguments.prompts, arguments.seconds, arguments.seed, caption=arguments.caption)
    return requests_from_audio(arguments.audio, arguments.seconds, arguments.seed, arguments.suffix)
