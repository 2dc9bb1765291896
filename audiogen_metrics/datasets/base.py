"""One record per clip, one descriptor per dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.lazy import moved
from audiogen_metrics.tabular import read_records
from audiogen_metrics.writing import below

__all__ = ["Dataset", "DatasetClip", "DatasetInfo", "prompt", "read_table"]

TEMPLATES = {"label": "{label}", "sentence": "This is a sound of {label}."}
"""Prompts for class labels, underscores as spaces. The paper does not say which it used, and scores move with it."""


@dataclass(frozen=True)
class DatasetClip:
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
    clips: tuple[DatasetClip, ...]
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
    def present(self) -> tuple[DatasetClip, ...]:
        """The clips whose audio is there."""
        return tuple(clip for clip in self.clips if clip.path is not None)

    def only(self, clips: Iterable[DatasetClip]) -> Dataset:
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
    checks: Mapping[str, float] = field(default_factory=dict)


def prompt(clip: DatasetClip, template: str = "label") -> str:
    """Return what to ask a generator for: the caption, or the labels in a template.

    Parameters
    ----------
    clip
        The clip.
    template
        A name in `TEMPLATES`, or text with ``{label}`` in it.

    Examples
    --------
    >>> prompt(DatasetClip("a", None, "", ("crying_baby",)), "sentence")
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
    """Return a number of a metadata file; DataError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{what} {text!r} is not a number", where=path, fix="Is it the original file?")
    return value


if not TYPE_CHECKING:  # a checker that saw this would take any name
    __getattr__ = moved(__name__, "audiogen_metrics.datasets.base", {"Clip": "DatasetClip"})
