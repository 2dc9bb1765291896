"""What makes a cell: the contents of all that shapes its numbers, wherever that lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from audiogen_metrics.benchmark.plans import Cell, Plan
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.errors import DataError
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.opening import computable
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.generation.base import Generator
from audiogen_metrics.options import as_path
from audiogen_metrics.protocols import get_protocol

System = str | Path | Generator


def identified(plan: Plan, weights: Mapping[str, str | Path], systems: Mapping[str, System]) -> Plan:
    """Return the plan with digests in the settings of each cell, so that other contents are another cell.

    These are the checkpoint with its configuration, CLAP where it is used, the networks that score, the clips, and
    what another system made. Nothing is loaded; files are read once and remembered as long as they do not change.

    Parameters
    ----------
    plan
        As `make_plan` gives it.
    weights
        Files of backbones, as in `score`.
    systems
        Other systems by name.

    Raises
    ------
    MissingWeightsError, MissingDependencyError
        The checkpoint, CLAP or a network that scores is not on this machine.
    DataError
        Another system has no clips of a dataset.
    """
    found = _Contents(plan, weights, systems)
    cells = tuple(replace(cell, settings={**cell.settings, **found.of(cell)}) for cell in plan.cells)
    return replace(plan, cells=cells)


def clips_digest(clips: Sequence[DatasetClip]) -> str:
    """Return the SHA-256 over the ids, captions, classes, contents and formats of clips."""
    return _digest(
        [
            (clip.clip_id, clip.caption, clip.labels, clip.path.suffix, _sha256(clip.path))
            for clip in clips
            if clip.path is not None
        ]
    )


class _Contents:
    """Digests of what a plan's cells are made of, each computed once, and only if a cell needs it."""

    def __init__(self, plan: Plan, weights: Mapping[str, str | Path], systems: Mapping[str, System]) -> None:
        self._plan, self._weights, self._systems = plan, weights, systems
        self._clips: dict[tuple[str, str], str] = {}

    def of(self, cell: Cell) -> dict[str, Any]:
        """Return the digests of one cell, by what they are of."""
        settings = self._plan.settings
        used = "recordings" if cell.kind == "study" else "evaluation"
        found: dict[str, Any] = {"scoring": self.scoring, "clips": self._digest_of(used, cell.dataset)}
        if cell.kind == "folder":
            found["system"] = self._system(cell)
        if cell.system == "audioldm" and cell.kind != "study":
            found["model"] = self.model
            if cell.condition == "audio" or settings.candidates > 1:
                found["clap"] = self.clap
        if cell.kind == "finetune":
            found["train"] = self._digest_of("training", cell.dataset)
        return found

    @cached_property
    def scoring(self) -> dict[str, Any]:
        """Digest and version of each network that scores, or why it is missing, by name."""
        settings = self._plan.settings
        recipes = computable(get_protocol(settings.protocol), None, ref=True, prompts=False)
        networks = find_networks(recipes, settings.device, self._weights, added(recipes))
        kept = ("weights_sha256", "numerics_version")
        found = {name: {key: each.settings[key] for key in kept} for name, each in networks.backbones.items()}
        return {**found, **dict.fromkeys(networks.missing, "missing")}

    @cached_property
    def model(self) -> dict[str, Any]:
        """Digests of the checkpoint's weights, one of its other files, and whether its weights are random."""
        snapshot = self._snapshot
        return {
            "weights_sha256": snapshot.digests(),
            "configuration_sha256": _digest(snapshot.configurations()),
            "random_weights": snapshot.is_random,
        }

    @cached_property
    def clap(self) -> dict[str, str]:
        """Digests of the full CLAP's weights and configuration, by file name."""
        from audiogen_metrics.audioldm.snapshots import configuration_files, locate_clap, weights_files

        folder = locate_clap(self._plan.settings.clap, self._snapshot)
        return {file.name: _sha256(file) for file in [*weights_files(folder), *configuration_files(folder)]}

    @cached_property
    def _snapshot(self) -> Any:
        from audiogen_metrics.audioldm.snapshots import locate

        return locate(self._plan.settings.model)

    def _digest_of(self, used: str, dataset: str) -> str:
        if (used, dataset) not in self._clips:
            self._clips[used, dataset] = clips_digest(getattr(self._plan, used)(dataset))
        return self._clips[used, dataset]

    def _system(self, cell: Cell) -> str:
        folder = system_folder(self._systems[cell.system], cell)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return _digest([(path.relative_to(folder).as_posix(), _sha256(path)) for path in files])


def system_folder(system: System, cell: Cell) -> Path:
    """Return where the clips of another system lie; DataError if it has none of the dataset."""
    assert isinstance(system, (str, Path))
    folder = as_path(system) / cell.dataset
    if not folder.is_dir():
        raise DataError(
            f"the system {cell.system} has no clips of {cell.dataset}", folder, "Name sub-folders after the datasets"
        )
    return folder


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
