"""Clips at other sample rates."""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

import numpy as np

from audiogen_metrics.audio.resampling import Resampler, resample
from audiogen_metrics.probes.base import Clip

RESAMPLERS: tuple[str, ...] = get_args(Resampler)


def at_rate(clip: Clip, sample_rate: int, resampler: str = "torchaudio") -> Clip:
    """Return the clip at ``sample_rate`` Hz, its events included; the same object if it has that rate already."""
    if clip.sample_rate == sample_rate:
        return clip
    import torch

    waveform = resample(
        torch.from_numpy(clip.waveform), clip.sample_rate, sample_rate, cast("Resampler", resampler)
    ).numpy()
    events = tuple(round(start * sample_rate / clip.sample_rate) for start in clip.events)
    return replace(clip, waveform=waveform, sample_rate=sample_rate, events=events)


def like(clip: Clip, original: Clip, resampler: str = "torchaudio") -> Clip:
    """Return the clip at the rate and with the length and events of ``original``, cut or followed by zeros."""
    waveform = at_rate(clip, original.sample_rate, resampler).waveform[: len(original.waveform)]
    return original.sounding(np.pad(waveform, (0, len(original.waveform) - len(waveform))))
