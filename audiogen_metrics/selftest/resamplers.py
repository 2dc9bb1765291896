"""Compare this library's resamplers with the packages whose definitions they keep, sample by sample, on your files."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import AudioFile, AudioFolder, printable
from audiogen_metrics.audio.resampling import Resampler, resample
from audiogen_metrics.errors import AudioFileError, DataError
from audiogen_metrics.protocols import PROTOCOLS

if TYPE_CHECKING:
    import torch

__all__ = ["ResamplerCheck", "ResamplerRow"]

BOUND = 1e-6
"""Largest difference of a sample, of full scale or of the clip's peak if that is higher: as much as another order of a
sum in float32 may change. On the CPU, samples should equal torchaudio's to the bit."""

MAX_TAPS = 2**27
"""Taps of a filter bank up to which torchaudio is run: it computes all of them at once, in several times 512 MB."""

KAISER = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
"""fadtk's settings of torchaudio's resampler."""

CALLS: Mapping[Resampler, tuple[str, str]] = {
    "torchaudio": ("torchaudio", "torchaudio.functional.resample"),
    "torchaudio-kaiser": ("torchaudio", "torchaudio.functional.resample, fadtk's Kaiser window"),
    "resampy": ("resampy", "resampy.resample, kaiser_best"),
}
"""The package of each resampler, and the function that is called in it."""


@dataclass(frozen=True)
class ResamplerRow:
    """One resampler from one rate to another, over all files at that rate.

    Parameters
    ----------
    call
        Function of the other package.
    sample_rate, target_rate
        Rates in Hz.
    files, samples
        Number of files, and of samples in all channels, that were compared.
    equal
        Number of samples that are equal to the last bit.
    largest
        Largest difference, of full scale, or of a clip's peak if that is higher.
    where
        File with the largest difference; empty if all samples are equal.
    lengths
        Number of files for which the two give different numbers of samples.
    """

    call: str
    sample_rate: int
    target_rate: int
    files: int = 0
    samples: int = 0
    equal: int = 0
    largest: float = 0.0
    where: str = ""
    lengths: int = 0

    @property
    def holds(self) -> bool:
        """Whether lengths are equal and the difference is within `BOUND`."""
        return self.largest <= BOUND and not self.lengths

    @property
    def title(self) -> str:
        """The resampler and its rates."""
        return f"{self.call}, {self.sample_rate} to {self.target_rate} Hz"

    def __str__(self) -> str:
        verdict = "ok       " if self.holds else "DIFFERENT"
        found = f"{verdict}  {self.title}: {self.equal} of {self.samples} samples equal to the bit in {self.files} file"
        found += "s" * (self.files != 1) + f", of which {self.lengths} differ in length" * bool(self.lengths)
        return found + f", largest difference {self.largest:.1e} in {self.where}" * bool(self.where)


@dataclass(frozen=True)
class ResamplerCheck:
    """Our resamplers compared with the packages that they follow.

    Parameters
    ----------
    rows
        A row for each resampler and pair of rates.
    skipped
        Reasons why something could not be compared, by file or package.
    """

    rows: tuple[ResamplerRow, ...]
    skipped: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        rows = [{**asdict(row), "ok": row.holds} for row in self.rows]
        return {"bound": BOUND, "rows": rows, "skipped": dict(self.skipped)}

    def __str__(self) -> str:
        head = f"resamplers beside the packages whose definitions they keep; bound {BOUND:g} of full scale"
        return "\n".join([head, *map(str, self.rows), *(f"not compared: {k}: {v}" for k, v in self.skipped.items())])


def check_resamplers(folder: AudioFolder) -> ResamplerCheck:
    """Resample every file to every rate that a protocol takes, by ours and theirs, and compare all samples.

    Packages that cannot be imported and files that cannot be used are named, with the reason.

    Raises
    ------
    DataError
        No file of the folder can be used.
    """
    packages, skipped = _packages()
    rows: dict[tuple[Resampler, int, int], ResamplerRow] = {}
    used = 0
    for clip in folder.clips:
        try:
            waveforms, rate = _decoded(clip)
        except AudioFileError as error:
            skipped[printable(clip.path)] = error.what
            continue
        used += 1
        for resampler, target in _wanted():
            package = CALLS[resampler][0]
            if target == rate or package not in packages:
                continue
            try:
                _require_room(resampler, rate, target)
                ours = resample(waveforms, rate, target, resampler)
                theirs = _THEIRS[resampler](packages[package], waveforms, rate, target)
            except AudioFileError as error:
                skipped[f"{printable(clip.path)}, {CALLS[resampler][1]} to {target} Hz"] = error.what
                continue
            row = rows.get((resampler, rate, target)) or ResamplerRow(CALLS[resampler][1], rate, target)
            rows[resampler, rate, target] = _with(row, ours, theirs, waveforms, printable(clip.path))
    if not used:
        raise DataError(f"no file can be used ({next(iter(skipped.values()))})", where=folder.root)
    return ResamplerCheck(tuple(rows[key] for key in sorted(rows)), skipped)


def _packages() -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Return the packages that can be imported, and why others cannot."""
    found: dict[str, ModuleType] = {}
    lacking: dict[str, str] = {}
    for name, module in (("torchaudio", "torchaudio.functional"), ("resampy", "resampy")):
        try:
            with warnings.catch_warnings(action="ignore"):
                found[name] = importlib.import_module(module)
        except Exception as error:  # a wheel for another CUDA may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            lacking[name] = f"cannot be imported ({reason}). Install it: pip install 'audiogen-metrics[reference]'"
    return found, lacking


def _wanted() -> Iterator[tuple[Resampler, int]]:
    """Yield every resampler that a package defines, with every rate that a protocol uses."""
    used = {
        (recipe.preprocessing.resampler, recipe.preprocessing.sample_rate)
        for protocol in PROTOCOLS.values()
        for recipe in protocol.recipes.values()
    }
    yield from sorted((resampler, target) for resampler, target in used if resampler in CALLS)


def _decoded(clip: AudioFile) -> tuple[torch.Tensor, int]:
    """Return all channels ``(channels, time)``, float32, and their rate."""
    import torch

    try:
        content = clip.path.read_bytes()
    except OSError as error:
        raise AudioFileError(f"cannot be read ({error.strerror})", clip.path) from error
    audio = decode(clip.path, content)
    return torch.from_numpy(audio.samples).T.contiguous(), audio.sample_rate


def _require_room(resampler: Resampler, rate: int, target: int) -> None:
    """Raise AudioFileError if the other package would need gigabytes of memory."""
    common = math.gcd(rate, target)
    if CALLS[resampler][0] == "torchaudio" and (rate // common) * (target // common) > MAX_TAPS:
        raise AudioFileError(f"torchaudio would need gigabytes of memory from {rate} to {target} Hz")


def _torchaudio(package: ModuleType, waveforms: torch.Tensor, rate: int, target: int, **options: Any) -> torch.Tensor:
    found: torch.Tensor = package.resample(waveforms, rate, target, **options)
    return found


def _kaiser(package: ModuleType, waveforms: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    return _torchaudio(package, waveforms, rate, target, **KAISER)


def _resampy(package: ModuleType, waveforms: torch.Tensor, rate: int, target: int) -> torch.Tensor:
    """Return what resampy gives in float64, rounded to float32 at the end."""
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):
            found = package.resample(waveforms.double().numpy(), rate, target)
    except ValueError as error:  # too few samples
        raise AudioFileError(f"resampy refuses it ({error})") from error
    return torch.from_numpy(found).float()


_THEIRS: Mapping[Resampler, Callable[[ModuleType, torch.Tensor, int, int], torch.Tensor]] = {
    "torchaudio": _torchaudio,
    "torchaudio-kaiser": _kaiser,
    "resampy": _resampy,
}


def _with(row: ResamplerRow, ours: torch.Tensor, theirs: torch.Tensor, given: torch.Tensor, name: str) -> ResamplerRow:
    """Return a row with one more file."""
    row = replace(row, files=row.files + 1, samples=row.samples + theirs.numel())
    if ours.shape != theirs.shape:
        return replace(row, lengths=row.lengths + 1, where=name)
    largest = float((ours.double() - theirs.double()).abs().max()) / max(1.0, float(given.abs().max()))
    row = replace(row, equal=row.equal + int((ours == theirs).sum()))
    return replace(row, largest=largest, where=name) if largest > row.largest else row
