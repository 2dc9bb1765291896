"""Rows of clips read a part at a time, so that memory follows the part and not the set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

NUMBERS = 2**20
"""Numbers that a second pass over rows looks at together (8 MB in float64)."""

Places: TypeAlias = npt.NDArray[np.int64]
"""Which clips of a set are meant, or which rows, by their places."""

Block: TypeAlias = tuple[torch.Tensor, list[int]]
"""Rows of some clips, and how many rows each of these clips has."""

Read: TypeAlias = Callable[[Places], torch.Tensor]
"""Gives the rows at some places."""


def clip_blocks(
    rows: torch.Tensor, counts: Sequence[int], clips: Places | None = None, *, numbers: int = NUMBERS
) -> Iterator[Block]:
    """Yield the rows of a few clips at a time, with the number of rows of each.

    Parameters
    ----------
    rows
        ``(n, d)``, those of one clip together.
    counts
        Rows of each clip.
    clips
        The places of those that are meant, in their order; None for all.
    numbers
        Numbers of a block, at most; more where one clip alone has more.

    Examples
    --------
    >>> [(len(block), counts) for block, counts in clip_blocks(torch.zeros(6, 2), [1, 2, 3], numbers=6)]
    [(3, [1, 2]), (3, [3])]
    """
    sizes = np.asarray(counts, dtype=np.int64)
    starts = sizes.cumsum() - sizes
    chosen = np.arange(len(sizes)) if clips is None else clips
    for part in clip_parts(sizes[chosen], numbers // max(1, rows.shape[1])):
        places = chosen[part]
        if clips is None:
            yield rows[int(starts[places[0]]) : int(starts[places[-1]] + sizes[places[-1]])], sizes[places].tolist()
        else:
            index = torch.from_numpy(runs(starts[places], sizes[places])).to(rows.device)
            yield rows[index], sizes[places].tolist()


def clip_parts(counts: Places, most: int) -> Iterator[slice]:
    """Yield which clips go together: some that have ``most`` rows at most, or one with more."""
    ends, start, before = counts.cumsum(), 0, 0
    while start < len(counts):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])


def runs(starts: Places, counts: Places) -> Places:
    """Return so many numbers from each start on, one run after the other.

    Examples
    --------
    >>> runs(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    offsets = np.repeat(starts - (counts.cumsum() - counts), counts)
    return (offsets + np.arange(int(counts.sum()))).astype(np.int64, copy=False)


def place_blocks(places: Places, width: int) -> Iterator[Places]:
    """Yield places a few at a time, for rows of so many numbers."""
    size = max(1, NUMBERS // max(1, width))
    for start in range(0, len(places), size):
        yield places[start : start + size]
