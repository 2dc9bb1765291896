"""Mel filterbanks."""

from __future__ import annotations

import math

import torch


def htk_mel_filterbank(bins: int, sample_rate: int, bands: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return the filterbank of TensorFlow's ``linear_to_mel_weight_matrix``, ``(bins, bands)`` float32.

    Triangles are linear on the HTK mel scale itself (torchaudio's and librosa's are linear in Hz), have a peak
    of 1, and give no weight to the DC bin. Used by VGGish and YAMNet.

    Parameters
    ----------
    bins
        Number of FFT bins, ``n_fft // 2 + 1``.
    sample_rate
        Rate in Hz; the last bin is at half of it.
    bands, low_hz, high_hz
        Number of bands, lower edge of the first and upper edge of the last in Hz.
    """
    frequencies = torch.linspace(0, sample_rate / 2, bins, dtype=torch.float64, device="cpu")
    edges = torch.tensor([low_hz, high_hz], dtype=torch.float64, device="cpu")
    mel, (low, high) = _mel(frequencies)[:, None], _mel(edges)
    points = torch.linspace(float(low), float(high), bands + 2, dtype=torch.float64, device="cpu")
    lower, centre, upper = points[:-2], points[1:-1], points[2:]
    rising, falling = (mel - lower) / (centre - lower), (upper - mel) / (upper - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights.float()


def kaldi_mel_filterbank(bins: int, sample_rate: int, bands: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return Kaldi's mel filterbank as torchaudio computes it, ``(bins, bands)`` float32. Used by PaSST.

    These are the triangles of `htk_mel_filterbank` with no weight for the last bin, computed in float32: the mel values
    of neighbouring bins are so close that float64 gives weights that differ by up to 1.3e-5, and networks were trained
    with those of float32.

    Parameters
    ----------
    bins, sample_rate, bands, low_hz, high_hz
        As for `htk_mel_filterbank`.
    """
    step = sample_rate / 2 / (bins - 1)
    mel = 1127.0 * (1.0 + step * torch.arange(bins, dtype=torch.float32, device="cpu")[:, None] / 700.0).log()
    low, high = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (low_hz, high_hz))
    lower, centre, upper = (
        low + torch.arange(first, first + bands, dtype=torch.float32, device="cpu") * ((high - low) / (bands + 1))
        for first in range(3)
    )
    weights = torch.minimum((mel - lower) / (centre - lower), (upper - mel) / (upper - centre)).clamp(min=0)
    weights[-1] = 0
    return weights


def _mel(hertz: torch.Tensor) -> torch.Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)
