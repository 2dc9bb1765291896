"""The evaluations of a training: their scores by step, and the best of them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.writing import write_atomically

if TYPE_CHECKING:
    from audiogen_metrics.results import ScoreReport

HISTORY = "history.jsonl"


def noted(report: ScoreReport) -> dict[str, Any]:
    """Return what a history keeps of a report, as JSON values."""
    return {
        "protocol": report.protocol,
        "n": report.gen.scored,
        "scores": {name: found.value for name, found in report.scores.items()},
        "std": {name: found.std for name, found in report.scores.items() if found.std is not None},
        "warnings": [*report.warnings],
    }


class History:
    """The evaluations of a run, and the best of them by one score.

    Attributes
    ----------
    entries
        Those with a value of the monitored score.
    failures
        Step and error of those that have failed.
    """

    def __init__(self, folder: Path, monitor: str, higher_is_better: bool) -> None:
        self.monitor = monitor
        self._sign = -1.0 if higher_is_better else 1.0
        self._folder, self._path = folder, folder / HISTORY
        self.entries: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []

    def note(self, entry: Mapping[str, Any]) -> None:
        """Note an evaluation, or what there is of one that has failed."""
        content = self._path.read_bytes() if self._path.exists() else b""
        line = json.dumps(entry, allow_nan=False).encode() + b"\n"
        with self._path.open("ab") as file:  # what a full disk or a kill has cut must not swallow the next line
            file.write(line if not content or content.endswith(b"\n") else b"\n" + line)
        self._take(entry)

    def note_failure(self, entry: Mapping[str, Any], problem: str) -> None:
        """Note an evaluation that has failed, with what there is of it, and warn; the training goes on."""
        problem_here = f"the evaluation at step {entry['step']} has failed, the training goes on: {problem}"
        warnings.warn(problem_here, stacklevel=4)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.note({**entry, "error": problem})
        except OSError as error:
            warnings.warn(f"{self._path} cannot be written ({error.strerror})", stacklevel=4)

    def is_better(self, report: Mapping[str, Any]) -> bool:
        """Tell whether an evaluation is better than all that are noted; one without a value of the score is not."""
        best = self.best()
        return self._is_judged(report) and (best is None or self._key(report) < self._key(best))

    def read(self) -> None:
        """Read what is on the disk, as another process may have written it."""
        self.entries, self.failures = [], []
        for line in self._path.read_bytes().splitlines() if self._path.exists() else []:
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError):
                continue  # cut by a kill, or by a full disk

    def cut(self, step: int) -> int:
        """Forget evaluations after ``step``, as they will come again, and return how many."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        kept, forgotten = [], 0
        for line in lines:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + b"\n")
                else:
                    forgotten += 1
            except (ValueError, KeyError):
                continue  # cut by a kill
        if lines:
            write_atomically(self._path, b"".join(kept))
        return forgotten

    def has(self, step: int) -> bool:
        """Tell whether there is an evaluation of this step that has not failed."""
        return any(entry["step"] == step for entry in self.entries)

    def best(self) -> dict[str, Any] | None:
        """Return the evaluation with the best monitored score, the first of equals."""
        return min(self.entries, key=self._key, default=None)

    def each_best(self) -> dict[str, dict[str, Any]]:
        """Return for each score its own best value and step: no checkpoint has them all."""
        from audiogen_metrics.protocols import get_protocol

        if not self.entries:
            return {}
        recipes = get_protocol(self.entries[0]["protocol"]).recipes.values()
        found = {}
        for recipe in recipes:
            values = [(entry["scores"].get(recipe.score_id), entry["step"]) for entry in self.entries]
            known = [(value, step) for value, step in values if value is not None]
            if known:
                choose = max if recipe.definition.higher_is_better else min
                value, step = choose(known, key=lambda pair: pair[0])
                found[recipe.score_id] = {"value": value, "step": step}
        return found

    def is_over(self, patience: int | None) -> bool:
        """Tell whether the last ``patience`` evaluations were no better than one before."""
        best = self.best()
        if patience is None or best is None:
            return False
        return len(self.entries) - 1 - self.entries.index(best) >= patience

    def plot(self) -> None:
        """Draw every score over the steps as the paper's Figure 2 does: ``curves.pdf``, ``.svg``, ``.png``."""
        if len(self.entries) < 2:
            return
        from audiogen_metrics.report.plots import draw_for_print
        from audiogen_metrics.report.training import panels_over_steps

        last = self.entries[-1]
        caption = f"Scores over the steps of the training: {last['n']} evaluation clips, protocol {last['protocol']}."
        draw_for_print(panels_over_steps({"run": self.entries}), self._folder, "curves", caption, last["warnings"])

    def _take(self, entry: Mapping[str, Any]) -> None:
        if self._is_judged(entry):
            self.entries.append(dict(entry))
        elif "error" in entry:
            self.failures.append({"step": entry["step"], "error": entry["error"]})

    def _is_judged(self, entry: Mapping[str, Any]) -> bool:
        return "error" not in entry and entry.get("scores", {}).get(self.monitor) is not None

    def _key(self, entry: Mapping[str, Any]) -> float:
        return float(self._sign) * float(entry["scores"][self.monitor])
