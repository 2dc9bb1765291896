"""One's own sounds: a folder, or a table of files and captions."""

from __future__ import annotations

import csv
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from audiogen_metrics.audio.files import canonical_id, parse_suffixes, scan
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.datasets.base import Clip, Dataset, found
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path

FILE_COLUMNS = ("file", "file_name", "filename", "path", "wav", "audio")
CAPTION_COLUMNS = ("caption", "prompt", "text")


def open_dataset(source: str | Path, suffixes: str | Iterable[str] = ()) -> Dataset:
    """Open what a user names: ``esc50=/data/ESC-50``, a folder, or a ``.csv``, ``.jsonl`` or ``.json`` table.

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
        raise UsageError("is no folder to take files of some suffixes from", where=source, fix="Leave out the suffixes")
    if equals and not path.exists():
        info = DATASETS.get(name)
        return info.read(_existing(as_path(root)))
    if path.is_file():
        return read_list(path)
    return read_folder(path, suffixes)


def read_folder(root: Path, suffixes: str | Iterable[str] = ()) -> Dataset:
    """Return the audio below a folder; the first sub-folder is the class, the file's own name where there is none.

    A text file beside the audio, ``rain.txt`` beside ``rain.wav``, is its caption. A remark says how many clips are
    captioned by their own names.
    """
    clips, named = [], []
    for file in scan(root, suffixes).clips:
        head, slash, _ = file.clip_id.partition("/")
        label = head if slash else ""
        beside = file.path.with_suffix(".txt")
        words = _caption(beside) if beside.is_file() else ""
        caption = words or label or _words(file.clip_id)
        named += [] if words or label else [file.path]
        clips.append(Clip(file.clip_id, file.path, caption, (label,) if label else (), split=""))
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

    ``clip_id``, ``label``, ``group`` and ``split`` are read where they are.
    """
    clips = []
    for number, record in enumerate(_records(path), 1):
        where = f"{path}, record {number}"
        if not isinstance(record, Mapping):
            raise DataError(f"is a {type(record).__name__}, not an object", where, "Write one JSON object per clip")
        file = _first(record, FILE_COLUMNS, where)
        caption = _first(record, (*CAPTION_COLUMNS, "label"), where)
        audio = path.parent / file
        label = str(record.get("label") or "")
        try:
            clip = Clip(
                clip_id=canonical_id(str(record.get("clip_id") or _id_of(file))),
                path=found(audio),
                caption=caption,
                labels=(label,) if label else (),
                group=str(record.get("group") or ""),
                split=str(record.get("split") or ""),
            )
        except DataError as error:
            raise DataError(error.what, where, error.fix) from error
        clips.append(clip)
    return Dataset(path.stem, path.parent, tuple(clips))


def _records(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        match path.suffix.lower():
            case ".csv" | ".tsv":
                yield from csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            case ".jsonl":
                yield from (json.loads(line) for line in text.splitlines() if line.strip())
            case ".json":
                content = json.loads(text)
                yield from content["data"] if isinstance(content, dict) else content
            case other:
                raise UsageError(
                    f"{other or 'no suffix'} is no table of clips", path, "Use .csv, .tsv, .jsonl or .json"
                )
    except UsageError:
        raise
    except (OSError, ValueError, csv.Error, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"cannot be read as a table of clips ({error})", where=path) from error


def _caption(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise DataError(
            f"the caption cannot be read ({reason})", where=path, fix="Convert it: iconv -f LATIN1 -t UTF-8"
        ) from error


def _first(record: Mapping[str, Any], columns: tuple[str, ...], where: str) -> str:
    for column in columns:
        value = record.get(column)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise DataError(f"has no {columns[0]}", where=where, fix=f"Name the column {columns[0]}")


def _id_of(file: str) -> str:
    """Return a clip id for a file as a table names it: ``meta/list.csv`` may well name ``../audio/x.wav``."""
    parts = posixpath.normpath(Path(file).with_suffix("").as_posix()).split("/")
    return "/".join(part for part in parts if part not in ("", ".."))


def _words(clip_id: str) -> str:
    return clip_id.replace("_", " ").replace("-", " ")


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise DataError("is not a folder", where=root, fix="Pass the folder that the dataset unpacks to")
    return root
