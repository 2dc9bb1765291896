"""Real recordings as clips, as a pool and as a sequence of events."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import scan
from audiogen_metrics.probes.base import Clip
from audiogen_metrics.probes.pool import Pool, folder_labels
from audiogen_metrics.probes.sequences import event_sequences

PATHS = {clip.clip_id: clip.path for clip in scan(Path(__file__).parent.parent.parent / "examples" / "reference").clips}


@cache
def load(clip_id: str) -> Clip:
    """Return a recording."""
    path = PATHS[clip_id]
    return Clip.from_audio(clip_id, decode(path, path.read_bytes()))


@pytest.fixture(scope="session")
def pool() -> Pool:
    """Return all 40 recordings, of 12 classes."""
    return Pool(tuple(PATHS), load, folder_labels(PATHS))


@pytest.fixture(scope="session")
def clip() -> Clip:
    """Return a recording at 44.1 kHz, mixed down from stereo."""
    return load("ambi/piano")


@pytest.fixture(scope="session")
def sequence(pool: Pool) -> Clip:
    """Return four recordings of different classes in a row."""
    return event_sequences(pool)[0].load(pool, event_seconds=0.5)
