"""The same sounds in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from audiogen_metrics.errors import DataError
from audiogen_metrics.probes.base import Clip, Probe, Waveform, draw_seed, setting
from audiogen_metrics.probes.mel import Analysis, Matrix
from audiogen_metrics.probes.resynthesis import MelProbe


@dataclass(frozen=True)
class OrderParameters:
    """Number of pieces that move, the piece at each place, and the seed of random phases."""

    moved: int
    order: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Reordering(MelProbe[OrderParameters]):
    """Put the events of a sequence into another order, as the paper does.

    ``round(severity · events)`` places take part if these are 2 or more, and each of them gets another event. The
    waveform form moves samples at the clip's own rate and is exact; the mel form moves frames.
    """

    name: ClassVar[str] = "reordering"
    dose: ClassVar[str] = "moved"
    needs_events: ClassVar[bool] = True
    form: str = setting(
        "waveform",
        choices=("waveform", "mel"),
        meaning="what is moved; ``method``, ``iterations``, ``overload`` and ``mel`` belong to the mel form.",
    )
    crossfade_ms: float = setting(0.0, "ms", low=0, meaning="length of the crossfade at joints, of the waveform form.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> OrderParameters:
        """Draw the order."""
        if len(clip.events) < 2:
            raise DataError(
                f"{len(clip.events)} events, of which no other order can be made",
                where=clip.clip_id,
                fix="Build sequences first: audiogen_metrics.probes.sequences",
            )
        return draw_order(rng, len(clip.events), severity)

    def corrupt(self, clip: Clip, parameters: OrderParameters) -> Clip:
        """Move the events."""
        if self.form == "mel":
            corrupted = super().corrupt(clip, parameters)
            starts = self.mel.resample(clip).events
            return replace(corrupted, events=new_starts(starts, len(corrupted.waveform), parameters.order))
        fade = round(self.crossfade_ms / 1000 * clip.sample_rate)
        moved = rearrange(clip.waveform, clip.events, parameters.order, fade)
        return replace(clip.sounding(moved), events=new_starts(clip.events, len(moved), parameters.order))

    def edit(self, source: Analysis, parameters: OrderParameters) -> tuple[Analysis, Matrix]:
        """Move the frames."""
        starts = [round(event / self.mel.hop) for event in source.clip.events]
        blocks = np.split(np.arange(source.stft.shape[1]), starts[1:])
        moved = replace(source, stft=source.stft[:, np.concatenate([blocks[piece] for piece in parameters.order])])
        return moved, moved.mel

    def measure(self, clip: Clip, parameters: OrderParameters, corrupted: Clip) -> dict[str, float]:
        """Return the re-analysis error of the mel form; nothing for the waveform form, which is exact."""
        return super().measure(clip, parameters, corrupted) if self.form == "mel" else {}


@dataclass(frozen=True)
class SegmentShuffle(Probe[OrderParameters]):
    """Put equal segments of a clip into another order, with a crossfade at joints; the length stays."""

    name: ClassVar[str] = "segment-shuffle"
    dose: ClassVar[str] = "moved"
    segments: int = setting(
        8,
        "segments",
        low=2,
        meaning="number of parts; ``round(severity · segments)`` of them are moved if these are 2 or more.",
    )
    crossfade_ms: float = setting(10.0, "ms", low=0, meaning="length of the crossfade.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> OrderParameters:  # noqa: ARG002
        """Draw the order."""
        return draw_order(rng, self.segments, severity)

    def corrupt(self, clip: Clip, parameters: OrderParameters) -> Clip:
        """Move the segments."""
        starts = [index * len(clip.waveform) // self.segments for index in range(self.segments)]
        fade = round(self.crossfade_ms / 1000 * clip.sample_rate)
        return replace(clip.sounding(rearrange(clip.waveform, starts, parameters.order, fade)), events=())


def draw_order(rng: np.random.Generator, pieces: int, severity: float) -> OrderParameters:
    """Return an order in which ``round(severity · pieces)`` places have another piece, if these are 2 or more."""
    moved = int(severity * pieces + 0.5)
    moved = moved if moved >= 2 else 0
    places = np.sort(rng.permutation(pieces)[:moved])
    taken = rng.permutation(places)
    while moved and (taken == places).any():
        taken = rng.permutation(places)
    order = np.arange(pieces)
    order[places] = taken
    return OrderParameters(moved, tuple(order.tolist()), draw_seed(rng))


def new_starts(starts: Sequence[int], samples: int, order: Sequence[int]) -> tuple[int, ...]:
    """Return where the pieces begin once they are in this order."""
    lengths = np.diff([*starts, samples])[list(order)]
    return tuple(int(start) for start in np.cumsum([0, *lengths[:-1]]))


def rearrange(waveform: Waveform, starts: Sequence[int], order: Sequence[int], fade: int = 0) -> Waveform:
    """Return the pieces of ``(time,)`` that begin at ``starts`` in another order; the length stays.

    A crossfade of ``fade`` samples is centred on each joint: every piece goes on into what surrounded it, under
    linear ramps that sum to 1. So pieces that stay neighbours join as before. It is no longer than the shortest piece.
    """
    bounds = [*starts, len(waveform)]
    half = min(fade, *np.diff(bounds)) // 2
    context = np.pad(waveform, half).astype(np.float64)
    ramp = (np.arange(2 * half) + 0.5) / max(1, 2 * half)
    out = np.zeros(len(context))
    position = 0
    for place, piece in enumerate(order):
        length = bounds[piece + 1] - bounds[piece]
        window = np.ones(length + 2 * half)
        if place > 0:
            window[: 2 * half] *= ramp
        if place < len(order) - 1:
            window[length:] *= ramp[::-1]
        out[position : position + length + 2 * half] += window * context[bounds[piece] :][: length + 2 * half]
        position += length
    return out[half : half + len(waveform)].astype(np.float32)
