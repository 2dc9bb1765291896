"""One optimiser step of latent diffusion, and the state that a run resumes from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.errors import DataError
from audiogen_metrics.writing import write_atomically, writing


class Draws:
    """Which clip and which noise every position of an endless sequence has.

    The sequence is one seeded permutation of the clips after another; noise is drawn from (seed, position). So a batch
    follows from its number alone: nothing but the step has to be stored to resume in the middle of an epoch, and it
    makes no difference whether positions are shared out over processes or accumulated by one.
    """

    def __init__(self, clips: TrainingClips, seed: int) -> None:
        self._clips, self._seed = clips, seed
        self._epoch, self._order = -1, np.arange(0)

    def position(self, position: int) -> tuple[int, np.random.Generator]:
        """Return the clip at a position, and the stream that its noise comes from."""
        epoch, place = divmod(position, len(self._clips))
        if epoch != self._epoch:
            order = np.random.default_rng(np.random.SeedSequence([self._seed, 0, epoch]))
            self._epoch, self._order = epoch, order.permutation(len(self._clips))
        return int(self._order[place]), np.random.default_rng(np.random.SeedSequence([self._seed, 1, position]))

    def batch(self, first: int, size: int, unconditional: torch.Tensor, dropout: float, scaling: float) -> LatentBatch:
        """Return the batch of ``size`` positions from ``first`` on, on the CPU."""
        latents, noises, times, labels = [], [], [], []
        for position in range(first, first + size):
            index, rng = self.position(position)
            example = self._clips.draw(index, rng)
            mean, log_variance = example.moments.chunk(2)
            spread = (0.5 * log_variance.clamp(-30, 20)).exp()
            latents.append((mean + spread * _normal(rng, mean.shape)) * scaling)
            noises.append(_normal(rng, mean.shape))
            times.append(int(rng.integers(1000)))
            labels.append(unconditional if rng.random() < dropout else example.condition)
        return LatentBatch(
            torch.stack(latents),
            torch.stack(noises),
            torch.tensor(times, dtype=torch.int64, device="cpu"),
            torch.stack(labels),
        )


class LatentBatch:
    """Latents, the noise to add, diffusion times and conditions of some draws."""

    def __init__(self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor, labels: torch.Tensor) -> None:
        self.latents = latents
        self.noise = noise
        self.times = times
        self.labels = labels

    def to(self, device: torch.device) -> LatentBatch:
        """Return the batch on a device; from pinned memory and without waiting where that is a GPU."""
        tensors = (self.latents, self.noise, self.times, self.labels)
        if device.type == "cuda":
            return LatentBatch(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors))
        return LatentBatch(*(tensor.to(device) for tensor in tensors))


def diffusion_loss(unet: Any, scheduler: Any, batch: LatentBatch, min_snr: float | None = None) -> torch.Tensor:
    """Return the mean squared error of the predicted noise, in float32.

    Parameters
    ----------
    unet
        Denoiser, told the condition through its class labels.
    scheduler
        The checkpoint's noise schedule, with ``add_noise``.
    batch
        On the denoiser's device.
    min_snr
        γ of Hang et al. 2023: clips are weighted by min(SNR, γ) / SNR.
    """
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.times)
    predicted = unet(noisy, batch.times, encoder_hidden_states=None, class_labels=batch.labels).sample
    losses = F.mse_loss(predicted.float(), batch.noise, reduction="none").flatten(1).mean(1)
    if min_snr is not None:
        kept = scheduler.alphas_cumprod.to(losses.device)[batch.times]
        ratio = kept / (1 - kept)
        losses = losses * ratio.clamp(max=min_snr) / ratio
    return losses.mean()


def learning_rate(config: FineTuneConfig, step: int) -> float:
    """Return the rate of a step, counted from 0: linear warm-up, then constant."""
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))


@contextmanager
def in_float32(network: torch.nn.Module) -> Iterator[None]:
    """Take accelerate's mixed precision off a prepared network for a while.

    Clips then sound as the written checkpoint makes them, and as the manifest says.
    """
    wrapped = vars(network).get("forward")
    plain = vars(network).get("_original_forward")
    if wrapped is None or plain is None:
        yield
        return
    network.forward = plain
    try:
        yield
    finally:
        network.forward = wrapped


def weights_digest(*modules: torch.nn.Module) -> str:
    """Return the SHA-256 of every parameter and buffer: equal digests mean unchanged networks."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what a run resumes from, whole or not at all; UsageError if it cannot be."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with writing(path, "Free space, then resume", "the state ", "; the one before it is kept"):
        write_atomically(path, buffer.getvalue())


def read_state(path: Path) -> dict[str, Any] | None:
    """Return a state, None if there is none; code in it never runs. DataError for one that is damaged."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError("is not a state of a run, or damaged", where=path, fix="Delete it to begin again") from error
    return state


def _normal(rng: np.random.Generator, shape: torch.Size) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
