"""The steps of a training: as JSON lines, and for the trackers that were asked for."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.errors import MissingDependencyError, option
from audiogen_metrics.writing import write_atomically, writing

STEPS = "steps.jsonl"

IDENTITY = "tracking.json"
"""By which id a tracker on another machine knows the run when it is resumed."""


class Tracker:
    """Notes what each step came to, and tells it accelerate's trackers; one that fails is left out from then on.

    Parameters
    ----------
    folder
        Of the run.
    config
        Its settings, which name the trackers.
    active
        False in all processes but the first.
    step
        Where the run goes on: later steps that are noted already will come again.
    """

    def __init__(self, folder: Path, config: FineTuneConfig, active: bool, step: int) -> None:
        self._active, self._path = active, folder / STEPS
        self._told: dict[str, Any] = {}
        if not active:
            return
        if self._path.exists():
            _cut_lines(self._path, step)
        for name in config.trackers():
            self._attempt(name, lambda name: self._told.update({name: _started(name, folder, config, step)}))

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_error: object) -> None:
        for name in [*self._told]:
            self._attempt(name, lambda name: self._told[name].finish())

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Note one step; UsageError if it cannot be written."""
        if self._active:
            with (
                writing(self._path, "Free space, then resume", but="; the last state is kept"),
                self._path.open("a", encoding="utf-8") as file,
            ):
                file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self.write(step, values)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the trackers some values."""
        for name in [*self._told]:
            self._attempt(name, lambda name: self._told[name].log(dict(values), step=step))

    def _attempt(self, name: str, act: Callable[[str], object]) -> None:
        """Do something with a tracker; if that fails, say so once, and do without it."""
        try:
            act(name)
        except Exception as error:
            self._told.pop(name, None)
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(f"the tracker {name} has failed, the training goes on without it: {problem}", stacklevel=4)


def check_trackers(config: FineTuneConfig) -> None:
    """Raise MissingDependencyError for a tracker whose package is not installed."""
    from accelerate.tracking import get_available_trackers

    known = {str(each) for each in get_available_trackers()}
    missing = [name for name in config.trackers() if name not in known]
    if missing:
        raise MissingDependencyError(
            f"the package of {' and '.join(missing)} is not installed",
            where="tracker",
            fix=f"Install it, or do without: {option('tracker', 'none')}",
        )


def _started(name: str, folder: Path, config: FineTuneConfig, step: int) -> Any:
    """Return one of accelerate's trackers, which goes on where it has stopped if it can."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    options: dict[str, Any] = {}
    project = os.environ.get("WANDB_PROJECT", "audiogen-metrics")
    if name == "tensorboard":  # its project is a folder below that of the run
        project, options = name, {"purge_step": step + 1}
    if name == "wandb":
        shown = "/".join(folder.absolute().parts[-2:])  # the folder alone is called run in every cell of a benchmark
        options = {"id": _identity(folder), "resume": "allow", "name": shown, "dir": str(folder)}
    place = [str(folder)] if kind.requires_logging_directory else []
    tracker = kind(project, *place, **options)
    tracker.start()
    if name != "tensorboard":  # which would make a folder and a figure of its own of them, at every start
        tracker.store_init_configuration(asdict(config))
    return tracker


def _identity(folder: Path) -> str:
    path = folder / IDENTITY
    if not path.exists():
        write_atomically(path, json.dumps({"id": uuid.uuid4().hex}).encode())
    return str(json.loads(path.read_text(encoding="utf-8"))["id"])


def duration(seconds: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> duration(600)
    '10 min'
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cut_lines(path: Path, step: int) -> None:
    """Drop lines of steps after ``step``, and a line that a kill has cut."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    write_atomically(path, "".join(f"{line}\n" for line in kept).encode())
