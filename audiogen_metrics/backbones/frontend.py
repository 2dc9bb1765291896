"""What the front ends of PANNs and VGGish share: exact power spectra on the device."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def power_spectrogram(waveforms: torch.Tensor, fft: int, hop: int, frame: int | None = None) -> torch.Tensor:
    """Return the power spectra ``(batch, frames, fft // 2 + 1)``, float32, of all whole frames of ``(batch, time)``.

    In float32 an FFT's rounding, relative to the loudest bin, shows in quiet bands once their logarithm is taken
    (0.1 dB on real recordings), so it runs in float64 where the device has it.

    Parameters
    ----------
    waveforms
        ``(batch, time)``.
    fft, hop
        FFT length and distance of frames in samples.
    frame
        Length in samples of a frame and of its periodic Hann window, with zeros behind it up to ``fft``; None is
        ``fft``.
    """
    frame = fft if frame is None else frame
    precision = torch.float32 if waveforms.device.type == "mps" else torch.float64
    window = F.pad(torch.hann_window(frame, dtype=precision, device=waveforms.device), (0, fft - frame))
    # A whole batch's temporary arrays are too large for the CPU's allocator to use again: page faults double the time.
    parts = waveforms.split(1) if waveforms.device.type == "cpu" else (waveforms,)
    spectra = []
    for part in parts:
        padded = F.pad(part.to(precision), (0, fft - frame))
        spectrum = torch.fft.rfft(padded.unfold(1, fft, hop) * window)
        spectra.append(spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).float())
    return torch.cat(spectra)
