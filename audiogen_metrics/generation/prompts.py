"""Requests from the files that people have: prompts as text, CSV or JSONL, or a folder of recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from audiogen_metrics.audio.files import AudioFile, scan
from audiogen_metrics.errors import DataError, UsageError, option
from audiogen_metrics.generation.base import Request
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import CaptionChoice, Entry, choose, default_names, merged, read_entries

__all__ = ["requests_from_audio", "requests_from_file", "requests_from_prompts"]

RECORDING = "recording"
"""Instead of a number of seconds: as long as the recording."""


def requests_from_prompts(
    prompts: Sequence[str], seconds: float = 10.0, seed: int = 0, names: Sequence[str] | None = None
) -> list[Request]:
    """Return a request per prompt; without ``names`` a clip is called after its number and first words.

    Examples
    --------
    >>> [request.clip_id for request in requests_from_prompts(["A dog barks!", "rain"])]
    ['0001-a-dog-barks', '0002-rain']
    """
    pairs = zip(default_names(prompts) if names is None else names, prompts, strict=True)
    return _distinct([Request(name, prompt, seconds=seconds, seed=seed) for name, prompt in pairs], "prompts")


def requests_from_file(
    path: str | Path, seconds: float = 10.0, seed: int = 0, *, caption: CaptionChoice | None = None
) -> list[Request]:
    """Read prompts from a file.

    Parameters
    ----------
    path
        ``.txt``: one prompt a line. ``.csv``, ``.tsv``, ``.jsonl`` and ``.parquet``: a column ``prompt`` (or caption,
        text, caption_1 …), ``clip_id`` (or id, file_name, ytid, location, …; an audio suffix is dropped) and if you
        like ``seconds``; where all columns are of prompts and seconds, clips are numbered. ``.json``: a
        list of such records, or AudioLDM's ``{"data": [{"wav": …, "caption": …}]}``. A folder: its ``metadata.csv``,
        ``.jsonl`` or ``.parquet``, as Hugging Face's audio folders have it.
    seconds
        Length where the file gives none.
    seed
        Of the run.
    caption
        Of several captions of a clip, in a list or in records with one clip id: the ``first``, one at ``random`` by the
        seed, or ``all``: then each is a clip of its own, ``{clip_id}_0``, ``{clip_id}_1``, … None takes the first of a
        list and refuses several records with one clip id.

    Raises
    ------
    DataError
        Missing, empty, not what its suffix says, a record without prompt, or two with one clip id.
    UsageError
        Another choice of captions.
    """
    path = as_path(path)
    entries = read_entries(path)
    requests = []
    for entry in entries if caption is None else merged(entries):
        texts = choose(entry.captions, caption or "first", seed, entry.clip_id)
        length = _seconds(entry, seconds, path)
        for number, text in enumerate(texts):
            name = f"{entry.clip_id}_{number}" if caption == "all" else entry.clip_id
            requests.append(Request(name, text, seconds=length, seed=seed))
    return _distinct(
        requests, path, f"Give every clip its own id, or say which of its captions count: {option('caption', 'first')}"
    )


def requests_from_audio(
    folder: str | Path,
    seconds: float | Literal["recording"] | None = None,
    seed: int = 0,
    suffixes: str | Iterable[str] = (),
) -> list[Request]:
    """Return a request per recording below a folder, with its clip id.

    Parameters
    ----------
    folder
        Of the recordings.
    seconds
        Length of each clip; ``"recording"`` takes that of its recording; None is 10.
    seed
        Of the run.
    suffixes
        As in `score`.

    Raises
    ------
    DataError
        No recordings; or one whose length is wanted cannot be decoded.
    UsageError
        Another word than ``"recording"``, or an impossible length.
    """
    if isinstance(seconds, str) and seconds != RECORDING:
        raise UsageError(f"{seconds!r} is not a length", where="seconds", fix=f"Pass a number, or {RECORDING!r}")
    requests = []
    for clip in scan(folder, suffixes).clips:
        length = length_of(clip) if isinstance(seconds, str) else 10.0 if seconds is None else seconds
        requests.append(Request(clip.clip_id, audio=clip.path, seconds=length, seed=seed))
    return requests


def length_of(clip: AudioFile) -> float:
    """Return the length of a recording in seconds, which its header may not say; DataError if it cannot be decoded."""
    from audiogen_metrics.audio.decoding import decoded  # numpy is not needed for prompts

    try:
        audio = decoded(clip)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=clip.path) from error
    return len(audio.samples) / audio.sample_rate


def _seconds(entry: Entry, default: float, path: Path) -> float:
    try:
        return float(default if entry.seconds is None else entry.seconds)
    except (TypeError, ValueError) as error:
        raise DataError(f"seconds {entry.seconds!r} is not a number", where=path) from error


def _distinct(requests: list[Request], where: str | Path, fix: str = "Give every clip its own id") -> list[Request]:
    # Folders of some systems do not tell Dog from dog.
    twice = [name for name, count in Counter(request.clip_id.casefold() for request in requests).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} clip ids occur twice, {twice[0]!r} first", where, fix)
    return requests
