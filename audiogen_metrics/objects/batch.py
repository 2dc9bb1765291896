"""The clips of one update, converted and checked once for all metrics."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from audiogen_metrics.audio.decoding import LOWEST_RATE
from audiogen_metrics.audio.given import require_clip
from audiogen_metrics.audio.preflight import BEYOND_SCALE, beyond_scale, unheard, unheard_by
from audiogen_metrics.audio.preparation import Preprocessing, prepare_clips
from audiogen_metrics.embedding.passes import Arriving, joined, on
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.functional.validation import as_tensor
from audiogen_metrics.options import whole

if TYPE_CHECKING:
    from audiogen_metrics.objects.runner import ClipFound, Runner

SHORTEST_SECONDS = 0.01
"""Shorter clips are mistakes, such as (time, channels) instead of (channels, time), or a wrong rate."""

PADDING = -100
"""Number with which transformers' Trainer pads shorter clips when it gathers a batch."""

MAX_MOVED_SAMPLES = 2**26
"""Bound on the samples of a batch that stay on another device for the next preprocessing (256 MB)."""

LEAVE_OUT = 'leave such clips out by on_bad_clip="omit"'
"""Advice for a young generator that makes such clips."""

Waveforms = torch.Tensor | np.ndarray | Sequence[torch.Tensor | np.ndarray]


class Batch:
    """Clips of one update, converted and checked once for all metrics.

    Clips on CUDA stay there. What is found in them is copied together with their features, so that the caller waits for
    a batch only once; until then it is not known which clips have NaN.

    Parameters
    ----------
    waveforms
        ``(time,)``, ``(batch, time)`` or ``(batch, channels, time)``, or a sequence of ``(time,)`` and
        ``(channels, time)``. Samples of −100 at the end, with which transformers' Trainer pads, are removed.
    sample_rate
        Rate in Hz.
    name
        Name of the batch in errors.
    remembered
        Share features with other batches that have the same samples, which a hash recognises: for metrics that are
        updated one by one. Members of a suite share the batch itself, without a hash.

    Raises
    ------
    DataError
        Another shape, integers, sparse or masked samples, paths. A single clip that cannot be scored does not raise; it
        has its error in place of features.
    UsageError
        The sample rate is missing, or not a positive whole number.
    """

    def __init__(
        self,
        waveforms: Waveforms,
        sample_rate: int | None,
        name: str,
        *,
        remembered: bool = False,
    ) -> None:
        self.sample_rate: int = check_sample_rate(sample_rate)
        self.name: str = name
        self.remembered: bool = remembered
        found = _as_clips(waveforms, self.sample_rate, name)
        self._bad = {place: clip for place, clip in enumerate(found) if isinstance(clip, DataError)}
        device = next((clip.device for clip in found if isinstance(clip, torch.Tensor)), torch.device("cpu"))
        # A clip of NaN stands for one that is not a clip at all.
        blank = torch.full((1, 1), torch.nan, dtype=torch.float32, device=device)
        self.clips: list[torch.Tensor] = [blank if isinstance(clip, DataError) else on(clip, device) for clip in found]
        self._wait = _is_far(self.clips[0])
        # NaN passes through minimum and maximum.
        self._extremes = Arriving({"found": torch.stack([torch.stack(clip.aminmax()) for clip in self.clips])})
        self._moved: dict[torch.device, list[tuple[list[int], torch.Tensor]]] = {}
        self._prepared: dict[tuple[Preprocessing, torch.device], _Prepared] = {}
        self._features: dict[tuple[Runner, Preprocessing], list[ClipFound]] = {}
        self._warned: set[str | Preprocessing] = set()

    def __len__(self) -> int:
        """Return how many clips were given."""
        return len(self.clips)

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Places of the finite clips, in order. This waits for clips on a GPU, so ask for features first."""
        extremes = self._extremes.take()["found"]
        if self._wait:
            for place in (extremes[:, 0] == PADDING).nonzero().flatten().tolist():
                if _is_padded(self.clips[place]):
                    self._bad[place] = DataError(
                        f"{self.name}[{place}] ends in padding by {PADDING}", fix="Pass the batch on the CPU"
                    )
        finite = extremes.isfinite().all(dim=1).tolist()
        return tuple(place for place, is_finite in enumerate(finite) if is_finite and place not in self._bad)

    def features(self, runner: Runner, preprocessing: Preprocessing) -> list[ClipFound]:
        """Return the features of each clip, or why they are missing; computed once."""
        key = runner, preprocessing
        if key not in self._features:
            found = runner.features(self, preprocessing)
            self._features[key] = [found.get(place) or self._not_finite(place) for place in range(len(self))]
        return self._features[key]

    def _not_finite(self, place: int) -> DataError:
        return self._bad.get(place) or DataError(
            f"{self.name}[{place}] has NaN or infinite samples", fix=f"Mend the generator, or {LEAVE_OUT}"
        )

    def warn_left_out(self, clips: int, reason: str) -> None:
        """Warn, once for all metrics, of clips that are left out."""
        if "left out" not in self._warned:
            warnings.warn(f"{self.name}: {clips} of {len(self)} clips are left out: {reason}", stacklevel=6)
        self._warned.add("left out")

    def prepared(self, preprocessing: Preprocessing, device: torch.device) -> dict[int, torch.Tensor]:
        """Return waveforms ``(time,)`` on a device by the places of their clips, prepared as files are; made once.

        They are those of the clips that are kept. On a GPU, where this is not known yet, they are those of all clips.
        """
        key = preprocessing, device
        if key not in self._prepared:
            waveforms: dict[int, torch.Tensor] = {}
            several: list[int] = []
            lost: list[torch.Tensor] = []
            for places, clips in self._on(device):
                part = prepare_clips(clips, self.sample_rate, preprocessing)
                waveforms.update(zip(places, part, strict=True))
                if clips.shape[1] > 1:
                    several += places
                    lost.append(unheard(clips, part, self.sample_rate, preprocessing))
            self._prepared[key] = _Prepared(waveforms, several, Arriving({"lost": torch.cat(lost)} if lost else {}))
        return self._prepared[key].waveforms

    def _on(self, device: torch.device) -> list[tuple[list[int], torch.Tensor]]:
        """Return places and clips ``(batch, channels, time)`` on a device, those of one shape together."""
        if device in self._moved:
            return self._moved[device]
        places = range(len(self)) if self._wait else self.kept
        if device.type == "cpu":
            return [([place], on(self.clips[place], device)[None]) for place in places]  # one by one: see prepare_clips
        shapes: dict[torch.Size, list[int]] = defaultdict(list)
        for place in places:
            shapes[self.clips[place].shape].append(place)
        moved = [(those, joined([self.clips[place] for place in those], device)) for those in shapes.values()]
        if sum(clips.numel() for _, clips in moved) <= MAX_MOVED_SAMPLES:
            self._moved[device] = moved
        return moved

    def warn(self, preprocessing: Preprocessing, device: torch.device) -> None:
        """Warn, once, of samples far beyond full scale, and of sound that was lost when channels were chosen or mixed.

        Call it when the features are there, so that it need not wait.
        """
        found = self._extremes.take()["found"]
        peaks = [float(found[place].abs().max()) for place in self.kept]
        beyond = [peak for peak in peaks if peak > BEYOND_SCALE]
        if beyond and "scale" not in self._warned:
            warnings.warn(f"{len(beyond)} of {len(peaks)} clips {beyond_scale(max(beyond))}", stacklevel=2)
        prepared = self._prepared[preprocessing, device]
        flags = prepared.unheard.take().get("lost", torch.zeros(0, dtype=torch.bool, device="cpu")).tolist()
        lost = sum(flag for place, flag in zip(prepared.several, flags, strict=True) if place in self.kept)
        if lost and preprocessing not in self._warned:
            warnings.warn(f"{lost} of {len(peaks)} clips {unheard_by(preprocessing)}", stacklevel=2)
        self._warned |= {"scale", preprocessing}

    @cached_property
    def content(self) -> bytes:
        """Hash of everything that features depend on, except the preprocessing; clips on CUDA are copied for it."""
        clips = [self.clips[place] for place in self.kept]
        shapes = [tuple(clip.shape) for clip in clips]
        digest = hashlib.blake2b(f"{self.sample_rate} {self.kept} {shapes}".encode(), digest_size=20)
        for clip in clips:
            digest.update(clip.cpu().numpy().data)
        return digest.digest()


@dataclass
class _Prepared:
    """Waveforms by the places of their clips, and which clips of ``several`` channels are unheard."""

    waveforms: dict[int, torch.Tensor]
    several: list[int]
    unheard: Arriving[str]


def _is_far(clip: torch.Tensor) -> bool:
    """Tell whether reading a clip's samples would make the caller wait."""
    return clip.is_cuda


def _as_clips(waveforms: Waveforms, sample_rate: int, name: str) -> list[torch.Tensor | DataError]:
    """Return the clips of a batch, each ``(channels, time)`` float32, or why one cannot be scored."""
    if isinstance(waveforms, (str, bytes, os.PathLike)) or not isinstance(waveforms, Iterable):
        raise DataError(
            f"{name} is a {type(waveforms).__name__}, not waveforms",
            fix="Pass tensors or arrays; for a folder of files use score()",
        )
    if isinstance(waveforms, (torch.Tensor, np.ndarray)):
        tensor = as_tensor(waveforms, name)
        if tensor.ndim not in (1, 2, 3):
            raise DataError(
                f"{name} has shape {tuple(tensor.shape)}", fix="Pass (time,), (batch, time) or (batch, channels, time)"
            )
        if (error := _shortness(tensor, sample_rate, name)) is not None:
            raise error
        clips = [tensor] if tensor.ndim == 1 else list(tensor)
    else:
        clips = [as_tensor(waveform, f"{name}[{index}]") for index, waveform in enumerate(waveforms)]
    if not clips:
        raise DataError(f"{name} has no clips", fix="Skip this update")
    return [_checked(clip, sample_rate, f"{name}[{index}]") for index, clip in enumerate(clips)]


def _is_padded(clip: torch.Tensor) -> bool:
    return clip.numel() > 0 and bool((clip[..., -1] == PADDING).all())


def _without_padding(clip: torch.Tensor) -> torch.Tensor:
    """Return a clip without the padding that transformers' Trainer adds to shorter ones when it gathers a batch."""
    if clip.is_cuda or not _is_padded(clip):  # on a GPU that would wait; see Batch.kept
        return clip
    sound = (clip != PADDING).reshape(-1, clip.shape[-1]).any(dim=0).nonzero()
    end = int(sound[-1]) + 1 if len(sound) else 0
    # If samples are on another scale than ±1, a last sample may be this number by itself.
    return clip[..., :end] if end == 0 or bool(clip[..., :end].abs().max() < -PADDING) else clip


def _checked(clip: torch.Tensor, sample_rate: int, name: str) -> torch.Tensor | DataError:
    require_clip(clip, name)
    clip = _without_padding(clip)
    if (error := _shortness(clip, sample_rate, name)) is not None:
        return error
    clip = clip.to(torch.float32).contiguous()
    return clip if clip.ndim == 2 else clip[None]


def _shortness(clips: torch.Tensor, sample_rate: int, name: str) -> DataError | None:
    """Return the error of clips that are shorter than any sound; raise it if their axes are in the wrong order."""
    samples, shape = clips.shape[-1], tuple(clips.shape)
    if samples >= SHORTEST_SECONDS * sample_rate:
        return None
    what = f"{name} of shape {shape} holds clips of {samples} samples, {samples / sample_rate:.2g} s"
    if clips.ndim > 1 and shape[-2] > samples > 0:
        raise DataError(what, fix=f"Time must come last: pass {name}.swapaxes(-1, -2)")
    return DataError(what, fix=f"Pass longer clips (is sample_rate right?), or {LEAVE_OUT}")


def check_sample_rate(sample_rate: int | None) -> int:
    """Return the sample rate; UsageError if it is missing or not a positive whole number."""
    if sample_rate is None:
        raise UsageError("sample_rate is missing", fix="Say at which rate in Hz the waveforms are: sample_rate=16000")
    return whole("sample_rate", sample_rate, LOWEST_RATE)
