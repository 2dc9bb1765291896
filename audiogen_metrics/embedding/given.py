"""Features that are given ready, from statistics files, other tools or the caller, in place of a set of clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from audiogen_metrics.backbones.base import Output
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.blocks import Block, Places, clip_blocks
from audiogen_metrics.functional.statistics import GaussianStatistics


@dataclass(frozen=True, eq=False)
class GivenFeatures:
    """Features that are given ready, not computed from audio here.

    Parameters
    ----------
    clip_ids
        Ids of the clips, in the order of the logits.
    gaussian
        Mean and covariance of the rows that a Fréchet distance is computed on; None if they are not known.
    class_logits
        ``(n, classes)``; None if they are not known.
    size
        Number of clips where it is not the number of ids.
    embeddings
        The rows that ``gaussian`` was made of; None if they are not known.
    named
        Whether the ids are the clips' own; else they say in which order the clips came.
    row_counts
        How many of the rows each clip has; None if that is not known.
    counted
        Whether the number of clips is known; others' statistics do not say it.
    lacking
        Why nothing is known for a metric, where there is a better reason than that it was not built.
    """

    clip_ids: tuple[str, ...]
    gaussian: GaussianStatistics | None = None
    class_logits: torch.Tensor | None = None
    size: int | None = None
    embeddings: torch.Tensor | None = None
    named: bool = True
    row_counts: tuple[int, ...] | None = None
    counted: bool = True
    lacking: str = ""

    def __len__(self) -> int:
        """Return the number of clips; InsufficientDataError if it is not known."""
        if not self.counted:
            raise InsufficientDataError("how many clips are behind the reference is not known")
        return len(self.clip_ids) if self.size is None else self.size

    def statistics(self, output: Output) -> GaussianStatistics:
        """Return mean and covariance; InsufficientDataError if they are not known."""
        if self.gaussian is None:
            raise self._missing(f"there are no statistics of {output}", "Build them for this metric too")
        return self.gaussian

    def rows(self, output: Output) -> torch.Tensor:
        """Return the rows of an output; InsufficientDataError if only their statistics are known."""
        if output == "logits":
            return self.logits()
        if self.embeddings is None:
            raise self._missing(
                f"only statistics of the {output} are known, not the rows themselves",
                "Pass the folder of the reference; a metric object must not stream",
            )
        return self.embeddings

    def blocks(self, output: Output, clips: Places | None = None) -> Iterator[Block]:
        """Yield the rows of all or some of the clips, some at a time, and how many rows each of these has.

        Raises InsufficientDataError if it is unknown which rows are of which clip.
        """
        return clip_blocks(self.rows(output), self.counts(output), clips)

    def counts(self, output: Output) -> list[int]:
        """Return how many rows of an output each clip has; InsufficientDataError if that is not known."""
        rows = self.rows(output)
        if output != "windows":
            return [1] * len(rows)
        if self.row_counts is None:
            raise InsufficientDataError("which window is of which clip is not known", fix="Pass folders")
        return [*self.row_counts]

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        """Return the logits of these clips; InsufficientDataError if they are not known."""
        if self.class_logits is None:
            raise self._missing("there are no logits", "Build the statistics for this metric too")
        if clip_ids is None:
            return self.class_logits
        return self.class_logits[[self._place[clip_id] for clip_id in clip_ids]]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.clip_ids)}

    def _missing(self, what: str, fix: str) -> InsufficientDataError:
        return InsufficientDataError(self.lacking) if self.lacking else InsufficientDataError(what, fix=fix)
