"""The clips of several sets in one pool, to be dealt out anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.blocks import Block, clip_blocks
from audiogen_metrics.functional.statistics import GaussianStatistics

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.metrics.definition import FeatureSource


class RowPool:
    """Rows of the clips of several sets, one set after the other.

    Parameters
    ----------
    output
        Which rows.
    sets
        The sets; InsufficientDataError if the rows of one are not known.
    """

    def __init__(self, output: Output, *sets: FeatureSource) -> None:
        self.output = output
        counts = [each.counts(output) for each in sets]
        rows = [each.rows(output) for each in sets]
        self.sizes: list[int] = [len(each) for each in counts]
        self.counts: list[int] = [count for each in counts for count in each]
        self.rows: torch.Tensor = torch.cat([each.to(rows[0].device, torch.float64) for each in rows])

    @cached_property
    def blocks(self) -> tuple[torch.Tensor, ...]:
        """The rows of each clip."""
        blocks: tuple[torch.Tensor, ...] = self.rows.split(self.counts)
        return blocks

    def places(self, number: int) -> Places:
        """Return where the clips of a set are."""
        start = sum(self.sizes[:number])
        return np.arange(start, start + self.sizes[number])

    def part(self, clips: Places) -> PoolPart:
        """Return some clips as a set of their own."""
        return PoolPart(self, clips)


@dataclass(frozen=True, eq=False)
class PoolPart:
    """Some clips of a pool as a set."""

    pool: RowPool
    clips: Places

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids that keep the order."""
        return tuple(f"{place:09d}" for place in self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def rows(self, output: Output) -> torch.Tensor:
        """Return the rows."""
        if output != self.pool.output:
            raise InsufficientDataError(f"there are no {output} in this pool", fix=f"Use its {self.pool.output}")
        return torch.cat([self.pool.blocks[place] for place in self.clips])

    def blocks(self, output: Output, clips: Places | None = None) -> Iterator[Block]:
        """Yield the rows of all or some of the clips, some at a time, and how many rows each of these has."""
        return clip_blocks(self.rows(output), self.counts(output), clips)

    def statistics(self, output: Output) -> GaussianStatistics:
        """Return mean and covariance of the rows."""
        return GaussianStatistics.from_embeddings(self.rows(output))

    def counts(self, output: Output) -> list[int]:
        """Return how many rows each clip has."""
        return [self.pool.counts[place] for place in self.clips]

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        """Return the logits of these clips, or of all."""
        rows = self.rows("logits")
        if clip_ids is None:
            return rows
        place = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        return rows[[place[clip_id] for clip_id in clip_ids]]
