"""Mel-spectrograms on a scale from 0 to 1, on which the paper's corruptions work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import AudioFileError, UsageError
from audiogen_metrics.probes.base import Clip, check_settings, setting, with_settings
from audiogen_metrics.probes.rates import RESAMPLERS, at_rate

Matrix: TypeAlias = npt.NDArray[np.float64]
Spectrum: TypeAlias = npt.NDArray[np.complex128]

MAX_CELLS = 2**25
"""Largest spectrum (half a gigabyte, and a probe makes several): 12 minutes with SpecVQGAN's front end."""


@dataclass(frozen=True)
@with_settings
class MelFrontEnd:
    """How a mel-spectrogram is made; the defaults are SpecVQGAN's, whose 860 frames are ten seconds.

    Magnitudes of a Hann-windowed STFT, centred and zero-padded, through triangles of equal area on Slaney's mel
    scale; then decibels, of which ``range_db`` below ``top_db`` map to [0, 1].
    """

    sample_rate: int = setting(22_050, "Hz", low=1000, meaning="rate to which clips are resampled.")
    fft: int = setting(1024, "samples", low=16, meaning="length of the FFT and of its window.")
    hop: int = setting(256, "samples", low=1, meaning="distance of frames; at most a quarter of ``fft``.")
    bands: int = setting(80, "bands", low=1, meaning="number of triangles.")
    low_hz: float = setting(125.0, "Hz", low=0, meaning="lower edge of the first band.")
    high_hz: float = setting(7600.0, "Hz", low=1, meaning="upper edge of the last band.")
    top_db: float = setting(20.0, "dB", meaning="level that maps to 1.")
    range_db: float = setting(
        100.0, "dB", low=1, meaning="levels of ``top_db − range_db`` and below map to 0, which is silence."
    )
    resampler: str = setting("torchaudio", choices=RESAMPLERS, meaning="as in `audiogen_metrics.audio.resampling`.")

    def __post_init__(self) -> None:
        check_settings(self, "mel")
        if not self.low_hz < self.high_hz <= self.sample_rate / 2:
            raise UsageError(
                f"bands from {self.low_hz:g} to {self.high_hz:g} Hz at {self.sample_rate} Hz",
                where="mel",
                fix=f"Take low_hz < high_hz ≤ {self.sample_rate / 2:g}",
            )
        if self.hop > self.fft // 4:
            raise UsageError(
                f"frames {self.hop} samples apart overlap too little", where="mel", fix=f"Take at most {self.fft // 4}"
            )
        if not filterbank(self).any(axis=1).all():
            raise UsageError(
                f"{self.bands} bands are narrower than the bins of an FFT of {self.fft}",
                where="mel",
                fix="Take fewer bands or a longer FFT",
            )

    def resample(self, clip: Clip) -> Clip:
        """Return the clip at the front end's rate."""
        return at_rate(clip, self.sample_rate, self.resampler)

    def frames(self, clip: Clip) -> int:
        """Return the number of frames of a clip at any rate."""
        return 1 + -(-len(clip.waveform) * self.sample_rate // clip.sample_rate) // self.hop

    def scale(self, magnitudes: Matrix) -> Matrix:
        """Return linear mel magnitudes on the [0, 1] scale."""
        decibels = 20 * np.log10(np.maximum(magnitudes, self.nothing))
        return np.clip((decibels - self.top_db + self.range_db) / self.range_db, 0, 1)

    def unscale(self, mel: Matrix) -> Matrix:
        """Return the linear mel magnitudes of values in [0, 1]; 0 is silence."""
        return np.where(mel > 0, 10 ** ((mel * self.range_db + self.top_db - self.range_db) / 20), 0.0)

    @property
    def nothing(self) -> float:
        """Magnitude below which a cell has no sound that could be scaled: 20 dB below the floor, by default 1e-5."""
        return float(10 ** ((self.top_db - self.range_db - 20) / 20))

    @property
    def frequencies(self) -> Matrix:
        """Frequencies of the FFT's bins in Hz."""
        return np.linspace(0, self.sample_rate / 2, self.fft // 2 + 1)


@lru_cache(maxsize=8)
def band_edges(front_end: MelFrontEnd) -> Matrix:
    """Return the ``bands + 2`` edges of the triangles in Hz, at equal distances on Slaney's mel scale.

    That scale is linear up to 1000 Hz (three mels are 200 Hz), then logarithmic (27 mels are a factor of 6.4).
    """
    knee, step = 15.0, np.log(6.4) / 27
    low, high = (
        3 * hertz / 200 if hertz < 1000 else knee + np.log(hertz / 1000) / step
        for hertz in (front_end.low_hz, front_end.high_hz)
    )
    mels = np.linspace(low, high, front_end.bands + 2)
    return np.where(mels < knee, 200 * mels / 3, 1000 * np.exp(step * (mels - knee)))


@lru_cache(maxsize=8)
def filterbank(front_end: MelFrontEnd) -> Matrix:
    """Return the weights ``(bands, bins)``: triangles, linear in Hz, of area 1 Hz."""
    edges = band_edges(front_end)[:, None]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (front_end.frequencies - lower) / (centre - lower)
    falling = (upper - front_end.frequencies) / (upper - centre)
    triangles: Matrix = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    return triangles


@dataclass(frozen=True, eq=False)
class Analysis:
    """A clip at the front end's rate, with its STFT and linear mel magnitudes.

    Parameters
    ----------
    front_end
        How it was analysed.
    clip
        The resampled clip.
    stft
        ``(bins, frames)``, complex.
    """

    front_end: MelFrontEnd
    clip: Clip
    stft: Spectrum

    @cached_property
    def magnitudes(self) -> Matrix:
        """Linear mel magnitudes ``(bands, frames)``."""
        return filterbank(self.front_end) @ np.abs(self.stft)

    @property
    def mel(self) -> Matrix:
        """The mel-spectrogram M ``(bands, frames)`` on the scale [0, 1]."""
        return self.front_end.scale(self.magnitudes)

    @property
    def energy(self) -> float:
        """Sum of the squares of all linear mel magnitudes."""
        return float(np.square(self.magnitudes).sum())


def analyse(clip: Clip, front_end: MelFrontEnd) -> Analysis:
    """Return the analysis of a clip at any rate, in float64; AudioFileError if that would take gigabytes."""
    longest = MAX_CELLS // (front_end.fft // 2 + 1) * front_end.hop / front_end.sample_rate
    if clip.seconds > longest:
        raise AudioFileError(
            f"{clip.seconds:.0f} s are too long for a mel-spectrogram: cut it into clips of at most {longest:.0f} s"
        )
    resampled = front_end.resample(clip)
    return Analysis(front_end, resampled, stft(resampled.waveform, front_end))


def stft(waveform: npt.NDArray[np.floating[Any]], front_end: MelFrontEnd) -> Spectrum:
    """Return the complex spectra ``(bins, frames)`` of ``(time,)``; frame i is centred on sample ``i · hop``."""
    samples = torch.from_numpy(waveform).double()
    window = torch.hann_window(front_end.fft, dtype=torch.float64, device="cpu")
    spectrum = torch.stft(
        samples, front_end.fft, front_end.hop, window=window, pad_mode="constant", return_complex=True
    )
    return cast("Spectrum", spectrum.numpy())


def istft(spectrum: Spectrum, front_end: MelFrontEnd, samples: int) -> Matrix:
    """Return the waveform ``(samples,)`` whose STFT is nearest to ``spectrum``: the inverse of `stft`."""
    window = torch.hann_window(front_end.fft, dtype=torch.float64, device="cpu")
    waveform = torch.istft(torch.from_numpy(spectrum), front_end.fft, front_end.hop, window=window, length=samples)
    return cast("Matrix", waveform.numpy())


SPECVQGAN = MelFrontEnd()
"""SpecVQGAN's front end, which fits the paper's 860 frames."""

AUDIOLDM = MelFrontEnd(sample_rate=16_000, hop=160, bands=64, low_hz=0.0, high_hz=8000.0, range_db=120.0)
"""AudioLDM's front end (64 bands, floor 1e-5) on the same kind of scale."""

FRONT_ENDS = {"specvqgan": SPECVQGAN, "audioldm": AUDIOLDM}
"""Front ends by name, as in ``--set mel=audioldm``."""
