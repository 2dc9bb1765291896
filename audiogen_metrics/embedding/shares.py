"""Divide clips among processes by how long each will take."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import soundfile

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.errors import AudioFileError

BYTES_PER_SECOND = 32_000
"""Of files that do not say how long they are: 16 bit at 16 kHz."""

RUNS_PER_PROCESS = 4
"""An archive is read by one process where there are so many for each; a larger one is cut into runs of its clips."""


def claimed_seconds(clip: AudioFile) -> float:
    """Return how long a clip is by its header, or by its size; 0 for one that cannot be read."""
    try:
        if clip.is_file:
            try:
                return float(soundfile.info(clip.path).duration)
            except (RuntimeError, ValueError):  # soundfile's errors are RuntimeErrors; its paths must be UTF-8
                return clip.path.stat().st_size / BYTES_PER_SECOND
        if clip.member is not None:
            return clip.member.size / BYTES_PER_SECOND
        content = clip.fetch()
    except (OSError, AudioFileError):
        return 0.0
    return len(content.samples) / content.sample_rate if isinstance(content, Audio) else len(content) / BYTES_PER_SECOND


def divide(costs: Sequence[float], archives: Sequence[Path | None], processes: int, most: int) -> list[list[list[int]]]:
    """Return the places of the clips that each process takes, in pieces: as many for each process.

    The longest goes first, to whoever has least. Clips of one archive stay together, in runs of at most a fourth of a
    fair share. The pieces of one process cost the same, about, and none has many more than ``most`` clips.

    Parameters
    ----------
    costs
        Of each clip, in seconds.
    archives
        Where each clip lies; None for a file of its own.
    processes
        How many there are.
    most
        Clips in a piece.

    Examples
    --------
    >>> divide([9.0, 3.0, 3.0, 3.0, 1.0, 1.0], [None] * 6, 2, 2)
    [[[0], [4]], [[1, 2], [3, 5]]]
    """
    runs = _runs(costs, archives, sum(costs) / (processes * RUNS_PER_PROCESS))
    runs.sort(key=lambda run: (-sum(costs[place] for place in run), run))
    loads = [(0.0, 0, number) for number in range(processes)]
    shares: list[list[int]] = [[] for _ in range(processes)]
    for run in runs:
        load, clips, number = heapq.heappop(loads)
        shares[number] += run
        heapq.heappush(loads, (load + sum(costs[place] for place in run), clips + len(run), number))
    count = max(1, math.ceil(max(map(len, shares)) / most))
    return [_pieces(sorted(share), costs, count) for share in shares]


def _runs(costs: Sequence[float], archives: Sequence[Path | None], most: float) -> list[list[int]]:
    """Return the clips that stay together: each by itself, or a run of an archive that costs no more than ``most``."""
    members: dict[Path | int, list[int]] = defaultdict(list)
    for place, archive in enumerate(archives):
        members[place if archive is None else archive].append(place)
    runs: list[list[int]] = []
    for places in members.values():
        room = 0.0
        for place in places:
            if place == places[0] or costs[place] > room:
                runs.append([])
                room = most
            runs[-1].append(place)
            room -= costs[place]
    return runs


def _pieces(share: Sequence[int], costs: Sequence[float], count: int) -> list[list[int]]:
    pieces: list[list[int]] = [[] for _ in range(count)]
    before = [0.0, *accumulate(costs[place] for place in share)]
    for place, cost in zip(share, before, strict=False):
        pieces[min(count - 1, int(cost / (before[-1] or 1) * count))].append(place)
    return pieces
