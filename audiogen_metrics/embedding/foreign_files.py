"""Where others' statistics are kept in files: which arrays, under which names; nothing in them is run."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.audio.files import DECODABLE, is_folder, printable
from audiogen_metrics.embedding.foreign_networks import known
from audiogen_metrics.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from audiogen_metrics.functional.statistics import GaussianStatistics

__all__ = ["Moments"]

UNNAMED: Mapping[tuple[str, str], str] = {
    ("mu", "sigma"): "mu and sigma (pytorch-fid, torch-fidelity)",
    ("mu_ref", "sigma_ref"): "mu_ref and sigma_ref (stable-audio-metrics)",
}
"""Names of the two arrays in files that do not name their network, and what such a file is called."""

NAMED = "NAME.mu and NAME.cov (fadtk)"
FOLDER = "NAME/mu.npy and NAME/cov.npy (fadtk, kadtk)"


@dataclass(frozen=True)
class Moments:
    """Where a mean and a covariance are kept.

    Parameters
    ----------
    name
        Of the network, as the file has it; empty where it has none.
    mean, covariance
        Names of the two arrays.
    """

    name: str
    mean: str
    covariance: str

    @property
    def arrays(self) -> str:
        """Both names, for people."""
        return f"{self.mean}, {self.covariance}"


def held_by(path: Path) -> tuple[str, dict[str, Moments]]:
    """Return the layout of a file or folder and what it holds by the name of the network; nothing of another kind."""
    if path.is_dir():
        return FOLDER, _in_folder(path)
    return _in_archive(path) if _is_archive(path) else ("", {})


def holds_audio(path: Path) -> bool:
    """Tell whether there is an audio file below a folder."""
    return any(file.suffix.lower() in DECODABLE for file in path.rglob("*.*"))


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            begin = file.read(16)
    except OSError:
        return False  # whoever reads it says why
    # Statistics of this library may be called .npz as well; any other file of that name is a broken archive.
    return begin[:4] == b"PK\x03\x04" or (path.suffix == ".npz" and b"{" not in begin[8:9])


def _in_archive(path: Path) -> tuple[str, dict[str, Moments]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"cannot be read ({error})", where=printable(path), fix="Copy or download it again") from error
    if "description" in names:
        raise DataError(
            "holds features of agm embed, not statistics", where=printable(path), fix="Score them: agm import GEN REF"
        )
    bare = [pair for pair in UNNAMED if {*pair} & {*names}]
    ends = (".mu", ".cov")
    stems = {name.removesuffix(end) for name in names for end in ends if name.endswith(end) and name != end}
    if len(bare) + bool(stems) > 1:
        raise DataError(
            f"holds statistics of several kinds: {_some(names)}", where=printable(path), fix="Keep one kind"
        )
    if bare:
        found = {"": Moments("", *bare[0])}
    else:
        found = {stem: Moments(stem, f"{stem}.mu", f"{stem}.cov") for stem in sorted(stems)}
    if not found:
        raise DataError(
            f"holds {_some(names) or 'no arrays'}, and no statistics that are known here",
            where=printable(path),
            fix=f"Known are {'; '.join(UNNAMED.values())}; {NAMED}",
        )
    for moments in found.values():
        _require_both(path, moments, {*names})
    return (UNNAMED[bare[0]] if bare else NAMED), found


def _in_folder(path: Path) -> dict[str, Moments]:
    """Return what a folder holds: itself the statistics of one network, or folders of such; empty for another one."""
    own = {name for name in ("mu.npy", "cov.npy") if (path / name).is_file()}
    if own:
        name = path.resolve().name
        _require_both(path, Moments(name, "mu.npy", "cov.npy"), own)
        return {name: Moments(name, "mu.npy", "cov.npy")}
    found = {}
    try:
        with os.scandir(path) as entries:  # of many clips, none is asked for files below it
            children = sorted(path / entry.name for entry in entries if is_folder(entry))
    except OSError:
        return {}  # whoever lists its clips says why
    for child in children:
        held = {name for name in ("mu.npy", "cov.npy") if (child / name).is_file()}
        if held:
            moments = Moments(child.name, f"{child.name}/mu.npy", f"{child.name}/cov.npy")
            _require_both(path, moments, {f"{child.name}/{name}" for name in held})
            found[child.name] = moments
    return found


def _require_both(path: Path, moments: Moments, names: set[str]) -> None:
    missing = [name for name in (moments.mean, moments.covariance) if name not in names]
    if missing:
        raise DataError(
            f"has no {missing[0]}, without which the other of {moments.arrays} says nothing",
            where=printable(path),
            fix="Copy or download it again",
        )


def read(path: Path, moments: Moments) -> GaussianStatistics:
    """Return a mean and covariance, checked."""
    from audiogen_metrics.functional.statistics import GaussianStatistics

    arrays = [_array(path, name) for name in (moments.mean, moments.covariance)]
    for name, array in zip((moments.mean, moments.covariance), arrays, strict=True):
        if array.dtype.kind != "f" or array.dtype.itemsize < 4:
            raise DataError(
                f"{name} is of type {array.dtype}", where=printable(path), fix="Statistics are of float64 or float32"
            )
    network = known(moments.name)
    if network is not None and arrays[0].shape != (network.width,):
        raise DataError(
            f"{moments.mean} has shape {arrays[0].shape}, and {moments.name} gives rows of {network.width} numbers",
            where=printable(path),
            fix="Pass statistics of that network",
        )
    try:
        return GaussianStatistics.from_covariance(arrays[0], arrays[1], None)
    except DataError as error:
        raise DataError(f"{moments.arrays}: {error.what}", where=printable(path), fix=error.fix) from error


def _array(path: Path, name: str) -> npt.NDArray[np.generic]:
    import numpy as np

    try:
        if path.is_dir():
            # A map is as long as the file, whatever shape its header promises.
            return np.array(np.lib.format.open_memmap(path / name, mode="r"))
        # numpy leaves a file that is not an archive open, if it opens it itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            array: npt.NDArray[np.generic] = archive[name]
            if not isinstance(array, np.ndarray):
                raise ValueError("it is not an array of numpy")
            return array
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        MemoryError,
        OverflowError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        # numpy names the switch that would run what is in the file.
        reason = "it holds pickled objects, which are not run" if "pickle" in reason or "Object" in reason else reason
        raise DataError(
            f"{name} cannot be read ({reason})", where=printable(path), fix="Copy or download it again"
        ) from error


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
