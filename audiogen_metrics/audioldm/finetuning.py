"""Fine-tuning by the paper's protocol: a fixed condition, a frozen frame, scores while it trains, the best kept."""

from __future__ import annotations

import atexit
import copy
import json
import math
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.dependencies import quiet, require
from audiogen_metrics.audioldm.evaluating import Evaluation
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.audioldm.snapshots import PARTS
from audiogen_metrics.audioldm.tiny import MARKER
from audiogen_metrics.audioldm.training import (
    Draws,
    diffusion_loss,
    in_float32,
    learning_rate,
    read_state,
    weights_digest,
    write_state,
)
from audiogen_metrics.datasets.base import Clip
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.datasets.splits import split_by
from audiogen_metrics.distributed import leave
from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError, UsageError, option
from audiogen_metrics.generation.history import History
from audiogen_metrics.options import as_path
from audiogen_metrics.writing import link, write_atomically

STATE, STEPS, RESULT, CONFIG = "state.pt", "steps.jsonl", "result.json", "config.json"

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "class_embedding"]
"""Attention, and the way in which the condition comes in."""


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
    """

    folder: Path
    model: Path
    step: int
    scores: Mapping[str, float | None]
    last_step: int


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
        """Train until the end, or until patience is over.

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
            An output folder in use, or of a run with other settings; no room on the disk.
        NumericsError
            A loss that is not finite; the last good state is kept.
        MissingWeightsError, MissingDependencyError
            The checkpoint, a backbone of the protocol, or the extra is not on this machine.
        """
        require()
        from accelerate import Accelerator, InitProcessGroupKwargs

        patient = InitProcessGroupKwargs(timeout=timedelta(days=1))  # others wait while one scores
        accelerator = Accelerator(
            mixed_precision=self.config.precision, cpu=self.config.device == "cpu", kwargs_handlers=[patient]
        )
        if accelerator.num_processes > 1:
            atexit.register(leave)
        if accelerator.is_main_process:
            self._check_folder(resume)
        accelerator.wait_for_everyone()
        train, evaluation = self._clips()
        model = self._model(accelerator.device)
        run = _Run(self, accelerator, model, train, evaluation, progress)
        return run.fit(resume)

    def _check_folder(self, resume: bool) -> None:
        described = json.dumps(self.config.identity(), indent=2, ensure_ascii=False)
        path = self.folder / CONFIG
        if path.exists():
            if not resume and (self.folder / STATE).exists():
                raise UsageError(
                    "has a run in it", self.folder, f"Go on with it by {option('resume')}, or choose a new folder"
                )
            before = json.loads(path.read_text(encoding="utf-8"))
            now = json.loads(described)
            changed = sorted(name for name in now if before.get(name) != now[name])
            if changed:
                raise UsageError(
                    f"the run had {changed[0]} = {before.get(changed[0])!r}, not {now[changed[0]]!r}",
                    where=self.folder,
                    fix="Resume with its settings, or choose a new folder",
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise UsageError("is not empty", self.folder, "Choose a new folder")
        try:
            write_atomically(path, described.encode())
        except OSError as error:
            raise UsageError(f"cannot be written ({error.strerror})", where=self.folder) from error

    def _clips(self) -> tuple[list[Clip], list[Clip]]:
        """Return training and evaluation clips; the latter may be none."""
        config = self.config
        dataset = open_dataset(config.data)
        evaluation: list[Clip] = []
        train = list(dataset.clips)
        if config.split is not None:
            split = split_by(dataset, config.split, config.seed)
            for warning in split.warnings:
                warnings.warn(warning, stacklevel=3)
            train = list(split.train.clips) if split.train else []
            evaluation = list(split.evaluation.clips)
        elif config.evaluation is not None:
            evaluation = list(open_dataset(config.evaluation).clips)
        for name, clips in (("data", train), ("evaluation", evaluation)):
            missing = [clip.clip_id for clip in clips if clip.path is None]
            if missing:
                raise DataError(
                    f"the audio of {len(missing)} of {len(clips)} clips is missing: {', '.join(missing[:5])}",
                    where=name,
                    fix="See agm data check; or take them out of the metadata",
                )
        labels = {clip.labels for clip in train}
        if config.condition == "text" and len({clip.caption for clip in train}) == 1 and len(train) > 1:
            only = ", ".join(next(iter(labels))) or train[0].caption
            warnings.warn(f"all training clips have one caption ({only}): the condition says nothing", stacklevel=3)
        if config.eval_clips is not None:
            evaluation = evaluation[: config.eval_clips]
        if evaluation and len(evaluation) < 2:
            raise InsufficientDataError("one evaluation clip has no distribution", where="evaluation")
        return train, evaluation

    def _model(self, device: torch.device) -> AudioLDM:
        config = self.config
        model = AudioLDM.from_pretrained(config.model, device=device, heads=config.heads, clap=config.clap)
        if not config.pretrained:
            with torch.random.fork_rng(devices=[]), quiet():
                # A stream of its own: a random checkpoint may have been made from the same seed.
                torch.manual_seed(int(np.random.SeedSequence([config.seed, 2]).generate_state(1)[0]))
                model.unet = type(model.unet).from_config(model.unet.config).to(device)
        if config.candidates > 1:
            _ = model.clap  # before any step: a missing one stops the run at once
        return model


class _Run:
    """A run on one of its processes."""

    def __init__(
        self, owner: FineTune, accelerator: Any, model: AudioLDM, train: list[Clip], held: list[Clip], progress: bool
    ) -> None:
        from diffusers import DDPMScheduler
        from diffusers.training_utils import EMAModel

        config = self.config = owner.config
        self.folder, self.accelerator, self.model = owner.folder, accelerator, model
        self._progress = progress and accelerator.is_main_process
        chosen_on, at_end = self._evaluation_sets(train, held)
        if accelerator.is_main_process:  # the others find it in the cache
            self._encode(train)
        accelerator.wait_for_everyone()
        self.clips = self._encode(train)
        self.draws = Draws(self.clips, config.seed)
        self.frozen = weights_digest(model.vae, model.vocoder, model.text.network)
        self.scheduler = DDPMScheduler.from_config(model.schedule)
        self.unconditional = model.text.embed([""])[0].cpu()
        self.scaling = float(model.vae.config.scaling_factor)
        self.unet = _trainable(model.unet, config)
        self.trained = {name: weight for name, weight in self.unet.named_parameters() if weight.requires_grad}
        self.ema = EMAModel(self.trained.values(), decay=config.ema)
        self.optimizer = torch.optim.AdamW(
            self.trained.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.wrapped, self.optimizer = accelerator.prepare(self.unet, self.optimizer)
        self.history = History(self.folder, *config.monitored())
        self.evaluation = Evaluation(config, self.folder, chosen_on, owner._weights) if chosen_on else None
        self.final = Evaluation(config, self.folder, at_end, owner._weights, "final") if at_end else None
        self.step = 0

    def _evaluation_sets(self, train: list[Clip], held: list[Clip]) -> tuple[list[Clip], list[Clip]]:
        """Return the clips that choose the best checkpoint, taken out of ``train`` if so configured, and the rest."""
        share = self.config.validation
        if share is None:
            if held and self._main:
                remark = "the best checkpoint is chosen on the evaluation clips, as in the paper: optimistic"
                warnings.warn(remark, stacklevel=4)
            return held, []
        size = max(2, round(share * len(train)))
        if size >= len(train):
            raise InsufficientDataError(f"{size} of {len(train)} clips for validation leave none", where="validation")
        import random

        chosen = set(random.Random(self.config.seed).sample(range(len(train)), size))
        validation = [clip for index, clip in enumerate(train) if index in chosen]
        train[:] = [clip for index, clip in enumerate(train) if index not in chosen]
        return validation, held

    @property
    def _main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def _encode(self, train: list[Clip]) -> TrainingClips:
        config = self.config
        bar = self._progress and sys.stderr.isatty()
        return TrainingClips(self.model, train, config.condition, config.seconds, config.template, bar)

    def fit(self, resume: bool) -> FineTuned:
        """Train from the beginning, or from the state on the disk."""
        if resume:
            self._resume()
        self._announce()
        self._first, started = self.step, time.perf_counter()
        with _Tracker(self.folder, self._main, self.step) as tracker:
            while self.step < self.config.steps and not self.history.is_over(self.config.patience):
                begin = time.perf_counter()
                loss, norm = self._train_step()
                rate = learning_rate(self.config, self.step)
                self.step += 1
                tracker.add(
                    self.step,
                    {
                        "loss": loss,
                        "gradient_norm": norm,
                        "learning_rate": rate,
                        "seconds": time.perf_counter() - begin,
                    },
                )
                if self.step - self._first in (3, 10) or self.step % 100 == 0:
                    left = (self.config.steps - self.step) * (time.perf_counter() - started) / (self.step - self._first)
                    self._say(f"step {self.step} of {self.config.steps}: loss {loss:.4f}; {_duration(left)} left")
                last = self.step == self.config.steps
                if self.evaluation is not None and (self.step % self.config.eval_every == 0 or last):
                    self._evaluate(self.evaluation, tracker)
                if last or self.step % self.config.save_every == 0 or self.step % self.config.eval_every == 0:
                    self._save()
        return self._finish()

    def _train_step(self) -> tuple[float, float]:
        config, accelerator = self.config, self.accelerator
        world = accelerator.num_processes
        first = self.step * config.batch_size * config.accumulation * world
        self.wrapped.train()
        total = torch.zeros((), dtype=torch.float32, device=accelerator.device)
        for part in range(config.accumulation):
            place = first + (part * world + accelerator.process_index) * config.batch_size
            batch = self.draws.batch(
                place, config.batch_size, self.unconditional, config.condition_dropout, self.scaling
            ).to(accelerator.device)
            last = part == config.accumulation - 1
            with nullcontext() if last else accelerator.no_sync(self.wrapped):
                loss = diffusion_loss(self.wrapped, self.scheduler, batch, config.min_snr) / config.accumulation
                accelerator.backward(loss)
            total += loss.detach()
        mean = float(accelerator.reduce(total, "mean"))
        norm = float(accelerator.clip_grad_norm_(list(self.trained.values()), config.clip_norm))
        # A gradient scaler skips steps whose gradients overflow and lowers its scale; anything else is the end.
        if not math.isfinite(mean) or (accelerator.scaler is None and not math.isfinite(norm)):
            self._save()
            raise NumericsError(
                f"the loss is {mean}, the gradient's norm {norm} at step {self.step + 1}",
                where=self.folder,
                fix="The state before it is kept; lower the learning rate, or train in float32 or bf16",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.trained.values())
        return mean, norm if math.isfinite(norm) else 0.0

    def _evaluate(self, evaluation: Evaluation, tracker: _Tracker) -> None:
        with self._averaged():
            report = evaluation.run(self.model, self.step, self.accelerator)
        if self._main:
            assert report is not None
            better = self.history.add(report)
            tracker.write(self.step, {name: value for name, value in report["scores"].items() if value is not None})
            scores = ", ".join(f"{name} {value:.4g}" for name, value in report["scores"].items() if value is not None)
            self._say(f"step {self.step}: {scores}{' (best)' if better else ''}")
            if better:
                self._export("best", report)
        self.accelerator.wait_for_everyone()
        self.history.read()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averaged weights into the denoiser for a while."""
        self.ema.store(self.trained.values())
        self.ema.copy_to(self.trained.values())
        self.unet.eval()
        try:
            with in_float32(self.unet):
                yield
        finally:
            self.ema.restore(self.trained.values())

    def _export(self, name: str, report: Mapping[str, Any]) -> None:
        """Write the averaged denoiser as a whole checkpoint, then point ``name`` at it."""
        new = self.folder / f"{name}-{self.step:07d}"
        shutil.rmtree(new, ignore_errors=True)
        source = self.model.snapshot.folder
        try:
            for part in (*PARTS, "clap"):
                if part != "unet" and (source / part).is_dir():
                    for file in (source / part).iterdir():
                        link(file, new / part / file.name)
            for file in (source / "model_index.json", source / MARKER):
                if file.exists():
                    link(file, new / file.name)
            with self._averaged(), quiet():
                if self.config.lora is not None:
                    self.unet.save_lora_adapter(str(new / "lora"))
                merged = _merged(self.unet) if self.config.lora is not None else self.unet
                merged.save_pretrained(str(new / "unet"))
            write_atomically(new / "finetuned.json", json.dumps(dict(report), indent=2).encode())
            pointer = self.folder / f".{name}.new"
            pointer.unlink(missing_ok=True)
            pointer.symlink_to(new.name)
            pointer.replace(self.folder / name)
        except OSError as error:
            raise UsageError(
                f"the checkpoint cannot be written ({error.strerror}); the one before it is kept",
                new,
                "Free space, then resume",
            ) from error
        for old in self.folder.glob(f"{name}-*"):
            if old != new:
                shutil.rmtree(old, ignore_errors=True)

    def _save(self) -> None:
        if not self._main:
            return
        scaler = self.accelerator.scaler
        write_state(
            self.folder / STATE,
            {
                "step": self.step,
                "weights": {name: weight.detach() for name, weight in self.trained.items()},
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
            },
        )

    def _resume(self) -> None:
        state = read_state(self.folder / STATE)
        if state is None:  # killed before its first state: the run begins again, and its evaluations come again
            if self._main:
                self.history.cut(-1)
            return
        if state["weights"].keys() != self.trained.keys():
            raise DataError("is the state of another network", self.folder / STATE, "Choose a new folder")
        with torch.no_grad():
            for name, weight in self.trained.items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])
        if self._main:
            self.history.cut(self.step)
        self.accelerator.wait_for_everyone()
        self.history.read()

    def _finish(self) -> FineTuned:
        if self.frozen != weights_digest(self.model.vae, self.model.vocoder, self.model.text.network):
            raise NumericsError("a frozen network has changed", where=self.folder)
        if self._main and self.evaluation is None:
            self._export("last", {"step": self.step, "scores": {}})
        self.accelerator.wait_for_everyone()
        best = self.history.best()
        result = {
            "step": best["step"] if best else self.step,
            "last_step": self.step,
            "monitor": self.history.monitor,
            "chosen_on": "validation" if self.final is not None else "evaluation" if self.evaluation else None,
            "scores": best["scores"] if best else {},
            "each_score_at_its_own_best_step": self.history.each_best(),
            "frozen_sha256": self.frozen,
            "config": asdict(self.config),
        }
        if self.final is not None:
            clap = self.model.clap.folder if self.config.candidates > 1 else None
            chosen = AudioLDM.from_pretrained(
                self.folder / "best", device=self.model.device, heads=self.config.heads, clap=clap
            )
            report = self.final.run(chosen, result["step"], self.accelerator)
            if report is not None:
                result["scores_on_evaluation"] = report["scores"]
                result["report_on_evaluation"] = report
        if self._main:
            write_atomically(self.folder / RESULT, json.dumps(result, indent=2, allow_nan=False).encode())
            self.history.plot()
        self.accelerator.wait_for_everyone()
        name = "best" if best else "last"
        scores = result.get("scores_on_evaluation", result["scores"])
        return FineTuned(self.folder, self.folder / name, result["step"], scores, self.step)

    def _announce(self) -> None:
        weights = sum(weight.numel() for weight in self.unet.parameters())
        trained = sum(weight.numel() for weight in self.trained.values())
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


class _Tracker:
    """Steps as JSON lines, and for TensorBoard where it is installed."""

    def __init__(self, folder: Path, active: bool, step: int) -> None:
        self._active, self._path, self._board = active, folder / STEPS, None
        if active and self._path.exists():
            _cut_lines(self._path, step)
        if active:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> _Tracker:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._board is not None:
            self._board.close()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Note one step."""
        if self._active:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self.write(step, values)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Show values in TensorBoard."""
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


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


def _trainable(unet: Any, config: FineTuneConfig) -> Any:
    """Make the denoiser trainable: all of it, or adapters."""
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if config.lora is None:
        return unet.requires_grad_(True)
    from peft import LoraConfig

    unet.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        unet.add_adapter(
            LoraConfig(r=config.lora, lora_alpha=config.lora, target_modules=LORA_TARGETS, init_lora_weights="gaussian")
        )
    return unet


def _merged(unet: Any) -> Any:
    """Return a copy with its adapters folded into the weights."""
    merged = copy.deepcopy(unet)
    merged.fuse_lora()
    merged.unload_lora()
    return merged
