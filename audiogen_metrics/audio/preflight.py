"""Warnings about a set, to be read before its scores are trusted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from audiogen_metrics.audio.decoding import Audio
    from audiogen_metrics.audio.files import AudioFolder
    from audiogen_metrics.audio.preparation import Preprocessing

__all__ = ["ClipFacts"]

SILENCE_PEAK = 1e-4
"""A clip whose peak is below −80 dB of full scale counts as silent."""

UNHEARD_SHARE = 1e-2
"""A clip counts as unheard when its preparation leaves less than this of its level (−40 dB, root mean square)."""

CLIPPED_SHARE = 1e-3
"""A clip counts as clipped when this share of its samples repeats its neighbour near full scale."""

BEYOND_SCALE = 2.0
"""A peak this many times full scale is not an overshoot: the samples are on another scale."""

EDGE_SECONDS = 0.004
"""Resampling rings this long at both ends, where the sound that it removes begins and stops."""

BLOCK = 2**20
"""Samples of each channel that are inspected together."""

PROBE_MANIFEST = "manifest.json"
"""Name of the manifest beside the copies that ``agm probe`` has written."""


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """Facts about a clip from when it was decoded and prepared for a network.

    Parameters
    ----------
    seconds, sample_rate, channels
        Length, rate and number of channels of the file.
    peak
        Largest magnitude of the file's samples, over all channels.
    clipped
        Share of its samples that repeat their neighbour near full scale.
    constant
        Whether each channel of the file stays at one value.
    unheard
        Whether the file has sound of which hardly anything reaches the network.
    """

    seconds: float
    sample_rate: int
    channels: int
    peak: float
    clipped: float
    constant: bool
    unheard: bool


def inspect(
    audio: Audio, waveform: torch.Tensor | None = None, preprocessing: Preprocessing | None = None
) -> ClipFacts:
    """Return the facts of one decoded clip.

    Parameters
    ----------
    audio
        The clip.
    waveform, preprocessing
        The prepared waveform, and how it was prepared; without them the clip counts as heard.
    """
    length, channels = audio.samples.shape
    lowest, highest = np.full(channels, np.inf, np.float32), np.full(channels, -np.inf, np.float32)
    middle, repeated = np.zeros(channels), 0
    for block in _blocks(audio):
        following = block[:, 1:]
        repeated += int(np.count_nonzero((np.abs(following) >= 0.99) & (following == block[:, :-1])))
        part = block[:, :BLOCK]
        lowest, highest = np.minimum(lowest, part.min(axis=1)), np.maximum(highest, part.max(axis=1))
        middle += part.sum(axis=1, dtype=np.float64) / length
    swing = float(max((highest - middle).max(), (middle - lowest).max()))
    seconds = length / audio.sample_rate
    lost = False
    if waveform is not None and preprocessing is not None and swing >= SILENCE_PEAK:
        rings = audio.sample_rate != preprocessing.sample_rate
        peak, level = _left(waveform, seconds, preprocessing.sample_rate, rings)
        # A protocol may cut samples off at full scale.
        squares = sum(np.square(block[:, :BLOCK] - middle[:, None]).sum(axis=1) for block in _blocks(audio))
        loudest = float(np.sqrt(np.max(squares) / length)) * min(1.0, 1 / swing)
        lost = float(peak) < SILENCE_PEAK or float(level) < UNHEARD_SHARE * loudest
    return ClipFacts(
        seconds=seconds,
        sample_rate=audio.sample_rate,
        channels=channels,
        peak=float(max(highest.max(), -lowest.min())),
        clipped=repeated / (channels * (length - 1)) if length > 1 else 0.0,
        constant=swing < SILENCE_PEAK,
        unheard=lost,
    )


def _blocks(audio: Audio) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the samples ``(channels, time)`` a block at a time, each with one more sample, the next one's first.

    Inspecting channel by channel is many times as fast as interleaved; all at once it would take several times the
    memory of the clip.
    """
    for start in range(0, len(audio.samples), BLOCK):
        yield np.ascontiguousarray(audio.samples[start : start + BLOCK + 1].T)


def unheard(
    clips: torch.Tensor, waveforms: torch.Tensor, sample_rate: int, preprocessing: Preprocessing
) -> torch.Tensor:
    """Return which of these clips, all of one shape, have sound that hardly reaches the network.

    Parameters
    ----------
    clips
        ``(batch, channels, time)``.
    waveforms
        Prepared waveforms, ``(batch, time)``, on the same device; the result is there too.
    sample_rate
        Rate of the clips in Hz.
    preprocessing
        How they were prepared.
    """
    about = clips - clips.mean(dim=-1, keepdim=True)
    swing = about.abs().amax(dim=(1, 2))
    loudest = about.square().mean(dim=-1).amax(dim=1).sqrt() * (1 / swing).clamp(max=1.0)
    rings = sample_rate != preprocessing.sample_rate
    peak, level = _left(waveforms, clips.shape[-1] / sample_rate, preprocessing.sample_rate, rings)
    return (swing >= SILENCE_PEAK) & ((peak < SILENCE_PEAK) | (level < UNHEARD_SHARE * loudest))


def _left(waveforms: torch.Tensor, seconds: float, sample_rate: int, rings: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return peak and level (RMS) of prepared clips ``(…, time)`` about their means, without the zeros behind them and
    their edges."""
    sound = waveforms[..., : math.ceil(seconds * sample_rate)]
    edge = math.ceil(EDGE_SECONDS * sample_rate) if rings else 0
    samples = sound.shape[-1]
    sound = sound[..., edge : samples - edge] if samples > 4 * edge else sound
    middle = sound.mean(dim=-1, keepdim=True)
    peak = (sound.amax(dim=-1) - middle[..., 0]).maximum(middle[..., 0] - sound.amin(dim=-1))
    squares = sum((block - middle).square().sum(dim=-1) for block in sound.split(BLOCK, dim=-1))
    return peak, (squares / sound.shape[-1]) ** 0.5


def beyond_scale(peak: float) -> str:
    """Return what to say of samples of this magnitude.

    Examples
    --------
    >>> beyond_scale(26950.0)
    'beyond full scale, up to 2.7e+04 times (looks like 16-bit integers saved as floats: divide by 32768)'
    """
    bits = next((bits for bits in (16, 24, 32) if 128 < peak <= 2 ** (bits - 1)), None)
    looks = "" if bits is None else f" (looks like {bits}-bit integers saved as floats: divide by {2 ** (bits - 1)})"
    return f"beyond full scale, up to {peak:.2g} times{looks}"


def probe_copies(folder: AudioFolder, clip_ids: Collection[str]) -> set[str]:
    """Return which of these clips ``agm probe`` has written, by its manifests; these may exceed full scale."""
    found = set()
    known: dict[Path, frozenset[str]] = {}
    for clip in folder.clips:
        if clip.clip_id in clip_ids and clip.path.is_relative_to(folder.root):
            for parent in clip.path.relative_to(folder.root).parents:
                place = folder.root / parent
                if place not in known:
                    known[place] = _probed(place / PROBE_MANIFEST)
                if clip.path.relative_to(place).with_suffix("").as_posix() in known[place]:
                    found.add(clip.clip_id)
    return found


def _probed(manifest: Path) -> frozenset[str]:
    """Return the clips of a probe's manifest; an empty set without such a file."""
    try:
        content = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return frozenset()
    clips = content.get("clips") if isinstance(content, dict) and "probe" in content else None
    return frozenset(clips) if isinstance(clips, dict) else frozenset()


def set_warnings(
    name: str,
    facts: Mapping[Preprocessing, Mapping[str, ClipFacts]],
    digests: Mapping[str, str],
    window_seconds: float,
    folder: AudioFolder,
) -> list[str]:
    """Return the warnings about one set.

    Parameters
    ----------
    name
        ``gen`` or ``ref``.
    facts
        By preprocessing, the facts of each clip by id.
    digests
        Content hash of each clip.
    window_seconds
        Shortest clip that needs no padding.
    folder
        Folder of the clips.
    """
    files = next(iter(facts.values()))
    silent = [clip for clip, fact in files.items() if fact.peak < SILENCE_PEAK]
    constant = [clip for clip, fact in files.items() if fact.constant and fact.peak >= SILENCE_PEAK]
    clipped = [clip for clip, fact in files.items() if fact.clipped > CLIPPED_SHARE]
    short = [clip for clip, fact in files.items() if fact.seconds < window_seconds]
    beyond = [clip for clip, fact in files.items() if fact.peak > BEYOND_SCALE]
    copies = probe_copies(folder, beyond)
    beyond = [clip for clip in beyond if clip not in copies]
    counts = Counter(digests.values())
    duplicates = [clip for clip, digest in digests.items() if counts[digest] > 1]
    total = len(files)
    found = [
        _count(name, silent, total, "silent (peak below −80 dB)"),
        _count(name, constant, total, "silent but for a constant offset"),
        *(
            _count(name, [clip for clip, fact in those.items() if fact.unheard], total, unheard_by(preprocessing))
            for preprocessing, those in facts.items()
        ),
        _count(name, beyond, total, beyond_scale(max((files[clip].peak for clip in beyond), default=0.0))),
        _count(name, clipped, total, "clipped at full scale"),
        _count(name, duplicates, total, "exact duplicates of another clip"),
        _count(name, short, total, f"shorter than the {window_seconds:g} s window: padded with silence"),
        _spread(name, "durations", [fact.seconds for fact in files.values()], "s"),
        _mixture(name, "sample rates", [fact.sample_rate for fact in files.values()], "Hz"),
    ]
    return [warning for warning in dict.fromkeys(found) if warning]


def unheard_by(preprocessing: Preprocessing) -> str:
    """Return what to say of clips whose sound this preprocessing loses."""
    given = "the first channel" if preprocessing.channel == "first" else "the mean of the channels"
    rate, most = preprocessing.sample_rate, preprocessing.maximum_samples
    cut = f", {most / rate:g} s at most" if most else ""
    return f"silent to the network, though there is sound in the file (it is given {given}, at {rate} Hz{cut})"


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
