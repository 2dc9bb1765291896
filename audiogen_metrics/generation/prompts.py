"""Requests from the files that people have: prompts as text, CSV or JSONL, or a folder of recordings."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiogen_metrics.audio.files import scan
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.generation.base import Request
from audiogen_metrics.options import as_path

ID_COLUMNS = ("clip_id", "id", "file_name", "filename", "file")
PROMPT_COLUMNS = ("prompt", "caption", "text", "captions")

_AUDIO_SUFFIX = re.compile(r"\.(wav|flac|mp3|ogg|opus|aiff?)$", re.IGNORECASE)


def requests_from_prompts(
    prompts: Sequence[str], seconds: float = 10.0, seed: int = 0, names: Sequence[str] | None = None
) -> list[Request]:
    """Return a request per prompt; without ``names`` a clip is called after its number and first words.

    Examples
    --------
    >>> [request.clip_id for request in requests_from_prompts(["A dog barks!", "rain"])]
    ['0001-a-dog-barks', '0002-rain']
    """
    width = max(4, len(str(len(prompts))))
    if names is None:
        names = [f"{number:0{width}}{_slug(prompt)}" for number, prompt in enumerate(prompts, 1)]
    pairs = zip(names, prompts, strict=True)
    return _distinct([Request(name, prompt, seconds=seconds, seed=seed) for name, prompt in pairs], "prompts")


def requests_from_file(path: str | Path, seconds: float = 10.0, seed: int = 0) -> list[Request]:
    """Read prompts from a file.

    Parameters
    ----------
    path
        ``.txt``: one prompt a line. ``.csv``, ``.tsv`` and ``.jsonl``: a column ``prompt`` (or caption, text), and
        if you like ``clip_id`` (or id, file_name, …; an audio suffix is dropped) and ``seconds``. ``.json``: a list
        of such records, or AudioLDM's ``{"data": [{"wav": …, "caption": …}]}``.
    seconds
        Length where the file gives none.
    seed
        Of the run.

    Raises
    ------
    DataError
        Missing, empty, not what its suffix says, a record without prompt, or two with one clip id.
    """
    path = as_path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    except UnicodeDecodeError as error:
        raise DataError("is not UTF-8 text", where=path, fix="Convert it first: iconv -t UTF-8") from error
    if path.suffix.lower() == ".txt":
        return requests_from_prompts(_lines(text, path), seconds, seed)
    records = list(_records(text, path))
    if not records:
        raise DataError("has no prompts", where=path)
    prompts = [_prompt(record, f"{path}, record {number}") for number, record in enumerate(records, 1)]
    defaults = requests_from_prompts(prompts, seconds, seed)
    requests = [
        Request(_name(record) or default.clip_id, default.prompt, seconds=_seconds(record, seconds, path), seed=seed)
        for record, default in zip(records, defaults, strict=True)
    ]
    return _distinct(requests, path)


def requests_from_audio(
    folder: str | Path, seconds: float | None = None, seed: int = 0, suffixes: str | Iterable[str] = ()
) -> list[Request]:
    """Return a request per recording below ``folder``, with its clip id; 10 seconds where ``seconds`` is None.

    ``suffixes`` are those of `score`.
    """
    clips = scan(folder, suffixes).clips
    return [Request(clip.clip_id, audio=clip.path, seconds=seconds or 10.0, seed=seed) for clip in clips]


def _lines(text: str, path: Path) -> list[str]:
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if not lines:
        raise DataError("has no prompts", where=path)
    if "" in lines:
        raise DataError(
            f"line {lines.index('') + 1} is empty",
            where=path,
            fix="Delete the line; for an empty prompt, which asks for nothing in particular, use CSV",
        )
    return lines


def _records(text: str, path: Path) -> Iterator[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    try:
        if suffix in {".csv", ".tsv"}:
            yield from csv.DictReader(text.splitlines(), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
            return
        if suffix == ".jsonl":
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        elif suffix == ".json":
            content = json.loads(text)
            found = content["data"] if isinstance(content, dict) and "data" in content else content
        else:
            raise UsageError(f"{suffix or 'no suffix'} is no list of prompts", path, "Use .txt, .csv, .jsonl or .json")
    except (ValueError, csv.Error, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise DataError(f"cannot be read as {suffix[1:]} ({error})", where=path) from error
    if not (isinstance(found, list) and all(isinstance(record, dict) for record in found)):
        raise DataError("is not a list of records", where=path)
    yield from found


def _prompt(record: Mapping[str, Any], where: str) -> str:
    key = next((key for key in PROMPT_COLUMNS if key in record), None)
    value = record.get(key) if key else None
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = value[0]
    if not isinstance(value, str):
        found = ", ".join(map(str, record))
        raise DataError(f"has no prompt among {found}", where, f"Name the column {PROMPT_COLUMNS[0]}")
    return value.strip()


def _name(record: Mapping[str, Any]) -> str | None:
    key = next((key for key in ID_COLUMNS if record.get(key) not in (None, "")), None)
    if key is None:
        return Path(record["wav"]).stem if isinstance(record.get("wav"), str) else None
    return _AUDIO_SUFFIX.sub("", str(record[key]))


def _seconds(record: Mapping[str, Any], default: float, path: Path) -> float:
    try:
        return float(record.get("seconds") or default)
    except (TypeError, ValueError) as error:
        raise DataError(f"seconds {record['seconds']!r} is no number", where=path) from error


def _slug(prompt: str) -> str:
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return "".join(f"-{word}" for word in words[:6])[:48]


def _distinct(requests: list[Request], where: str | Path) -> list[Request]:
    # Folders of some systems do not tell Dog from dog.
    twice = [name for name, count in Counter(request.clip_id.casefold() for request in requests).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} clip ids occur twice, {twice[0]!r} first", where, "Give every clip its own id")
    return requests
