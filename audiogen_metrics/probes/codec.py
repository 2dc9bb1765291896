"""Round trips through lossy codecs."""

from __future__ import annotations

import io
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import soundfile

from audiogen_metrics.probes.base import Clip, Probe, Waveform, between_ratios, setting
from audiogen_metrics.probes.rates import RESAMPLERS, at_rate, like

MP3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
"""Bit rates of layer III that MPEG-1 and MPEG-2 both have."""

MP3_DECODER_DELAY = 576 + 529
"""Samples by which encoder and decoder delay the sound, if the file does not say so (LAME's technical FAQ)."""


@dataclass(frozen=True)
class CodecParameters:
    """Bit rate in kbit/s."""

    kbps: float


@dataclass(frozen=True)
class _Codec(Probe[CodecParameters]):
    dose: ClassVar[str] = "kbps"
    rates: ClassVar[tuple[int, ...]]
    resampler: str = setting("torchaudio", choices=RESAMPLERS, meaning="to a rate that the codec takes and back.")

    @abstractmethod
    def round_trip(self, waveform: Waveform, sample_rate: int, kbps: float) -> Waveform:
        """Encode and decode, aligned to the input."""

    def corrupt(self, clip: Clip, parameters: CodecParameters) -> Clip:
        """Encode and decode, at the lowest rate of the codec that holds the clip; rate and length stay."""
        rate = next((rate for rate in self.rates if rate >= clip.sample_rate), self.rates[-1])
        source = at_rate(clip, rate, self.resampler)
        decoded = self.round_trip(source.waveform, rate, parameters.kbps)
        return like(replace(source, waveform=decoded), clip, self.resampler)


@dataclass(frozen=True)
class MP3(_Codec):
    """Encode as MP3 at a constant bit rate (LAME through libsndfile) and decode, without its delay."""

    name: ClassVar[str] = "mp3"
    rates: ClassVar[tuple[int, ...]] = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
    kbps: int = setting(32, "kbit/s", low=32, high=160, meaning="at severity 1, rounded to a legal rate.")
    mild_kbps: int = setting(160, "kbit/s", low=32, high=160, meaning="towards severity 0; equal ratios in between.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> CodecParameters:  # noqa: ARG002
        """Draw nothing: the bit rate follows from the severity."""
        kbps = between_ratios(self.mild_kbps, self.kbps, severity)
        return CodecParameters(min(MP3_KBPS, key=lambda legal: abs(legal - kbps)))

    def round_trip(self, waveform: Waveform, sample_rate: int, kbps: float) -> Waveform:
        """Encode and decode."""
        # libsndfile spreads its compression level evenly over the legal bit rates of MPEG-1 or MPEG-2.
        low, high = (32, 320) if sample_rate >= 32_000 else (8, 160)
        level = min(0.999, (high - kbps) / (high - low))  # it refuses 1
        decoded = _through(
            waveform, sample_rate, "MP3", "MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT"
        )
        # Below about 64 kbit/s LAME's header, which tells delay and length, does not fit into its frame.
        return decoded if len(decoded) == len(waveform) else decoded[MP3_DECODER_DELAY:]


@dataclass(frozen=True)
class Opus(_Codec):
    """Encode as Opus in Ogg at a variable bit rate, and decode."""

    name: ClassVar[str] = "opus"
    rates: ClassVar[tuple[int, ...]] = (8_000, 12_000, 16_000, 24_000, 48_000)
    kbps: float = setting(6.0, "kbit/s", low=6, high=256, meaning="at severity 1.")
    mild_kbps: float = setting(96.0, "kbit/s", low=6, high=256, meaning="towards severity 0; equal ratios in between.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> CodecParameters:  # noqa: ARG002
        """Draw nothing: the bit rate follows from the severity."""
        return CodecParameters(between_ratios(self.mild_kbps, self.kbps, severity))

    def round_trip(self, waveform: Waveform, sample_rate: int, kbps: float) -> Waveform:
        """Encode and decode."""
        # libsndfile's compression level runs from 256 down to 6 kbit/s.
        return _through(waveform, sample_rate, "OGG", "OPUS", compression_level=(256 - kbps) / 250)


def _through(waveform: Waveform, sample_rate: int, container: str, codec: str, **options: Any) -> Waveform:
    file = io.BytesIO()
    soundfile.write(file, waveform, sample_rate, format=container, subtype=codec, **options)
    file.seek(0)
    decoded: Waveform = soundfile.read(file, dtype="float32")[0]
    return decoded
