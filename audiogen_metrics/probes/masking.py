"""Holes: spans of a clip set to silence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, draw_seed, setting
from audiogen_metrics.probes.mel import Analysis, Matrix
from audiogen_metrics.probes.resynthesis import MelProbe

Spans: TypeAlias = tuple[tuple[int, int], ...]


def place_spans(rng: np.random.Generator, total: int, count: int, length: int) -> Spans:
    """Return ``count`` disjoint spans ``(start, stop)`` of ``length`` within ``total``; all are equally likely."""
    free = total - count * length
    gaps = np.sort((rng.random(count) * (free + 1)).astype(int))
    return tuple((int(gap) + i * length, int(gap) + (i + 1) * length) for i, gap in enumerate(gaps))


def span_length(total: int, spans: int, mask_ratio: float, per_span: bool) -> int:
    """Return the length of each span within ``total``, so short that all spans fit."""
    share = mask_ratio if per_span else mask_ratio / spans
    return min(int(share * total + 0.5), total // spans)


@dataclass(frozen=True)
class MelMaskingParameters:
    """Masked frames ``(start, stop)``, their share of all frames, and the seed of random phases."""

    masked_ratio: float
    spans: Spans
    seed: int


@dataclass(frozen=True)
class MelMasking(MelProbe[MelMaskingParameters]):
    """Set spans of the mel-spectrogram to 0, which is silence, as the paper does: two of 86 frames in 860."""

    name: ClassVar[str] = "masking"
    dose: ClassVar[str] = "masked_ratio"
    spans: int = setting(2, "spans", low=1, meaning="number of disjoint spans.")
    mask_ratio: float = setting(
        0.1, low=0, high=1, meaning="share of the frames that is masked at severity 1; proportional below."
    )
    per_span: bool = setting(True, meaning="whether ``mask_ratio`` is each span's, or the share of all spans together.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> MelMaskingParameters:
        """Draw where the spans are."""
        frames = self.mel.frames(clip)
        length = span_length(frames, self.spans, self.mask_ratio * severity, self.per_span)
        spans = place_spans(rng, frames, self.spans, length)
        return MelMaskingParameters(self.spans * length / frames, spans, draw_seed(rng))

    def edit(self, source: Analysis, parameters: MelMaskingParameters) -> tuple[Analysis, Matrix]:
        """Silence the frames at all frequencies, also those outside the mel's range."""
        stft = source.stft.copy()
        for start, stop in parameters.spans:
            stft[:, start:stop] = 0
        silenced = replace(source, stft=stft)
        return silenced, silenced.mel


@dataclass(frozen=True)
class TimeMaskParameters:
    """Masked samples ``(start, stop)`` and their share of the clip."""

    masked_ratio: float
    spans: Spans


@dataclass(frozen=True)
class TimeMask(Probe[TimeMaskParameters]):
    """Set spans of the waveform to zero."""

    name: ClassVar[str] = "time-mask"
    dose: ClassVar[str] = "masked_ratio"
    spans: int = setting(2, "spans", low=1, meaning="number of disjoint spans.")
    mask_ratio: float = setting(
        0.1, low=0, high=1, meaning="share of the clip that is masked at severity 1; proportional below."
    )
    per_span: bool = setting(True, meaning="whether ``mask_ratio`` is each span's, or the share of all spans together.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> TimeMaskParameters:
        """Draw where the spans are."""
        samples = len(clip.waveform)
        length = span_length(samples, self.spans, self.mask_ratio * severity, self.per_span)
        return TimeMaskParameters(self.spans * length / samples, place_spans(rng, samples, self.spans, length))

    def corrupt(self, clip: Clip, parameters: TimeMaskParameters) -> Clip:
        """Set the spans to zero."""
        waveform = clip.waveform.copy()
        for start, stop in parameters.spans:
            waveform[start:stop] = 0
        return clip.sounding(waveform)
