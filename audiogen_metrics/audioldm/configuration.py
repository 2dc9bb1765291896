"""What a fine-tuning run is: every setting, checked before anything loads."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from audiogen_metrics.audioldm.latents import Condition
from audiogen_metrics.audioldm.snapshots import Heads
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation.run import computable
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.registry import unknown_name

Precision = Literal["no", "fp16", "bf16"]

WITHOUT_EFFECT = ("device", "gradient_checkpointing", "eval_batch_size", "strict", "tracker")
"""Settings that change no number beyond rounding."""

TRACKERS = (
    *("tensorboard", "wandb", "trackio", "comet_ml", "aim", "mlflow", "clearml", "dvclive", "swanlab"),
    "none",
)
"""The trackers that accelerate knows, and the word for none of them."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "steps": (1, math.inf),
    "batch_size": (1, math.inf),
    "accumulation": (1, math.inf),
    "learning_rate": (0, 1),
    "warmup": (0, math.inf),
    "ema": (0, 1),
    "condition_dropout": (0, 1),
    "clip_norm": (0, math.inf),
    "weight_decay": (0, 1),
    "min_snr": (0, math.inf),
    "lora": (1, 1024),
    "seconds": (0.1, 10.24),
    "eval_every": (1, math.inf),
    "eval_seconds": (0.1, 10.24),
    "eval_clips": (2, math.inf),
    "save_every": (1, math.inf),
    "patience": (1, math.inf),
    "validation": (0.001, 0.9),
    "seed": (0, 2**63),
    "sampling_steps": (1, 1000),
    "eval_batch_size": (1, 2**16),
    "guidance": (0, math.inf),
    "eta": (0, 1),
    "candidates": (1, 1000),
}


@dataclass(frozen=True)
class FineTuneConfig:
    """Settings of a run; those the paper does not state have the defaults of AudioLDM's own trainer, if any.

    Parameters
    ----------
    data
        Training clips: a folder, a table, or ``esc50=/data/ESC-50``.
    output
        New folder for everything that the run writes.
    model
        Checkpoint that gives CLAP, autoencoder and vocoder, and the denoiser to start from.
    condition
        ``"text"`` or ``"audio"``: what the denoiser is told while it trains, fixed for the run as in the paper.
    pretrained
        False starts from a denoiser of the same architecture with random weights.
    split
        Takes the evaluation clips out of ``data``: ``"paper"``, ``"paper:400"``, ``"fold:5"`` or ``"list:FILE"``.
    evaluation
        Evaluation clips of their own, named like ``data``.
    validation
        Share of the training clips on which the best checkpoint is chosen instead of the evaluation clips, which are
        then scored once, at the end. None chooses on the evaluation clips, as the paper did; that is optimistic.
    template
        Prompt for class labels.
    seconds
        Length of what the denoiser sees; shorter clips are padded with silence.
    steps, batch_size, accumulation
        Optimiser steps; clips per process and pass; passes per step.
    learning_rate, warmup, weight_decay, clip_norm
        Of AdamW: linear warm-up over ``warmup`` steps, then constant; gradients are clipped to this norm.
    ema
        Decay of the average that generates, warmed up as (1 + n) / (10 + n).
    condition_dropout
        Share of the draws whose condition is that of the empty prompt.
    min_snr
        Weight of the loss, Hang et al. 2023, as γ; None weights all noise levels alike, as AudioLDM does.
    lora
        Rank of low-rank adapters to train instead of all weights.
    precision
        ``"no"``, ``"fp16"`` or ``"bf16"``, of the denoiser's passes.
    gradient_checkpointing
        Trade a third more time for memory.
    heads
        As in `AudioLDM.from_pretrained`.
    clap
        Full CLAP, for the condition audio; None takes the one known to fit.
    eval_every, eval_clips, eval_seconds
        Steps between evaluations, the first of which is before the training; evaluation clips at most, drawn at random
        from all classes; length of what is generated, None for that of the reference, at most 10.24 s.
    sampling_steps, guidance, eta, candidates
        How evaluation clips are sampled, always from text, as in the paper.
    eval_batch_size
        Candidates at a time, at most, where evaluation clips are made. Clips do not depend on it beyond rounding.
    protocol, monitor
        How they are scored, and the score that chooses the best checkpoint; None takes the protocol's FD, or its
        first score if it has no FD. Scores that need prompts are not computed.
    patience
        Evaluations without improvement, since the one before the training or a later best, after which the run stops;
        None never stops early.
    save_every
        Steps between states to resume from; every evaluation writes one too.
    seed
        Of everything that is random.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …; several processes take a GPU each.
    strict
        Stop at an evaluation that fails, instead of noting it and training on, and at clips whose audio is missing.
    tracker
        Trackers of accelerate, with commas between them, that are told every step and score: ``"tensorboard"``,
        ``"wandb"``, …; ``"none"`` for none. ``steps.jsonl`` and ``history.jsonl`` are written in any case.
    """

    data: str
    output: str
    model: str = "cvssp/audioldm-s-full-v2"
    condition: Condition = "text"
    pretrained: bool = True
    split: str | None = None
    evaluation: str | None = None
    validation: float | None = None
    template: str = "label"
    seconds: float = 10.24
    steps: int = 20_000
    batch_size: int = 2
    accumulation: int = 1
    learning_rate: float = 1e-4
    warmup: int = 2000
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema: float = 0.9999
    condition_dropout: float = 0.1
    min_snr: float | None = None
    lora: int | None = None
    precision: Precision = "no"
    gradient_checkpointing: bool = False
    heads: Heads = "original"
    clap: str | None = None
    eval_every: int = 1000
    eval_clips: int | None = None
    eval_seconds: float | None = None
    sampling_steps: int = 200
    guidance: float = 2.5
    eta: float = 1.0
    candidates: int = 1
    eval_batch_size: int = 4
    protocol: str = "audioldm"
    monitor: str | None = None
    patience: int | None = None
    save_every: int = 1000
    seed: int = 0
    device: str = "auto"
    strict: bool = False
    tracker: str = "tensorboard"

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            _check(name, getattr(self, name), kind)
        if self.lora is not None and not self.pretrained:
            raise UsageError("adapters on a random denoiser make no sense", "lora", "Drop lora, or start pre-trained")
        if self.split is not None and self.evaluation is not None:
            raise UsageError("evaluation clips come from data or from evaluation, not from both", where="split")
        if self.validation is not None and self.split is None and self.evaluation is None:
            raise UsageError("needs evaluation clips for the end", "validation", "Give split or evaluation")
        self.monitored()
        self.trackers()

    def trackers(self) -> tuple[str, ...]:
        """Return the names of the trackers, each once."""
        names = tuple(dict.fromkeys(name.strip() for name in self.tracker.split(",")))
        for name in names:
            if name not in TRACKERS:
                raise unknown_name("tracker", name, [*TRACKERS])
        if len(names) > 1 and "none" in names:
            raise UsageError(f"{self.tracker!r} names trackers, and none", where="tracker")
        return () if names == ("none",) else names

    def monitored(self) -> tuple[str, bool]:
        """Return the score that chooses the best checkpoint, and whether higher is better."""
        recipes = computable(get_protocol(self.protocol), None, ref=True, prompts=False)
        known = {recipe.score_id: recipe.definition.higher_is_better for recipe in recipes}
        monitor = self.monitor or next((each.score_id for each in recipes if each.metric == "fd"), next(iter(known)))
        if monitor not in known:
            raise unknown_name(f"score of protocol {self.protocol}", monitor, sorted(known))
        return monitor, known[monitor]

    def validation_clips(self, clips: int) -> int:
        """Return how many of so many training clips choose the best checkpoint instead of training."""
        return 0 if self.validation is None else max(2, round(self.validation * clips))

    def identity(self) -> dict[str, Any]:
        """Return what may not change when a run is resumed: all but its length, rhythm, place, device and trackers."""
        free = {"output", "steps", "eval_every", "save_every", "patience", *WITHOUT_EFFECT}
        return {name: value for name, value in asdict(self).items() if name not in free}


def read_config(path: str | Path, **changes: Any) -> FineTuneConfig:
    """Read a YAML file; ``changes`` that are not None take precedence.

    Raises
    ------
    UsageError
        Not YAML, an unknown setting, or a value of the wrong kind or out of range.
    """
    from audiogen_metrics.audioldm.dependencies import require

    require()
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot be read as YAML ({' '.join(str(error).split())})", where=path) from error
    if not isinstance(content, dict):
        raise UsageError("is no mapping of settings", where=path, fix="Write lines such as data: sounds/")
    return make_config({**content, **{name: value for name, value in changes.items() if value is not None}})


def make_config(settings: Mapping[str, Any]) -> FineTuneConfig:
    """Return the configuration with these settings; UsageError for one that is unknown or missing."""
    known = [entry.name for entry in fields(FineTuneConfig)]
    for name in settings:
        if name not in known:
            raise unknown_name("setting", str(name), known)
    missing = [name for name in ("data", "output") if name not in settings]
    if missing:
        raise UsageError(f"{missing[0]} is missing", fix=f"Set {missing[0]}")
    return FineTuneConfig(**settings)


def _check(name: str, value: Any, kind: Any) -> None:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None:
        if type(None) not in options:
            raise UsageError("is missing", where=name)
        return
    (plain,) = [option for option in options if option is not type(None)]
    if typing.get_origin(plain) is Literal:
        if value not in typing.get_args(plain):
            raise UsageError(f"{value!r} is not one of {', '.join(typing.get_args(plain))}", where=name)
        return
    # YAML reads 1e-4 as text, and True is an int to Python.
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) if plain is float else type(value) is plain
    if not fits:
        hint = "Write 0.0001, or 1.0e-4" if plain is float else None
        raise UsageError(f"{value!r} is no {plain.__name__}", where=name, fix=hint)
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if plain in (int, float) and not low <= value <= high:
        raise UsageError(f"{value!r} is not within {low:g} and {high:g}", where=name)
