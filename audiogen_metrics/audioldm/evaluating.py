"""Scores while a model trains: clips from the evaluation prompts, against their recordings."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiogen_metrics.audio.files import AudioFile, ClipSet
from audiogen_metrics.audioldm.claiming import bytes_of_copies
from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.devices import in_first, jointly
from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
from audiogen_metrics.audioldm.sampling import TRAINED_SECONDS, Sampling
from audiogen_metrics.datasets.base import DatasetClip, prompt
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.opening import computable
from audiogen_metrics.generation.base import FunctionGenerator, Request
from audiogen_metrics.generation.folder import generate_folder
from audiogen_metrics.generation.history import noted
from audiogen_metrics.generation.prompts import length_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.writing import below, link


class EvaluationSet:
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

    Raises
    ------
    DataError
        A recording whose length cannot be read.
    """

    def __init__(
        self,
        config: FineTuneConfig,
        folder: Path,
        clips: Sequence[DatasetClip],
        weights: Mapping[str, str | Path],
        name: str = "evaluation",
    ) -> None:
        self._config, self._weights = config, weights
        self._references, self._samples = folder / name / "references", folder / name / "samples"
        self._recordings = {clip.clip_id: clip.path for clip in clips if clip.path is not None}
        prompts = {clip.clip_id: prompt(clip, config.template) for clip in clips}
        self._requests = [
            Request(name, prompts[name], seconds=config.eval_seconds or seconds_of(path), seed=config.seed)
            for name, path in self._recordings.items()
        ]

    def bytes_needed(self, folder: Path, sample_rate: int) -> int:
        """Return what recordings and the clips of one evaluation take in a folder."""
        clips = sum(round(2 * sample_rate * request.seconds) for request in self._requests)
        return clips + bytes_of_copies(self._recordings.values(), folder)

    def rehearse(self, model: AudioLDM) -> Mapping[str, str]:
        """Score noise in place of clips, so that what an evaluation lacks is said before anything trains.

        Returns
        -------
        Mapping[str, str]
            Content hash of each recording, and its prompt, by clip id.

        Raises
        ------
        DataError
            A recording that cannot be used.
        UsageError, InsufficientDataError
            The monitored score cannot be computed on so many clips, or on clips of these lengths.
        MissingWeightsError, MissingDependencyError
            A network is not here.
        """
        noise = FunctionGenerator(lambda request: _noise(request, model.sample_rate), model.sample_rate, {})
        with tempfile.TemporaryDirectory(prefix="audiogen-metrics-") as folder:
            generate_folder(noise, self._requests, Path(folder) / "noise", processes=1)
            report = self._score(Path(folder) / "noise", dict(self._recordings), model)
        assert report.ref is not None
        for skipped in report.ref.skipped[:1]:
            what = f"{len(report.ref.skipped)} of {len(self._recordings)} recordings cannot be used: "
            raise DataError(f"{what}{skipped['clip']} ({skipped['reason']})", "evaluation", "Repair or remove them")
        for skipped in report.gen.skipped[:1]:
            what = f"generated clips cannot be scored: {skipped['clip']} ({skipped['reason']})"
            raise UsageError(what, "eval_seconds", "Generate longer clips")
        monitor = self._config.monitored()[0]
        found = report.scores[monitor]
        if found.value is None:
            what = f"{monitor} cannot be computed on {len(self._requests)} clips ({found.reason})"
            raise InsufficientDataError(what, "monitor", "Choose another score, or more evaluation clips")
        return {request.clip_id: f"{report.ref.files[request.clip_id]} {request.prompt}" for request in self._requests}

    def lay_out(self) -> None:
        """Put the recordings into the folder of the run; DataError if it has others already."""
        wanted = {below(self._references, name, path.suffix): path for name, path in self._recordings.items()}
        there = {path for path in self._references.rglob("*") if path.is_file()}
        other = sorted(there - wanted.keys()) + [
            target for target in sorted(there & wanted.keys()) if not filecmp.cmp(target, wanted[target], shallow=False)
        ]
        if other:
            raise DataError(
                f"the run was begun with other evaluation clips: {other[0].name} is not one of them, or has changed",
                where=self._references,
                fix="Restore them, or begin a new run in a new folder",
            )
        for target, path in wanted.items():
            if target not in there:
                link(path, target)

    def run(self, model: AudioLDM, step: int, accelerator: Any) -> dict[str, Any]:
        """Generate, every process its share, and return to all of them what the first one has scored."""
        target = self._samples / f"{step:07d}"
        with jointly(accelerator):
            if accelerator.is_main_process and self._samples.exists():
                shutil.rmtree(self._samples)
        config = self._config
        sampling = Sampling(
            config.sampling_steps,
            config.guidance,
            config.eta,
            config.candidates,
            batch_size=config.eval_batch_size,
        )
        place = (accelerator.process_index, accelerator.num_processes)
        with jointly(accelerator):
            generate_folder(AudioLDMGenerator(model, sampling), self._requests, target, processes=place)
        return in_first(accelerator, lambda: noted(self._score(target, self._references, model)))

    def _score(self, gen: Path, ref: ClipSet, model: AudioLDM) -> ScoreReport:
        return score(gen, ref, protocol=self._config.protocol, weights=self._weights, device=model.device, ci=False)


def check_scoring(config: FineTuneConfig, weights: Mapping[str, str | Path]) -> None:
    """Raise what would keep every evaluation from its scores, before anything is loaded.

    Raises
    ------
    MissingWeightsError, MissingDependencyError
        A network of the protocol, or that of the monitored score, is not on this machine.
    """
    recipes = computable(get_protocol(config.protocol), None, ref=True, prompts=False)
    found = find_networks(recipes, config.device, weights, added(recipes))
    monitor = config.monitored()[0]
    backbone = next(recipe.backbone for recipe in recipes if recipe.score_id == monitor)
    if backbone in found.missing:
        raise MissingWeightsError(f"{monitor} cannot be computed ({found.missing[backbone]})", "monitor")


def seconds_of(path: Path, length: float | None = None) -> float:
    """Return a recording's length, at most what the model knows, in steps of 10 ms; DataError if it cannot be read.

    One whose ``length`` is known is not read.
    """
    length = length_of(AudioFile(path.stem, path)) if length is None else length
    return float(max(0.1, min(TRAINED_SECONDS, round(length, 2))))


def _noise(request: Request, sample_rate: int) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(request.stream())
    return 0.1 * rng.standard_normal(request.samples(sample_rate)).clip(-5, 5)
