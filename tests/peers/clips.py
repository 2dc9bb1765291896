"""Two sets of real clips in the formats that loaders disagree on, made from the examples by a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from audiogen_metrics.audio.resampling import resample
from tests.conftest import EXAMPLES

RATES = (16_000, 22_050, 44_100, 48_000)


def build(target: Path, count: int, shortest: float, longest: float, seed: int) -> tuple[Path, Path]:
    """Write ``gen`` and ``ref`` with ``count`` clips each below ``target`` and return both folders.

    Clip i of both sets has one name; lengths are drawn between ``shortest`` and ``longest`` seconds, odd numbers of
    samples included; rates, mono and stereo, 16-bit WAV and FLAC (every other one in 24 bits) take turns.
    """
    folders = target / "gen", target / "ref"
    for side, folder in enumerate(folders):
        folder.mkdir(parents=True)
        sources = _sources("generated" if side == 0 else "reference")
        for index in range(count):
            rng = np.random.default_rng([seed, side, index])
            rate, channels = RATES[(index + side) % len(RATES)], 1 + (index // 2 + side) % 2
            length = round(rng.uniform(shortest, longest) * rate)
            samples = np.stack([_montage(rng, sources, rate, length) for _ in range(channels)], axis=1)
            suffix, subtype = ("wav", "PCM_16") if index % 2 == 0 else ("flac", ("PCM_16", "PCM_24")[index // 2 % 2])
            soundfile.write(folder / f"{index:03d}.{suffix}", samples, rate, subtype)
    return folders


def _sources(side: str) -> list[Path]:
    # Lossless ones: a lossy decoder may give other samples in its next release.
    found = sorted(path for path in (EXAMPLES / side).rglob("*") if path.suffix in (".wav", ".flac"))
    assert len(found) >= 10
    return found


def _montage(rng: np.random.Generator, sources: list[Path], rate: int, length: int) -> npt.NDArray[np.float32]:
    """Return real recordings one after the other, at most half full scale each, until ``length`` is reached."""
    pieces, total = [], 0
    while total < length:
        samples, source_rate = soundfile.read(sources[rng.integers(len(sources))], dtype="float32", always_2d=True)
        piece = resample(torch.from_numpy(samples[:, 0].copy()), source_rate, rate, "torchaudio").numpy()
        pieces.append(piece * np.float32(rng.uniform(0.1, 0.5) / max(1e-3, float(np.abs(piece).max()))))
        total += len(piece)
    joined: npt.NDArray[np.float32] = np.concatenate(pieces)[:length]
    return joined
