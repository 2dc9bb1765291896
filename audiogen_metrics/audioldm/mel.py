"""The mel front end of AudioLDM's autoencoder, and the length of its clips."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from audiogen_metrics.backbones.panns import slaney_mel_filterbank

SAMPLE_RATE = 16_000
FFT, HOP, BANDS, HIGH_HZ = 1024, 160, 64, 8000.0


def log_mel(waveforms: torch.Tensor) -> torch.Tensor:
    """Return what the autoencoder sees: log magnitudes of 64 mel bands.

    16 kHz, reflected by 432 samples on both sides, STFT of 1024 with a Hann window and a hop of 160, magnitude, Slaney
    filters from 0 to 8000 Hz, natural logarithm of at least 1e-5. Read in haoheliu/AudioLDM-training-finetuning.

    Parameters
    ----------
    waveforms
        ``(batch, time)`` float32 at 16 kHz; time is a multiple of 160, at least 1024.

    Returns
    -------
    torch.Tensor
        ``(batch, 1, time // 160, 64)``.

    Examples
    --------
    >>> log_mel(torch.zeros(2, 163_840)).shape
    torch.Size([2, 1, 1024, 64])
    """
    padding = (FFT - HOP) // 2
    padded = F.pad(waveforms[:, None], (padding, padding), mode="reflect")[:, 0]
    window = torch.hann_window(FFT, dtype=torch.float32, device=waveforms.device)
    spectrum = torch.stft(padded, FFT, HOP, window=window, center=False, return_complex=True).abs()
    filters = slaney_mel_filterbank(FFT // 2 + 1, SAMPLE_RATE, BANDS, 0.0, HIGH_HZ).to(waveforms.device)
    return (spectrum.transpose(1, 2) @ filters).clamp(min=1e-5).log()[:, None]
