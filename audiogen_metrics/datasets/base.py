"""One record per clip, one descriptor per dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from audiogen_metrics.audio.files import AUDIO, DECODABLE, UNDECODABLE, canonical_id
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.tabular import read_records
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
        Words for it: its caption, the first of several, or its labels.
    labels
        Its classes.
    start, duration
        Of the clip within its source recording, in seconds; None where the metadata do not say.
    group
        Source recording, which other clips may share.
    split
        What the dataset itself calls its part: a fold, train, test.
    captions
        All of them, where there are several.
    """

    clip_id: str
    path: Path | None
    caption: str
    labels: tuple[str, ...] = ()
    start: float | None = None
    duration: float | None = None
    group: str = ""
    split: str = ""
    captions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        below(Path(), self.clip_id)


@dataclass(frozen=True)
class Dataset:
    """The clips that a dataset's metadata list, sorted by clip id, whether their audio is there or not.

    ``looked_for`` says under which names, and where, audio was looked for.
    """

    name: str
    root: Path
    clips: tuple[Clip, ...]
    remarks: tuple[str, ...] = ()
    looked_for: str = ""

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
    def lacking(self) -> str:
        """Which clips have no audio, and what was looked for; empty if all have some."""
        if not self.missing:
            return ""
        names = ", ".join(self.missing[:10]) + ", …" * (len(self.missing) > 10)
        sought = f"; looked for {self.looked_for}" if self.looked_for else ""
        return f"no audio for {len(self.missing)} of {len(self.clips)} clips: {names}{sought}"

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


def read_table(path: Path, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the rows of a metadata file; DataError if it is missing, damaged, or lacks a column."""
    try:
        rows = read_records(path, what="clips", once=columns)
    except DataError as error:
        raise DataError(error.what, error.where, error.fix or "Pass the folder that the dataset unpacks to") from error
    for number, row in enumerate(rows, 1):
        if lacking := sorted(set(columns) - row.keys()):
            raise DataError(f"has no column {', '.join(lacking)}", where=path, fix="Is it the original file?")
        if any(row[column] is None for column in columns):
            raise DataError(f"record {number} has another number of columns", where=path)
    return rows


def number(text: str, what: str, path: Path) -> float:
    """Return a number of a metadata file; DataError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{what} {text!r} is no number", where=path, fix="Is it the original file?")
    return value


class AudioByPath:
    """The audio files that a table names, also where the table spells their names a little differently.

    As written; else in another Unicode form or without spaces at the ends of the name; else with backslashes as
    separators; else with the suffix of a format that must be converted first. Folders are listed once, and only if a
    name in them is not found as written.
    """

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, Path]] = {}

    def __call__(self, folder: Path, name: str) -> Path | None:
        """Return the file of this name below, or relative to, a folder; None if there is none."""
        for spelt in dict.fromkeys((name, name.strip(), name.strip().replace("\\", "/"))):
            path = folder / spelt
            if path.is_file():
                return path
            listed = self._listed(path.parent)
            names = [path.name]
            if path.suffix.lower() not in AUDIO:  # FSD50K's table names 64760 where the file is 64760.wav
                names += [path.name + suffix for suffix in sorted(DECODABLE)]
            names += [path.with_suffix(suffix).name for suffix in sorted(UNDECODABLE) if path.name]
            if other := next((listed[key] for key in map(_comparable, names) if key in listed), None):
                return other
        return None

    def _listed(self, folder: Path) -> dict[str, Path]:
        if folder not in self._folders:
            self._folders[folder] = {_comparable(path.name): path for path in sorted(_files(folder), reverse=True)}
        return self._folders[folder]


def _comparable(name: str) -> str:
    return canonical_id(name).strip()


SEGMENT_NAMES = (
    "{id}, {id}_{start}, {id}_{start}_{end} or {id}_000030, with or without Y before it, "
    "the times as 30, 30.0, 30.00, 30.000 or 30000"
)
"""What `names_of_segment` returns, for people."""


def sought(names: str, folders: Iterable[Path]) -> str:
    """Return what was looked for and where, for `Dataset.looked_for`."""
    return f"{names}; in {', '.join(map(str, dict.fromkeys(folders)))}"


def names_of_segment(video: str, start: float, end: float) -> list[str]:
    """Return what people call the audio of a part of a video, without suffix.

    AudioCaps' ``Y{id}``, ``{id}_{start}``, and with the end; DCASE's ``Y{id}_30.000_40.000``; VGGSound's
    ``{id}_000030``; and milliseconds, as some programs write that fetch the audio.

    Parameters
    ----------
    video
        Id of the video.
    start, end
        In seconds.
    """
    times = [f"_{start:g}", f"_{start:g}_{end:g}", f"_{int(start)}_{int(end)}"]
    times += [f"_{start:.{digits}f}_{end:.{digits}f}" for digits in (1, 2, 3)]
    times += [f"_{1000 * start:.0f}_{1000 * end:.0f}", f"_{int(start):06d}", f"_{int(start):06d}_{int(end):06d}"]
    times.insert(1, f"_{int(start)}")
    return [f"Y{video}", video, *(f"{head}{video}{time}" for time in dict.fromkeys(times) for head in ("", "Y"))]


class AudioByName:
    """The audio files of some folders by their names without suffix; what can be decoded goes first.

    Each folder is listed once: a dataset may lack most of its clips.
    """

    def __init__(self, *folders: Path) -> None:
        self._names: list[dict[str, Path]] = []
        self.folders = folders
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
