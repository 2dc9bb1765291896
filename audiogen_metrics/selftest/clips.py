"""The seeded clips of musegauge's published values, made again, and a check that they are the same.

The SHA-256 of each file is known. A file may have another one because a sine or a sum is rounded in another way here.
So two sums over each block of its samples are known, too. A sample that is one step off changes the first sum by one
step and the second by its place. It is found and corrected, and the digest then proves that it was the only difference.
In this way 10 kB describe 15 MB of audio to the bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["ClipCheck"]

Samples = npt.NDArray[np.int16]

SEEDS: Mapping[str, int] = {"gen": 1, "ref": 2}
"""Seed of the generator for each set, which draws the clips one after the other."""

CLIPS, RATE, LENGTH, PEAK = 12, 32_000, 320_000, 0.5

BLOCK = 20_000
"""Samples of a block, which has its own sums: one of its samples may be a step off."""


@dataclass(frozen=True)
class ClipCheck:
    """Whether clips are the published ones.

    Parameters
    ----------
    count
        Number of clips that were made.
    off
        By clip, the samples that are one step of 16 bits off; the rest of these clips is as published.
    wrong
        Clips that differ by more than that.
    """

    count: int
    off: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["equal", "within one step", "different"]:
        """``equal``: all digests are the published ones; ``within one step``: except for the samples in ``off``."""
        return "different" if self.wrong else "within one step" if self.off else "equal"

    def __str__(self) -> str:
        if self.wrong:
            return f"{len(self.wrong)} of {self.count} seeded clips are not the published ones: {', '.join(self.wrong)}"
        if self.off:
            samples = sum(map(len, self.off.values()))
            return (
                f"{self.count} seeded clips are the published ones within one step of 16 bits: "
                f"{samples} sample{'s' * (samples > 1)} in {', '.join(self.off)}; the others have the published SHA-256"
            )
        return f"{self.count} seeded clips have the published SHA-256"


def make_clips() -> Iterator[tuple[str, Samples]]:
    """Yield id and samples ``(320000,)``, int16 at 32 kHz, of the 12 clips of each set: ``gen_000``, …, ``ref_011``.

    Each is a sum of sines and smoothed noise, drawn as musegauge 0.1.4 draws its test audio.
    """
    for name, seed in SEEDS.items():
        rng = np.random.default_rng(seed)
        for number in range(CLIPS):
            yield f"{name}_{number:03d}", _clip(rng)


def _clip(rng: np.random.Generator) -> Samples:
    """Draw one clip; the order of the draws, and of the products in a sine's argument, is part of its definition."""
    times = np.arange(LENGTH) / RATE
    total = np.zeros(LENGTH)
    for _ in range(rng.integers(2, 5)):
        pitch, level, phase = rng.uniform(110, 1760), rng.uniform(0.2, 1), rng.uniform(0, 2 * np.pi)
        total += level * np.sin(2 * np.pi * pitch * times + phase)
    width = int(rng.integers(4, 32))
    noise = np.convolve(rng.normal(size=LENGTH), np.full(width, 1 / width), mode="same")
    total += rng.uniform(0.05, 0.3) * noise
    scaled = (PEAK * total / np.abs(total).max()).astype(np.float32)
    # As libsndfile converts floats to 16 bits with clipping: rounded to 32 bits, then cut off.
    wide = np.rint(scaled * np.float64(2**31)).astype(np.int64)
    samples: Samples = np.right_shift(wide, 16).astype(np.int16)
    return samples


def wav_bytes(samples: Samples) -> bytes:
    """Return a clip as a WAV file, its header the 44 bytes that libsndfile writes."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def fingerprint(samples: Samples) -> dict[str, Any]:
    """Return what is known of a clip: its file's ``sha256``, and ``sums`` and ``moments`` of each block."""
    sums, moments = _sums(samples)
    return {
        "sha256": hashlib.sha256(wav_bytes(samples)).hexdigest(),
        "sums": sums.tolist(),
        "moments": moments.tolist(),
    }


def check_clips(clips: Mapping[str, Samples]) -> ClipCheck:
    """Compare clips with what is known of the published ones of the same ids.

    Examples
    --------
    >>> check_clips(dict(make_clips())).verdict
    'equal'
    """
    off, wrong = {}, []
    for clip_id, samples in clips.items():
        places = places_off(samples, known_clips()[clip_id])
        if places is None:
            wrong.append(clip_id)
        elif places:
            off[clip_id] = places
    return ClipCheck(len(clips), off, tuple(wrong))


def places_off(samples: Samples, known: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the samples that are one step off, at most one in a block; None if there is any other difference."""
    if len(samples) != LENGTH:
        return None
    steps, moments = (
        found - np.array(known[name]) for found, name in zip(_sums(samples), ("sums", "moments"), strict=True)
    )
    places = []
    for block in np.flatnonzero((steps != 0) | (moments != 0)):
        place = int(moments[block] * steps[block]) - 1
        if abs(steps[block]) != 1 or not 0 <= place < BLOCK:
            return None
        places.append(int(block) * BLOCK + place)
    mended = samples.copy()
    mended[places] -= steps[np.array(places, dtype=int) // BLOCK].astype(np.int16)
    return tuple(places) if hashlib.sha256(wav_bytes(mended)).hexdigest() == known["sha256"] else None


def write_clips(clips: Mapping[str, Samples], root: Path) -> dict[str, Path]:
    """Write each set as WAV files into a folder of its own below ``root``; return the folders by set."""
    folders = {name: root / name for name in SEEDS}
    for folder in folders.values():
        folder.mkdir()
    for clip_id, samples in clips.items():
        (folders[clip_id.partition("_")[0]] / f"{clip_id}.wav").write_bytes(wav_bytes(samples))
    return folders


@cache
def known_clips() -> dict[str, dict[str, Any]]:
    """Return what is known of the published clips by id, as `fingerprint` gives it."""
    file = resources.files("audiogen_metrics.selftest") / "data" / "clips.json"
    content: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _sums(samples: Samples) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return, for each block, the sum of its samples, and their sum weighted by their places, which count from 1."""
    blocks = samples.astype(np.int64).reshape(-1, BLOCK)
    return blocks.sum(axis=1), blocks @ np.arange(1, BLOCK + 1)
