"""A folder is of one run: of one configuration, and of the same clips and networks from its first step to its last."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.snapshots import configuration_files, weights_files
from audiogen_metrics.errors import DataError, UsageError, option
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.writing import encoded, is_temporary, json_text, write_atomically, writing

if TYPE_CHECKING:
    from audiogen_metrics.audioldm.generation import AudioLDM

STATE, CONFIG, INPUTS = "state.pt", "config.json", "inputs.json"

PLACES = ("data", "evaluation", "model", "clap")
"""Settings that say where inputs lie: with digests of what lies there, another place is not a change."""

Inputs = Mapping[str, Mapping[str, str]]
"""What a run is made from: digests by clip id or file, of each kind of input."""

NAMED = 3
"""Inputs of one kind of change that an error names."""


def check_folder(folder: Path, config: FineTuneConfig, resume: bool) -> None:
    """Raise UsageError for a folder that is in use, or of a run with other settings."""
    path = folder / CONFIG
    if path.exists():
        if not resume and (folder / STATE).exists():
            raise UsageError("has a run in it", folder, f"Go on with it by {option('resume')}, or choose a new folder")
        now, recorded = _plain(config.identity()), (folder / INPUTS).exists()
        before = {**now, **_defaults(), **_read(path)}  # an older version did not have all settings
        changed = sorted(name for name in now if before[name] != now[name] and not (recorded and name in PLACES))
        if changed:
            raise UsageError(
                f"the run had {changed[0]} = {before[changed[0]]!r}, not {now[changed[0]]!r}",
                where=folder,
                fix="Resume with its settings, or choose a new folder",
            )
    elif folder.exists() and (not folder.is_dir() or any(not is_temporary(file) for file in folder.iterdir())):
        raise UsageError("is not empty", folder, "Choose a new folder")


def make_folder(folder: Path) -> None:
    """Make the folder of a run, which does not claim it; UsageError if that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot be made ({error.strerror})", folder, "Choose another folder") from error


def check_inputs(folder: Path, inputs: Inputs) -> None:
    """Raise DataError if a run that goes on was begun with other clips, recordings, captions or networks."""
    if not (folder / STATE).exists():
        return
    if not (folder / INPUTS).exists():
        warnings.warn(
            f"{folder}: the run was begun by a version that kept no digests of its clips and networks. Whether they "
            "are the same cannot be told; from here on a change is refused",
            stacklevel=2,
        )
        return
    before = _read(folder / INPUTS)
    # An older version did not note all kinds.
    kinds = [kind for kind in inputs if kind in before]
    changes = [f"{kind}: {text}" for kind in kinds if (text := _change(before[kind], inputs[kind]))]
    if changes:
        raise DataError(
            f"the run was begun with other inputs. {'; '.join(changes)}",
            where=folder,
            fix="Restore them, or begin a new run in a new folder",
        )


def inputs_of(
    train: Mapping[str, str],
    held: Mapping[str, str],
    model: AudioLDM,
    config: FineTuneConfig,
    weights: Mapping[str, str | Path],
) -> Inputs:
    """Return what a run is made from.

    Parameters
    ----------
    train, held
        Content hash and prompt of training and evaluation clips by clip id.
    model
        Its weights count, and CLAP's where recordings are the condition or the best of several candidates is taken.
    config
        Of the run.
    weights
        Files of backbones, as in `score`; the published ones are verified wherever they lie.
    """
    networks = {**model.snapshot.digests(), **model.snapshot.configurations()}
    folders = {name: path for name, given in weights.items() if (path := as_path(given)).is_dir()}
    scoring = {}
    for name, given in weights.items():
        for file in weights_files(folders[name]) if name in folders else [as_path(given)]:
            scoring[f"{name}/{file.name}"] = sha256_of(file)
    configurations = {f"scores/{name}": folder for name, folder in folders.items()}
    if config.condition == "audio" or config.candidates > 1:
        networks |= {f"clap/{name}": digest for name, digest in model.clap.digests.items()}
        configurations["clap"] = model.clap.folder
    return {
        "training clips": dict(train),
        "evaluation clips": dict(held),
        "networks of the model": networks,
        "weights of the scores": scoring,
        "configurations beside the model": {
            f"{name}/{file.name}": sha256_of(file)
            for name, folder in configurations.items()
            for file in configuration_files(folder)
        },
    }


def claim(folder: Path, config: FineTuneConfig, inputs: Inputs) -> None:
    """Write down what the run is, once all is ready for it; UsageError if that cannot be written."""
    with writing(folder):
        # The configuration first: a folder with it may be begun again, whatever a kill has left.
        write_atomically(folder / CONFIG, encoded(json_text(config.identity())))
        write_atomically(folder / INPUTS, json.dumps(inputs, indent=1, ensure_ascii=False).encode())


def require_room(folder: Path, needed: int) -> None:
    """Raise UsageError unless the disk has room for ``needed`` bytes more."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"the disk has {free / 2**30:.2f} GB free; states, checkpoints and clips of the run need "
            f"{needed / 2**30:.2f} GB",
            where=folder,
            fix="Free space, or choose a folder on another disk",
        )


def bytes_of_copies(files: Iterable[Path], folder: Path) -> int:
    """Return what files take in a folder: nothing where a second name will do, their size on another disk."""
    disk = folder.stat().st_dev
    states = [file.stat() for file in files]
    return sum(state.st_size for state in states if state.st_dev != disk)


def _change(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    kinds = {
        "new": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
    }
    return ", ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names)


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("cannot be read as JSON", where=path, fix="Choose a new folder") from error
    if not isinstance(content, dict):
        raise DataError("does not describe a run", where=path, fix="Choose a new folder")
    return content


def _defaults() -> dict[str, Any]:
    return _plain({entry.name: entry.default for entry in fields(FineTuneConfig) if entry.default is not MISSING})


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain
