"""The other clips of a set, for probes that need them, and their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from audiogen_metrics.audio.files import canonical_id
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.probes.base import Clip, clip_rng
from audiogen_metrics.tabular import column, read_records

__all__ = ["Pool"]


@dataclass(frozen=True, eq=False)
class Pool:
    """The clips of a set, loaded when they are needed.

    Parameters
    ----------
    clip_ids
        Their ids; the order does not matter.
    load
        Function that returns the clip with an id.
    labels
        Class of each clip that has one.
    seed
        Seed of the order of classes and clips, which is one for the whole set.
    """

    clip_ids: tuple[str, ...]
    load: Callable[[str], Clip]
    labels: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def label(self, clip_id: str) -> str:
        """Return a clip's class; DataError if the clip has no class."""
        if clip_id not in self.labels:
            raise DataError(
                "the clip has no class", where=clip_id, fix="Put each class into a sub-folder, or pass labels"
            )
        return self.labels[clip_id]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All clip ids in the seed's order."""
        return _shuffled(self.clip_ids, self.seed, "clips")

    @cached_property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The clip ids of every class, classes and ids in the seed's order."""
        members: dict[str, list[str]] = {}
        for clip_id in self.order:
            if clip_id in self.labels:
                members.setdefault(self.labels[clip_id], []).append(clip_id)
        return {name: tuple(members[name]) for name in _shuffled(members, self.seed, "classes")}

    def irrelevant(self, clip_id: str, count: int) -> list[tuple[str, ...]]:
        """Return the members of the first ``count`` classes, in the seed's order, that are not the clip's own.

        Raises
        ------
        InsufficientDataError
            The set has fewer other classes.
        """
        own = self.label(clip_id)
        others = [members for name, members in self.classes.items() if name != own]
        if len(others) < count:
            raise InsufficientDataError(
                f"{len(others)} classes besides {own!r}, where {count} are asked for",
                where=clip_id,
                fix="Take a set with more classes, or set classes to fewer",
            )
        return others[:count]

    def another(self, rng: np.random.Generator, clip_id: str) -> str:
        """Return another clip's id; InsufficientDataError if the clip is the only one."""
        if set(self.clip_ids[:2]) <= {clip_id}:
            raise InsufficientDataError("no other clip in the set", where=clip_id, fix="Take at least two clips")
        while (chosen := self.order[rng.integers(len(self.order))]) == clip_id:
            pass
        return chosen


@dataclass(frozen=True)
class Pooled:
    """A mix-in for probes that take other clips of the set.

    Parameters
    ----------
    pool
        The set.
    """

    needs_pool: ClassVar[bool] = True
    pool: Pool | None = field(default=None, repr=False, compare=False)

    @property
    def others(self) -> Pool:
        """The pool; UsageError if the probe was made without a pool."""
        if self.pool is None:
            raise UsageError("needs the other clips of the set", where=type(self).__name__, fix="Pass pool=Pool(…)")
        return self.pool


def _shuffled(names: Iterable[str], seed: int, purpose: str) -> tuple[str, ...]:
    ordered = sorted(names)
    clip_rng(seed, "", purpose).shuffle(ordered)
    return tuple(ordered)


def folder_labels(clip_ids: Iterable[str]) -> dict[str, str]:
    """Return the first sub-folder of every clip id that has one, as its class."""
    return {clip_id: clip_id.split("/")[0] for clip_id in clip_ids if "/" in clip_id}


def read_labels(path: str | Path) -> dict[str, str]:
    """Return the classes in a CSV file with the columns ``clip_id`` and ``label``; others are ignored.

    Raises
    ------
    UsageError
        The file is missing, cannot be read, or lacks these columns.
    """
    try:
        rows = read_records(path, what="labels", once=("clip_id", "label"), assumed=".csv")
    except DataError as error:
        raise UsageError(error.what, where=path, fix=error.fix) from error
    if not rows:
        return {}
    clip_id, label = (column(rows[0], (name,)) for name in ("clip_id", "label"))
    if clip_id is None or label is None:
        raise UsageError("has no columns clip_id and label", where=path, fix="Name them in its first line")
    labelled = [(row.get(clip_id), row[label]) for row in rows if row.get(label)]
    if not all(clip for clip, _ in labelled):
        raise UsageError("has a label without a clip_id", where=path)
    return {canonical_id(str(clip)): str(label) for clip, label in labelled}
