"""What all cells of a benchmark share, and what a training of Table II takes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from audiogen_metrics.audioldm.finetune_settings import FineTuneSettings, MixedPrecision
from audiogen_metrics.audioldm.model_options import Dtype, Heads, ModelOptions
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.benchmark.published import schedule
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.declaring import Option, documented, like, part_of, setting
from audiogen_metrics.errors import UsageError, option, spoken
from audiogen_metrics.protocols import get_protocol

if TYPE_CHECKING:
    from audiogen_metrics.audioldm.configuration import FineTuneConfig

GIVEN: Mapping[str, str] = {
    **dict.fromkeys(("data", "evaluation", "output", "condition", "pretrained"), ""),
    **{name: name for name in ("model", "clap", "heads", "template", "guidance", "eta", "candidates")},
    **{name: name for name in ("protocol", "seed", "device")},
    "split": "splits",
    "sampling_steps": "steps",
    "eval_seconds": "seconds",
    "eval_clips": "limit",
    "eval_batch_size": "batch_size",
    **{name: name for name in ("validation", "precision", "gradient_checkpointing")},
}
"""Settings of a training that the benchmark gives it, by name: its own setting to use instead, empty for none."""


@documented
@dataclass(frozen=True)
class BenchSettings:
    """What all cells of a run share."""

    roots: Mapping[str, str] = field(metadata={"option": Option(meaning="Folder of each dataset by name.", flag="")})
    model: str = like(FineTuneSettings, "model", help="as in agm generate")
    clap: str | None = like(ModelOptions, "clap")
    heads: Heads = like(ModelOptions, "heads", help="as in agm generate")
    splits: Mapping[str, str] = setting(
        dict,
        "Rules that say which clips are for the evaluation, by dataset, where they differ from "
        "`audiogen_metrics.benchmark.plans.SPLITS`.",
        "DATASET=RULE",
        help="such as esc50=fold:5",
        flag="--split",
        repeated=True,
    )
    template: str = like(FineTuneSettings, "template")
    seconds: float | None = setting(
        None, "Length of generated clips.", "S", unset="that of the reference, at most 10.24 s", least=0
    )
    steps: int = like(Sampling, "steps")
    guidance: float = like(Sampling, "guidance")
    eta: float = like(Sampling, "eta")
    candidates: int = like(Sampling, "candidates")
    batch_size: int = like(Sampling, "batch_size")
    dtype: Dtype = like(
        ModelOptions,
        "dtype",
        meaning="Precision of the UNet in Table I; Table II evaluates in float32.",
        help="precision of the UNet in Table I",
    )
    protocol: str = setting("audioldm", "Protocol of the scores.", "NAME")
    limit: int | None = setting(
        None,
        "Evaluation clips of each dataset, at most, drawn at random from all classes; marks the results as a part.",
        "N",
        help="use at most N evaluation clips of each dataset, drawn from all classes",
        least=1,
    )
    seed: int = setting(0, "Seed of splits, sampling and training.", "N", least=0)
    training: Mapping[str, Any] = setting(
        dict,
        "Settings of `FineTuneConfig` for Table II that differ from its defaults; not those that the benchmark gives. "
        "Unless ``steps`` is one of them, a dataset of the paper is trained and evaluated by the paper's schedule.",
        "NAME=VALUE",
        help="a setting of agm finetune",
        flag="--train",
        repeated=True,
    )
    validation: float | None = like(FineTuneSettings, "validation")
    precision: MixedPrecision = like(
        FineTuneSettings, "precision", meaning="Precision of the denoiser's passes in training."
    )
    gradient_checkpointing: bool = like(FineTuneSettings, "gradient_checkpointing")
    fractions: Sequence[float] = setting(
        tuple(round(0.1 * step, 1) for step in range(11)), "Shares of the clips that Figure 1 corrupts.", flag=""
    )
    repeats: int = setting(5, "How often Figure 1 is drawn.", "N", least=1)
    device: str = like(ModelOptions, "device")

    def __post_init__(self) -> None:
        get_protocol(self.protocol)
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"{self.limit} clips have no distribution", where="limit", fix="Pass 2 or more")
        for name in self.roots:
            DATASETS.get(name)
        part_of(Sampling, vars(self))
        part_of(ModelOptions, vars(self))
        for name in self.training:
            if name in GIVEN:
                fix = f"Use {option(GIVEN[name], 'VALUE')}" if GIVEN[name] else "The benchmark gives each cell its own"
                raise UsageError(f"{name} is not a setting of the training alone", spoken("training", "--train"), fix)
        if self.training or self.validation is not None or self.precision != "no":
            training_config(self)

    def shared(self) -> dict[str, Any]:
        """Return what all cells share, for the record, as JSON values."""
        free = {"roots", "device", "batch_size", "training", "fractions", "repeats"}
        free |= {"validation", "precision", "gradient_checkpointing"}  # of the trainings, whose settings have them
        content = {name: value for name, value in asdict(self).items() if name not in free}
        return {**content, "splits": dict(self.splits)}


def training_config(settings: BenchSettings, dataset: str | None = None, **cell: Any) -> FineTuneConfig:
    """Return the settings of a training of Table II.

    Parameters
    ----------
    settings
        Of the benchmark.
    dataset
        Its name; the paper's `schedule` for it holds unless ``settings.training`` has ``steps``.
    cell
        What is a cell's own: its clips, place and condition.

    Raises
    ------
    UsageError
        An unknown setting, or a value of the wrong kind or out of range.
    """
    from audiogen_metrics.audioldm.configuration import make_config

    given = {
        theirs: getattr(settings, ours) for theirs, ours in GIVEN.items() if ours and ours not in ("splits", "limit")
    }
    length = {} if dataset is None or "steps" in settings.training else schedule(dataset)
    places = dict.fromkeys(("data", "evaluation", "output"), "-")
    return make_config({**places, **length, **settings.training, **given, **cell})
