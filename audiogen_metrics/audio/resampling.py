"""Sample-rate conversion, as the evaluators of the field do it.

The sinc interpolation is the one of ``torchaudio.functional.resample``, to the bit, without torchaudio: its wheels
refuse to be imported beside a torch that was built for another CUDA, which plain ``pip install`` brings now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

from audiogen_metrics.errors import AudioFileError

if TYPE_CHECKING:
    import torch

Resampler = Literal["torchaudio", "torchaudio-kaiser", "resampy", "decimate", "decimate-resampy"]
"""Ways to change the rate.

``torchaudio`` is that function's default, a Hann-windowed sinc of 6 zero crossings with rolloff 0.99, and
``torchaudio-kaiser`` its Kaiser window with fadtk's settings, 64 zero crossings; ``resampy`` is that package's
kaiser_best. The others reproduce an old evaluator's defects: ``decimate`` keeps every third sample of clips at three
times the rate, and of those at twice the rate every second, which it then resamples once more, so that half the
length is left; ``decimate-resampy`` keeps every second sample at twice the rate and leaves the rest to resampy.
"""

MAX_KERNEL = 2**26
"""Largest kernel, in taps (256 MB); two rates without a common factor would need gigabytes."""


def resample(waveform: torch.Tensor, sample_rate: int, target_rate: int, resampler: Resampler) -> torch.Tensor:
    """Return ``waveform`` ``(time,)`` at ``target_rate`` Hz; the same object when the rates are equal.

    Raises
    ------
    AudioFileError
        Rates so odd that the filter would need gigabytes.
    """
    if sample_rate == target_rate:
        return waveform
    return _RESAMPLERS[resampler](waveform, sample_rate, target_rate)


def _sinc(
    waveform: torch.Tensor,
    sample_rate: int,
    target_rate: int,
    *,
    zero_crossings: int = 6,
    rolloff: float = 0.99,
    beta: float | None = None,
) -> torch.Tensor:
    """Convolve with one windowed sinc per output phase: a Kaiser window with ``beta``, else a Hann window."""
    import torch

    common = math.gcd(sample_rate, target_rate)
    old, new = sample_rate // common, target_rate // common
    if old * new > MAX_KERNEL:
        raise AudioFileError(
            f"cannot resample {sample_rate} Hz to {target_rate} Hz: the rates share no large factor",
            fix="Convert the file to a standard rate first",
        )
    kernels, width = _kernels(old, new, zero_crossings, rolloff, beta)
    padded = torch.nn.functional.pad(waveform[None, None], (width, width + old))
    phases = torch.nn.functional.conv1d(padded, kernels, stride=old)[0]
    return phases.T.reshape(-1)[: math.ceil(new * len(waveform) / old)]


@lru_cache(maxsize=16)
def _kernels(old: int, new: int, zero_crossings: int, rolloff: float, beta: float | None) -> tuple[torch.Tensor, int]:
    """Return the kernels ``(new, 1, 2 · width + old)`` and their half width, in samples of the old rate.

    In float32 and in this order of operations, because torchaudio computes them so.
    """
    import torch

    cutoff = min(old, new) * rolloff
    width = math.ceil(zero_crossings * old / cutoff)
    offsets = torch.arange(-width, width + old, dtype=torch.float32)[None, None] / old
    phases = torch.arange(0, -new, -1, dtype=torch.float32)[:, None, None] / new
    position = ((phases + offsets) * cutoff).clamp(-zero_crossings, zero_crossings)
    if beta is None:
        window = torch.cos(position * math.pi / zero_crossings / 2) ** 2
    else:
        shape = torch.tensor(float(beta))
        window = torch.i0(shape * torch.sqrt(1 - (position / zero_crossings) ** 2)) / torch.i0(shape)
    angle = position * math.pi
    sinc = torch.where(angle == 0, torch.tensor(1.0), angle.sin() / angle)
    return sinc * (window * (cutoff / old)), width


def _resampy(waveform: torch.Tensor, sample_rate: int, target_rate: int) -> torch.Tensor:
    import resampy
    import torch

    return torch.from_numpy(resampy.resample(waveform.numpy(), sample_rate, target_rate)).float()


def _decimate(waveform: torch.Tensor, sample_rate: int, target_rate: int) -> torch.Tensor:
    if sample_rate == 3 * target_rate:
        return waveform[::3]
    return _sinc(waveform[::2] if sample_rate == 2 * target_rate else waveform, sample_rate, target_rate)


def _decimate_resampy(waveform: torch.Tensor, sample_rate: int, target_rate: int) -> torch.Tensor:
    return waveform[::2] if sample_rate == 2 * target_rate else _resampy(waveform, sample_rate, target_rate)


_RESAMPLERS: Mapping[Resampler, Callable[[torch.Tensor, int, int], torch.Tensor]] = {
    "torchaudio": _sinc,
    "torchaudio-kaiser": partial(_sinc, zero_crossings=64, rolloff=0.9475937167399596, beta=14.769656459379492),
    "resampy": _resampy,
    "decimate": _decimate,
    "decimate-resampy": _decimate_resampy,
}
