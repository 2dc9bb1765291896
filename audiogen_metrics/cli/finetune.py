"""``agm finetune``: the paper's transfer protocol on one's own sounds."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from audiogen_metrics import distributed
from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.common import Subparsers, add_processes_option, check_processes, say_warning, write_result
from audiogen_metrics.errors import CheckFailedError, UsageError
from audiogen_metrics.writing import json_text

FLAGS: tuple[tuple[str, type, str, str], ...] = (
    ("model", str, "MODEL", "checkpoint to start from: a folder, AudioLDM's own .ckpt, a hub name or tiny-random"),
    ("data", str, "DATA", "training clips: a folder, a .csv, .jsonl or .json table, or esc50=FOLDER"),
    ("output", str, "OUT", "new folder for everything the run writes"),
    ("evaluation", str, "DATA", "evaluation clips, named like --data"),
    ("split", str, "RULE", "take the evaluation clips out of --data: paper, paper:400, fold:5 or list:FILE"),
    ("validation", float, "SHARE", "choose the best checkpoint on this share of the training clips"),
    ("template", str, "TEXT", "prompt for class labels: label, sentence, or text with {label}"),
    ("seconds", float, "S", "what the denoiser sees of a clip"),
    ("steps", int, "N", "optimiser steps"),
    ("batch_size", int, "N", "clips per process and pass"),
    ("accumulation", int, "N", "passes per step"),
    ("learning_rate", float, "R", "of AdamW"),
    ("warmup", int, "N", "steps of linear warm-up"),
    ("weight_decay", float, "W", "of AdamW"),
    ("clip_norm", float, "N", "largest norm of the gradient"),
    ("ema", float, "D", "decay of the averaged weights"),
    ("condition_dropout", float, "P", "share of draws without condition"),
    ("min_snr", float, "G", "weight the loss by min(SNR, G) / SNR"),
    ("lora", int, "RANK", "train low-rank adapters instead of all weights"),
    ("clap", str, "DIR", "full CLAP, for --condition audio"),
    ("eval_every", int, "N", "steps between evaluations; the first is before the training"),
    ("eval_clips", int, "N", "evaluation clips, at most: drawn at random from all classes"),
    ("eval_seconds", float, "S", "length of what is generated (default: of the reference)"),
    ("sampling_steps", int, "N", "DDIM steps of evaluation clips"),
    ("guidance", float, "W", "of evaluation clips"),
    ("eta", float, "E", "of evaluation clips"),
    ("candidates", int, "N", "evaluation clips are the best of so many, to CLAP's ear"),
    ("eval_batch_size", int, "N", "candidates at a time, at most, where evaluation clips are made"),
    ("protocol", str, "NAME", "of the scores"),
    ("monitor", str, "SCORE", "score that chooses the best checkpoint, such as fd_panns (default: the protocol's FD)"),
    ("patience", int, "N", "stop after so many evaluations without improvement"),
    ("save_every", int, "N", "steps between states to resume from"),
    ("seed", int, "N", "0 or more"),
    ("device", str, "NAME", "auto, cpu, cuda, cuda:1, …"),
)
"""Every setting that takes a value: name in the configuration, type, placeholder, meaning."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "finetune",
        description="Fine-tune the denoiser of AudioLDM with a fixed condition; the rest stays frozen. Before the "
        "first step and at intervals the averaged weights generate for the evaluation prompts and are scored; the best "
        "checkpoint is kept in OUT/best, which agm generate opens. Settings come from CONFIG, and from flags, which "
        "win. Needs the extra audioldm.",
        allow_abbrev=False,
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="YAML file of settings, named like the flags")
    for name, kind, placeholder, meaning in FLAGS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=placeholder, help=meaning)
    parser.add_argument("--condition", choices=["text", "audio"], help="what the denoiser is told (default: text)")
    parser.add_argument(
        "--from-scratch", action="store_true", help="start from random weights of the same architecture"
    )
    parser.add_argument("--precision", choices=["no", "fp16", "bf16"], help="of the denoiser's passes (default: no)")
    parser.add_argument("--heads", choices=["original", "as_published"], help="as in agm generate")
    parser.add_argument(
        "--tracker",
        action="append",
        default=[],
        metavar="LIST",
        help="comma-separated, what is told every step and score: tensorboard, wandb, another tracker of accelerate, "
        "or none (default: tensorboard; repeatable)",
    )
    parser.add_argument("--gradient-checkpointing", action="store_true", help="a third more time, less memory")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="stop at an evaluation that fails, and at clips whose audio is missing, which are left out otherwise",
    )
    parser.add_argument("--resume", action="store_true", help="go on where the run in the output folder stopped")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="file for a backbone of the protocol (repeatable)",
    )
    add_processes_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; print the result as JSON."""
    settings = _settings(arguments)
    if check_processes(arguments):
        distributed.meet()

    from audiogen_metrics.audioldm.configuration import make_config, read_config
    from audiogen_metrics.audioldm.finetuning import FineTune

    config = read_config(arguments.config, **settings) if arguments.config else make_config(settings)
    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        warnings.simplefilter("once", UserWarning)
        done = FineTune(config, weights=parse_weights(arguments.weights)).fit(resume=arguments.resume, progress=True)
    result = {
        "model": str(done.model),
        "step": done.step,
        "last_step": done.last_step,
        "scores": dict(done.scores),
    }
    if distributed.place()[0] == 0:
        write_result(json_text(result) + "\n", None, "json")
    if done.failed and not done.scores:
        what = f"has a checkpoint and no scores: {len(done.failed)} evaluations have failed, the last one with "
        raise CheckFailedError(
            f"{what}{done.failed[-1]['error']}", where=done.folder, fix="Score it by agm generate and agm score"
        )
    return 0


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = [name for name, *_ in FLAGS] + ["condition", "precision", "heads"]
    settings = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.from_scratch:
        settings["pretrained"] = False
    if arguments.gradient_checkpointing:
        settings["gradient_checkpointing"] = True
    if arguments.tracker:
        settings["tracker"] = ",".join(arguments.tracker)
    if arguments.strict:
        settings["strict"] = True
    if arguments.config is None and not {"data", "output"} <= settings.keys():
        raise UsageError("give a CONFIG, or at least --data and --output", where="agm finetune")
    if arguments.config is not None and not Path(arguments.config).is_file():
        raise UsageError("does not exist", where=arguments.config)
    return settings
