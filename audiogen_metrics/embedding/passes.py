"""Passes of a backbone over clips of one length: as many at a time as memory holds, and what comes of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import torch

from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.errors import is_out_of_memory

MAX_BATCH_SAMPLES = 2**23
"""Bound on the samples of one batch (32 MB): long clips go in smaller batches."""

Name = TypeVar("Name", bound=Hashable)


class Arriving(Generic[Name]):
    """Tensors on their way to the CPU. From CUDA they come while the caller goes on; from elsewhere they are there."""

    def __init__(self, tensors: Mapping[Name, torch.Tensor]) -> None:
        devices = {tensor.device for tensor in tensors.values() if tensor.is_cuda}
        # Torch takes pinned memory for these copies. Other devices do not say when one that is not waited for is done.
        self._tensors = {name: tensor.to("cpu", non_blocking=tensor.is_cuda) for name, tensor in tensors.items()}
        self._events = [torch.cuda.current_stream(device).record_event() for device in devices]

    @property
    def is_here(self) -> bool:
        """Whether `take` need not wait."""
        return all(event.query() for event in self._events)

    def take(self) -> dict[Name, torch.Tensor]:
        """Return the tensors once they are here."""
        for event in self._events:
            event.synchronize()
        return self._tensors


def on(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device: itself where it is there."""
    return tensor if tensor.device == device else tensor.to(device)


def joined(waveforms: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """Return tensors of one shape as one on a device; from the CPU to CUDA, the copy goes on while the caller does."""
    if len(waveforms) == 1 and waveforms[0].device == device:
        return waveforms[0][None]  # a long clip is not copied
    if device.type != "cuda" or waveforms[0].device.type != "cpu":
        return torch.stack([on(waveform, device) for waveform in waveforms])
    shape = len(waveforms), *waveforms[0].shape
    pinned = torch.empty(shape, dtype=waveforms[0].dtype, device="cpu", pin_memory=True)
    return torch.stack(list(waveforms), out=pinned).to(device, non_blocking=True)


class Passes:
    """A backbone and how many clips go through it together.

    Parameters
    ----------
    backbone
        Loaded when first used.
    batch_size
        Clips that go together, at most; None leaves it to their length.

    Attributes
    ----------
    shortages
        What to say of batches that did not fit into memory and were halved.
    """

    def __init__(self, backbone: Backbone, batch_size: int | None = None) -> None:
        self.backbone: Backbone = backbone
        self.batch_size: int | None = batch_size
        self.shortages: list[str] = []
        self._samples = MAX_BATCH_SAMPLES

    def largest_batch(self, length: int) -> int:
        """Return how many clips of a length go together: a few long ones must not make short ones go one by one."""
        fitting = max(1, self._samples // length)
        return fitting if self.batch_size is None else min(self.batch_size, fitting)

    def over(self, waveforms: Sequence[torch.Tensor]) -> Iterator[tuple[range, Arriving[Output] | None]]:
        """Yield the places of clips ``(time,)`` of one length, and what the backbone gives for them, float32.

        None stands for the features of a single clip that does not fit into memory.
        """
        first = 0
        while first < len(waveforms):
            part = waveforms[first : first + self.largest_batch(len(waveforms[first]))]
            arriving = self._start(part)
            if arriving is None and len(part) > 1:
                self._shrink(len(part), len(part[0]))
                continue
            yield range(first, first + len(part)), arriving
            first += len(part)

    def _start(self, waveforms: Sequence[torch.Tensor]) -> Arriving[Output] | None:
        """Start one pass; None if memory runs out, once the error is gone, which holds on to what the pass made."""
        try:
            outputs = self.backbone(joined(waveforms, self.backbone.device)).named()
            return Arriving({name: tensor.float() for name, tensor in outputs.items()})
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _shrink(self, clips: int, length: int) -> None:
        """Halve the samples of a batch from now on, and note it."""
        self._samples = clips // 2 * length
        self.shortages.append(
            f"{self.backbone.name}: {clips} clips of {length / self.backbone.sample_rate:.4g} s did not fit into the "
            f"memory of {self.backbone.device}; went on with {clips // 2} at a time"
        )
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()


def too_long(backbone: Backbone) -> str:
    """Return what to say of a clip that does not fit into memory on its own."""
    return f"too long for the memory of {backbone.device}: cut it into clips"
