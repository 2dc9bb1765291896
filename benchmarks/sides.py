"""The two ways in which one side of a comparison runs: as a process that stays, or as a new one each time.

Both call `main`. A process that stays sets itself up, says so, then runs its task once for each line on stdin. Only the
task is timed, and while one side runs the other waits for its line. Standard library only, as this module is imported
in the environments of both sides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Values = Mapping[str, float | None]
Task = Callable[[], Values]


class Side(Protocol):
    """One side of a comparison."""

    def run(self) -> dict[str, Any]:
        """Run once; return ``seconds`` and ``values``."""

    def close(self) -> None:
        """End it."""


class Process:
    """A side that is a new process each time, timed from start to exit; its last line of stdout is JSON values.

    ``before`` is called ahead of each run and is not timed.
    """

    def __init__(
        self, command: Sequence[str | Path], folder: Path, before: Callable[[], object] = lambda: None, **variables: str
    ) -> None:
        self.command, self.folder, self.before = [str(word) for word in command], folder, before
        self.environment = {**os.environ, **variables}

    def run(self) -> dict[str, Any]:
        """Run once; return ``seconds`` and ``values``."""
        self.before()
        start = time.perf_counter()
        done = subprocess.run(
            self.command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command)} failed:\n{done.stderr[-4000:]}")
        lines = done.stdout.splitlines()
        return {"seconds": seconds, "values": json.loads(lines[-1]) if lines else {}}

    def close(self) -> None:
        """Do nothing: each process has ended."""


class Worker:
    """A side that stays."""

    def __init__(self, command: Sequence[str | Path], folder: Path, **variables: str) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def run(self) -> dict[str, Any]:
        """Run once; return ``seconds`` and ``values``."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Let it end."""
        self.process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


def main(tasks: Mapping[str, Callable[..., Values | Task]]) -> None:
    """Run ``tasks[NAME](*FILES)`` for this process's arguments; a task that it returns runs for each line on stdin."""
    # What others print to stdout is no report.
    report = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    found = tasks[sys.argv[1]](*sys.argv[2:])
    if not callable(found):
        print(json.dumps(found), file=report, flush=True)
        return
    print("{}", file=report, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        values = found()
        print(json.dumps({"seconds": time.perf_counter() - start, "values": values}), file=report, flush=True)


def warmed(task: Task) -> Task:
    """Return a task after running it once."""
    task()
    return task
