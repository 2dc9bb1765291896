"""Lost treble: a low-pass filter, or a lower sample rate on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, between_ratios, setting
from audiogen_metrics.probes.rates import RESAMPLERS, at_rate, like


@dataclass(frozen=True)
class LowPassParameters:
    """Cut-off frequency in Hz."""

    cutoff_hz: float


@dataclass(frozen=True)
class LowPass(Probe[LowPassParameters]):
    """Apply a low-pass filter with Butterworth's magnitude (−3 dB at the cut-off), without delay."""

    name: ClassVar[str] = "low-pass"
    dose: ClassVar[str] = "cutoff_hz"
    cutoff_hz: float = setting(
        500.0, "Hz", low=20, meaning="at severity 1, from half the clip's sample rate; equal ratios in between."
    )
    order: int = setting(8, low=1, high=32, meaning="slope beyond the cut-off, times 6 dB an octave.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> LowPassParameters:  # noqa: ARG002
        """Draw nothing: the cut-off follows from the severity."""
        nyquist = clip.sample_rate / 2
        return LowPassParameters(between_ratios(nyquist, min(self.cutoff_hz, nyquist), severity))

    def corrupt(self, clip: Clip, parameters: LowPassParameters) -> Clip:
        """Filter the clip; zeros follow it, so that its end does not ring into its beginning."""
        samples = len(clip.waveform)
        padded = samples + clip.sample_rate
        frequencies = np.fft.rfftfreq(padded, 1 / clip.sample_rate)
        gains = 1 / np.sqrt(1 + (frequencies / parameters.cutoff_hz) ** (2 * self.order))
        return clip.sounding(np.fft.irfft(np.fft.rfft(clip.waveform, padded) * gains, padded)[:samples])


@dataclass(frozen=True)
class BandwidthParameters:
    """Sample rate on the way, in Hz."""

    sample_rate: int


@dataclass(frozen=True)
class Bandwidth(Probe[BandwidthParameters]):
    """Resample to a lower rate and back."""

    name: ClassVar[str] = "bandwidth"
    dose: ClassVar[str] = "sample_rate"
    sample_rate: int = setting(
        2000, "Hz", low=1000, meaning="at severity 1, from the clip's own; equal ratios in between, in steps of 100 Hz."
    )
    resampler: str = setting("torchaudio", choices=RESAMPLERS, meaning="as in `audiogen_metrics.audio.resampling`.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> BandwidthParameters:  # noqa: ARG002
        """Draw nothing: the rate follows from the severity."""
        rate = between_ratios(clip.sample_rate, min(self.sample_rate, clip.sample_rate), severity)
        # Rates without a common factor would need an enormous kernel.
        return BandwidthParameters(min(clip.sample_rate, 100 * round(rate / 100)))

    def corrupt(self, clip: Clip, parameters: BandwidthParameters) -> Clip:
        """Resample to the lower rate and back; the length stays."""
        return like(at_rate(clip, parameters.sample_rate, self.resampler), clip, self.resampler)
