"""Records from the tables that people have: CSV, TSV, JSON lines and JSON lists."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
"""Of files that hold records."""


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


def records_of(
    text: str, path: Path, *, what: str, once: Collection[str] | None, others: str = ""
) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a table; cells of CSV and TSV are text.

    Parameters
    ----------
    text, path
        Content of the file, and its name, whose suffix says what it is.
    what
        What the file should be a list of, for the message.
    once
        Columns that there may be only once; None means all.
    others
        Suffixes that the caller reads itself, for the message.

    Raises
    ------
    DataError
        Another content than the suffix says: records of unequal length, or no list of objects.
    UsageError
        Another suffix.
    """
    suffix = path.suffix.lower()
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
            fix = f"Use {others}.csv, .tsv, .jsonl or .json"
            raise UsageError(f"{suffix or 'no suffix'} is no list of {what}", path, fix)
    except (ValueError, csv.Error, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise DataError(f"cannot be read as {suffix[1:]} ({error})", where=path) from error
    if not (isinstance(found, list) and all(isinstance(record, dict) for record in found)):
        raise DataError("is not a list of records", where=path)
    yield from found


def has_decimal_commas(text: str, path: Path) -> bool:
    """Tell whether a comma within a number is its decimal point: where semicolons separate the cells."""
    return path.suffix.lower() == ".csv" and _delimiter(text) == ";"


def _delimiter(text: str) -> str:
    """Return what separates the names in the head: some programs write semicolons where a comma is a decimal point."""
    head = text.lstrip("\n").partition("\n")[0]
    return ";" if ";" in head and "," not in head else ","


def _table(text: str, delimiter: str, once: Collection[str] | None) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a table; ValueError for one that would be cut off or overwritten in silence."""
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows.fieldnames = head = [name.strip() for name in rows.fieldnames or ()]
    if twice := {name for name in head if (once is None or name in once) and head.count(name) > 1}:
        raise ValueError(f"there are several columns {min(twice)}; give a clip with several of them several lines")
    for number, row in enumerate(rows, 1):
        if any(row.pop(None, ())):
            kind = {"\t": "tab", ",": "comma", ";": "semicolon"}[delimiter]
            raise ValueError(
                f"record {number} has more fields than the head; put a text that has a {kind} into double quotes"
            )
        yield row
