"""Damage to levels: gain, clipping, offset, bit depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, between, setting


@dataclass(frozen=True)
class GainParameters:
    """Gain in dB."""

    gain_db: float


@dataclass(frozen=True)
class Gain(Probe[GainParameters]):
    """Apply a gain in dB."""

    name: ClassVar[str] = "gain"
    dose: ClassVar[str] = "gain_db"
    gain_db: float = setting(-40.0, "dB", low=-120, high=60, meaning="at severity 1; proportional below.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> GainParameters:  # noqa: ARG002
        """Draw nothing: the gain follows from the severity."""
        return GainParameters(self.gain_db * severity)

    def corrupt(self, clip: Clip, parameters: GainParameters) -> Clip:
        """Scale the samples."""
        return clip.sounding(clip.waveform * np.float64(10 ** (parameters.gain_db / 20)))


@dataclass(frozen=True)
class ClippingParameters:
    """Amplitude at which samples are cut off, as a share of the clip's peak."""

    threshold: float


@dataclass(frozen=True)
class Clipping(Probe[ClippingParameters]):
    """Cut off samples at a share of the clip's own peak, without a gain to make up for it."""

    name: ClassVar[str] = "clipping"
    dose: ClassVar[str] = "threshold"
    threshold: float = setting(
        0.05, "share of the peak", low=0.001, high=1, meaning="at severity 1, from 1; equal steps in dB in between."
    )

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> ClippingParameters:  # noqa: ARG002
        """Draw nothing: the threshold follows from the severity."""
        return ClippingParameters(self.threshold**severity)

    def corrupt(self, clip: Clip, parameters: ClippingParameters) -> Clip:
        """Cut off the samples."""
        limit = parameters.threshold * np.abs(clip.waveform).max(initial=0)
        return clip.sounding(np.clip(clip.waveform, -limit, limit))


@dataclass(frozen=True)
class DCOffsetParameters:
    """Offset in full scale."""

    offset: float


@dataclass(frozen=True)
class DCOffset(Probe[DCOffsetParameters]):
    """Add a constant to all samples; protocols that remove the mean must read flat."""

    name: ClassVar[str] = "dc-offset"
    dose: ClassVar[str] = "offset"
    offset: float = setting(0.25, "full scale", low=-1, high=1, meaning="at severity 1; proportional below.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> DCOffsetParameters:  # noqa: ARG002
        """Draw nothing: the offset follows from the severity."""
        return DCOffsetParameters(self.offset * severity)

    def corrupt(self, clip: Clip, parameters: DCOffsetParameters) -> Clip:
        """Add the offset."""
        return clip.sounding(clip.waveform + parameters.offset)


@dataclass(frozen=True)
class BitDepthParameters:
    """Bits of a sample."""

    bits: int


@dataclass(frozen=True)
class BitDepth(Probe[BitDepthParameters]):
    """Round samples to fewer bits, without dither; what exceeds full scale is cut off, as in such a file."""

    name: ClassVar[str] = "bit-depth"
    dose: ClassVar[str] = "bits"
    bits: int = setting(8, "bits", low=2, high=16, meaning="at severity 1, from 16; linear in between, rounded.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> BitDepthParameters:  # noqa: ARG002
        """Draw nothing: the bits follow from the severity."""
        return BitDepthParameters(round(between(16, self.bits, severity)))

    def corrupt(self, clip: Clip, parameters: BitDepthParameters) -> Clip:
        """Round the samples."""
        steps = 2 ** (parameters.bits - 1)
        return clip.sounding(np.clip(np.round(clip.waveform * steps), -steps, steps - 1) / steps)
