"""What to know about a set before its scores are believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from audiogen_metrics.audio.decoding import Audio

SILENCE_PEAK = 1e-4
"""A clip whose peak is below −80 dB of full scale counts as silent."""

CLIPPED_SHARE = 1e-3
"""A clip counts as clipped when this share of its samples repeats its neighbour near full scale."""


@dataclass(frozen=True)
class ClipFacts:
    """What was seen of a clip when it was decoded."""

    seconds: float
    sample_rate: int
    channels: int
    peak: float
    clipped: float


def inspect(audio: Audio) -> ClipFacts:
    """Return the facts of one decoded clip, over all its channels."""
    samples = audio.samples
    flat = (np.abs(samples[1:]) >= 0.99) & (samples[1:] == samples[:-1])
    return ClipFacts(
        seconds=len(samples) / audio.sample_rate,
        sample_rate=audio.sample_rate,
        channels=samples.shape[1],
        peak=float(np.abs(samples).max()),
        clipped=float(flat.mean()) if flat.size else 0.0,
    )


def set_warnings(
    name: str, facts: Mapping[str, ClipFacts], digests: Mapping[str, str], window_seconds: float
) -> list[str]:
    """Return the warnings about one set, ``name`` being gen or ref."""
    silent = [clip for clip, fact in facts.items() if fact.peak < SILENCE_PEAK]
    clipped = [clip for clip, fact in facts.items() if fact.clipped > CLIPPED_SHARE]
    short = [clip for clip, fact in facts.items() if fact.seconds < window_seconds]
    copies = Counter(digests.values())
    duplicates = [clip for clip, digest in digests.items() if copies[digest] > 1]
    total = len(facts)
    found = [
        _count(name, silent, total, "silent (peak below −80 dB)"),
        _count(name, clipped, total, "clipped at full scale"),
        _count(name, duplicates, total, "exact duplicates of another clip"),
        _count(name, short, total, f"shorter than the {window_seconds:g} s window: padded with silence"),
        _spread(name, "durations", [fact.seconds for fact in facts.values()], "s"),
        _mixture(name, "sample rates", [fact.sample_rate for fact in facts.values()], "Hz"),
    ]
    return [warning for warning in found if warning]


def _count(name: str, clips: Sequence[str], total: int, what: str) -> str | None:
    if not clips:
        return None
    shown = ", ".join(clips[:3]) + (", …" if len(clips) > 3 else "")
    return f"{name}: {len(clips)} of {total} clips {what}: {shown}"


def _spread(name: str, what: str, values: Sequence[float], unit: str) -> str | None:
    low, high = min(values), max(values)
    return f"{name}: mixed {what}, {low:.3g} to {high:.3g} {unit}" if high > 1.01 * low else None


def _mixture(name: str, what: str, values: Sequence[int], unit: str) -> str | None:
    counts = sorted(Counter(values).items())
    if len(counts) < 2:
        return None
    return f"{name}: mixed {what}: " + ", ".join(f"{value} {unit} ×{count}" for value, count in counts)
