"""One record per clip, one descriptor per dataset."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from audiogen_metrics.audio.files import AUDIO, DECODABLE, UNDECODABLE
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.writing import below

TEMPLATES = {"label": "{label}", "sentence": "This is a sound of {label}."}
"""Prompts for class labels, underscores as spaces. The paper does not say which it used, and scores move with it."""


@dataclass(frozen=True)
class Clip:
    """One clip of a dataset.

    Parameters
    ----------
    clip_id
        Distinct within the dataset, and a path below a folder: DataError for one that leads out of it.
    path
        Its audio; None if that is not there.
    caption
        Words for it: its caption, or its labels.
    labels
        Its classes.
    start, duration
        Of the clip within its source recording, in seconds; None where the metadata do not say.
    group
        Source recording, which other clips may share.
    split
        What the dataset itself calls its part: a fold, train, test.
    """

    clip_id: str
    path: Path | None
    caption: str
    labels: tuple[str, ...] = ()
    start: float | None = None
    duration: float | None = None
    group: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        below(Path(), self.clip_id)


@dataclass(frozen=True)
class Dataset:
    """The clips that a dataset's metadata list, sorted by clip id, whether their audio is there or not."""

    name: str
    root: Path
    clips: tuple[Clip, ...]
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "clips", tuple(sorted(self.clips, key=lambda clip: clip.clip_id)))
        names = [clip.clip_id for clip in self.clips]
        twice = next((name for name, other in pairwise(names) if name == other), None)
        if not names:
            raise DataError("has no clips", where=self.root)
        if twice is not None:
            raise DataError(f"lists the clip {twice!r} twice", where=self.root, fix="Repair the metadata")

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of the clips whose audio is not there."""
        return tuple(clip.clip_id for clip in self.clips if clip.path is None)

    @property
    def present(self) -> tuple[Clip, ...]:
        """The clips whose audio is there."""
        return tuple(clip for clip in self.clips if clip.path is not None)

    def only(self, clips: Iterable[Clip]) -> Dataset:
        """Return the dataset with these of its clips."""
        return replace(self, clips=tuple(clips))


@dataclass(frozen=True)
class DatasetInfo:
    """A dataset as distributed.

    Parameters
    ----------
    name, title, url, licence, citation
        What it is called, where it comes from and what it may be used for.
    layout
        Where its files lie below the root, for people.
    read
        Read the metadata below a root into a `Dataset`.
    evaluation_size
        Clips that the paper drew at random for its evaluation; None where there is an official part.
    folds
        What the folds are called, where there are some.
    checks
        What is expected of the whole: number of clips, classes, longest clip in seconds.
    """

    name: str
    title: str
    url: str
    licence: str
    citation: str
    layout: str
    read: Callable[[Path], Dataset]
    evaluation_size: int | None = None
    folds: tuple[str, ...] = ()
    checks: Mapping[str, float] = field(default_factory=dict)


def prompt(clip: Clip, template: str = "label") -> str:
    """Return what to ask a generator for: the caption, or the labels in a template.

    Parameters
    ----------
    clip
        The clip.
    template
        A name in `TEMPLATES`, or text with ``{label}`` in it.

    Examples
    --------
    >>> prompt(Clip("a", None, "", ("crying_baby",)), "sentence")
    'This is a sound of crying baby.'
    """
    if not clip.labels or (clip.caption and clip.caption != ", ".join(clip.labels)):
        return clip.caption
    text = TEMPLATES.get(template, template)
    if "{label}" not in text:
        raise UsageError(
            f"unknown template {template!r}", fix=f"Use {', '.join(TEMPLATES)}, or text with {{label}} in it"
        )
    return text.replace("{label}", ", ".join(label.replace("_", " ") for label in clip.labels))


def read_table(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Yield the rows of a metadata file; DataError if it is missing or lacks a column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, delimiter=delimiter, strict=True)
            lacking = sorted(set(columns) - set(rows.fieldnames or ()))
            if lacking:
                raise DataError(f"has no column {', '.join(lacking)}", where=path, fix="Is it the original file?")
            for number, row in enumerate(rows, 2):
                if None in row or any(row[column] is None for column in columns):
                    raise DataError(f"line {number} has another number of columns", where=path)
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"cannot be read ({reason})", where=path, fix="Pass the folder that the dataset unpacks to"
        ) from error


def number(text: str, what: str, path: Path) -> float:
    """Return a number of a metadata file; DataError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{what} {text!r} is no number", where=path, fix="Is it the original file?")
    return value


def found(path: Path) -> Path | None:
    """Return the path if there is a file, else one of that name that must be converted first, else None."""
    if path.is_file():
        return path
    others = (path.with_suffix(suffix) for suffix in sorted(UNDECODABLE))
    return next((other for other in others if other.is_file()), None)


class AudioByName:
    """The audio files of some folders by their names without suffix; what can be decoded goes first.

    Each folder is listed once: a dataset may lack most of its clips.
    """

    def __init__(self, *folders: Path) -> None:
        self._names: list[dict[str, Path]] = []
        for folder in folders:
            paths = [path for path in _files(folder) if path.suffix.lower() in AUDIO]
            paths.sort(key=lambda path: (path.suffix.lower() not in DECODABLE, path.suffix))
            self._names.append({path.stem: path for path in reversed(paths)})

    def __call__(self, *names: str) -> Path | None:
        """Return the first file of these names, in the order of the folders; None if there is none."""
        return next((found[name] for found in self._names for name in names if name in found), None)


def _files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
