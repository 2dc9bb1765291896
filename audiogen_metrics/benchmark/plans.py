"""What the benchmark runs: cells are data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from audiogen_metrics.benchmark.settings import GIVEN, BenchSettings, training_config
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.datasets.splits import Split, draw, split_by
from audiogen_metrics.errors import DataError, UsageError, option

Kind = Literal["generate", "folder", "finetune", "study"]
Artefact = Literal["table1", "table2", "figure1", "figure2"]

ARTEFACTS: Mapping[Artefact, str] = {
    "table1": "Table I: the released model, text or audio embedding as condition",
    "table2": "Table II: fine-tuned or from scratch, trained on text or audio, best score during training",
    "figure1": "Figure 1: what the metrics hear of noise and masking, interference and order",
    "figure2": "Figure 2: ESC-50, scores over the steps of the training",
}

PAPER_DATASETS: Mapping[Artefact, tuple[str, ...]] = {
    "table1": ("esc50", "urbansound8k", "audiocaps", "audioset"),
    "table2": ("esc50", "urbansound8k", "audiocaps"),
    "figure1": ("esc50",),
    "figure2": ("esc50",),
}

SPLITS: Mapping[str, str] = {
    "esc50": "paper",
    "urbansound8k": "paper",
    "audiocaps": "fold:test",
    "audioset": "fold:eval",
}
"""How the evaluation clips are chosen unless said otherwise."""

TRAINED: tuple[Artefact, ...] = ("table2", "figure2")
"""What trains, so that it needs training clips, which may not be heard in the evaluation."""

TABLES: tuple[Artefact, ...] = ("table1", "table2")
"""What takes datasets that the paper does not have, too: those of installed packages that a root is given for."""


@dataclass(frozen=True)
class Cell:
    """One number of a table, or one curve: what is made, and on what.

    Attributes
    ----------
    artefacts
        Tables and figures that show it.
    kind
        ``"generate"``, ``"folder"`` (made by someone else), ``"finetune"`` or ``"study"``.
    dataset, condition, pretrained, system
        Its place; system is ``"audioldm"`` or a name given by the user.
    settings
        All that shapes its numbers; digests of contents are added when the benchmark runs.
    """

    artefacts: tuple[Artefact, ...]
    kind: Kind
    dataset: str
    condition: str = ""
    pretrained: bool | None = None
    system: str = "audioldm"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The place of the cell in words."""
        start = {None: "", True: "pretrained", False: "scratch"}[self.pretrained]
        return "-".join(filter(None, (self.kind, self.dataset, self.system, start, self.condition)))

    @property
    def name(self) -> str:
        """A readable name, different for different settings."""
        text = json.dumps([self.title, self.settings], sort_keys=True, default=str)
        return f"{self.title}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Plan:
    """The cells of some tables and figures, the clips of each dataset, and warnings for each table and figure."""

    settings: BenchSettings
    artefacts: tuple[Artefact, ...]
    cells: tuple[Cell, ...]
    splits: Mapping[str, Split]
    warnings: Mapping[Artefact, tuple[str, ...]]
    _seconds: dict[str, Mapping[str, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def evaluation(self, dataset: str) -> list[DatasetClip]:
        """Return the evaluation clips of a dataset, sorted by id, no more than the limit."""
        return list(self.splits[dataset].evaluation.clips)

    def seconds(self, dataset: str, known: Mapping[str, float] = MappingProxyType({})) -> Mapping[str, float]:
        """Return how long the clip is that is generated for each evaluation clip, by id; each recording is read once.

        Those whose length is ``known``, by id, are not read.

        Raises
        ------
        DataError
            A recording without a length.
        """
        from audiogen_metrics.audioldm.evaluating import seconds_of

        if dataset not in self._seconds:
            self._seconds[dataset] = {
                clip.clip_id: self.settings.seconds or seconds_of(clip.path, known.get(clip.clip_id))
                for clip in self.evaluation(dataset)
                if clip.path is not None
            }
        return self._seconds[dataset]

    def recordings(self, dataset: str) -> list[DatasetClip]:
        """Return all clips of a dataset whose audio is there, no more than the limit: what Figure 1 corrupts."""
        return _recordings(self.splits[dataset], self.settings)

    def training(self, dataset: str) -> list[DatasetClip]:
        """Return the training clips of a dataset whose audio is there; its validation part is left alone."""
        return _training(self.splits[dataset])


def make_plan(artefacts: Sequence[Artefact], settings: BenchSettings, systems: Mapping[str, str] | None = None) -> Plan:
    """Return the cells that tables and figures need; those without a root are left out, with a warning.

    Parameters
    ----------
    artefacts
        Names in `ARTEFACTS`.
    settings
        What the cells share.
    systems
        Other systems for Table I by name: what tells them apart, as `describe_systems` gives it.

    Raises
    ------
    UsageError
        No root for any dataset of an artefact.
    DataError
        A dataset that cannot be read, whose evaluation audio is missing, or without the training clips that are needed.
    """
    others = tuple(name for name in settings.roots if name not in SPLITS)
    datasets = {artefact: PAPER_DATASETS[artefact] + others * (artefact in TABLES) for artefact in artefacts}
    wanted = dict.fromkeys(name for names in datasets.values() for name in names if name in settings.roots)
    splits = {dataset: _split(dataset, settings) for dataset in wanted}
    warnings: dict[Artefact, tuple[str, ...]] = {}
    cells: dict[str, Cell] = {}
    for artefact in artefacts:
        known = [dataset for dataset in datasets[artefact] if dataset in splits]
        if not known:
            needed = ", ".join(option("roots", {name: "FOLDER"}) for name in PAPER_DATASETS[artefact])
            raise UsageError("has no dataset", where=artefact, fix=f"Give one of {needed}")
        warnings[artefact] = _warnings(artefact, datasets[artefact], splits)
        for dataset in known:
            for cell in _cells(artefact, dataset, settings, systems or {}, splits[dataset]):
                before = cells.get(cell.name)
                cells[cell.name] = cell if before is None else replace(cell, artefacts=(*before.artefacts, artefact))
    return Plan(settings, tuple(artefacts), tuple(cells.values()), splits, warnings)


def _cells(
    artefact: Artefact, dataset: str, settings: BenchSettings, systems: Mapping[str, str], split: Split
) -> list[Cell]:
    elsewhere = {"model", "clap", "splits"}  # paths, and rules of other datasets: their contents count
    common = {name: value for name, value in settings.shared().items() if name not in elsewhere}
    common |= {"split": split.rule, "clips": _digest([clip.clip_id for clip in split.evaluation.clips])}
    if artefact == "table1":
        own = [Cell((artefact,), "generate", dataset, condition, settings=common) for condition in ("text", "audio")]
        for name, text in systems.items():
            kind: Kind = "folder" if text == "folder" else "generate"
            own.append(Cell((artefact,), kind, dataset, system=name, settings={**common, "system": text}))
        return own
    if artefact == "figure1":
        from audiogen_metrics.studies.study import CONTROL, PAPER_PROBES

        studied = [clip.clip_id for clip in _recordings(split, settings)]
        shape: dict[str, Any] = {"protocol": settings.protocol, "seed": settings.seed, "repeats": settings.repeats}
        shape |= {"probes": [*PAPER_PROBES, CONTROL], "fractions": list(settings.fractions)}
        return [
            Cell(
                (artefact,),
                "study",
                dataset,
                settings={**shape, "clips": _digest(studied)},
            )
        ]
    from audiogen_metrics.audioldm.configuration import WITHOUT_EFFECT

    free = {*GIVEN, "save_every", *WITHOUT_EFFECT} - {"precision", "validation"}  # said elsewhere, or without effect
    training = asdict(training_config(settings, dataset))
    trained = {
        **{name: value for name, value in common.items() if name != "dtype"},
        "evaluated_from_step": 0,
        "training": {name: value for name, value in training.items() if name not in free},
        "train": _digest([clip.clip_id for clip in _training(split)]),
    }
    return [
        Cell((artefact,), "finetune", dataset, condition, pretrained, settings=trained)
        for pretrained in (False, True)
        for condition in ("audio", "text")
    ]


def _split(dataset: str, settings: BenchSettings) -> Split:
    found = open_dataset(f"{dataset}={settings.roots[dataset]}")
    rule = settings.splits.get(dataset) or SPLITS.get(dataset)
    if rule is None:
        raise UsageError(
            "which of its clips are for the evaluation is not known",
            dataset,
            f"Say so: {option('splits', {dataset: 'RULE'})}",
        )
    split = split_by(found, rule, settings.seed)
    wanted = _drawn(split.evaluation.clips, settings)
    missing = [clip.clip_id for clip in wanted if clip.path is None]
    if missing:
        raise DataError(
            f"the audio of {len(missing)} of {len(wanted)} evaluation clips is missing: {', '.join(missing[:5])}",
            where=Path(settings.roots[dataset]),
            fix=f"See agm data check {dataset}; the clips you have are a split too: "
            f"{option('splits', {dataset: 'list:FILE'})}",
        )
    return replace(split, evaluation=split.evaluation.only(wanted))


def _recordings(split: Split, settings: BenchSettings) -> list[DatasetClip]:
    clips = (*(split.train.present if split.train else ()), *split.evaluation.present)
    return _drawn(sorted(clips, key=lambda clip: clip.clip_id), settings)


def _drawn(clips: Sequence[DatasetClip], settings: BenchSettings) -> list[DatasetClip]:
    return list(clips) if settings.limit is None else draw(clips, settings.limit, settings.seed)


def _training(split: Split) -> list[DatasetClip]:
    clips = split.train.present if split.train else ()
    return [clip for clip in clips if clip.split != "val"]


def _warnings(artefact: Artefact, datasets: Sequence[str], splits: Mapping[str, Split]) -> tuple[str, ...]:
    """Return what to know of the clips; that training clips are like evaluation clips, where something trains."""
    found = []
    known = [dataset for dataset in datasets if dataset in splits]
    for dataset in known if artefact in TRAINED else ():
        split = splits[dataset]
        if not _training(split):
            raise DataError("has no training clips", dataset, "Get the training part, or leave the dataset out")
        found += [f"{dataset}: {warning}" for warning in split.warnings]
        missing = split.train.missing if split.train else ()
        if missing:
            names = ", ".join(missing[:5]) + " …" * (len(missing) > 5)
            found.append(f"{dataset}: {len(missing)} training clips have no audio and do not train: {names}")
    left_out = sorted(set(datasets) - set(known))
    return (*found, f"{artefact}: no root for {', '.join(left_out)}; left out") if left_out else tuple(found)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]
