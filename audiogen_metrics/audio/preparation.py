"""From decoded audio to the waveform that a backbone takes, as a protocol prescribes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from audiogen_metrics.audio.resampling import Resampler, resample

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.audio.decoding import Audio


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
        See `audiogen_metrics.audio.resampling.Resampler`.
    minimum_samples
        Clips shorter than this many samples at ``sample_rate`` are zero-padded on the right.
    """

    sample_rate: int
    channel: Literal["first", "mean"] = "first"
    remove_dc: bool = True
    resampler: Resampler = "torchaudio"
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
