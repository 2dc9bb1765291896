"""Log-mel frames to compare recordings in detail: a front end without a network."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.frontend import power_spectrogram
from audiogen_metrics.backbones.mel import htk_mel_filterbank

SAMPLE_RATE = 16_000
FRAME, HOP = 1024, 320
"""64 ms and 20 ms."""

BANDS, LOW_HZ, HIGH_HZ = 32, 60.0, 7800.0
RANGE_DB = 30.0
APART = 2
"""Distance of two bands whose difference is taken, so that a small change of pitch keeps sounds in their bands."""

AVERAGED = 51
"""Frames of the running mean: one second."""

PREPROCESSING = Preprocessing(SAMPLE_RATE, channel="mean", minimum_samples=FRAME)
"""Preparation for `LogMel`: the mean of all channels, since a copy may be a mono mix."""


class LogMel(Backbone):
    """Contours of the log-mel spectrogram, which gain, equalisation, a shift and mild noise hardly change.

    Its ``windows`` are frames every 20 ms, ``(batch, frames, 30)`` in dB, of 32 mel bands from 60 to 7800 Hz. Levels
    more than 30 dB below the loudest of the clip are raised to that floor. From each band the band two above it is
    subtracted, which removes changes of level, and then the mean over the surrounding second, which removes steady
    filters.
    """

    name: ClassVar[str] = "log-mel"
    sample_rate: ClassVar[int] = SAMPLE_RATE
    outputs: ClassVar[frozenset[Output]] = frozenset({"windows"})
    minimum_samples: ClassVar[int] = FRAME

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of an empty file, since a front end has no weights."""
        return hashlib.sha256().hexdigest()

    def usable_samples(self, samples: int) -> int:
        """Return how many samples whole frames cover."""
        return FRAME + (samples - FRAME) // HOP * HOP

    def load(self) -> nn.Module:
        """Return the front end."""
        return _Contours()


class _Contours(nn.Module):
    bank: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", htk_mel_filterbank(FRAME // 2 + 1, SAMPLE_RATE, BANDS, LOW_HZ, HIGH_HZ))

    def forward(self, waveforms: torch.Tensor) -> Features:
        power = power_spectrogram(waveforms, FRAME, HOP) @ self.bank
        level = 10 * power.clamp(min=1e-10).log10()
        level = torch.maximum(level, level.amax(dim=(1, 2), keepdim=True) - RANGE_DB)
        contrast = (level[..., APART:] - level[..., :-APART]).transpose(1, 2)
        mean = F.avg_pool1d(contrast, AVERAGED, 1, AVERAGED // 2, count_include_pad=False)
        return Features(windows=(contrast - mean).transpose(1, 2).contiguous())
