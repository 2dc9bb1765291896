"""What a training starts from: its clips, and its networks."""

from __future__ import annotations

import random
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.datasets.splits import draw, split_by
from audiogen_metrics.embedding.sides import shared_content
from audiogen_metrics.errors import DataError, InsufficientDataError, option, spoken

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "class_embedding"]
"""Attention, and the way in which the condition comes in."""


@dataclass(frozen=True)
class Material:
    """The clips of a run.

    Parameters
    ----------
    train
        What trains.
    choosing
        What the best checkpoint is chosen on; empty if nothing is evaluated.
    final
        What the best checkpoint is scored on at the end; empty if that is ``choosing``.
    left_out
        Ids of the clips whose audio is missing, by the set that they would be in.
    """

    train: list[DatasetClip]
    choosing: list[DatasetClip]
    final: list[DatasetClip] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)


def open_material(config: FineTuneConfig) -> Material:
    """Return the clips of a run, and warn of what is odd about them.

    Raises
    ------
    DataError
        A set that cannot be read, or has no clip whose audio is there; with ``strict``, one whose audio is missing.
    InsufficientDataError
        Too few clips to evaluate or to choose on.
    """
    train, held = _sets(config)
    left_out: dict[str, list[str]] = {}
    train = _present("training", train, config.strict, left_out)
    held = _present("evaluation", held, config.strict, left_out) if held else []
    for common in shared_content("evaluation", _files(held), "training", _files(train), what="files"):
        warnings.warn(common, stacklevel=3)
    if config.eval_clips is not None:
        held = draw(held, config.eval_clips, config.seed)
    if len(held) == 1:
        raise InsufficientDataError("one evaluation clip has no distribution", where="evaluation")
    if config.condition == "text" and len({clip.caption for clip in train}) == 1 and len(train) > 1:
        only = ", ".join(train[0].labels) or train[0].caption
        warnings.warn(f"all training clips have one caption ({only}): the condition says nothing", stacklevel=3)
    if config.validation is None:
        if held:
            remark = "the best checkpoint is chosen on the evaluation clips, as in the paper: optimistic"
            warnings.warn(remark, stacklevel=3)
        return Material(train, held, [], left_out)
    train, validation = _validation(train, config)
    return Material(train, validation, held, left_out)


def _sets(config: FineTuneConfig) -> tuple[list[DatasetClip], list[DatasetClip]]:
    """Return training and evaluation clips, the latter empty if there are none; audio may be missing."""
    dataset = open_dataset(config.data)
    for remark in dataset.remarks:
        warnings.warn(remark, stacklevel=4)
    if config.split is not None:
        split = split_by(dataset, config.split, config.seed)
        for warning in split.warnings:
            warnings.warn(warning, stacklevel=4)
        return list(split.train.clips) if split.train else [], list(split.evaluation.clips)
    held = [] if config.evaluation is None else list(open_dataset(config.evaluation).clips)
    return list(dataset.clips), held


def _present(kind: str, clips: list[DatasetClip], strict: bool, left_out: dict[str, list[str]]) -> list[DatasetClip]:
    missing = [clip.clip_id for clip in clips if clip.path is None]
    if not missing:
        return clips
    some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    what = f"the audio of {len(missing)} of {len(clips)} {kind} clips is missing: {some}"
    if strict or len(missing) == len(clips):
        fix = f"See agm data check; or leave them out: without {option('strict')}" if strict else "See agm data check"
        raise DataError(what, where=kind, fix=fix)
    warnings.warn(f"{what}; they are left out", stacklevel=4)
    left_out[kind] = missing
    return [clip for clip in clips if clip.path is not None]


def _files(clips: list[DatasetClip]) -> dict[str, str]:
    return {clip.clip_id: str(clip.path.resolve()) for clip in clips if clip.path is not None}


def _validation(train: list[DatasetClip], config: FineTuneConfig) -> tuple[list[DatasetClip], list[DatasetClip]]:
    """Take the share of the training clips out that chooses the best checkpoint, or the few more of whole recordings.

    Clips of one recording stay together: a checkpoint that has learnt it by heart must not be chosen for that.
    """
    recordings: dict[str, list[DatasetClip]] = defaultdict(list)
    for clip in train:
        recordings[f"of {clip.group}" if clip.group else clip.clip_id].append(clip)
    size, chosen = config.validation_clips(len(train)), set[str]()
    for name in random.Random(config.seed).sample([*recordings], min(size, len(recordings))):
        if len(chosen) >= size:
            break
        chosen |= {clip.clip_id for clip in recordings[name]}
    if len(chosen) >= len(train):
        raise InsufficientDataError(
            f"{size} of {len(train)} clips, with all others of their recordings, leave none to train on",
            where=spoken("validation", "--validation"),
            fix="Choose a smaller share",
        )
    return (
        [clip for clip in train if clip.clip_id not in chosen],
        [clip for clip in train if clip.clip_id in chosen],
    )


def load_model(config: FineTuneConfig, device: torch.device) -> AudioLDM:
    """Return the checkpoint, with a random denoiser if the run starts from scratch."""
    model = AudioLDM.from_pretrained(config.model, device=device, heads=config.heads, clap=config.clap)
    if not config.pretrained:
        with torch.random.fork_rng(devices=[]), quiet():
            # A stream of its own: a random checkpoint may have been made from the same seed.
            torch.manual_seed(int(np.random.SeedSequence([config.seed, 2]).generate_state(1)[0]))
            model.unet = type(model.unet).from_config(model.unet.config).to(device)
    if config.candidates > 1:
        _ = model.clap  # before any step: a missing one stops the run at once
    return model


def trainable(unet: Any, config: FineTuneConfig) -> Any:
    """Make the denoiser trainable: all of it, or adapters."""
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if config.lora is None:
        return unet.requires_grad_(True)
    from peft import LoraConfig

    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        unet.add_adapter(
            LoraConfig(r=config.lora, lora_alpha=config.lora, target_modules=LORA_TARGETS, init_lora_weights="gaussian")
        )
    return unet
