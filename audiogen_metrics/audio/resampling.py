"""Convert sample rates as published evaluators do.

The sinc interpolation equals ``torchaudio.functional.resample`` to the bit, without torchaudio, whose wheels cannot be
imported beside a torch that was built for another CUDA, and plain ``pip install`` brings such a pair now and then.
The interpolation of resampy is a matrix product here, which is many times as fast as its loop and needs no compiler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from audiogen_metrics.errors import AudioFileError
from audiogen_metrics.keeping import ByteBoundedCache
from audiogen_metrics.precision import full_precision

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

Resampler = Literal["torchaudio", "torchaudio-kaiser", "resampy", "decimate", "decimate-resampy"]
"""Ways to change the rate.

``torchaudio`` is that function's default, a Hann-windowed sinc of 6 zero crossings with rolloff 0.99, and
``torchaudio-kaiser`` its Kaiser window with fadtk's settings, 64 zero crossings; ``resampy`` is that package's
kaiser_best, a table of a windowed sinc with 8192 entries for each crossing, interpolated between them. The others
reproduce an old evaluator's defects. ``decimate`` keeps every third sample of clips at three times the rate; of clips
at twice the rate it keeps every second sample and then resamples again, so that half the length is left.
``decimate-resampy`` keeps every second sample at twice the rate and leaves the rest to resampy.
"""

RESAMPLING_VERSION = 3
"""Part of every cache key, raised by hand whenever samples change."""

PRECISION = 8192
"""Entries of resampy's table between two crossings."""

MAX_PERIOD = 2**24
"""Largest matrix of weights (128 MB); rates that need more are interpolated output by output."""

BLOCK_WEIGHTS = 2**18
"""Weights that are made at a time in that case (2 MB)."""

MAX_RATIO = 1024
"""Largest ratio of two rates; beyond it, no sound is left, and soon no entry of resampy's table."""

MAX_KERNEL = 2**26
"""Largest kernel that is kept, in taps (256 MB); two rates without a common factor may need gigabytes."""

MAX_PRODUCT = 2**32
"""Taps up to which a larger kernel equals torchaudio's to the bit: multiplied whole, with times rounded alike.

torchaudio could not hold a larger one (16 GB, and several times as much to compute it). For these, and only for these,
times are exact: in torchaudio's float32, sound at odd rates gets noise of about −70 dB.
"""

BLOCK_TAPS, BLOCK_PHASES = 2**22, 64
"""Bounds on the taps (16 MB), and on the rows, of a larger kernel that are made at a time."""

KEPT_BYTES = 5 * 2**26
"""Bound on the kernels and tables that are kept (320 MB): the largest one, or hundreds of those of common rates."""

_KEPT = ByteBoundedCache(KEPT_BYTES)


def resample(waveform: torch.Tensor, sample_rate: int, target_rate: int, resampler: Resampler) -> torch.Tensor:
    """Return ``waveform`` ``(…, time)``, float32, at ``target_rate`` Hz; the same object when the rates are equal.

    Any two rates are possible: if they share no large factor, each output of a second has its own filter. The
    computation runs on the waveform's device, in full precision.

    Raises
    ------
    AudioFileError
        A rate more than `MAX_RATIO` times the target's; too few samples for resampy.
    """
    if sample_rate == target_rate:
        return waveform
    if sample_rate > MAX_RATIO * target_rate:
        raise AudioFileError(f"{sample_rate} Hz is too far from {target_rate} Hz", fix="Is its header right?")
    resampled = _RESAMPLERS[resampler](waveform.reshape(-1, waveform.shape[-1]), sample_rate, target_rate)
    return resampled.view(*waveform.shape[:-1], -1)


def _kept_on(device: torch.device, make: Callable[..., torch.Tensor], *arguments: Hashable) -> torch.Tensor:
    """Return kernels on the device; they are copied to a GPU only once."""
    return _KEPT(make, *arguments) if device.type == "cpu" else _KEPT(_moved, device, make, *arguments)


def _moved(device: torch.device, make: Callable[..., torch.Tensor], *arguments: Hashable) -> torch.Tensor:
    return _KEPT(make, *arguments).to(device, _interpolating(device))


def _interpolating(device: torch.device) -> torch.dtype:
    """Return the type in which `_resampy` multiplies: most GPUs are 32 times as slow in float64, and MPS lacks it.

    Sums of a few hundred products round by less than 1e-6 of full scale in float32 (tests/test_batches.py).
    """
    import torch

    return torch.float64 if device.type == "cpu" else torch.float32


def _sinc(
    waveforms: torch.Tensor,
    sample_rate: int,
    target_rate: int,
    *,
    zero_crossings: int = 6,
    rolloff: float = 0.99,
    beta: float | None = None,
) -> torch.Tensor:
    """Convolve with one windowed sinc per output phase: with ``beta`` a Kaiser window, otherwise a Hann window."""
    import torch

    common = math.gcd(sample_rate, target_rate)
    old, new = sample_rate // common, target_rate // common
    sinc = _Sinc(old, new, zero_crossings, rolloff, beta)
    padded = torch.nn.functional.pad(waveforms[:, None], (sinc.width, sinc.width + old))
    with full_precision(waveforms.device):
        if old * new <= MAX_KERNEL:
            kernels = _kept_on(waveforms.device, _kernels, sinc, 0, new)
            phases = torch.nn.functional.conv1d(padded, kernels, stride=old)
        else:
            phases = torch.cat(list(_blocks(padded, sinc)), dim=1)
    return phases.transpose(1, 2).flatten(1)[:, : math.ceil(new * waveforms.shape[1] / old)]


class _Sinc(NamedTuple):
    """Windowed sincs, one for each of ``new`` output phases, over ``old`` inputs and ``width`` more on both sides."""

    old: int
    new: int
    zero_crossings: int
    rolloff: float
    beta: float | None

    @property
    def cutoff(self) -> float:
        return min(self.old, self.new) * self.rolloff

    @property
    def width(self) -> int:
        return math.ceil(self.zero_crossings * self.old / self.cutoff)

    @property
    def taps(self) -> int:
        return 2 * self.width + self.old

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return where the windows of these phases begin and end, with two more samples for rounding in float32."""
        end = (last - 1) * self.old // self.new + 2 * self.width + 3
        return max(0, first * self.old // self.new - 2), min(self.taps, end)

    def values(self, phases: tuple[int, int], columns: tuple[int, int], *, exact: bool = False) -> torch.Tensor:
        """Return the taps ``(phases, 1, columns)``, float32.

        They are computed in float32 and in this order, as in torchaudio; if ``exact``, in float64.
        """
        import torch

        kind: dict[str, Any] = {"dtype": torch.float64 if exact else torch.float32, "device": torch.device("cpu")}
        begin, end = (column - self.width for column in columns)
        offsets = torch.arange(begin, end, **kind)[None, None] / self.old
        starts = torch.arange(-phases[0], -phases[1], -1, **kind)[:, None, None] / self.new
        position = ((starts + offsets) * self.cutoff).clamp(-self.zero_crossings, self.zero_crossings)
        if self.beta is None:
            window = torch.cos(position * math.pi / self.zero_crossings / 2) ** 2
        else:
            shape = torch.tensor(float(self.beta), **kind)
            window = torch.i0(shape * torch.sqrt(1 - (position / self.zero_crossings) ** 2)) / torch.i0(shape)
        angle = position * math.pi
        sinc = torch.where(angle == 0, torch.tensor(1.0, **kind), angle.sin() / angle)
        return (sinc * (window * (self.cutoff / self.old))).float()


def _kernels(sinc: _Sinc, first: int, last: int) -> torch.Tensor:
    """Return the kernels ``(last − first, 1, taps)`` of some phases.

    Outside the windows all taps have the value at a window's end, which is not quite zero in float32.
    """
    import torch

    kernels = torch.empty((last - first, 1, sinc.taps), dtype=torch.float32, device=torch.device("cpu"))
    kernels.fill_(sinc.values((sinc.new, sinc.new + 1), (0, 1)).item())
    for start in range(first, last, BLOCK_PHASES):
        phases = start, min(start + BLOCK_PHASES, last)
        begin, end = sinc.span(*phases)
        kernels[start - first : phases[1] - first, :, begin:end] = sinc.values(phases, (begin, end))
    return kernels


def _blocks(padded: torch.Tensor, sinc: _Sinc) -> Iterator[torch.Tensor]:
    """Yield ``(batch, phases, frames)`` for some phases at a time; their kernels are not kept."""
    import torch

    is_whole = sinc.new * sinc.old <= MAX_PRODUCT
    beyond = padded.shape[-1] - sinc.taps
    size = max(1, min(BLOCK_PHASES, BLOCK_TAPS // sinc.taps))
    for first in range(0, sinc.new, size):
        phases = first, min(first + size, sinc.new)
        begin, end = (0, sinc.taps) if is_whole else sinc.span(*phases)
        kernels = _kernels(sinc, *phases) if is_whole else sinc.values(phases, (begin, end), exact=True)
        part = padded[..., begin : beyond + end]
        yield torch.nn.functional.conv1d(part, kernels.to(padded.device), stride=sinc.old)


def _resampy(waveforms: torch.Tensor, sample_rate: int, target_rate: int) -> torch.Tensor:
    """Interpolate by the table: outputs at the same fraction of an input sample have the same weights.

    If resampy rounds the time of an output to the other side of an input sample, the output gets the weights there.
    """
    import numpy as np
    import torch

    samples, device = waveforms.shape[1], waveforms.device
    count = int(samples * float(target_rate) / float(sample_rate))
    if count < 1:
        raise AudioFileError(f"{samples} samples at {sample_rate} Hz leave no sample at {target_rate} Hz")
    table = _KEPT(_Table, float(target_rate) / sample_rate)
    times: npt.NDArray[np.float64] = np.arange(count) * np.float64(1.0 / table.ratio)
    places = times.astype(np.int64)
    common = math.gcd(sample_rate, target_rate)
    repeat = -(-64 * common // target_rate)  # a product of matrices likes many phases at a time
    old, new = sample_rate // common * repeat, target_rate // common * repeat
    fits = new * (old + 2 * table.wing) <= MAX_PERIOD
    wide = waveforms.to(_interpolating(device))
    padded = torch.nn.functional.pad(wide, (table.wing - 1, table.wing + old * fits))
    with full_precision(device):
        if not fits:
            return table.at(padded, times, places).float()
        kernels = _kept_on(device, _table_kernels, old, new, table.ratio)
        frames = padded.unfold(1, kernels.shape[1], old)[:, : -(-count // new)]
        found = (frames @ kernels.T).flatten(1)[:, :count]
        rounded = np.flatnonzero(places != np.arange(count) * old // new)
        if len(rounded):
            found[:, torch.from_numpy(rounded).to(device)] = table.at(padded, times[rounded], places[rounded])
    return found.float()


@lru_cache(maxsize=1)
def _kaiser_best() -> npt.NDArray[np.float64]:
    """Return the right half of resampy's filter kaiser_best: 50 crossings of a sinc in a Kaiser window."""
    import numpy as np

    crossings, rolloff, beta = 50, 0.9173473712608761, 12.984585247040012
    size = crossings * PRECISION
    sinc = rolloff * np.sinc(rolloff * np.linspace(0, crossings, size + 1))
    half: npt.NDArray[np.float64] = sinc * np.kaiser(2 * size + 1, beta)[size:]
    return half


class _Table:
    """resampy's filter kaiser_best for one ratio of rates."""

    def __init__(self, ratio: float) -> None:
        import numpy as np

        self.ratio, self.scale = ratio, min(1.0, ratio)
        self.values = self.scale * _kaiser_best()
        self.slopes = np.diff(self.values, append=self.values[-1])
        # Cut to a whole number, as in resampy, which stretches the filter a little.
        self.step = int(self.scale * PRECISION)
        self.wing = len(self.values) // self.step

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.slopes.nbytes

    def weights(self, fractions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the weights ``(n, 2 · wing)`` of the samples around times that lie these fractions after a sample."""
        import numpy as np

        left = self._wing(self.scale * fractions)
        right = self._wing(self.scale - self.scale * fractions)
        return np.concatenate([left[:, ::-1], right], axis=1)

    def at(self, padded: torch.Tensor, times: npt.NDArray[np.float64], places: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return the values at single times, each with its own weights; ``places`` are the samples before them."""
        import numpy as np
        import torch

        taps, size = np.arange(2 * self.wing), max(1, BLOCK_WEIGHTS // (2 * self.wing))
        found = padded.new_empty((len(padded), len(times)))
        for start in range(0, len(times), size):
            part = slice(start, start + size)
            around = padded[:, torch.from_numpy(places[part, None] + taps).to(padded.device)]
            found[:, part] = (around * torch.from_numpy(self.weights(times[part] - places[part])).to(padded)).sum(-1)
        return found

    def _wing(self, distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the weights of the samples on one side; ``distances`` are those of the nearest samples."""
        import numpy as np

        first = distances * PRECISION
        start = first.astype(np.int64)
        entries = start[:, None] + self.step * np.arange(self.wing)
        inside = np.arange(self.wing) < ((len(self.values) - start) // self.step)[:, None]
        entries = np.where(inside, entries, 0)
        weights = self.values[entries] + (first - start)[:, None] * self.slopes[entries]
        return np.where(inside, weights, 0.0)


def _table_kernels(old: int, new: int, ratio: float) -> torch.Tensor:
    """Return a row of weights for each of ``new`` outputs, over the ``old`` inputs they advance by and the wings."""
    import numpy as np
    import torch

    table = _KEPT(_Table, ratio)
    steps = np.arange(new) * old
    kernels = np.zeros((new, old + 2 * table.wing))
    columns = (steps // new)[:, None] + np.arange(2 * table.wing)
    np.put_along_axis(kernels, columns, table.weights(steps % new / new), axis=1)
    return torch.from_numpy(kernels)


def _decimate(waveforms: torch.Tensor, sample_rate: int, target_rate: int) -> torch.Tensor:
    if sample_rate == 3 * target_rate:
        return waveforms[:, ::3]
    return _sinc(waveforms[:, ::2] if sample_rate == 2 * target_rate else waveforms, sample_rate, target_rate)


def _decimate_resampy(waveforms: torch.Tensor, sample_rate: int, target_rate: int) -> torch.Tensor:
    return waveforms[:, ::2] if sample_rate == 2 * target_rate else _resampy(waveforms, sample_rate, target_rate)


_RESAMPLERS: Mapping[Resampler, Callable[[torch.Tensor, int, int], torch.Tensor]] = {
    "torchaudio": _sinc,
    "torchaudio-kaiser": partial(_sinc, zero_crossings=64, rolloff=0.9475937167399596, beta=14.769656459379492),
    "resampy": _resampy,
    "decimate": _decimate,
    "decimate-resampy": _decimate_resampy,
}
