"""Every setting of a fine-tuning run, declared once: the configuration, its docstring and the flags follow.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from audiogen_metrics.audioldm.model_options import Heads, ModelOptions
from audiogen_metrics.audioldm.sampling import TRAINED_SECONDS, Sampling
from audiogen_metrics.declaring import like, required, setting

Condition = Literal["text", "audio"]
MixedPrecision = Literal["no", "fp16", "bf16"]


@dataclass(frozen=True)
class FineTuneSettings:
    """The fields of `audiogen_metrics.audioldm.configuration.FineTuneConfig`, which checks them."""

    data: str = field(
        metadata=required("Training clips: a folder, a .csv, .jsonl or .json table, or ``esc50=/data/ESC-50``.", "DATA")
    )
    output: str = field(metadata=required("New folder for everything that the run writes.", "OUT"))
    model: str = setting(
        "cvssp/audioldm-s-full-v2",
        "Checkpoint that gives CLAP, autoencoder and vocoder, and the denoiser to start from: a folder, AudioLDM's own "
        ".ckpt, a hub name or tiny-random.",
        "MODEL",
        help="checkpoint to start from: a folder, AudioLDM's own .ckpt, a hub name or tiny-random",
    )
    condition: Condition = setting(
        "text",
        "What the denoiser is told while it trains, ``text`` or ``audio``: fixed for the run as in the paper.",
        help="what the denoiser is told",
        choices=get_args(Condition),
    )
    pretrained: bool = setting(
        True,
        "False starts from a denoiser of the same architecture with random weights.",
        help="start from random weights of the same architecture",
        flag="--from-scratch",
    )
    split: str | None = setting(
        None, "Take the evaluation clips out of ``data``: paper, paper:400, fold:5 or list:FILE.", "RULE"
    )
    evaluation: str | None = setting(None, "Evaluation clips of their own, named like ``data``.", "DATA")
    validation: float | None = setting(
        None,
        "Share of the training clips on which the best checkpoint is chosen instead of the evaluation clips, which are "
        "then scored once, at the end; clips of one recording stay together. None chooses on the evaluation clips, as "
        "the paper did; that is optimistic.",
        "SHARE",
        help="choose the best checkpoint on this share of the training clips (default: on the evaluation clips)",
        least=0.001,
        most=0.9,
    )
    template: str = setting("label", "Prompt for class labels: label, sentence, or text with {label}.", "TEXT")
    seconds: float = setting(
        TRAINED_SECONDS,
        "Length of what the denoiser sees of a clip; shorter clips are padded with silence.",
        "S",
        least=0.1,
        most=TRAINED_SECONDS,
    )
    steps: int = setting(20_000, "Optimiser steps.", "N", least=1)
    batch_size: int = setting(2, "Clips per process and pass.", "N", least=1)
    accumulation: int = setting(1, "Passes per step.", "N", least=1)
    learning_rate: float = setting(1e-4, "Learning rate of AdamW, constant after the warm-up.", "R", least=0, most=1)
    warmup: int = setting(2000, "Steps of linear warm-up.", "N", least=0)
    weight_decay: float = setting(1e-2, "Weight decay of AdamW.", "W", least=0, most=1)
    clip_norm: float = setting(1.0, "Largest norm of the gradient, to which it is clipped.", "N", least=0)
    ema: float = setting(
        0.9999,
        "Decay of the averaged weights, which generate; warmed up as (1 + n) / (10 + n).",
        "D",
        help="decay of the averaged weights",
        least=0,
        most=1,
    )
    condition_dropout: float = setting(
        0.1,
        "Share of the draws whose condition is that of the empty prompt.",
        "P",
        least=0,
        most=1,
    )
    min_snr: float | None = setting(
        None,
        "Weight of the loss, Hang et al. 2023, as γ; None weights all noise levels alike, as AudioLDM does.",
        "G",
        help="weight the loss by min(SNR, G) / SNR",
        least=0,
    )
    lora: int | None = setting(
        None, "Rank of low-rank adapters to train instead of all weights.", "RANK", least=1, most=1024
    )
    precision: MixedPrecision = setting("no", "Precision of the denoiser's passes.", choices=get_args(MixedPrecision))
    gradient_checkpointing: bool = setting(False, "Trade a third more time for less memory.")
    heads: Heads = like(ModelOptions, "heads", help="as in agm generate")
    clap: str | None = like(
        ModelOptions, "clap", meaning="Full CLAP, for the condition audio.", help="full CLAP, for the condition audio"
    )
    eval_every: int = setting(
        1000, "Steps between evaluations, the first of which is before the training.", "N", least=1
    )
    eval_clips: int | None = setting(
        None, "Evaluation clips, at most: drawn at random from all classes.", "N", unset="all", least=2
    )
    eval_seconds: float | None = setting(
        None,
        "Length of what is generated.",
        "S",
        unset="that of the reference, at most 10.24 s",
        least=0.1,
        most=TRAINED_SECONDS,
    )
    sampling_steps: int = like(
        Sampling,
        "steps",
        meaning="DDIM steps of evaluation clips, which are always made from text, as in the paper.",
        help="DDIM steps of evaluation clips",
    )
    guidance: float = like(Sampling, "guidance", meaning="Guidance of evaluation clips.", help="")
    eta: float = like(Sampling, "eta", meaning="Noise added at each step of evaluation clips.", help="")
    candidates: int = like(
        Sampling,
        "candidates",
        meaning="Candidates made of each evaluation clip, of which CLAP keeps the best.",
        help="",
    )
    eval_batch_size: int = like(
        Sampling,
        "batch_size",
        meaning="Candidates at a time, at most, where evaluation clips are made. Clips do not depend on it beyond "
        "rounding.",
        help="candidates at a time, at most, where evaluation clips are made",
    )
    protocol: str = setting("audioldm", "Protocol of the scores; those that need prompts are not computed.", "NAME")
    monitor: str | None = setting(
        None,
        "Score that chooses the best checkpoint, such as fd_panns.",
        "SCORE",
        unset="the protocol's FD, or its first score if it has no FD",
    )
    patience: int | None = setting(
        None,
        "Evaluations without improvement after which the run stops, since the one before the training or a later best.",
        "N",
        help="stop after so many evaluations without improvement",
        unset="never",
        least=1,
    )
    save_every: int = setting(
        1000,
        "Steps between states to resume from; every evaluation writes one too.",
        "N",
        help="steps between states to resume from",
        least=1,
    )
    seed: int = setting(0, "Seed of everything that is random.", "N", least=0, most=2**63)
    device: str = setting(
        "auto",
        'Where networks run: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …; several processes take a GPU each.',
        "NAME",
        help="where networks run: auto, cpu, cuda, cuda:1, …",
    )
    strict: bool = setting(
        False,
        "Stop at an evaluation that fails, instead of noting it and training on, and at clips whose audio is missing.",
        help="stop at an evaluation that fails, and at clips whose audio is missing, which are left out otherwise",
    )
    tracker: str = setting(
        "tensorboard",
        "Trackers of accelerate, with commas between them, that are told every step and score: ``tensorboard``, "
        "``wandb``, …; ``none`` for none. ``steps.jsonl`` and ``history.jsonl`` are written in any case.",
        "LIST",
        help="comma-separated, what is told every step and score: tensorboard, wandb, another tracker of accelerate, "
        "or none",
        repeated=True,
    )
