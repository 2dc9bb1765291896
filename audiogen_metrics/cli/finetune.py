"""``agm finetune``: the paper's transfer protocol on one's own sounds."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from audiogen_metrics import distributed
from audiogen_metrics.audioldm.finetune_settings import FineTuneSettings
from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.common import Subparsers, add_processes_option, check_processes, say_warning, write_result
from audiogen_metrics.cli.flags import add_flags, described, dest_of, flag_of
from audiogen_metrics.declaring import options_of_fields
from audiogen_metrics.errors import CheckFailedError, UsageError
from audiogen_metrics.run_options import NetworkOptions
from audiogen_metrics.writing import json_text

SETTINGS = options_of_fields(FineTuneSettings)


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
    for name, option in SETTINGS.items():
        parser.add_argument(flag_of(name, option), **{**described(option), "default": None})
    parser.add_argument("--resume", action="store_true", help="go on where the run in the output folder stopped")
    add_flags(parser, NetworkOptions, "weights", help="file for a backbone of the protocol")
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
    settings: dict[str, Any] = {}
    for name, option in SETTINGS.items():
        value = getattr(arguments, dest_of(name, option))
        if value is not None:
            settings[name] = ",".join(value) if option.repeated else not option.default if value is True else value
    if arguments.config is None and not {"data", "output"} <= settings.keys():
        raise UsageError("give a CONFIG, or at least --data and --output", where="agm finetune")
    if arguments.config is not None and not Path(arguments.config).is_file():
        raise UsageError("does not exist", where=arguments.config)
    return settings
