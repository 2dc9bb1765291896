"""Sets of clips that are not folders: arrays, lists of files, tar shards, datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from audiogen_metrics.audio.decoding import LOWEST_RATE, Audio, require_sound
from audiogen_metrics.audio.files import (
    AUDIO,
    AudioFile,
    AudioFolder,
    Member,
    canonical_id,
    is_shard,
    parse_suffixes,
    printable,
)
from audiogen_metrics.audio.shards import Shard, expanded
from audiogen_metrics.audio.spool import Content, Spool
from audiogen_metrics.errors import AudioFileError, DataError, UsageError
from audiogen_metrics.options import as_path, whole

FORMS = (
    "Pass a folder, a tar shard, a list of files, a dict of arrays by clip id, an iterable of "
    "(clip_id, array, sample_rate), or a dataset with an Audio column"
)

A_CLIP = "A clip is (clip_id, array, sample_rate), (clip_id, file or its bytes), or an audio file"

CLIP_ID = "clip_id"
"""The column of a dataset that names its clips, if it has such a column."""


@dataclass(frozen=True, order=True)
class GivenClip(AudioFile):
    """A clip that was given by itself, not in a folder.

    Parameters
    ----------
    name
        Its id as it was given.
    content
        Function that returns the clip; None for the file at ``path``.
    """

    name: str
    content: Content | None = None

    @property
    def is_file(self) -> bool:
        """Whether ``path`` can be opened; otherwise it only says where the clip lies."""
        return self.content is None

    @property
    def member(self) -> Member | None:
        """Its place in an archive, if it can be read there."""
        return self.content if isinstance(self.content, Member) else None

    def fetch(self) -> bytes | Audio:
        """Return the bytes or the samples of the clip; raises OSError or AudioFileError."""
        return super().fetch() if self.content is None else self.content()

    def spelt(self, _root: Path) -> str:
        """Return the clip id as it was given."""
        return self.name


def collect(given: Any, suffixes: str | Iterable[str], sample_rate: int | None, name: str) -> AudioFolder:
    """Return the clips of a set that is not a folder; see `audiogen_metrics.audio.files.open_clips`.

    Anything but a list, tuple or dict is read only once, and to its end, into a temporary file if it is large.
    """
    rate = None if sample_rate is None else whole("sample_rate", sample_rate, LOWEST_RATE)
    found = _Collection(name, frozenset(parse_suffixes(suffixes)), rate)
    found.add_all(given)
    return found.folder(given)


@dataclass
class _Collection:
    """Clips as they are found."""

    where: str
    suffixes: frozenset[str]
    sample_rate: int | None
    clips: dict[str, GivenClip] = field(default_factory=dict)
    files: list[tuple[Path, Content | None]] = field(default_factory=list)
    shards: list[Path] = field(default_factory=list)
    ignored: int = 0
    spool: Spool = field(default_factory=Spool)
    keeps: bool = False

    def add_all(self, given: Any) -> None:
        """Add every clip of a set."""
        if isinstance(given, (str, os.PathLike)):
            self.add_path(given)
            return
        if (table := _dataset_of(given, self.where)) is not None:
            self.add_dataset(*table)
            return
        if isinstance(given, (bytes, bytearray, memoryview)) or not isinstance(given, Iterable) or _is_array(given):
            raise UsageError(f"{self.where} is {_described(given)}, not a set of clips", fix=FORMS)
        self.keeps = not isinstance(given, (list, tuple, dict))
        if isinstance(given, Mapping):
            for name, value in given.items():
                self.add_named(name, value)
            return
        for place, item in enumerate(given):
            self.add(item, f"{self.where}[{place}]")

    def add(self, item: Any, what: str) -> None:
        """Add one clip of an iterable."""
        if isinstance(item, (str, os.PathLike)):
            self.add_path(item)
        elif isinstance(item, Mapping) and "__key__" in item:
            self.add_sample(item, what)
        elif isinstance(item, Mapping) and item.get("path") and ("array" in item or "bytes" in item):
            path, content = self.content(item, what)
            self.add_file(Path(item["path"]) if path is None else path, content)
        elif isinstance(item, (tuple, list)) and len(item) in (2, 3):
            self.add_named(item[0], item[1] if len(item) == 2 else (item[1], item[2]))
        else:
            raise UsageError(f"{what} is {_described(item)}, not a clip with its id", fix=A_CLIP)

    def add_path(self, given: str | os.PathLike[str]) -> None:
        """Add a file, or the clips of a shard."""
        if is_shard(given):
            for shard in expanded(os.fspath(given)):
                archive = Shard(shard, self.suffixes, self.spool)
                self.shards.append(shard)
                self.ignored += archive.ignored
                for name, place, content in archive.clips:
                    self.put(name, place, content)
            return
        self.add_file(_file(given, self.where), None)

    def add_file(self, path: Path, content: Content | None) -> None:
        """Add a clip that has the name of its file."""
        if self.is_wanted(path):
            self.files.append((path, content))
        else:
            self.ignored += 1

    def is_wanted(self, path: Path) -> bool:
        """Tell whether a file has one of the suffixes that were asked for."""
        return not self.suffixes or path.suffix.lower() in self.suffixes

    def add_sample(self, sample: Mapping[str, Any], what: str) -> None:
        """Add a sample of WebDataset: its key, and the entry with an audio suffix."""
        wanted = tuple(self.suffixes or AUDIO)
        found = [key for key in sample if isinstance(key, str) and f".{key.lower()}".endswith(wanted)]
        if len(found) > 1:
            raise UsageError(f"{what} has several entries of audio: {', '.join(found)}", fix="Leave one of them")
        if not found:
            self.ignored += 1
            return
        name = sample["__key__"]
        name = PurePosixPath(name).as_posix() if isinstance(name, str) else name
        self.add_named(name, sample[found[0]], Path(f"{name}.{found[0]}"))

    def add_named(self, name: Any, value: Any, place: Path | None = None) -> None:
        """Add a clip whose id is given."""
        if not isinstance(name, str) or not name.strip():
            said = repr(name) if isinstance(name, (str, int, float)) else _described(name)
            raise UsageError(f"{self.where}: a clip id must be text, not {said}", fix=A_CLIP)
        path, content = self.content(value, f"{self.where}[{name!r}]")
        if path is None or self.is_wanted(path):
            self.put(name, path or place or Path(name), content)
        else:
            self.ignored += 1

    def put(self, name: str, path: Path, content: Content | None) -> None:
        """Add a clip, unless another one has its id."""
        name = printable(name)
        clip = GivenClip(canonical_id(name), path, name, content)
        other = self.clips.setdefault(clip.clip_id, clip)
        if other is not clip:
            both = f" ({', '.join(map(str, dict.fromkeys([other.path, path])))})" if path != Path(name) else ""
            raise DataError(f"two clips have the id {clip.clip_id!r}{both}", where=self.where, fix="Rename one of them")

    def content(self, value: Any, what: str, sample_rate: Any = None) -> tuple[Path | None, Content | None]:
        """Return the path of a clip that is a file, or the function that returns the clip."""
        rate = self.sample_rate if sample_rate is None else sample_rate
        if isinstance(value, Mapping):
            if value.get("array") is not None:
                return self.content(value["array"], what, value.get("sampling_rate", value.get("sample_rate", rate)))
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], (int, float)):
            return self.content(value[0], what, value[1])
        if isinstance(value, (str, os.PathLike)):
            return _file(value, what), None
        if isinstance(value, (bytes, bytearray, memoryview)):
            content = bytes(value)
            return None, self.spool.keep(content) if self.keeps else partial(bytes, content)
        value = _listed(value, what) if isinstance(value, list) else value
        if not _is_array(value):
            raise UsageError(f"{what} is {_described(value)}, not a clip", fix=A_CLIP)
        if rate is None:
            raise UsageError(f"{what} has no sample rate", fix="Pass (array, sample_rate), or sample_rate=… for all")
        if getattr(rate, "ndim", 0) or isinstance(rate, (list, tuple)):
            raise UsageError(f"{what} has an array as its sample rate", fix="Pass (clip_id, array, sample_rate)")
        checked = whole(f"sample_rate of {what}", rate, LOWEST_RATE)
        _require_waveform(value, what)
        if self.keeps:
            return None, partial(_sound, self.spool.keep_samples(_samples(value), checked), what)
        return None, partial(_sound, partial(_audio, value, checked), what)

    def add_dataset(self, dataset: Any, column: str) -> None:
        """Add the rows of a dataset of Hugging Face, whose audio is decoded here, like that of files."""
        self.keeps = not hasattr(dataset, "__len__")
        named = CLIP_ID in dataset.column_names
        for place, (name, path, content) in enumerate(self.rows(dataset, column)):
            if named:
                text = str(name) if isinstance(name, (str, int)) else ""
                if not text.strip():
                    said = f"row {place} of the dataset has the {CLIP_ID} {name!r}"
                    raise UsageError(said, where=self.where, fix="Name every clip, or leave the column out")
                if not path or self.is_wanted(Path(path)):
                    self.put(text, Path(path or text), content)
            elif path:
                self.add_file(Path(path), content)
            else:
                raise UsageError(
                    f"row {place} of the dataset has neither a {CLIP_ID} nor a path",
                    where=self.where,
                    fix='Pass ((row["name"], row["audio"]) for row in dataset), with the column that names its clips',
                )

    def rows(self, dataset: Any, column: str) -> Iterator[tuple[Any, str | None, Content | None]]:
        """Yield name, path and content of each row; the audio of a dataset with random access is read later."""
        if self.keeps:
            for row in dataset:
                value = row[column] or {}
                path, content = self.content(value, column) if any(value.values()) else (None, _no_audio)
                yield row.get(CLIP_ID), str(path or value.get("path") or ""), content
            return
        flat = dataset.flatten()
        names = flat[CLIP_ID] if CLIP_ID in flat.column_names else [None] * len(flat)
        sound, lock = flat.select_columns([f"{column}.bytes"]), Lock()
        for place, (name, path) in enumerate(zip(names, flat[f"{column}.path"], strict=True)):
            yield name, path, partial(_row, sound, lock, place, path)

    def folder(self, given: Any) -> AudioFolder:
        """Return the set, with a label as its path."""
        label = Path(f"<{type(given).__name__}>")
        files = [(path.absolute(), content) for path, content in self.files]
        if files:
            root = Path(os.path.commonpath([path.parent for path, _ in files]))
            label = root if all(content is None for _, content in files) else label
            for path, content in files:
                self.put(path.relative_to(root).with_suffix("").as_posix(), path, content)
        if isinstance(given, (str, os.PathLike)):
            label = Path(given)
        if not self.clips:
            others = f" ({self.ignored} other files)" if self.ignored else ""
            raise DataError(f"there are no clips{others}", where=label if self.shards else self.where, fix=FORMS)
        return AudioFolder(label, tuple(sorted(self.clips.values(), key=lambda clip: clip.clip_id)), self.ignored)


def _dataset_of(given: Any, where: str) -> tuple[Any, str] | None:
    """Return a dataset of Hugging Face with its audio undecoded, and the column; None for anything else."""
    if not type(given).__module__.startswith("datasets."):
        return None
    if isinstance(given, Mapping):
        fix = f"Pass one of them: dataset[{next(iter(given), 'test')!r}]"
        raise UsageError(f"a {type(given).__name__} holds several sets: {', '.join(map(str, given))}", where, fix)
    source, column = getattr(given, "source", given), getattr(given, "column_name", None)
    features = getattr(source, "features", None)
    if not hasattr(source, "cast_column") or features is None:
        fix = "Cast it to its features, or pass an iterable of (clip_id, array, sample_rate)"
        raise UsageError(f"the dataset ({type(given).__name__}) does not say what its columns are", where, fix)
    sounding = [name for name, feature in features.items() if type(feature).__name__ == "Audio"]
    if column is None and len(sounding) == 1:
        column = sounding[0]
    if column not in sounding:
        fix = f"Pass dataset[{sounding[0]!r}]" if sounding else "cast_column(NAME, datasets.Audio()) makes one"
        held = f"{len(sounding)} Audio columns" if column is None else f"no Audio column {column!r}"
        raise UsageError(f"the dataset has {held}; its columns are {', '.join(features)}", where, fix)
    if hasattr(source, "format") and source.format["type"] == "custom":
        fix = 'Pass ((row["name"], row["audio"]) for row in dataset), or dataset.with_format(None)'
        raise UsageError("the dataset has a transform, which would not be applied", where, fix)
    from datasets import Audio as AudioFeature

    source = source.with_format(None) if hasattr(source, "with_format") else source
    assert column is not None
    columns = [column, *([CLIP_ID] if CLIP_ID in features else [])]
    return source.select_columns(columns).cast_column(column, AudioFeature(decode=False)), column


def _row(sound: Any, lock: Lock, place: int, path: str | None) -> bytes:
    """Return the bytes of a row, or of the file that it names."""
    with lock:
        (content,) = sound[place].values()
    if content is None and not path:
        return _no_audio()
    return Path(path or "").read_bytes() if content is None else bytes(content)


def _no_audio() -> bytes:
    raise AudioFileError("the row has no audio", fix="Leave it out")


def _listed(values: list[Any], what: str) -> Any:
    """Return a waveform that was given as a list of numbers, or of a list for each channel."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} is a list of lists of unequal length", fix="Each clip must be one waveform") from error


def _file(given: str | os.PathLike[str], where: str) -> Path:
    """Return the path of an audio file; raise an error if it is missing."""
    path = as_path(given, where)
    if path.is_dir():
        raise UsageError("is a folder, not a file", where=path, fix="Pass the folder itself, or the files in it")
    if not path.exists():
        raise DataError("does not exist", where=path, fix="Pass files that are there")
    if path.suffix.lower() not in AUDIO:
        raise DataError("is not an audio file by its suffix", where=path, fix="Leave it out")
    return path


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _described(value: Any) -> str:
    return f"an array of shape {tuple(value.shape)}" if _is_array(value) else f"of type {type(value).__name__}"


def require_clip(array: Any, what: str) -> None:
    """Raise DataError unless an array has the axes of a clip, and floats."""
    shape = tuple(array.shape)
    kind = getattr(array.dtype, "name", "") or str(array.dtype).rpartition(".")[2]
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] == 0):
        raise DataError(f"{what} has shape {shape}", fix="Each clip must be (time,) or (channels, time)")
    if not kind.startswith(("float", "bfloat")):
        raise DataError(f"{what} has the type {array.dtype}", fix="Pass floats, full scale ±1: int16 / 32768")


def _require_waveform(array: Any, what: str) -> None:
    """Raise DataError unless an array may be a waveform."""
    require_clip(array, what)
    shape = tuple(array.shape)
    if len(shape) == 2 and shape[0] > shape[1] > 0:
        raise DataError(f"{what} has shape {shape}", fix="Time must come last: pass (channels, time)")
    is_strided = str(getattr(array, "layout", "torch.strided")) == "torch.strided"
    if isinstance(array, np.ma.MaskedArray) or not is_strided or getattr(array, "is_meta", False):
        raise DataError(f"{what} is masked or sparse, or has no values", fix="Pass a plain array")


def _samples(array: Any) -> npt.NDArray[np.float32]:
    """Return a copy ``(time, channels)``."""
    if hasattr(array, "detach"):
        array = array.detach().cpu().resolve_conj().resolve_neg().float().numpy()
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, and are refused as such
        samples = np.array(array, dtype=np.float32)
    return samples[:, None] if samples.ndim == 1 else np.ascontiguousarray(samples.T)


def _audio(array: Any, sample_rate: int) -> Audio:
    return Audio(_samples(array), sample_rate)


def _sound(content: Content, what: str) -> Audio:
    """Return a clip that was given as samples; AudioFileError if it cannot be sound."""
    audio = content()
    assert isinstance(audio, Audio)
    require_sound(audio.samples, Path(what), "the clip")
    return audio
