"""The steps of a training: as JSON lines, and for TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiogen_metrics.errors import UsageError
from audiogen_metrics.writing import write_atomically

STEPS = "steps.jsonl"


class Tracker:
    """Notes what each step came to.

    Parameters
    ----------
    folder
        Of the run.
    active
        False in all processes but the first.
    step
        Where the run goes on: later steps that are noted already will come again.
    """

    def __init__(self, folder: Path, active: bool, step: int) -> None:
        self._active, self._path = active, folder / STEPS
        self._board: Any = None
        if active and self._path.exists():
            _cut_lines(self._path, step)
        if active:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._board is not None:
            self._board.close()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Note one step; UsageError if it cannot be written."""
        if self._active:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
            except OSError as error:
                raise UsageError(
                    f"cannot be written ({error.strerror}); the last state is kept",
                    where=self._path,
                    fix="Free space, then resume",
                ) from error
        self.write(step, values)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Show values in TensorBoard."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


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
