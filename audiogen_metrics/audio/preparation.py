"""From decoded audio to the waveform that a backbone takes, as a protocol prescribes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from audiogen_metrics.audio.resampling import Resampler, resample
from audiogen_metrics.errors import AudioFileError

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.audio.decoding import Audio


MAX_PREPARED = 2**28
"""Samples of a prepared clip at most (1 GB): nearly five hours at 16 kHz."""

FULL_SCALE = 2**15
"""16-bit integer that full scale, 1.0, would be."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens between the decoder and a backbone, in this order.

    Parameters
    ----------
    sixteen_bit
        ``"file"`` takes the 16-bit integers that libsndfile makes of the file; floats, and waveforms that come from no
        file, are cut off as wider integers are. ``"resampled"`` rounds the resampled waveform to 16 bits; None keeps
        float32.
    channel
        ``"first"`` channel only, or the ``"mean"`` of all channels.
    peak_floor
        Divide by the largest sample, or by this if that is larger; 0 leaves the level alone.
    remove_dc
        Subtract the mean of the whole clip.
    sample_rate
        Rate in Hz that the backbone takes.
    resampler
        See `audiogen_metrics.audio.resampling.Resampler`.
    maximum_samples
        Clips are cut to this many samples at ``sample_rate``; 0 keeps all.
    minimum_samples
        Clips shorter than this many samples at ``sample_rate`` are zero-padded on the right.
    """

    sample_rate: int
    channel: Literal["first", "mean"] = "first"
    remove_dc: bool = True
    resampler: Resampler = "torchaudio"
    minimum_samples: int = 0
    maximum_samples: int = 0
    sixteen_bit: Literal["file", "resampled"] | None = None
    peak_floor: float = 0.0


def prepare(audio: Audio, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the waveform ``(time,)``, float32, at the backbone's rate.

    Raises
    ------
    AudioFileError
        The clip's rate cannot be converted, or the clip is too long.
    """
    import torch

    if len(audio.samples) * preprocessing.sample_rate > MAX_PREPARED * audio.sample_rate:
        raise AudioFileError(
            f"{len(audio.samples) / audio.sample_rate:.0f} s are too long: cut it into clips of at most "
            f"{MAX_PREPARED / preprocessing.sample_rate:.0f} s"
        )
    used = slice(1 if preprocessing.channel == "first" else None)
    samples = torch.from_numpy(audio.samples)[:, used]
    if preprocessing.sixteen_bit == "file":
        integers = None if audio.integers is None else torch.from_numpy(audio.integers)[:, used]
        samples = _sixteen_bit(samples.mul(FULL_SCALE).floor_() if integers is None else integers.float())
    waveform = samples[:, 0] if preprocessing.channel == "first" else samples.mean(dim=1)
    if preprocessing.peak_floor:
        waveform = waveform / waveform.max().clamp(min=preprocessing.peak_floor)
    if preprocessing.remove_dc:
        waveform = waveform - waveform.mean()
    waveform = resample(waveform, audio.sample_rate, preprocessing.sample_rate, preprocessing.resampler)
    if preprocessing.sixteen_bit == "resampled":
        waveform = _sixteen_bit(waveform.mul(FULL_SCALE).round_())
    if 0 < preprocessing.maximum_samples < len(waveform):
        waveform = waveform[: preprocessing.maximum_samples].clone()  # a view would keep the rest in memory
    missing = preprocessing.minimum_samples - waveform.shape[0]
    return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform.contiguous()


def _sixteen_bit(integers: torch.Tensor) -> torch.Tensor:
    """Return whole numbers as samples, in their place."""
    return integers.clamp_(-FULL_SCALE, FULL_SCALE - 1).div_(FULL_SCALE)
