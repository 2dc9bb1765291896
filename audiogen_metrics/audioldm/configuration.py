"""What a fine-tuning run is: every setting, checked before anything loads."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from audiogen_metrics.audioldm.finetune_settings import FineTuneSettings
from audiogen_metrics.audioldm.finetune_settings import MixedPrecision as MixedPrecision
from audiogen_metrics.declaring import Option, documented, options_of_fields
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation.opening import computable
from audiogen_metrics.options import bounds
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.registry import unknown_name

__all__ = ["FineTuneConfig", "read_config"]

WITHOUT_EFFECT = ("device", "gradient_checkpointing", "eval_batch_size", "strict", "tracker")
"""Settings that change no number beyond rounding."""

TRACKERS = (
    *("tensorboard", "wandb", "trackio", "comet_ml", "aim", "mlflow", "clearml", "dvclive", "swanlab"),
    "none",
)
"""The trackers that accelerate knows, and the word for none of them."""


@documented
@dataclass(frozen=True)
class FineTuneConfig(FineTuneSettings):
    """Settings of a run; those the paper does not state have the defaults of AudioLDM's own trainer, if any."""

    def __post_init__(self) -> None:
        settings = options_of_fields(type(self))
        for name, kind in typing.get_type_hints(type(self)).items():
            _check(name, getattr(self, name), kind, settings[name])
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
            raise UsageError(f"{self.tracker!r} names trackers beside none", where="tracker")
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
        raise UsageError("is not a mapping of settings", where=path, fix="Write lines such as data: sounds/")
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


def _check(name: str, value: Any, kind: Any, declared: Option) -> None:
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None:
        if type(None) not in options:
            raise UsageError("is missing", where=name)
        return
    (plain,) = [option for option in options if option is not type(None)]
    if declared.choices:
        if value not in declared.choices:
            raise UsageError(f"{value!r} is not one of {', '.join(declared.choices)}", where=name)
        return
    # YAML reads 1e-4 as text, and True is an int to Python.
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) if plain is float else type(value) is plain
    if not fits:
        hint = "Write 0.0001, or 1.0e-4" if plain is float else None
        raise UsageError(f"{value!r} is not of type {plain.__name__}", where=name, fix=hint)
    low = -math.inf if declared.least is None else declared.least
    high = math.inf if declared.most is None else declared.most
    if plain in (int, float) and not low <= value <= high:
        fix = f"Use a {'whole ' * (plain is int)}number, {bounds(low, high)}"
        raise UsageError(f"{value!r} is out of range", where=name, fix=fix)
