"""Scores while a model trains: clips from the evaluation prompts, against their recordings; and the history of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.generation import TRAINED_SECONDS, AudioLDM, AudioLDMGenerator, Sampling
from audiogen_metrics.datasets.base import Clip, prompt
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.generation.base import Request
from audiogen_metrics.generation.folder import generate_folder
from audiogen_metrics.writing import below, link, write_atomically

HISTORY = "history.jsonl"


class Evaluation:
    """A set of prompts with recordings.

    Parameters
    ----------
    config
        How to sample and to score.
    folder
        Of the run; recordings and samples lie below.
    clips
        What to generate, and what to compare with.
    weights
        Files of backbones, as in `score`.
    name
        Tells one evaluation of a run from another.
    """

    def __init__(
        self,
        config: FineTuneConfig,
        folder: Path,
        clips: Sequence[Clip],
        weights: Mapping[str, str | Path],
        name: str = "evaluation",
    ) -> None:
        self._config, self._weights = config, weights
        self._references, self._samples = folder / name / "references", folder / name / "samples"
        self._requests = []
        for clip in clips:
            assert clip.path is not None
            target = below(self._references, clip.clip_id, clip.path.suffix)
            if not target.exists():
                link(clip.path, target)
            seconds = config.eval_seconds or seconds_of(clip.path)
            self._requests.append(
                Request(clip.clip_id, prompt(clip, config.template), seconds=seconds, seed=config.seed)
            )

    def run(self, model: AudioLDM, step: int, accelerator: Any) -> dict[str, Any] | None:
        """Generate, every process its share, and score on the main one, which gets the report."""
        target = self._samples / f"{step:07d}"
        if accelerator.is_main_process:
            shutil.rmtree(self._samples, ignore_errors=True)
        accelerator.wait_for_everyone()
        config = self._config
        sampling = Sampling(steps=config.sampling_steps, guidance=config.guidance, eta=config.eta)
        generate_folder(AudioLDMGenerator(model, sampling), self._requests, target)
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            return None
        report = score(
            target, self._references, protocol=config.protocol, weights=self._weights, device=model.device, ci=False
        )
        return {
            "step": step,
            "protocol": config.protocol,
            "n": len(self._requests),
            "scores": {name: found.value for name, found in report.scores.items()},
            "warnings": list(report.warnings),
        }


class History:
    """The evaluations of a run, and the best of them by one score."""

    def __init__(self, folder: Path, monitor: str, higher_is_better: bool) -> None:
        self.monitor = monitor
        self._sign = -1.0 if higher_is_better else 1.0
        self._folder, self._path = folder, folder / HISTORY
        self.entries: list[dict[str, Any]] = []

    def add(self, report: Mapping[str, Any]) -> bool:
        """Note an evaluation and tell whether it is the best so far; UsageError if what is monitored has no value."""
        if report["scores"][self.monitor] is None:
            raise UsageError(
                f"{self.monitor} cannot be computed on {report['n']} clips", "monitor", "Choose another one"
            )
        before = self.best()
        entry = dict(report)
        self.entries.append(entry)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")
        return before is None or self._key(entry) < self._key(before)

    def read(self) -> None:
        """Read what is on the disk, as another process may have written it."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        self.entries = [json.loads(line) for line in lines]

    def cut(self, step: int) -> None:
        """Forget evaluations after ``step``: they will come again."""
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        kept = []
        for line in lines:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + b"\n")
            except (ValueError, KeyError):
                continue  # cut by a kill
        if lines:
            write_atomically(self._path, b"".join(kept))

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
        """Draw every score against the step, as the paper's Figure 2, to curves.png and curves.svg."""
        if len(self.entries) < 2:
            return
        from audiogen_metrics.report.plots import Curve, Panel, draw

        panels = []
        for name in self.entries[0]["scores"]:
            known = [entry for entry in self.entries if entry["scores"][name] is not None]
            steps, values = [entry["step"] for entry in known], [entry["scores"][name] for entry in known]
            if known:
                panels.append(Panel(name, "step", name, [Curve(name, 0, steps, values, values, values)]))
        for suffix in ("png", "svg"):
            draw([panels], self._folder / f"curves.{suffix}")

    def _key(self, entry: Mapping[str, Any]) -> float:
        return float(self._sign) * float(entry["scores"][self.monitor])


def seconds_of(path: Path) -> float:
    """Return a recording's length, at most what the model knows, in steps of 10 ms."""
    info = soundfile.info(str(path))
    return float(max(0.1, min(TRAINED_SECONDS, round(info.frames / info.samplerate, 2))))
