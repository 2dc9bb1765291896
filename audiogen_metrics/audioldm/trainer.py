"""The denoiser while it trains: its weights, their average, the optimiser, and how many steps they have come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.audioldm.material import trainable
from audiogen_metrics.audioldm.training import Draws, diffusion_loss, in_float32, learning_rate
from audiogen_metrics.errors import DataError, NumericsError
from audiogen_metrics.options import as_path


class Trainer:
    """Trains the denoiser of a model step by step, on one of the run's processes.

    Attributes
    ----------
    step
        Steps done.
    unet
        The denoiser.
    n_weights, n_trained
        How many weights it has, and how many of them train.
    """

    def __init__(self, model: AudioLDM, clips: TrainingClips, config: FineTuneConfig, accelerator: Any) -> None:
        from diffusers import DDPMScheduler
        from diffusers.training_utils import EMAModel

        self._config, self._accelerator = config, accelerator
        self._draws = Draws(clips, config.seed)
        self._scheduler = DDPMScheduler.from_config(model.schedule)
        self._unconditional = model.text.embed([""])[0].cpu()
        self._scaling = float(model.vae.config.scaling_factor)
        self.unet: Any = trainable(model.unet, config)
        self._trained = {name: weight for name, weight in self.unet.named_parameters() if weight.requires_grad}
        self.n_weights: int = sum(weight.numel() for weight in self.unet.parameters())
        self.n_trained: int = sum(weight.numel() for weight in self._trained.values())
        self._ema = EMAModel(self._trained.values(), decay=config.ema)
        optimizer = torch.optim.AdamW(self._trained.values(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self._wrapped, self._optimizer = accelerator.prepare(self.unet, optimizer)
        self.step: int = 0

    def advance(self) -> dict[str, float]:
        """Make one step; return its loss, its gradient's norm and its learning rate.

        Raises
        ------
        NumericsError
            A loss or gradient that is not finite; the weights are then those before the step.
        """
        mean = self._backward()
        norm = float(self._accelerator.clip_grad_norm_(list(self._trained.values()), self._config.clip_norm))
        # A gradient scaler skips steps whose gradients overflow and lowers its scale; anything else is the end.
        if not math.isfinite(mean) or (self._accelerator.scaler is None and not math.isfinite(norm)):
            raise NumericsError(
                f"the loss is {mean}, the gradient's norm {norm} at step {self.step + 1}",
                where=as_path(self._config.output),
                fix="The state before it is kept; lower the learning rate, or train in float32 or bf16",
            )
        rate = learning_rate(self._config, self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._ema.step(self._trained.values())
        self.step += 1
        return {"loss": mean, "gradient_norm": norm if math.isfinite(norm) else 0.0, "learning_rate": rate}

    def _backward(self) -> float:
        """Add up the gradients of the step's batches; return their mean loss over all processes."""
        config, accelerator = self._config, self._accelerator
        world = accelerator.num_processes
        first = self.step * config.batch_size * config.accumulation * world
        self._wrapped.train()
        total = torch.zeros((), dtype=torch.float32, device=accelerator.device)
        for part in range(config.accumulation):
            place = first + (part * world + accelerator.process_index) * config.batch_size
            batch = self._draws.batch(
                place, config.batch_size, self._unconditional, config.condition_dropout, self._scaling
            ).to(accelerator.device)
            last = part == config.accumulation - 1
            with nullcontext() if last else accelerator.no_sync(self._wrapped):
                loss = diffusion_loss(self._wrapped, self._scheduler, batch, config.min_snr) / config.accumulation
                accelerator.backward(loss)
            total += loss.detach()
        return float(accelerator.reduce(total, "mean"))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights into the denoiser for a while."""
        self._ema.store(self._trained.values())
        self._ema.copy_to(self._trained.values())
        self.unet.eval()
        try:
            with in_float32(self.unet):
                yield
        finally:
            self._ema.restore(self._trained.values())

    def state(self) -> dict[str, Any]:
        """Return all that the training goes on from."""
        scaler = self._accelerator.scaler
        return {
            "step": self.step,
            "weights": {name: weight.detach() for name, weight in self._trained.items()},
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load(self, state: Mapping[str, Any], path: Path) -> None:
        """Go back to a state that was read from ``path``; DataError if it is another network's."""
        if state["weights"].keys() != self._trained.keys():
            raise DataError("is the state of another network", path, "Choose a new folder")
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        if self._accelerator.scaler is not None and state["scaler"] is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])
