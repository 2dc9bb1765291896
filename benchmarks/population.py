"""Build the population of real recordings that docs/uncertainty.md is checked on: 2400 short sounds from Debian.

``python benchmarks/population.py FOLDER`` downloads the packages with ``apt-get``, unpacks them into FOLDER without
installing anything, and writes there what YAMNet hears, one ``CONDITION.npz`` each: the clips as they are, and with
known damage. `load` reads one. Any release of Debian will do; another one may hold a few other files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.embedding.extraction import EmbeddingSet, ExtractionOptions, extract
from audiogen_metrics.probes.configuration import configure
from audiogen_metrics.probes.corruption import Corruption
from audiogen_metrics.protocols import get_protocol

LETTERS = "klettres-data"
PACKAGES = (LETTERS, "wesnoth-data", "sonic-pi-samples", "scratch")
"""Spoken letters and syllables of many languages; noises of a game; musical samples; sounds of all kinds."""

SUFFIXES = {".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav"}
LONGEST = 10.0
"""Seconds."""

OUTLIERS = 31
"""Clips farthest from the mean, all of them spoken letters, that hold a third of the variance."""

CONDITIONS = {
    "clean": None,
    "noise20": ("white-noise", {"snr_db": "20"}),
    "noise40": ("white-noise", {"snr_db": "40"}),
    "lowpass": ("low-pass", {"cutoff_hz": "3000"}),
}


@dataclass(frozen=True, eq=False)
class Population:
    """What YAMNet hears in every clip under one condition; the clips are the same, in one order, in all of them.

    Parameters
    ----------
    ids
        Package and file of each clip.
    embeddings, logits
        ``(clips, 1024)`` and ``(clips, 521)``.
    windows, counts
        ``(windows of all clips, 1024)``, those of one clip together, and how many each clip has.
    """

    ids: npt.NDArray[np.str_]
    embeddings: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    windows: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]


def load(folder: Path, condition: str) -> Population:
    """Read one condition."""
    with np.load(folder / f"{condition}.npz") as arrays:
        return Population(**{name: arrays[name] for name in Population.__dataclass_fields__})


def subsets(clean: Population) -> dict[str, npt.NDArray[np.int64]]:
    """Return which clips are in which population: all, without the outliers, and those that are no spoken letters."""
    distances = np.square(clean.embeddings - clean.embeddings.mean(0, dtype=np.float64)).sum(1)
    varied = [place for place, name in enumerate(clean.ids) if not name.startswith(f"{LETTERS}/")]
    return {
        "whole": np.arange(len(clean.ids)),
        "without outliers": np.sort(np.argsort(distances)[:-OUTLIERS]),
        "varied": np.array(varied),
    }


def build(folder: Path) -> None:
    """Make every condition that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = folder / "clips"
    if not clips.is_dir():
        _unpack(folder, clips)
    # A file name is cut off at its suffix to be an id, so the names of `_unpack` keep theirs twice.
    files = scan(clips)
    for condition, damage in CONDITIONS.items():
        if (folder / f"{condition}.npz").exists():
            continue
        alteration = None if damage is None else Corruption(configure(*damage), 1.0, seed=0)
        preprocessing = get_protocol("yamnet").recipes["fd"].preprocessing
        found = extract(files, [YAMNet()], preprocessing, ExtractionOptions(cache=False), alteration)
        heard = found.sets["yamnet"]
        if len(heard) < len(files.clips):
            sys.exit(f"{condition}: {len(files.clips) - len(heard)} clips cannot be heard: {found.failures[:3]}")
        partial = folder / f"{condition}.partial.npz"
        np.savez(partial, **_arrays(heard))  # type: ignore[arg-type]  # its stubs take all names for allow_pickle
        partial.replace(folder / f"{condition}.npz")
        print(f"{condition}: {len(heard)} clips, {sum(heard.counts('windows'))} windows", flush=True)


def _arrays(heard: EmbeddingSet) -> Mapping[str, npt.NDArray[np.generic]]:
    outputs = {name: heard.rows(name).numpy() for name in ("embeddings", "windows", "logits")}
    return outputs | {"ids": np.array(heard.clip_ids), "counts": np.array(heard.counts("windows"))}


def _unpack(folder: Path, clips: Path) -> None:
    """Fetch the packages and lay out their short sounds, one folder a package."""
    partial = folder / "clips.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for name in PACKAGES:
        tree = folder / "packages" / name
        if not tree.is_dir():
            archives = folder / "archives" / name
            for place in (archives, tree.parent):
                place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", _released(name)], cwd=archives, check=True)
            for archive in archives.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", archive.name, tree.absolute()], cwd=archives, check=True)
        (partial / name).mkdir(parents=True)
        for path in sorted(tree.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file() and _is_short(path):
                flat = "-".join(path.relative_to(tree).parts)
                shutil.copy(path, partial / name / f"{flat}{path.suffix}")
    partial.rename(clips)


def _released(name: str) -> str:
    """Return what this Debian calls a package: the game's data has its version in the name."""
    if name != "wesnoth-data":
        return name
    known = subprocess.run(["apt-cache", "pkgnames", "wesnoth-"], capture_output=True, text=True, check=True).stdout
    found = [entry for entry in known.split() if re.fullmatch(r"wesnoth-[\d.]+-data", entry)]
    if not found:
        sys.exit("apt knows no wesnoth-VERSION-data: run apt-get update on a Debian system")
    return max(found, key=lambda entry: [int(number) for number in re.findall(r"\d+", entry)])


def _is_short(path: Path) -> bool:
    """Tell whether a clip is sound of at most `LONGEST` seconds; a few files of the packages are no sound."""
    try:
        return 0 < float(soundfile.info(path).duration) <= LONGEST
    except soundfile.LibsndfileError:
        return False


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    build(Path(sys.argv[1]))
