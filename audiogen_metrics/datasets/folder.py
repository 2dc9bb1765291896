"""One's own sounds: a folder, or a table of files and captions."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from audiogen_metrics.audio.files import AUDIO, canonical_id, parse_suffixes, scan
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.datasets.base import Dataset, DatasetClip
from audiogen_metrics.datasets.finding import AudioByPath, Listings
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import PATH_COLUMNS, PROMPT_COLUMNS, captions_in, named
from audiogen_metrics.tabular import column, metadata_of, read_records, read_text

__all__ = ["open_dataset"]

FILE_COLUMNS = (
    *("file", "file_name", "filename", *PATH_COLUMNS, "audio_file_name", "audio_filename", "slice_file_name", "fname"),
    "name",
)
_ONCE = (*FILE_COLUMNS, *PROMPT_COLUMNS, "clip_id", "label", "group", "split")


def open_dataset(source: str | Path, suffixes: str | Iterable[str] = ()) -> Dataset:
    """Open what a user names: ``esc50=/data/ESC-50``, a folder, or a table (CSV, TSV, JSON lines, JSON, Parquet).

    Parameters
    ----------
    source
        What is named.
    suffixes
        Take files of a folder with these suffixes only; empty takes all audio.

    Raises
    ------
    UsageError
        An unknown dataset; suffixes for something else than a folder.
    DataError
        Nothing there, or nothing that can be read.
    """
    path = as_path(source)
    name, equals, root = str(source).partition("=")
    if parse_suffixes(suffixes) and not path.is_dir():
        raise UsageError(
            "is not a folder, so it has no files to choose by suffix", where=source, fix="Leave out the suffixes"
        )
    if equals and not path.exists():
        info = DATASETS.get(name)
        return info.read(_existing(as_path(root)))
    if path.is_file():
        return read_list(path)
    return read_folder(path, suffixes)


def read_folder(root: Path, suffixes: str | Iterable[str] = ()) -> Dataset:
    """Return the audio below a folder; the first sub-folder is the class, the file's own name where there is none.

    A text file beside the audio, ``rain.txt`` beside ``rain.wav``, is its caption; a remark says how many clips are
    captioned by their own names. Where the folder, or folders in it, have a table as Hugging Face's audio folders do
    (``metadata.csv``, ``.jsonl`` or ``.parquet``), these say which clips there are and what they sound like; the folder
    of a table, such as ``train``, is the clips' split.

    Raises
    ------
    DataError
        No audio, or some that no table names where there are tables.
    """
    files = scan(root, suffixes).clips
    if tables := _tables(root, {file.path.parent for file in files}):
        return _with_metadata(root, tables, {file.clip_id for file in files}, suffixes)
    clips, named = [], []
    listings = Listings()
    for file in files:
        head, slash, _ = file.clip_id.partition("/")
        label = head if slash else ""
        beside = listings(file.path.parent).file(f"{file.path.stem}.txt")
        words = _caption(beside) if beside else ""
        caption = words or label or _words(file.clip_id)
        named += [] if words or label else [file.path]
        clips.append(DatasetClip(file.clip_id, file.path, caption, (label,) if label else (), split=""))
    return Dataset(root.name, root, tuple(clips), _named(named, len(clips)))


def _named(files: list[Path], total: int) -> tuple[str, ...]:
    if not files:
        return ()
    first = files[0]
    count = "1 clip has" if len(files) == 1 else f"{len(files)} of {total} clips have"
    return (
        f"{count} neither a caption nor a folder for the class: the file's own name stands for it, "
        f"{_words(first.stem)!r} for {first.name}. Write {first.stem}.txt beside it, or a table of files and captions",
    )


def read_list(path: Path) -> Dataset:
    """Read a table with a column ``file`` (relative to it) and ``caption`` or ``label``; or AudioLDM's JSON.

    ``clip_id``, ``label``, ``group`` and ``split`` are read where they are. Several records of one clip are several
    captions.
    """
    return Dataset(path.stem, path.parent, tuple(_clips(path)), looked_for=_sought(path))


def _clips(path: Path, prefix: str = "") -> list[DatasetClip]:
    """Return the clips of a table, their ids below ``prefix``."""
    found: dict[str, DatasetClip] = {}
    audio, repeated = AudioByPath(), []
    for number, record in enumerate(read_records(path, what="clips", once=_ONCE), 1):
        where = f"{path}, record {number}"
        try:
            clip = _clip(record, path, prefix, where, audio)
        except DataError as error:
            raise DataError(error.what, error.where or where, error.fix) from error
        before = found.setdefault(clip.clip_id, clip)
        if before is clip:
            continue
        known = before.captions or (before.caption,)
        texts = tuple(dict.fromkeys((*known, *(clip.captions or (clip.caption,)))))
        if texts == known or replace(before, caption="", captions=()) != replace(clip, caption="", captions=()):
            repeated.append(clip)  # which the dataset refuses
        found[clip.clip_id] = replace(before, captions=texts)
    return [*found.values(), *repeated]


def _clip(record: Mapping[str, Any], table: Path, prefix: str, where: str, audio: AudioByPath) -> DatasetClip:
    file = _file(record, where)
    path, label = audio(table.parent, file), _text(record, "label")
    texts = tuple(filter(None, captions_in(record, where, ("label",)))) or (label,)
    if texts == ("",):
        raise DataError(f"has an empty caption among {named(record)}", where, "Write one, or take the record out")
    return DatasetClip(
        clip_id=canonical_id(prefix + (_text(record, "clip_id") or _id_of(file, path))),
        path=path,
        caption=texts[0],
        labels=(label,) if label else (),
        group=_text(record, "group"),
        split=_text(record, "split") or prefix.partition("/")[0],
        captions=texts if len(texts) > 1 else (),
    )


def _file(record: Mapping[str, Any], where: str) -> str:
    for wanted in FILE_COLUMNS:
        key = column(record, (wanted,))
        if key is not None and isinstance(record[key], str) and record[key].strip():
            return str(record[key])
    raise DataError(f"has no file among {named(record)}", where=where, fix=f"Name the column {FILE_COLUMNS[0]}")


def _text(record: Mapping[str, Any], name: str) -> str:
    key = column(record, (name,))
    return "" if key is None or record[key] is None else str(record[key]).strip()


def _tables(root: Path, folders: Iterable[Path]) -> list[Path]:
    """Return the tables in the folders of the audio, and in those above them up to the root."""
    above = {root, *(each for folder in folders for each in (folder, *folder.parents) if root in each.parents)}
    return [table for folder in sorted(above) if (table := metadata_of(folder))]


def _with_metadata(root: Path, tables: list[Path], heard: set[str], suffixes: str | Iterable[str]) -> Dataset:
    clips: list[DatasetClip] = []
    for table in tables:
        below = table.parent.relative_to(root).as_posix()
        clips += _clips(table, "" if below == "." else f"{below}/")
    wanted = parse_suffixes(suffixes)
    clips = [clip for clip in clips if not wanted or clip.path is None or clip.path.suffix.lower() in wanted]
    unnamed = sorted(heard - {canonical_id(_id_below(root, clip)) for clip in clips if clip.path})
    if unnamed:
        raise DataError(
            f"{len(unnamed)} recordings have no record in {', '.join(str(t.relative_to(root)) for t in tables)}: "
            f"{', '.join(unnamed[:3])}{', …' * (len(unnamed) > 3)}",
            where=root,
            fix="Describe them, or pass the table itself to use what it lists; rename it if it does not describe them",
        )
    return Dataset(root.name, root, tuple(clips), looked_for="; ".join(map(_sought, tables)))


def _id_below(root: Path, clip: DatasetClip) -> str:
    assert clip.path is not None
    return os.path.relpath(clip.path.with_suffix(""), root).replace(os.sep, "/")


def _sought(table: Path) -> str:
    return f"the files that {table.name} names, in {table.parent}"


def _caption(path: Path) -> str:
    try:
        return read_text(path).strip()
    except DataError as error:
        raise DataError(f"the caption {error.what}", where=path, fix=error.fix) from error


def _id_of(file: str, found: Path | None) -> str:
    """Return a clip id for a file as a table names it: ``meta/list.csv`` may well name ``../audio/x.wav``."""
    head, slash, name = file.rpartition("/")
    if found is None or found.name != name:
        head, slash, name = file.strip().replace("\\", "/").rpartition("/")
    path = Path(name if found is None else found.name)
    stem = path.stem if found is not None or path.suffix.lower() in AUDIO else path.name
    parts = posixpath.normpath(f"{head}{slash}{stem}").split("/")
    return "/".join(part for part in parts if part not in ("", ".."))


def _words(clip_id: str) -> str:
    return clip_id.replace("_", " ").replace("-", " ")


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise DataError("is not a folder", where=root, fix="Pass the folder that the dataset unpacks to")
    return root
