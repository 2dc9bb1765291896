"""Noise, on the mel-spectrogram or on the waveform."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, between, draw_seed, setting
from audiogen_metrics.probes.mel import Analysis, Matrix
from audiogen_metrics.probes.resynthesis import MelProbe


@dataclass(frozen=True)
class MelNoiseParameters:
    """Factor on the noise, and the seed of its values and of random phases."""

    scale: float
    seed: int


@dataclass(frozen=True)
class MelNoise(MelProbe[MelNoiseParameters]):
    """Add Gaussian noise to the mel-spectrogram, as the paper does: its mean is M's, its variance a share of M's range.

    ``M' = clip(M + severity · N(mean M, variance_ratio · (max M − min M)), 0, 1)``. The mean is added too, which makes
    clips louder: `measure` records the peak.
    """

    name: ClassVar[str] = "noise"
    dose: ClassVar[str] = "scale"
    variance_ratio: float = setting(0.2, low=0, meaning="variance of the noise per range of values.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> MelNoiseParameters:  # noqa: ARG002
        """Draw a seed."""
        return MelNoiseParameters(severity, draw_seed(rng))

    def edit(self, source: Analysis, parameters: MelNoiseParameters) -> tuple[Analysis, Matrix]:
        """Add the noise."""
        mel = source.mel
        # Another stream than that of the phases, which are drawn from the same seed on the way back.
        rng = np.random.default_rng([parameters.seed, 1])
        deviation = np.sqrt(self.variance_ratio * (mel.max() - mel.min()))
        return source, np.clip(mel + parameters.scale * rng.normal(mel.mean(), deviation, mel.shape), 0, 1)


@dataclass(frozen=True)
class NoiseParameters:
    """Signal-to-noise ratio in dB and the seed of the noise."""

    snr_db: float
    seed: int


@dataclass(frozen=True)
class _AdditiveNoise(Probe[NoiseParameters]):
    dose: ClassVar[str] = "snr_db"
    snr_db: float = setting(0.0, "dB", meaning="at severity 1.")
    mild_snr_db: float = setting(40.0, "dB", meaning="towards severity 0; linear in between.")

    @abstractmethod
    def noise(self, rng: np.random.Generator, clip: Clip) -> Matrix:
        """Return noise of any power, as long as the clip."""

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> NoiseParameters:  # noqa: ARG002
        """Draw a seed."""
        return NoiseParameters(between(self.mild_snr_db, self.snr_db, severity), draw_seed(rng))

    def corrupt(self, clip: Clip, parameters: NoiseParameters) -> Clip:
        """Add the noise."""
        noise = self.noise(np.random.default_rng(parameters.seed), clip)
        power = np.mean(np.square(noise))
        if not power:
            return clip
        gain = np.sqrt(clip.power / power) * 10 ** (-parameters.snr_db / 20)
        return clip.sounding(clip.waveform + gain * noise)


@dataclass(frozen=True)
class WhiteNoise(_AdditiveNoise):
    """Add white Gaussian noise at a signal-to-noise ratio over the whole clip; a silent clip stays silent."""

    name: ClassVar[str] = "white-noise"

    def noise(self, rng: np.random.Generator, clip: Clip) -> Matrix:
        """Return noise of equal power per Hz."""
        return rng.normal(size=len(clip.waveform))


@dataclass(frozen=True)
class PinkNoise(_AdditiveNoise):
    """Add pink Gaussian noise (equal power per octave from 20 Hz up) at a signal-to-noise ratio over the whole clip."""

    name: ClassVar[str] = "pink-noise"

    def noise(self, rng: np.random.Generator, clip: Clip) -> Matrix:
        """Return noise of equal power per octave."""
        samples = len(clip.waveform)
        frequencies = np.fft.rfftfreq(samples, 1 / clip.sample_rate)
        spectrum = np.fft.rfft(rng.normal(size=samples)) / np.sqrt(np.maximum(frequencies, 20.0))
        spectrum[0] = 0
        return np.fft.irfft(spectrum, samples)
