"""Checkpoints of a training: whole, and found under a name that always has one."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.snapshots import ORIGIN, PARTS, LocalCheckpoint
from audiogen_metrics.audioldm.tiny import MARKER
from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.errors import UsageError
from audiogen_metrics.options import as_path
from audiogen_metrics.writing import encoded, json_text, link, unwritable, write_atomically


def write_checkpoint(
    folder: Path, name: str, unet: Any, source: LocalCheckpoint, config: FineTuneConfig, report: Mapping[str, Any]
) -> None:
    """Write a denoiser as a whole checkpoint, ``folder/name``, or nothing.

    Parameters
    ----------
    folder, name
        Of the run, and of the checkpoint below it.
    unet
        What has trained; adapters are written apart, and folded into a copy.
    source
        The checkpoint that gives the networks that do not train.
    config
        Of the run.
    report
        What finetuned.json says about it.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    target, new = folder / name, folder / f".{name}.new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        _copy_frozen(source, config.clap, new)
        with quiet():
            if config.lora is not None:
                unet.save_lora_adapter(str(new / "lora"))
            merged = _merged(unet) if config.lora is not None else unet
            merged.save_pretrained(str(new / "unet"))
        write_atomically(new / "finetuned.json", encoded(json_text(dict(report))))
        shutil.rmtree(target, ignore_errors=True)
        new.replace(target)
    except (OSError, RuntimeError, SafetensorError) as error:  # each library has its own for a full disk
        shutil.rmtree(new, ignore_errors=True)
        kept = "; the one before it is kept"
        raise unwritable(error, target, "Free space, then resume", "the checkpoint ", kept) from error


def point_at(folder: Path, name: str, target: str) -> None:
    """Make ``folder/name`` lead to a checkpoint, and remove those that it has led to before."""
    pointer = folder / f".{name}.new"
    try:
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(target)
        pointer.replace(folder / name)
    except OSError as error:
        what = f"cannot be made to lead to {target} ({error.strerror})"
        raise UsageError(what, folder / name, "Free space, then resume") from error
    for old in folder.glob(f"{name}-*"):
        if old.name != target:
            shutil.rmtree(old, ignore_errors=True)


def frozen_files(source: LocalCheckpoint, clap: str | None) -> dict[str, Path]:
    """Return the files of the networks that do not train, by their place in a checkpoint."""
    folders = {part: source.folder / part for part in (*PARTS, "clap") if part != "unet"}
    if clap is not None and as_path(clap).is_dir():
        folders["clap"] = as_path(clap)
    found = {name: source.folder / name for name in ("model_index.json", MARKER)}
    for part, folder in folders.items():
        found |= {f"{part}/{file.name}": file for file in (folder.iterdir() if folder.is_dir() else ())}
    return {name: file for name, file in found.items() if file.is_file()}


def _copy_frozen(source: LocalCheckpoint, clap: str | None, target: Path) -> None:
    """Give a checkpoint the networks that do not train, and say where all of them come from."""
    for name, file in frozen_files(source, clap).items():
        link(file, target / name)
    origin = dict(source.origin)
    if clap is not None and not as_path(clap).is_dir():
        origin["clap"] = clap
    write_atomically(target / ORIGIN, encoded(json_text(origin)))


def _merged(unet: Any) -> Any:
    """Return a copy with its adapters folded into the weights."""
    merged = copy.deepcopy(unet)
    merged.fuse_lora()
    merged.unload_lora()
    return merged
