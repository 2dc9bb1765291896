"""The two front ends of laion_clap: log-mel spectrograms on Slaney's scale, and on the HTK scale for feature fusion."""

from __future__ import annotations

import math

import torch

from audiogen_metrics.backbones.panns import LogMel

RATE = 48_000
WINDOW = 10 * RATE
"""Samples of a window."""

FFT, HOP, LOW_HZ, HIGH_HZ = 1024, 480, 50.0, 14_000.0
FRAMES = WINDOW // HOP + 1


def slaney() -> LogMel:
    return LogMel(RATE, FFT, HOP, LOW_HZ, HIGH_HZ)


def htk() -> LogMel:
    """Return the front end of feature fusion, with torchaudio's mel filters: on the HTK scale and not normalised."""
    log_mel = slaney()
    frequencies = torch.linspace(0, RATE / 2, FFT // 2 + 1, dtype=torch.float64, device="cpu")[:, None]
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (LOW_HZ, HIGH_HZ))
    mel = torch.linspace(low, high, log_mel.filterbank.shape[1] + 2, dtype=torch.float64, device="cpu")
    points = 700 * (10 ** (mel / 2595) - 1)
    lower, centre, upper = points[:-2], points[1:-1], points[2:]
    rising, falling = (frequencies - lower) / (centre - lower), (upper - frequencies) / (upper - centre)
    log_mel.filterbank = torch.minimum(rising, falling).clamp(min=0).float()
    return log_mel
