"""Fine-tuning by the paper's protocol: a fixed condition, a frozen frame, scores while it trains, the best kept."""

from __future__ import annotations

import atexit
import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiogen_metrics.audioldm.checkpoints import frozen_files, point_at, write_checkpoint
from audiogen_metrics.audioldm.claiming import (
    STATE,
    bytes_of_copies,
    check_folder,
    check_inputs,
    claim,
    inputs_of,
    make_folder,
    require_room,
)
from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.devices import in_first, jointly, make_accelerator
from audiogen_metrics.audioldm.evaluating import EvaluationSet, check_scoring
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.audioldm.material import Material, load_model, open_material
from audiogen_metrics.audioldm.tracking import Tracker, check_trackers, duration
from audiogen_metrics.audioldm.trainer import Trainer
from audiogen_metrics.audioldm.training import read_state, weights_digest, write_state
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.distributed import leave
from audiogen_metrics.errors import DataError, LostProcessError, NumericsError
from audiogen_metrics.generation.history import History
from audiogen_metrics.options import as_path
from audiogen_metrics.writing import encoded, json_text, write_result

__all__ = ["FineTune", "FineTuned"]

RESULT = "result.json"


@dataclass(frozen=True)
class FineTuned:
    """What a run came to.

    Attributes
    ----------
    folder
        Everything the run wrote.
    model
        The best checkpoint, the last where nothing was evaluated; `AudioLDM.from_pretrained` and diffusers open it.
    step
        Its step.
    scores
        All scores at that step, by id.
    last_step
        Where the run stopped.
    failed
        Step and error of each evaluation that has failed.
    """

    folder: Path
    model: Path
    step: int
    scores: Mapping[str, float | None]
    last_step: int
    failed: Sequence[Mapping[str, Any]] = ()


class FineTune:
    """A fine-tuning run.

    Parameters
    ----------
    config
        Its settings.
    weights
        Files of the protocol's backbones, as in `score`.

    Examples
    --------
    >>> config = FineTuneConfig("examples/reference", "out", "tiny-random", steps=2)  # doctest: +SKIP
    >>> FineTune(config).fit().last_step  # doctest: +SKIP
    2
    """

    def __init__(self, config: FineTuneConfig, *, weights: Mapping[str, str | Path] | None = None) -> None:
        self.config = config
        self._weights = dict(weights or {})
        self.folder: Path = as_path(config.output)

    def fit(self, *, resume: bool = False, progress: bool = False) -> FineTuned:
        """Evaluate what there is, then train until the end, or until patience is over.

        Parameters
        ----------
        resume
            Go on where the run in the output folder stopped; to the bit as if it had not stopped.
        progress
            Say on stderr what is being done.

        Raises
        ------
        DataError
            A training or evaluation set that cannot be used.
        UsageError
            A device that is not on this machine; an output folder in use, or of a run with other settings; no room on
            the disk.
        NumericsError
            A loss that is not finite; the last good state is kept.
        MissingWeightsError, MissingDependencyError
            The checkpoint, a backbone of the protocol, a tracker, or the extra is not on this machine.
        """
        require()
        check_trackers(self.config)
        accelerator = make_accelerator(self.config.device, self.config.precision)
        if accelerator.num_processes > 1:
            atexit.register(leave)
        in_first(accelerator, lambda: check_folder(self.folder, self.config, resume))
        with jointly(accelerator):
            material = open_material(self.config)
            if material.choosing:
                check_scoring(self.config, self._weights)
            make_folder(self.folder)
            model = load_model(self.config, accelerator.device)
        return _FineTuningRun(self, accelerator, model, material, progress).fit(resume)


class _FineTuningRun:
    """A run on one of its processes."""

    def __init__(self, owner: FineTune, accelerator: Any, model: AudioLDM, material: Material, progress: bool) -> None:
        config = self.config = owner.config
        self.folder, self.accelerator, self.model, self.material = owner.folder, accelerator, model, material
        self._progress, self._weights = progress and accelerator.is_main_process, owner._weights
        with jointly(accelerator):
            self.evaluation = self._evaluation(material.choosing, "evaluation")
            self.final = self._evaluation(material.final, "final")
        with jointly(accelerator):
            self.clips = self._encode()
        self.frozen = weights_digest(model.vae, model.vocoder, model.text.network)
        self.trainer = Trainer(model, self.clips, config, accelerator)
        self.history = History(self.folder, *config.monitored())

    @property
    def step(self) -> int:
        return self.trainer.step

    def _evaluation(self, clips: Sequence[DatasetClip], name: str) -> EvaluationSet | None:
        return EvaluationSet(self.config, self.folder, clips, self._weights, name) if clips else None

    @property
    def _main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def _encode(self) -> TrainingClips:
        config, material = self.config, self.material
        bar, several = self._progress and sys.stderr.isatty(), self.accelerator.num_processes > 1
        return TrainingClips(
            self.model, material.train, config.condition, config.seconds, config.template, bar, distributed=several
        )

    def _begin(self) -> None:
        """Check on the first process all that would stop the run later, then write down what the run is."""
        evaluations = [each for each in (self.evaluation, self.final) if each is not None]
        require_room(self.folder, self._bytes_needed(evaluations))
        if evaluations:
            self._say("rehearsing the evaluation: noise is scored against the recordings")
        heard = {name: text for each in evaluations for name, text in each.rehearse(self.model).items()}
        inputs = inputs_of(self.clips.digests, heard, self.model, self.config, self._weights)
        check_inputs(self.folder, inputs)
        claim(self.folder, self.config, inputs)
        if not (self.folder / STATE).exists():  # nothing of a run that has not begun is kept
            for name in ("evaluation", "final"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        for evaluation in evaluations:
            evaluation.lay_out()

    def _bytes_needed(self, evaluations: Sequence[EvaluationSet]) -> int:
        """Return what the run adds to the disk at most: each file is whole before the one that it replaces goes."""
        state, checkpoint = 16 * self.trainer.n_trained, 4 * self.trainer.n_weights
        checkpoint += bytes_of_copies(frozen_files(self.model.snapshot, self.config.clap).values(), self.folder)
        copies = 1 if (self.folder / STATE).exists() else 2
        clips = sum(evaluation.bytes_needed(self.folder, self.model.sample_rate) for evaluation in evaluations)
        return copies * (state + checkpoint) + clips

    def fit(self, resume: bool) -> FineTuned:
        """Train from the beginning, or from the state on the disk."""
        in_first(self.accelerator, self._begin)
        if resume:
            self._resume()
        self._announce()
        self._first, started = self.step, time.perf_counter()
        with Tracker(self.folder, self.config, self._main, self.step) as tracker:
            if self.evaluation and self._is_due() and not self.history.has(self.step):
                if self.step == 0:
                    self._save()
                self._evaluate(tracker)  # before the training, or one that a stop has cut
            while self.step < self.config.steps and not self.history.is_over(self.config.patience):
                begin = time.perf_counter()
                values = self._advance()
                tracker.add(self.step, values | {"seconds": time.perf_counter() - begin})
                if self.step - self._first in (3, 10) or self.step % 100 == 0:
                    left = (self.config.steps - self.step) * (time.perf_counter() - started) / (self.step - self._first)
                    loss, steps = values["loss"], self.config.steps
                    self._say(f"step {self.step} of {steps}: loss {loss:.4f}; {duration(left)} left")
                if self._is_due() or self.step % self.config.save_every == 0:
                    self._save()  # before the evaluation, which may fail
                if self._is_due():
                    self._evaluate(tracker)
        return self._finish()

    def _advance(self) -> dict[str, float]:
        """Make one step; where its loss is not finite, the state before it is kept."""
        try:
            return self.trainer.advance()
        except NumericsError:
            self._save()
            raise

    def _is_due(self) -> bool:
        return self.step == self.config.steps or self.step % self.config.eval_every == 0

    def _evaluate(self, tracker: Tracker) -> None:
        """Score the averaged weights; what fails is noted, and stops the run only if it is strict."""
        if self.evaluation is None:
            return
        entry: dict[str, Any] = {"step": self.step}
        try:
            with self.trainer.averaged():
                entry |= self.evaluation.run(self.model, self.step, self.accelerator)
            in_first(self.accelerator, lambda: self._take(entry, tracker))
        except LostProcessError:
            raise
        except Exception as error:
            if self.config.strict:
                raise
            if self._main:
                self.history.note_failure(entry, f"{type(error).__name__}: {error}")
        self.accelerator.wait_for_everyone()
        self.history.read()

    def _take(self, entry: Mapping[str, Any], tracker: Tracker) -> None:
        """Keep the checkpoint if it is the best so far, then note the evaluation: a kill in between repeats both."""
        better = self.history.is_better(entry)
        if better:
            self._export("best", entry)
        self.history.note(entry)
        known = {name: value for name, value in entry["scores"].items() if value is not None}
        tracker.write(self.step, known)
        scores = ", ".join(f"{name} {value:.4g}" for name, value in known.items())
        self._say(f"step {self.step}: {scores}{' (best)' if better else ''}")
        if self.history.monitor not in known:
            warnings.warn(f"{self.history.monitor} has no value at step {self.step}", stacklevel=2)

    def _export(self, name: str, report: Mapping[str, Any]) -> None:
        """Write the averaged denoiser as a whole checkpoint, then point ``name`` at it."""
        with self.trainer.averaged():
            write_checkpoint(
                self.folder, f"{name}-{self.step:07d}", self.trainer.unet, self.model.snapshot, self.config, report
            )
        point_at(self.folder, name, f"{name}-{self.step:07d}")

    def _save(self) -> None:
        if self._main:
            write_state(self.folder / STATE, self.trainer.state())

    def _resume(self) -> None:
        state = read_state(self.folder / STATE)
        if state is None:  # killed before its first state: the run begins again, and its evaluations come again
            if self._main:
                self.history.cut(-1)
            return
        self.trainer.load(state, self.folder / STATE)
        self.history.read()
        self.accelerator.wait_for_everyone()
        if self._main:  # a failed evaluation of this step comes again, as those of later ones
            self.history.cut(self.step if self.history.has(self.step) else self.step - 1)
        self.accelerator.wait_for_everyone()
        self.history.read()

    def _finish(self) -> FineTuned:
        if self.frozen != weights_digest(self.model.vae, self.model.vocoder, self.model.text.network):
            raise NumericsError("a frozen network has changed", where=self.folder)
        best = self.history.best()
        if best is not None and not (self.folder / "best").exists():
            raise DataError("is gone", where=self.folder / "best", fix="Restore it, or begin a new run in a new folder")
        if best is None:
            in_first(self.accelerator, lambda: self._export("last", {"step": self.step, "scores": {}}))
        result = {
            "step": best["step"] if best else self.step,
            "last_step": self.step,
            "monitor": self.history.monitor,
            "chosen_on": "validation" if self.final is not None else "evaluation" if self.evaluation else None,
            "scores": best["scores"] if best else {},
            "each_score_at_its_own_best_step": self.history.each_best(),
            "failed_evaluations": self.history.failures,
            "left_out": self.material.left_out,
            "frozen_sha256": self.frozen,
            "config": asdict(self.config),
        }
        if self.final is not None and best is not None:
            report = self._score_best(best["step"], result["failed_evaluations"])
            result["scores_on_evaluation"] = report["scores"] if report else {}
            result["report_on_evaluation"] = report
        if self._main:
            write_result(self.folder / RESULT, encoded(json_text(result)))
            self.history.plot()
        self.accelerator.wait_for_everyone()
        name = "best" if best else "last"
        scores = result.get("scores_on_evaluation", result["scores"])
        failed = tuple(result["failed_evaluations"])
        return FineTuned(self.folder, self.folder / name, result["step"], scores, self.step, failed)

    def _score_best(self, step: int, failures: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Return what the best checkpoint scores on the clips that did not choose it; None if that has failed."""
        assert self.final is not None
        try:
            with jointly(self.accelerator):
                clap = self.model.clap.folder if self.config.candidates > 1 else None
                best, device = self.folder / "best", self.model.device
                chosen = AudioLDM.from_pretrained(best, device=device, heads=self.config.heads, clap=clap)
            return self.final.run(chosen, step, self.accelerator)
        except LostProcessError:
            raise
        except Exception as error:
            if self.config.strict:
                raise
            problem = f"{type(error).__name__}: {error}"
            failures.append({"step": step, "error": problem})
            if self._main:
                warnings.warn(
                    f"the best checkpoint could not be scored on the evaluation clips: {problem}", stacklevel=3
                )
            return None

    def _announce(self) -> None:
        weights, trained = self.trainer.n_weights, self.trainer.n_trained
        # Weights, and of what trains: gradient, two moments of Adam, average.
        memory = 4 * (weights + 4 * trained) / 2**30
        latents = f"{self.clips.cached_bytes / 2**20:.1f} MB of latents in {self.clips.folder}"
        self._say(
            f"{len(self.clips)} clips: {latents}, {self.clips.cropped} cropped at random; "
            f"{trained / 1e6:.1f} of {weights / 1e6:.1f} M weights train: at least {memory:.2f} GB, activations aside; "
            f"a state has {16 * trained / 2**30:.2f} GB; from step {self.step} to {self.config.steps}"
        )

    def _say(self, text: str) -> None:
        if self._progress:
            print(text, file=sys.stderr)
