"""Damage to durations: silence put in, the end cut off."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, setting


@dataclass(frozen=True)
class SilenceParameters:
    """Where the silence begins and how long it is, in seconds."""

    start: float
    seconds: float


@dataclass(frozen=True)
class SilenceInsertion(Probe[SilenceParameters]):
    """Insert silence at a random place; the clip becomes longer."""

    name: ClassVar[str] = "silence"
    dose: ClassVar[str] = "seconds"
    silence_ratio: float = setting(
        1.0, "share of the clip", low=0, high=10, meaning="length of the silence at severity 1; proportional below."
    )

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> SilenceParameters:
        """Draw the place."""
        return SilenceParameters(rng.random() * clip.seconds, self.silence_ratio * severity * clip.seconds)

    def corrupt(self, clip: Clip, parameters: SilenceParameters) -> Clip:
        """Insert the silence."""
        start, length = (round(seconds * clip.sample_rate) for seconds in (parameters.start, parameters.seconds))
        events = tuple(event + length if event > start else event for event in clip.events)
        return replace(clip.sounding(np.insert(clip.waveform, [start] * length, 0)), events=events)


@dataclass(frozen=True)
class TruncationParameters:
    """Duration that is left, in seconds."""

    seconds: float


@dataclass(frozen=True)
class Truncation(Probe[TruncationParameters]):
    """Cut off the end; at least one sample is left."""

    name: ClassVar[str] = "truncation"
    dose: ClassVar[str] = "seconds"
    truncation_ratio: float = setting(
        0.9, "share of the clip", low=0, high=1, meaning="what is cut off at severity 1; proportional below."
    )

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> TruncationParameters:  # noqa: ARG002
        """Draw nothing: the duration follows from the severity."""
        return TruncationParameters((1 - self.truncation_ratio * severity) * clip.seconds)

    def corrupt(self, clip: Clip, parameters: TruncationParameters) -> Clip:
        """Keep the beginning."""
        length = max(1, round(parameters.seconds * clip.sample_rate))
        kept = clip.sounding(clip.waveform[:length].copy())
        return replace(kept, events=tuple(event for event in clip.events if event < length))
