"""Sets of embedded clips: their ids in order, and the rows of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from audiogen_metrics.backbones.base import Output
from audiogen_metrics.embedding.cache import ClipFeatures
from audiogen_metrics.embedding.rows import Rows
from audiogen_metrics.errors import InsufficientDataError, with_names
from audiogen_metrics.functional.blocks import Block, Places
from audiogen_metrics.functional.statistics import GaussianStatistics

__all__ = ["ClipFailure", "EmbeddingSet"]


@dataclass(frozen=True)
class ClipFailure:
    """A clip that is not scored, why, and what would mend it, in which IN stands for the file."""

    clip_id: str
    path: Path
    reason: str
    fix: str = ""

    @property
    def remedy(self) -> str:
        """What would mend it, with this file in its commands."""
        return with_names(self.fix, self.path)


class EmbeddingSet:
    """Features of a set of clips by one backbone, in the order of their clip ids.

    Parameters
    ----------
    features
        Those of each clip, by its id; all clips have the same outputs.
    left_out
        Clips that the backbone cannot take.
    """

    def __init__(self, features: Mapping[str, ClipFeatures], left_out: tuple[ClipFailure, ...] = ()) -> None:
        rows = Rows()
        rows.add(features.values())
        self._hold(tuple(features), rows, np.arange(len(rows)), left_out)

    @classmethod
    def of_rows(
        cls, clip_ids: Iterable[str], rows: Rows, places: Places, left_out: tuple[ClipFailure, ...] = ()
    ) -> EmbeddingSet:
        """Return the clips at some places of rows under these ids, without copying anything."""
        found = cls.__new__(cls)
        found._hold(tuple(clip_ids), rows, places, left_out)
        return found

    def _hold(self, clip_ids: tuple[str, ...], rows: Rows, places: Places, left_out: tuple[ClipFailure, ...]) -> None:
        self.clip_ids: tuple[str, ...] = clip_ids
        self.left_out: tuple[ClipFailure, ...] = left_out
        self._rows = rows
        self._places = places
        self._fitted: dict[Output, GaussianStatistics] = {}

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.clip_ids)

    def __repr__(self) -> str:
        return f"EmbeddingSet({len(self)} clips, {', '.join(self.outputs)})"

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Names of the outputs that each clip has."""
        return self._rows.outputs

    @property
    def features(self) -> Mapping[str, ClipFeatures]:
        """The features of each clip by its id, read when they are asked for."""
        return _Clips(self)

    def rows(self, output: Output) -> torch.Tensor:
        """Return all rows of an output: ``(clips, d)``, or ``(windows of all clips, d)``."""
        self._require_clips()
        return self._rows.whole(output) if self._is_all else self._rows.take(output, self._places)

    def blocks(self, output: Output, clips: Places | None = None) -> Iterator[Block]:
        """Yield the rows of an output, some clips at a time, and how many rows each of them has.

        Of the clips at some places only, in this order, where ``clips`` says which.
        """
        self._require_clips()
        return self._rows.blocks(output, self._places if clips is None else self._places[clips])

    def statistics(self, output: Output) -> GaussianStatistics:
        """Return mean and covariance of all rows of an output, fitted once."""
        if output not in self._fitted:
            blocks = (rows for rows, _ in self.blocks(output))
            self._fitted[output] = GaussianStatistics.from_blocks(blocks)
        return self._fitted[output]

    def counts(self, output: Output) -> list[int]:
        """Return how many rows of an output each clip has."""
        return self._rows.counts(output, self._places)

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        """Return the logits of these clips, in this order; of all clips by default."""
        return (self if clip_ids is None else self.select(clip_ids)).rows("logits")

    def select(self, clip_ids: Iterable[str]) -> EmbeddingSet:
        """Return the set with these clips only, in this order; nothing is copied."""
        wanted = tuple(clip_ids)
        return self.of_rows(wanted, self._rows, self._at(wanted), self.left_out)

    def renamed(self, sources: Mapping[str, str]) -> EmbeddingSet:
        """Return a set in which each id has the clip of another id, which several ids may share; nothing is copied."""
        return self.of_rows(sources, self._rows, self._at(sources.values()), self.left_out)

    def mixed(self, other: EmbeddingSet, clip_ids: Iterable[str]) -> EmbeddingSet:
        """Return this set with these clips as they are in another set."""
        chosen, mine, theirs = {*clip_ids}, self.features, other.features
        rows, ids = Rows(), dict.fromkeys([*self.clip_ids, *sorted(chosen)])
        rows.add(theirs[clip_id] if clip_id in chosen else mine[clip_id] for clip_id in ids)
        return self.of_rows(ids, rows, np.arange(len(rows)))

    def clip(self, clip_id: str) -> ClipFeatures:
        """Return the features of one clip."""
        return self._rows.clip(self._place[clip_id])

    @cached_property
    def _is_all(self) -> bool:
        """Whether this is all that there is, in its order."""
        every = len(self._places) == len(self._rows)
        return every and bool((self._places == np.arange(len(self._places))).all())

    @cached_property
    def _place(self) -> dict[str, int]:
        return dict(zip(self.clip_ids, self._places.tolist(), strict=True))

    def _at(self, clip_ids: Iterable[str]) -> Places:
        return np.fromiter((self._place[clip_id] for clip_id in clip_ids), dtype=np.int64)

    def _require_clips(self) -> None:
        if not self.clip_ids:
            reason = f": {self.left_out[0].reason}" if self.left_out else ""
            raise InsufficientDataError(f"no clip is left{reason}", fix="Score longer clips")


@dataclass(frozen=True)
class _Clips(Mapping[str, ClipFeatures]):
    """The clips of a set, by id."""

    of: EmbeddingSet

    def __getitem__(self, clip_id: str) -> ClipFeatures:
        return self.of.clip(clip_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.of.clip_ids)

    def __len__(self) -> int:
        return len(self.of)
