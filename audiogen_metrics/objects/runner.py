"""Run a backbone on waveforms: one instance per process, one pass per batch, however many metrics ask."""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from weakref import WeakValueDictionary

import numpy as np
import torch

from audiogen_metrics.audio.decoding import LOWEST_RATE, Audio
from audiogen_metrics.audio.preflight import BEYOND_SCALE, beyond_scale, inspect, unheard_by
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.embedding.cache import ClipFeatures
from audiogen_metrics.embedding.extraction import MAX_BATCH_SAMPLES
from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError, UsageError
from audiogen_metrics.functional.validation import as_tensor
from audiogen_metrics.options import whole

REMEMBERED_BATCHES = 4
"""Batches whose features are kept for the next metric that is given the same samples."""

REMEMBERED_BYTES = 2**28
"""Bound on these features together; those of the last batch are kept whatever their size."""

SHORTEST_SECONDS = 0.01
"""Shorter clips are taken for another mistake: (time, channels) instead of (channels, time), or a wrong rate."""

Waveforms = torch.Tensor | np.ndarray | Sequence[torch.Tensor | np.ndarray]


class Runner:
    """A backbone that remembers its last batches by content.

    Metrics of one collection are updated one after the other with the same samples. They are recognised by a
    hash over the samples themselves: a buffer that has been refilled since is another batch.

    Parameters
    ----------
    backbone
        Loaded when first used.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._remembered: OrderedDict[bytes, list[ClipFeatures]] = OrderedDict()

    def features(
        self, clips: Sequence[torch.Tensor], sample_rate: int, preprocessing: Preprocessing
    ) -> list[ClipFeatures]:
        """Return the features of each clip ``(channels, time)`` float32 on the CPU: those that its file would give.

        Samples far beyond full scale are a warning.

        Raises
        ------
        InsufficientDataError
            A clip is too short for the backbone and the protocol does not pad.
        NumericsError
            The backbone gave NaN or infinity.
        """
        key = _content(clips, sample_rate, preprocessing)
        if key not in self._remembered:
            _warn_of_scale(clips)
            audios = [Audio(clip.numpy().T, sample_rate) for clip in clips]
            waveforms = [prepare(audio, preprocessing) for audio in audios]
            _warn_of_unheard(audios, waveforms, preprocessing)
            self._remembered[key] = self._run(waveforms)
            while len(self._remembered) > 1 and self._remembers_too_much():
                self._remembered.popitem(last=False)
        self._remembered.move_to_end(key)
        return self._remembered[key]

    def _remembers_too_much(self) -> bool:
        tensors = (tensor for batch in self._remembered.values() for clip in batch for tensor in clip.values())
        return len(self._remembered) > REMEMBERED_BATCHES or sum(tensor.nbytes for tensor in tensors) > REMEMBERED_BYTES

    def _run(self, waveforms: Sequence[torch.Tensor]) -> list[ClipFeatures]:
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, waveform in enumerate(waveforms):
            if len(waveform) < self.backbone.minimum_samples:
                raise InsufficientDataError(
                    f"clip {index} has {len(waveform)} samples at {self.backbone.sample_rate} Hz, "
                    f"fewer than {self.backbone.minimum_samples}",
                    where=self.backbone.name,
                    fix="Generate longer clips; this protocol does not pad",
                )
            buckets[self.backbone.usable_samples(len(waveform))].append(index)
        features: dict[int, ClipFeatures] = {}
        for length, members in sorted(buckets.items()):
            size = max(1, MAX_BATCH_SAMPLES // length)
            for start in range(0, len(members), size):
                part = members[start : start + size]
                outputs = self.backbone(torch.stack([waveforms[index][:length] for index in part])).named()
                rows = {name: tensor.to("cpu", torch.float64) for name, tensor in outputs.items()}
                features |= {index: {name: rows[name][row] for name in rows} for row, index in enumerate(part)}
        for index in range(len(waveforms)):
            if not all(bool(tensor.isfinite().all()) for tensor in features[index].values()):
                raise NumericsError(f"{self.backbone.name} gave NaN or infinity for clip {index}")
        return [features[index] for index in range(len(waveforms))]


_RUNNERS: WeakValueDictionary[tuple[str, str, str], Runner] = WeakValueDictionary()


def shared_runner(backbone: str | Backbone, device: torch.device) -> Runner:
    """Return the runner of a backbone on a device; all metrics that need the same one share it while they live.

    Raises
    ------
    MissingWeightsError, MissingDependencyError
        The backbone is not on this machine.
    """
    if isinstance(backbone, str):
        wanted = BACKBONES.get(backbone)(device)
        key = (f"{type(wanted).__module__}.{type(wanted).__qualname__}", str(device), wanted.fingerprint)
    else:
        # A backbone of one's own is shared by instance: whatever its settings do not say cannot mix two of them up.
        wanted = on_device(backbone, device)
        key = (wanted.instance, str(device), wanted.fingerprint)
    runner = _RUNNERS.get(key)
    if runner is None:
        runner = _RUNNERS[key] = Runner(wanted)
    return runner


def on_device(backbone: Backbone, device: torch.device) -> Backbone:
    """Return the backbone itself where it is on this device, else a copy of it there, to be loaded anew."""
    if backbone.device == device:
        return backbone
    moved = unloaded(backbone)
    moved.device = device
    return moved


def unloaded(backbone: Backbone) -> Backbone:
    """Return a copy of a backbone without its network, which is loaded again when needed."""
    twin = copy.copy(backbone)
    twin.__dict__.pop("network", None)
    return twin


def as_clips(waveforms: Waveforms, sample_rate: int, name: str) -> list[torch.Tensor]:
    """Return the clips of a batch, each ``(channels, time)`` float32 on the CPU.

    Parameters
    ----------
    waveforms
        ``(time,)``, ``(batch, time)`` or ``(batch, channels, time)``, or a sequence of ``(time,)`` and
        ``(channels, time)``.
    sample_rate
        Hz.
    name
        What errors call it.

    Raises
    ------
    DataError
        Another shape, integers, NaN or infinity, sparse or masked samples, paths, clips of less than
        `SHORTEST_SECONDS`.
    """
    if isinstance(waveforms, (str, bytes, os.PathLike)) or not isinstance(waveforms, Iterable):
        raise DataError(
            f"{name} is a {type(waveforms).__name__}, not waveforms",
            fix="Pass tensors or arrays; for a folder of files use score()",
        )
    if isinstance(waveforms, (torch.Tensor, np.ndarray)):
        tensor = as_tensor(waveforms, name).cpu()
        if tensor.ndim not in (1, 2, 3):
            raise DataError(
                f"{name} has shape {tuple(tensor.shape)}", fix="Pass (time,), (batch, time) or (batch, channels, time)"
            )
        _check_length(tensor, sample_rate, name)
        clips = [tensor] if tensor.ndim == 1 else list(tensor)
    else:
        clips = [as_tensor(waveform, f"{name}[{index}]").cpu() for index, waveform in enumerate(waveforms)]
    if not clips:
        raise DataError(f"{name} has no clips", fix="Skip this update")
    return [_checked(clip, sample_rate, f"{name}[{index}]") for index, clip in enumerate(clips)]


def _checked(clip: torch.Tensor, sample_rate: int, name: str) -> torch.Tensor:
    if clip.ndim not in (1, 2) or clip.numel() == 0:
        raise DataError(
            f"{name} has shape {tuple(clip.shape)}",
            fix="Each clip must be (time,) or (channels, time), with samples in it",
        )
    _check_length(clip, sample_rate, name)
    if not clip.is_floating_point():
        raise DataError(f"{name} has the type {clip.dtype}", fix="Pass floats, full scale ±1: int16 / 32768")
    clip = clip.to(torch.float32).contiguous()
    if not bool(clip.isfinite().all()):
        raise DataError(f"{name} has NaN or infinite samples", fix="Drop that clip, or mend the generator")
    return clip if clip.ndim == 2 else clip[None]


def _check_length(clips: torch.Tensor, sample_rate: int, name: str) -> None:
    """Raise DataError for clips that are shorter than any sound, as (time, channels) would be."""
    samples = clips.shape[-1]
    if clips.numel() == 0 or samples >= SHORTEST_SECONDS * sample_rate:
        return
    shape = tuple(clips.shape)
    swapped = clips.ndim > 1 and shape[-2] > samples
    fix = (
        f"Time must come last: pass {name}.swapaxes(-1, -2)" if swapped else "Pass longer clips; is sample_rate right?"
    )
    raise DataError(f"{name} of shape {shape} holds clips of {samples} samples, {samples / sample_rate:.2g} s", fix=fix)


def check_sample_rate(sample_rate: int | None) -> int:
    """Return a sample rate that is one; UsageError if it is missing or not a positive whole number."""
    if sample_rate is None:
        raise UsageError("sample_rate is missing", fix="Say at which rate in Hz the waveforms are: sample_rate=16000")
    return whole("sample_rate", sample_rate, LOWEST_RATE)


def _warn_of_scale(clips: Sequence[torch.Tensor]) -> None:
    peaks = [float(clip.abs().max()) for clip in clips]
    beyond = [peak for peak in peaks if peak > BEYOND_SCALE]
    if beyond:
        warnings.warn(f"{len(beyond)} of {len(clips)} clips {beyond_scale(max(beyond))}", stacklevel=2)


def _warn_of_unheard(audios: Sequence[Audio], waveforms: Sequence[torch.Tensor], preprocessing: Preprocessing) -> None:
    """Warn of sound that is lost where channels are chosen or mixed."""
    unheard = sum(
        inspect(audio, waveform, preprocessing).unheard
        for audio, waveform in zip(audios, waveforms, strict=True)
        if audio.samples.shape[1] > 1
    )
    if unheard:
        warnings.warn(f"{unheard} of {len(audios)} clips {unheard_by(preprocessing)}", stacklevel=2)


def _content(clips: Sequence[torch.Tensor], sample_rate: int, preprocessing: Preprocessing) -> bytes:
    shapes = [tuple(clip.shape) for clip in clips]
    digest = hashlib.blake2b(f"{sample_rate} {preprocessing} {shapes}".encode(), digest_size=20)
    for clip in clips:
        digest.update(clip.numpy().data)
    return digest.digest()
