"""Shared by several front ends: exact power spectra on the device, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

FRAMES_PER_PASS = 2048
"""Frames that are transformed together; each takes 16 kB."""

WINDOWS_PER_BLOCK = 512
"""Windows of one clip that a network takes at a time, four minutes or more, so that memory is bounded for clips of any
length."""


def window_blocks(waveforms: torch.Tensor, window: int, hop: int) -> Iterator[torch.Tensor]:
    """Yield ``(batch, time)`` in parts of `WINDOWS_PER_BLOCK` whole windows each; the last part has the rest.

    Parameters
    ----------
    waveforms
        ``(batch, time)``.
    window, hop
        Length of the windows and their distance in samples. A part begins where its first window does.
    """
    count = 1 + (waveforms.shape[1] - window) // hop
    for first in range(0, count, WINDOWS_PER_BLOCK):
        last = min(first + WINDOWS_PER_BLOCK, count) - 1
        yield waveforms[:, first * hop : last * hop + window]


def power_spectrogram(
    waveforms: torch.Tensor, fft: int, hop: int, frame: int | None = None, *, periodic: bool = True
) -> torch.Tensor:
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
        Length in samples of a frame and of its Hann window, followed by zeros up to ``fft``; None is ``fft``.
    periodic
        Whether the Hann window would be 0 one sample after its end; otherwise its last sample is 0.
    """
    frame = fft if frame is None else frame
    precision = torch.float32 if waveforms.device.type == "mps" else torch.float64
    window = torch.hann_window(frame, periodic, dtype=precision, device=waveforms.device)
    window = F.pad(window, (0, fft - frame))
    # The allocator does not reuse the temporary arrays of a whole batch, and page faults would double the time.
    clips = 1 if waveforms.device.type == "cpu" else len(waveforms)
    shape = (len(waveforms), 1 + (waveforms.shape[1] - frame) // hop, fft // 2 + 1)
    power = torch.empty(shape, dtype=torch.float32, device=waveforms.device)
    for target, part in zip(power.split(clips), waveforms.split(clips), strict=True):
        frames = F.pad(part.to(precision), (0, fft - frame)).unfold(1, fft, hop)
        for place, some in zip(target.split(FRAMES_PER_PASS, 1), frames.split(FRAMES_PER_PASS, 1), strict=True):
            spectrum = torch.fft.rfft(some * window)
            place.copy_(spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag))
    return power
