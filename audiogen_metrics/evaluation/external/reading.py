"""Features that other tools have written: what they look like, and nothing in them is run."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open

from audiogen_metrics.audio.files import canonical_id, printable
from audiogen_metrics.backbones.base import Output
from audiogen_metrics.backbones.pretrained import load_tensors
from audiogen_metrics.embedding.cache import ClipFeatures
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import DataError
from audiogen_metrics.file_hashes import digest_of
from audiogen_metrics.functional import GaussianStatistics
from audiogen_metrics.metrics.definition import FeatureSource
from audiogen_metrics.options import as_path
from audiogen_metrics.results import InputSummary

AV_BENCHMARK: Mapping[str, tuple[str, tuple[tuple[str | None, Output], ...]]] = {
    "pann_features.pth": ("panns", (("2048", "embeddings"), ("logits", "logits"))),
    "vggish_features.pth": ("vggish", ((None, "windows"),)),
    "passt_features_embed.pth": ("passt", ((None, "embeddings"),)),
    "passt_logits.pth": ("passt", ((None, "logits"),)),
    "clap_laion_audio.pth": ("clap-laion-music-speech", ((None, "embeddings"),)),
    "clap_ms_audio.pth": ("clap-ms", ((None, "embeddings"),)),
    "imagebind_audio.pth": ("imagebind", ((None, "embeddings"),)),
}
"""Backbone, and which entry of each clip is which output, by file of an av-benchmark cache."""


OWN_TOOL = "audiogen-metrics"


@dataclass(frozen=True)
class ImportedFeatures:
    """What a file or folder of features holds.

    Parameters
    ----------
    path
        Where it was read.
    tool
        What has written it.
    sources
        Features by backbone name.
    outputs
        By backbone name, which outputs there are.
    files
        By clip id, a hash over the clip's features; empty where clips are not known.
    notes
        What to know about them.
    stamps
        By backbone name, ``preprocessing`` and ``settings`` behind the features; only ``agm embed`` says them.
    protocol
        That the features were embedded for; only ``agm embed`` says it.
    """

    path: Path
    tool: str
    sources: Mapping[str, FeatureSource]
    outputs: Mapping[str, frozenset[Output]]
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stamps: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    protocol: str = ""

    def summary(self) -> InputSummary:
        """Return what was read, for a report. The length of the audio is unknown, so its seconds are 0."""
        count = len(self.files) or max(len(source) for source in self.sources.values())
        listing = "\n".join(f"{digest} {clip}" for clip, digest in self.files.items())
        digest = hashlib.sha256(listing.encode() if self.files else self.path.read_bytes()).hexdigest()
        return InputSummary(printable(self.path), count, count, 0, 0.0, digest, files=self.files)


def read_features(path: str | Path, backbone: str | None = None) -> ImportedFeatures:
    """Read features by what they look like; nothing in them is run.

    - a file of ``agm embed`` (``.safetensors``, ``.npz``): all outputs of its backbones;
    - a folder of ``.npy``, one per clip, ``(rows, d)`` (fadtk's ``embeddings/MODEL``): window rows;
    - one ``.npy`` of rows ``(n, d)`` (audioldm_eval's ``embds_*.npy``, frechet-audio-distance): window rows whose
      clips are not known;
    - a cache folder of av-benchmark (``pann_features.pth`` and its like): clip rows, window rows and logits.

    Parameters
    ----------
    path
        File or folder.
    backbone
        What to call the network behind ``.npy`` files; None takes the folder's name, or ``features`` for one file.

    Raises
    ------
    DataError
        Another kind of file, a damaged one, or one with NaN or infinity.
    """
    path = as_path(path)
    if path.is_dir():
        if any((path / name).is_file() for name in AV_BENCHMARK):
            return _av_benchmark(path)
        files = sorted(path.glob("*.npy"))
        if {"mu.npy", "cov.npy"} & {file.name for file in files}:
            raise _statistics(path)
        if files:
            return _array_per_clip(path, files, backbone or path.name)
    elif path.suffix == ".npy":
        return _rows_alone(path, backbone or "features")
    elif path.suffix == ".safetensors":
        return _own(path)
    elif path.suffix == ".npz":
        return _own_archive(path)
    raise DataError(
        "has no features that are known here" if path.exists() else "does not exist",
        where=path,
        fix="Pass a folder of .npy files, an av-benchmark cache, one .npy of rows, or what agm embed has written",
    )


def _collect(path: Path, tool: str, written: Mapping[str, Mapping[str, ClipFeatures]]) -> ImportedFeatures:
    """Return features by backbone and clip; DataError unless all clips of a backbone have the same outputs."""
    outputs = {}
    sets = {name: {canonical_id(clip): features for clip, features in clips.items()} for name, clips in written.items()}
    if any(len(sets[name]) < len(clips) for name, clips in written.items()):
        raise DataError("two clip ids differ in their Unicode form only", where=path, fix="Rename one of them")
    other = {clip for clips in written.values() for clip in clips if clip != canonical_id(clip)}
    notes: tuple[str, ...] = (
        (f"{len(other)} clip ids are not written in Unicode's form NFC and are read in it",) if other else ()
    )
    for name, clips in sets.items():
        kinds = {frozenset(features) for features in clips.values()}
        if len(kinds) != 1:
            raise DataError(f"clips differ in what they have of {name}", where=path, fix="Compute them anew")
        (outputs[name],) = kinds
        for output in outputs[name]:
            widths = {features[output].shape[-1] for features in clips.values()}
            if len(widths) > 1:
                raise DataError(f"{name} has {output} of {len(widths)} widths", where=path, fix="Compute them anew")
    every = sorted({clip for clips in sets.values() for clip in clips})
    if tool != OWN_TOOL and any(len(clips) < len(every) for clips in sets.values()):
        raise DataError("backbones have different clips", where=path, fix="Compute them anew, or move one away")
    # A protocol of ours may leave clips that are too short for one network out of that network's scores only.
    notes += tuple(
        f"{name} has {len(clips)} of {len(every)} clips" for name, clips in sets.items() if len(clips) < len(every)
    )
    files = {}
    for clip in every:
        having = [name for name in sorted(sets) if clip in sets[name]]
        rows = [sets[name][clip][output] for name in having for output in sorted(outputs[name])]
        files[clip] = digest_of(b"".join(row.contiguous().numpy().tobytes() for row in rows))
    sources = {name: EmbeddingSet({clip: clips[clip] for clip in sorted(clips)}) for name, clips in sets.items()}
    return ImportedFeatures(path, tool, sources, outputs, files, notes)


def _array_per_clip(path: Path, files: Sequence[Path], backbone: str) -> ImportedFeatures:
    clips: dict[str, ClipFeatures] = {file.stem: {"windows": _rows(_array(file), file)} for file in files}
    below = sum(1 for file in path.rglob("*.npy")) - len(files)
    found = _collect(path, "fadtk", {backbone: clips})
    note = f"{below} .npy files in sub-folders are not read"
    return replace(found, notes=(*found.notes, note)) if below else found


def _rows_alone(path: Path, backbone: str) -> ImportedFeatures:
    rows = _rows(_array(path), path)
    source = GivenFeatures((), GaussianStatistics.from_embeddings(rows), size=len(rows), embeddings=rows)
    note = "which row is of which clip is not known: n counts rows"
    return ImportedFeatures(
        path, "audioldm_eval", {backbone: source}, {backbone: frozenset({"windows"})}, notes=(note,)
    )


def _av_benchmark(path: Path) -> ImportedFeatures:
    sets: dict[str, dict[str, ClipFeatures]] = {}
    for name, (backbone, parts) in AV_BENCHMARK.items():
        file = path / name
        if not file.is_file():
            continue
        clips = sets.setdefault(backbone, {})
        state = _state(file)
        if len(set(map(str, state))) < len(state):
            raise DataError("has two clips of one id", where=file, fix="Write it anew")
        for clip, content in state.items():
            for key, output in parts:
                tensor = content if key is None else content.get(key) if isinstance(content, dict) else None
                if not isinstance(tensor, torch.Tensor):
                    raise DataError(
                        f"{clip} has no tensor{f' {key!r}' if key else ''}", where=file, fix="Write it anew"
                    )
                clips.setdefault(str(clip), {})[output] = _rows(tensor.cpu(), file, flat=output != "windows")
    return _collect(path, "av-benchmark", sets)


def _own(path: Path) -> ImportedFeatures:
    """Read what ``agm embed`` has written as safetensors."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _embedded(path, arrays, json.loads(metadata["ids"]), json.loads(metadata["description"]))
    except (OSError, SafetensorError, *_MALFORMED) as error:
        raise DataError(f"is not what agm embed writes ({error})", where=path, fix="Write it anew") from error


def _own_archive(path: Path) -> ImportedFeatures:
    """Read what ``agm embed`` has written as an archive of numpy."""
    try:
        # numpy leaves a file that is not an archive open, if it opens it itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if "description" not in archive.files:
                raise _statistics(path)
            content = {name: archive[name] for name in archive.files}
        description = json.loads(str(content.pop("description")))
        ids = {
            name.removesuffix(".ids"): [str(clip) for clip in content.pop(name).tolist()]
            for name in [*content]
            if name.endswith(".ids")
        }
        arrays = {name: torch.from_numpy(array) for name, array in content.items()}
        return _embedded(path, arrays, ids, description)
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error, *_MALFORMED) as error:
        if isinstance(error, DataError):
            raise
        reason = "it holds pickled objects" if "pickle" in str(error) else error
        raise DataError(f"is not what agm embed writes ({reason})", where=path, fix="Write it anew") from error


_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RuntimeError)


def _statistics(path: Path) -> DataError:
    """Return what to say of statistics where features belong."""
    return DataError(
        "holds no features of clips; statistics may stand for the reference only",
        where=path,
        fix="Pass a folder of .npy files, an av-benchmark cache, one .npy of rows, or what agm embed has written",
    )


def _embedded(
    path: Path, arrays: Mapping[str, torch.Tensor], ids: Mapping[str, Sequence[str]], description: Mapping[str, Any]
) -> ImportedFeatures:
    """Return the features of ``agm embed`` by backbone and clip."""
    stamps = {
        str(name): {part: dict(stamp[part]) for part in ("preprocessing", "settings")}
        for name, stamp in description["backbones"].items()
    }
    sets: dict[str, dict[str, ClipFeatures]] = {}
    for backbone, clips in ids.items():
        columns: dict[Output, Sequence[torch.Tensor]] = {}
        outputs: tuple[Output, ...] = ("embeddings", "logits", "ratings")
        for output in outputs:
            if f"{backbone}.{output}" in arrays:
                columns[output] = _rows(arrays[f"{backbone}.{output}"], path).unbind()
        if f"{backbone}.windows" in arrays:
            counts = arrays[f"{backbone}.window_counts"].tolist()
            columns["windows"] = _rows(arrays[f"{backbone}.windows"], path).split(counts)
        if any(len(column) != len(clips) for column in columns.values()):
            raise ValueError(f"{backbone} has other rows than clips")
        if len(set(map(str, clips))) < len(clips):
            raise ValueError(f"{backbone} has two clips of one id")
        sets[backbone] = {
            str(clip): {output: column[row] for output, column in columns.items()} for row, clip in enumerate(clips)
        }
    found = _collect(path, OWN_TOOL, sets)
    return replace(found, stamps=stamps, protocol=str(description.get("protocol", "")))


def _array(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(_reading(path, _load_array)))


def _load_array(path: Path) -> npt.NDArray[Any]:
    # A map is as long as the file, whatever rows the header promises; and only arrays are mapped, no archives.
    array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    if array.dtype.kind != "f":
        raise ValueError(f"{array.dtype} is not a kind of feature")
    return np.array(array, dtype=np.float64 if array.dtype.itemsize > 4 else np.float32)


def _state(path: Path) -> dict[str, Any]:
    content = _reading(path, load_tensors)
    if not isinstance(content, dict) or not content:
        raise DataError("is not a dictionary of clips", where=path, fix="Write it anew")
    return content


def _reading(path: Path, load: Callable[[Path], Any]) -> Any:
    try:
        if not path.is_file():
            raise ValueError("it is not a file")  # a pipe would be waited for
        return load(path)
    except (OSError, ValueError, EOFError, MemoryError, OverflowError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        # numpy names the switch that would run what is in the file.
        reason = "it holds pickled objects" if "pickle" in reason else reason
        raise DataError(f"cannot be read ({reason})", where=path, fix="Write it anew; pickles are not run") from error


def _rows(tensor: torch.Tensor, path: Path, *, flat: bool = False) -> torch.Tensor:
    """Return finite rows ``(rows, d)``, or one of them as ``(d,)``; a single vector is one row."""
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        tensor = tensor.float()
    if flat:
        tensor = tensor.squeeze()
    elif tensor.ndim == 1:
        tensor = tensor.unsqueeze(0)
    if not tensor.is_floating_point() or tensor.ndim != (1 if flat else 2) or tensor.numel() == 0:
        raise DataError(
            f"features of shape {tuple(tensor.shape)}, {tensor.dtype}", where=path, fix="Rows are (rows, d), floats"
        )
    if not bool(tensor.isfinite().all()):
        raise DataError("features are NaN or infinite", where=path, fix="Compute them anew")
    return tensor
