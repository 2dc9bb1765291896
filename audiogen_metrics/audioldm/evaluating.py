"""Scores while a model trains: clips from the evaluation prompts, against their recordings."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.generation import TRAINED_SECONDS, AudioLDM, AudioLDMGenerator, Sampling
from audiogen_metrics.datasets.base import Clip, prompt
from audiogen_metrics.evaluation import score
from audiogen_metrics.generation.base import Request
from audiogen_metrics.generation.folder import generate_folder
from audiogen_metrics.writing import below, link


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
        sampling = Sampling(
            steps=config.sampling_steps, guidance=config.guidance, eta=config.eta, candidates=config.candidates
        )
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
            "std": {name: found.std for name, found in report.scores.items() if found.std is not None},
            "warnings": list(report.warnings),
        }


def seconds_of(path: Path) -> float:
    """Return a recording's length, at most what the model knows, in steps of 10 ms."""
    info = soundfile.info(str(path))
    return float(max(0.1, min(TRAINED_SECONDS, round(info.frames / info.samplerate, 2))))
