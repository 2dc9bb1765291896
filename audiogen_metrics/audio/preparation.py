"""From decoded audio to the waveform that a backbone takes, as a protocol prescribes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, cast

from audiogen_metrics.errors import AudioFileError, MissingDependencyError

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.audio.decoding import Audio

MAX_KERNEL = 2**26
"""Largest resampling kernel, in taps (256 MB); two rates without a common factor would need gigabytes."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens between the decoder and a backbone, in this order.

    Parameters
    ----------
    channel
        ``"first"`` channel only, or the ``"mean"`` of all channels.
    remove_dc
        Subtract the mean of the whole clip.
    sample_rate
        Rate in Hz that the backbone takes.
    resampler
        ``"torchaudio"``: `torchaudio.functional.resample` with its defaults (Hann-windowed sinc, width 6,
        rolloff 0.99); ``"resampy"``: kaiser_best.
    minimum_samples
        Clips shorter than this many samples at ``sample_rate`` are zero-padded on the right.
    """

    sample_rate: int
    channel: Literal["first", "mean"] = "first"
    remove_dc: bool = True
    resampler: Literal["torchaudio", "resampy"] = "torchaudio"
    minimum_samples: int = 0


def prepare(audio: Audio, preprocessing: Preprocessing) -> torch.Tensor:
    """Return the waveform ``(time,)``, float32, at the backbone's rate.

    Raises
    ------
    AudioFileError
        The clip's rate cannot be converted.
    """
    import torch

    samples = torch.from_numpy(audio.samples)
    waveform = samples[:, 0] if preprocessing.channel == "first" else samples.mean(dim=1)
    if preprocessing.remove_dc:
        waveform = waveform - waveform.mean()
    waveform = resample(waveform, audio.sample_rate, preprocessing.sample_rate, preprocessing.resampler)
    missing = preprocessing.minimum_samples - waveform.shape[0]
    return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform.contiguous()


def resample(
    waveform: torch.Tensor, sample_rate: int, target_rate: int, resampler: Literal["torchaudio", "resampy"]
) -> torch.Tensor:
    """Return ``waveform`` ``(time,)`` at ``target_rate`` Hz; the same object when the rates are equal."""
    if sample_rate == target_rate:
        return waveform
    if resampler == "resampy":
        import resampy
        import torch

        return torch.from_numpy(resampy.resample(waveform.numpy(), sample_rate, target_rate)).float()
    common = math.gcd(sample_rate, target_rate)
    if (sample_rate // common) * (target_rate // common) > MAX_KERNEL:
        raise AudioFileError(
            f"cannot resample {sample_rate} Hz to {target_rate} Hz: the rates share no large factor",
            fix="Convert the file to a standard rate first",
        )
    resampled: torch.Tensor = _resampler(sample_rate, target_rate)(waveform)
    return resampled


@lru_cache(maxsize=16)
def _resampler(sample_rate: int, target_rate: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return ``torchaudio.functional.resample`` for one pair of rates, bit for bit, its kernel computed once."""
    import torch

    try:
        from torchaudio.transforms import Resample
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(
            f"torchaudio cannot be loaded beside torch {torch.__version__} ({error})",
            fix="Install a matching pair: pip install --force-reinstall torch torchaudio",
        ) from error
    return cast("Callable[[torch.Tensor], torch.Tensor]", Resample(sample_rate, target_rate, dtype=torch.float32))
