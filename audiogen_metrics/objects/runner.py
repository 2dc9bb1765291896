"""Run a backbone on waveforms: one instance per process, one pass per batch, for any number of metrics."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.embedding.cache import ClipFeatures
from audiogen_metrics.embedding.passes import Arriving, Passes, too_long
from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError, is_out_of_memory
from audiogen_metrics.objects.batch import LEAVE_OUT
from audiogen_metrics.settings import with_index

if TYPE_CHECKING:
    from pathlib import Path

    from audiogen_metrics.objects.batch import Batch

REMEMBERED_BATCHES = 4
"""Batches whose features are kept for the next metric that is given the same samples."""

REMEMBERED_BYTES = 2**28
"""Bound on all of these features; those of the last batch are kept whatever their size."""


ClipFound = ClipFeatures | DataError | NumericsError
"""Features of a clip, or why they are missing."""


class Runner:
    """A backbone that remembers its last batches by content.

    A hash over the samples recognises a batch when another metric is updated with it. So a buffer that was refilled is
    another batch.

    Parameters
    ----------
    backbone
        Backbone, which is loaded when first used.
    batch_size
        Largest number of clips that go through it together; None chooses it by their length.
    """

    def __init__(self, backbone: Backbone, batch_size: int | None = None) -> None:
        self.backbone: Backbone = backbone
        self.passes: Passes = Passes(backbone, batch_size)
        self._remembered: OrderedDict[tuple[bytes, Preprocessing], dict[int, ClipFound]] = OrderedDict()

    def features(self, batch: Batch, preprocessing: Preprocessing) -> dict[int, ClipFound]:
        """Return the features of each finite clip by its place, as its file would have them.

        An error stands for the features if the clip is too short for a backbone and the protocol does not pad, if it is
        too long for the memory, or if the backbone gave NaN or infinity. Samples far beyond full scale are a warning.
        """
        if not batch.remembered:
            return self._computed(batch, preprocessing)
        key = batch.content, preprocessing
        if key not in self._remembered:
            self._remembered[key] = self._computed(batch, preprocessing)
            while len(self._remembered) > 1 and self._remembers_too_much():
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return self._remembered[key]

    def _computed(self, batch: Batch, preprocessing: Preprocessing) -> dict[int, ClipFound]:
        device, waveforms = self._prepared(batch, preprocessing)
        found: dict[int, ClipFound] = {}
        buckets: dict[int, list[int]] = defaultdict(list)
        for place, waveform in sorted(waveforms.items()):
            if len(waveform) < self.backbone.minimum_samples:
                found[place] = InsufficientDataError(
                    f"{batch.name}[{place}] has {len(waveform)} samples at {self.backbone.sample_rate} Hz, "
                    f"fewer than {self.backbone.minimum_samples}",
                    where=self.backbone.name,
                    fix=f"Generate longer clips, as this protocol does not pad, or {LEAVE_OUT}",
                )
                continue
            buckets[self.backbone.usable_samples(len(waveform))].append(place)
        started: list[tuple[list[int], Arriving[Output]]] = []
        for length, members in sorted(buckets.items()):
            for part, arriving in self.passes.over([waveforms[place][:length] for place in members]):
                if arriving is None:
                    place = members[part.start]
                    found[place] = DataError(f"{batch.name}[{place}] is {too_long(self.backbone)}")
                else:
                    started.append((members[part.start : part.stop], arriving))
        for places, arriving in started:
            rows = {name: tensor.to(torch.float64) for name, tensor in arriving.take().items()}
            found |= {place: {name: rows[name][row] for name in rows} for row, place in enumerate(places)}
        for shortage in self.passes.shortages:
            warnings.warn(shortage, stacklevel=2)
        self.passes.shortages.clear()
        batch.warn(preprocessing, device)
        for place in batch.kept:
            features = found[place]
            if isinstance(features, dict) and not all(bool(tensor.isfinite().all()) for tensor in features.values()):
                found[place] = NumericsError(
                    f"{self.backbone.name} gave NaN or infinity for {batch.name}[{place}]",
                    fix=f"Mend the generator, or {LEAVE_OUT}",
                )
        return {place: found[place] for place in batch.kept}

    def _prepared(self, batch: Batch, preprocessing: Preprocessing) -> tuple[torch.device, dict[int, torch.Tensor]]:
        """Return a device and the waveforms prepared on it: the CPU if the backbone's device lacks the memory."""
        device = self.backbone.device
        try:
            return device, batch.prepared(preprocessing, device)
        except (MemoryError, RuntimeError) as error:
            if device.type == "cpu" or not is_out_of_memory(error):
                raise
        cpu = torch.device("cpu")
        warnings.warn(f"{batch.name} did not fit into the memory of {device} and was prepared on the CPU", stacklevel=2)
        return cpu, batch.prepared(preprocessing, cpu)

    def _remembers_too_much(self) -> bool:
        clips = (clip for batch in self._remembered.values() for clip in batch.values() if isinstance(clip, dict))
        tensors = (tensor for clip in clips for tensor in clip.values())
        return len(self._remembered) > REMEMBERED_BATCHES or sum(tensor.nbytes for tensor in tensors) > REMEMBERED_BYTES


_RUNNERS: WeakValueDictionary[tuple[str, str, str, int | None], Runner] = WeakValueDictionary()


def shared_runner(
    backbone: str | Backbone, device: torch.device, batch_size: int | None = None, weights: Path | None = None
) -> Runner:
    """Return the runner of a backbone on a device, which all metrics that need the same one share while they live.

    Runners that differ only in batch size share the backbone.

    Raises
    ------
    MissingWeightsError, MissingDependencyError
        The backbone is not on this machine.
    """
    device = with_index(device)
    if isinstance(backbone, str):
        options = {} if weights is None else {"weights": weights}
        wanted = BACKBONES.get(backbone)(device, **options)  # type: ignore[arg-type]
        wanted.require()
        which = (f"{type(wanted).__module__}.{type(wanted).__qualname__}", str(device), wanted.fingerprint)
    else:
        # A user's own backbone is shared by instance, since its settings may not say everything.
        wanted = on_device(backbone, device)
        wanted.require()
        which = (wanted.instance, str(device), wanted.fingerprint)
    runner = _RUNNERS.get((*which, batch_size))
    if runner is None:
        loaded = next((other.backbone for key, other in _RUNNERS.items() if key[:-1] == which), wanted)
        runner = _RUNNERS[(*which, batch_size)] = Runner(loaded, batch_size)
    return runner


def on_device(backbone: Backbone, device: torch.device) -> Backbone:
    """Return the backbone itself if it is on this device, otherwise an unloaded copy for the device."""
    device = with_index(device)
    if with_index(backbone.device) == device:
        return backbone
    moved = unloaded(backbone)
    moved.device = device
    return moved


def unloaded(backbone: Backbone) -> Backbone:
    """Return a copy of a backbone without its network, which is loaded again when needed."""
    twin = copy.copy(backbone)
    twin.__dict__.pop("network", None)
    return twin
