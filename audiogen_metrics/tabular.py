"""Records from the tables that people have: CSV, TSV, JSON lines, JSON lists and Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from audiogen_metrics.errors import DataError, MissingDependencyError, UsageError
from audiogen_metrics.options import as_path

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
"""Of files that hold records."""

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Names of the table that Hugging Face's audio folders have beside the audio."""


def read_text(path: str | Path) -> str:
    """Return the text of a file in UTF-8, without the mark that some programs put before it.

    Raises
    ------
    DataError
        A file that is missing, cannot be read, or has another encoding.
    """
    path = as_path(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=path, fix="Convert it first: iconv -t UTF-8") from error


def read_records(
    path: str | Path, *, what: str, once: Collection[str] | None, others: str = "", assumed: str = ""
) -> list[Mapping[str, Any]]:
    """Return the records of a file; parameters and errors are those of `records_of`.

    Raises
    ------
    MissingDependencyError
        A Parquet file, where pyarrow is not installed.
    """
    path = as_path(path)
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    return [*records_of(read_text(path), path, what=what, once=once, others=others, assumed=assumed)]


def column(names: Iterable[Any], wanted: Iterable[str]) -> str | None:
    """Return the first of the wanted columns that a record has, as the record spells it; None if it has none.

    Case, spaces at the ends, and whether words are joined by a space, a hyphen or an underscore make no difference.

    Examples
    --------
    >>> column(["File Name", " caption"], ["clip_id", "file_name"])
    'File Name'
    """
    spelt = _spellings(tuple(names))
    return next((spelt[name] for name in wanted if name in spelt), None)


@lru_cache
def _spellings(names: tuple[Any, ...]) -> dict[str, str]:
    """Return the names as they are spelt by how they are compared; the records of a table share it."""
    return {_plain(name): name for name in reversed(names) if isinstance(name, str)}


def metadata_of(folder: Path) -> Path | None:
    """Return the table beside the audio of a folder; DataError where there are several, None where there is none."""
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"has {names}: only one of them can be meant", where=folder, fix="Keep one, or pass its path")
    return found[0] if found else None


def records_of(
    text: str, path: Path, *, what: str, once: Collection[str] | None, others: str = "", assumed: str = ""
) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a table; cells of CSV and TSV are text.

    Parameters
    ----------
    text, path
        Content of the file, and its name, whose suffix says what it is.
    what
        What the file should be a list of, for the message.
    once
        Columns that there may be only once, however they are spelt (see `column`); None means all.
    others
        Suffixes that the caller reads itself, for the message.
    assumed
        Suffix by which to read a file that has an unknown one; empty refuses it.

    Raises
    ------
    DataError
        Another content than the suffix says: records of unequal length, or no list of objects.
    UsageError
        Another suffix.
    """
    suffix = path.suffix.lower()
    suffix = assumed if assumed and suffix not in SUFFIXES else suffix
    try:
        if suffix in {".csv", ".tsv"}:
            yield from _table(text, "\t" if suffix == ".tsv" else _delimiter(text), once)
            return
        if suffix == ".jsonl":
            found = [json.loads(line) for line in text.split("\n") if line.strip()]
        elif suffix == ".json":
            content = json.loads(text)
            found = content["data"] if isinstance(content, dict) and "data" in content else content
        else:
            fix = f"Use {others}.csv, .tsv, .jsonl, .json or .parquet"
            raise UsageError(f"{suffix or 'no suffix'} is not a list of {what}", path, fix)
    except (ValueError, csv.Error, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise DataError(f"cannot be read as {suffix[1:]} ({error})", where=path) from error
    if not isinstance(found, list):
        raise DataError("is not a list of records", where=path)
    for number, record in enumerate(found, 1):
        if not isinstance(record, dict):
            raise DataError(f"record {number} must be an object, and is {json.dumps(record)[:40]}", where=path)
        yield record


def has_decimal_commas(path: Path) -> bool:
    """Tell whether a comma within a number is its decimal point: where semicolons separate the cells."""
    return path.suffix.lower() == ".csv" and _delimiter(read_text(path)) == ";"


def _delimiter(text: str) -> str:
    """Return what separates the names in the head: some programs write semicolons where a comma is a decimal point."""
    head = text.lstrip("\r\n").partition("\n")[0]
    return next((mark for mark in ";\t" if mark in head and "," not in head), ",")


def _table(text: str, delimiter: str, once: Collection[str] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table; ValueError for one that would be cut off or overwritten in silence."""
    rows = csv.DictReader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter, strict=True)
    rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
    head = [*rows.fieldnames] if once is None else [_plain(name) for name in rows.fieldnames]
    if twice := {name for name in head if (once is None or name in once) and head.count(name) > 1}:
        raise ValueError(f"there are several columns {min(twice)}; give a clip with several of them several lines")
    for number, row in enumerate(rows, 1):
        if any(row.pop(None, ())):
            kind = {"\t": "tab", ",": "comma", ";": "semicolon"}[delimiter]
            raise ValueError(
                f"record {number} has more fields than the head; put a text that has a {kind} into double quotes"
            )
        yield row


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def _parquet(path: Path) -> list[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise MissingDependencyError(
            "the package pyarrow is not installed", where=path, fix="pip install pyarrow, or convert the file to CSV"
        ) from error
    try:
        return list(parquet.read_table(path).to_pylist())
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"cannot be read as parquet ({error})", where=path) from error
