"""Sequences of events, built from several clips as the paper did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.probes.base import Clip, clip_rng
from audiogen_metrics.probes.pool import Pool
from audiogen_metrics.probes.rates import at_rate

EVENTS = 4
"""Events in a sequence by default, as in the paper; also the smallest number."""


@dataclass(frozen=True)
class EventSequence:
    """A sequence of clips of different classes.

    Parameters
    ----------
    clip_id
        Id of the sequence.
    members
        Ids of its clips in order.
    """

    clip_id: str
    members: tuple[str, ...]

    def load(self, pool: Pool, event_seconds: float | None = None) -> Clip:
        """Return the sequence as one clip: `join` of its members."""
        return self.join([pool.load(clip_id) for clip_id in self.members], event_seconds)

    def join(self, clips: Sequence[Clip], event_seconds: float | None = None) -> Clip:
        """Return the clips as one, at the highest of their sample rates, with the events' first samples.

        Parameters
        ----------
        clips
            The members, in order.
        event_seconds
            Seconds of each clip that are kept, from its beginning; None keeps all.
        """
        rate = max(clip.sample_rate for clip in clips)
        length = None if event_seconds is None else round(event_seconds * rate)
        pieces = [at_rate(clip, rate).waveform[:length] for clip in clips]
        events = tuple(int(start) for start in np.cumsum([0, *(len(piece) for piece in pieces[:-1])]))
        return Clip(self.clip_id, np.concatenate(pieces), rate, events)


def event_sequences(pool: Pool, events: int | None = None) -> list[EventSequence]:
    """Return as many sequences as the set has clips for, in the seed's order; a clip is in one sequence at most.

    Parameters
    ----------
    pool
        Clips with classes; its seed decides which clips come together.
    events
        Events in a sequence, each of another class; at least `EVENTS`, the default.

    Raises
    ------
    UsageError
        Fewer events than `EVENTS`.
    InsufficientDataError
        Fewer classes than events.
    """
    events = EVENTS if events is None else events
    if events < EVENTS:
        raise UsageError(f"{events} events are too few for an order", where="events", fix=f"Take {EVENTS} or more")
    left = {name: list(members) for name, members in pool.classes.items()}
    if len(left) < events:
        raise InsufficientDataError(
            f"{len(left)} classes for sequences of {events} events of different classes",
            fix="Put each class into a sub-folder, pass labels, or take shorter sequences",
        )
    sequences: list[EventSequence] = []
    while len(left) >= events:
        clip_id = f"sequence-{len(sequences):05d}"
        # From the largest classes, so that as few clips as possible are left over.
        chosen = sorted(left, key=lambda name: -len(left[name]))[:events]
        clip_rng(pool.seed, clip_id, "order").shuffle(chosen)
        sequences.append(EventSequence(clip_id, tuple(left[name].pop() for name in chosen)))
        left = {name: members for name, members in left.items() if members}
    return sequences
