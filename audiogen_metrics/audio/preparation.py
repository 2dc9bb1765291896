"""Turn decoded audio into the waveform that a backbone takes, as a protocol prescribes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from audiogen_metrics.audio.resampling import Resampler, resample
from audiogen_metrics.errors import AudioFileError

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.audio.decoding import Audio

__all__ = ["PeakPreprocessing", "Preprocessing", "prepare"]


MAX_PREPARED = 2**28
"""Largest number of samples of a prepared clip (1 GB): nearly five hours at 16 kHz."""

FULL_SCALE = 2**15
"""16-bit integer that stands for full scale, 1.0."""


@dataclass(frozen=True)
class Preprocessing:
    """Steps between the decoder and a backbone, in this order.

    Parameters
    ----------
    sixteen_bit
        ``"file"`` takes the 16-bit integers that libsndfile makes of the file; floats, and waveforms without a file,
        are cut off as wider integers are. ``"resampled"`` rounds the resampled waveform to 16 bits; ``"truncated"``
        follows laion_clap, whose full scale is 32 767 and whose integers are cut off towards zero;
        ``"resampled-truncated"`` does both, like fadtk; None keeps float32.
    channel
        The ``"first"`` channel only, or the ``"mean"`` of all channels.
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
    sixteen_bit: Literal["file", "resampled", "truncated", "resampled-truncated"] | None = None
    peak_floor: float = 0.0


@dataclass(frozen=True)
class PeakPreprocessing(Preprocessing):
    """`Preprocessing` that brings every resampled waveform to one peak before 16 bits; silence stays silent.

    Parameters
    ----------
    peak_dbfs
        Largest magnitude in dB of full scale.
    """

    peak_dbfs: float = -1.0


def prepare(audio: Audio, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the waveform ``(time,)``, float32, at the backbone's rate.

    Raises
    ------
    AudioFileError
        The clip's rate cannot be converted, or the clip is too long.
    """
    import torch

    _refuse_long(len(audio.samples), audio.sample_rate, preprocessing)
    samples = torch.from_numpy(audio.samples)
    if preprocessing.sixteen_bit == "file" and audio.integers is not None:
        samples = torch.from_numpy(audio.integers)[:, _used(preprocessing)].float().div_(FULL_SCALE)
    return _prepared(samples.T[None], audio.sample_rate, preprocessing)[0]


def prepare_clips(clips: torch.Tensor, sample_rate: int, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the waveforms ``(batch, time)`` of clips of one shape, as `prepare` makes them of files.

    They are prepared on their device, on a GPU all at once. On the CPU a waveform equals that of its file to the bit,
    on a GPU to 1e-6 of full scale; a protocol that rounds the resampled waveform to 16 bits may then round a few
    samples to the other side.

    Parameters
    ----------
    clips
        ``(batch, channels, time)``, float32.
    sample_rate
        Rate of the clips in Hz.
    preprocessing
        Steps to take.

    Raises
    ------
    AudioFileError
        As in `prepare`.
    """
    import torch

    _refuse_long(clips.shape[2], sample_rate, preprocessing)
    if clips.device.type != "cpu":
        return _prepared(clips, sample_rate, preprocessing)
    # One clip fits into the caches, a batch does not (from 48 kHz it takes three times as long), and the order in which
    # torch sums the rows of a batch depends on the number of threads.
    return torch.cat([_prepared(clip[None], sample_rate, preprocessing) for clip in clips])


def _prepared(clips: torch.Tensor, sample_rate: int, preprocessing: Preprocessing) -> torch.Tensor:
    import torch

    samples = clips[:, _used(preprocessing)]
    if preprocessing.sixteen_bit == "file":
        samples = _sixteen_bit(samples.mul(FULL_SCALE).floor_())
    waveforms = samples[:, 0] if preprocessing.channel == "first" else samples.mean(dim=1)
    if preprocessing.peak_floor:
        waveforms = waveforms / waveforms.amax(dim=1, keepdim=True).clamp(min=preprocessing.peak_floor)
    if preprocessing.remove_dc:
        waveforms = waveforms - waveforms.mean(dim=1, keepdim=True)
    waveforms = resample(waveforms, sample_rate, preprocessing.sample_rate, preprocessing.resampler)
    if isinstance(preprocessing, PeakPreprocessing):
        peaks = waveforms.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(waveforms.dtype).tiny)
        waveforms = waveforms * (10 ** (preprocessing.peak_dbfs / 20) / peaks)
    if preprocessing.sixteen_bit in ("resampled", "resampled-truncated"):
        waveforms = _sixteen_bit(waveforms.mul(FULL_SCALE).round_())
    if preprocessing.sixteen_bit in ("truncated", "resampled-truncated"):
        waveforms = waveforms.clamp(-1, 1).mul_(FULL_SCALE - 1).trunc_().div_(FULL_SCALE - 1)
    if 0 < preprocessing.maximum_samples < waveforms.shape[1]:
        waveforms = waveforms[:, : preprocessing.maximum_samples].clone()  # a view would keep the rest in memory
    missing = preprocessing.minimum_samples - waveforms.shape[1]
    return torch.nn.functional.pad(waveforms, (0, missing)) if missing > 0 else waveforms.contiguous()


def _refuse_long(samples: int, sample_rate: int, preprocessing: Preprocessing) -> None:
    if samples * preprocessing.sample_rate > MAX_PREPARED * sample_rate:
        raise AudioFileError(
            f"{samples / sample_rate:.0f} s are too long: cut it into clips of at most "
            f"{MAX_PREPARED / preprocessing.sample_rate:.0f} s"
        )


def _used(preprocessing: Preprocessing) -> slice:
    """Return the channels that reach the waveform."""
    return slice(1 if preprocessing.channel == "first" else None)


def _sixteen_bit(integers: torch.Tensor) -> torch.Tensor:
    """Turn whole numbers into samples, in place."""
    return integers.clamp_(-FULL_SCALE, FULL_SCALE - 1).div_(FULL_SCALE)
