"""Rows of clips, read a part at a time, so that memory depends on the part and not on the set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

NUMBERS = 2**20
"""Numbers that a second pass over rows looks at together (8 MB in float64)."""

Places: TypeAlias = npt.NDArray[np.int64]
"""Places of clips in a set, or of rows."""

Block: TypeAlias = tuple[torch.Tensor, list[int]]
"""Rows of some clips, and how many rows each of these clips has."""

Read: TypeAlias = Callable[[Places], torch.Tensor]
"""A function that returns the rows at some places."""


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
        Places of the clips to read, in this order; None for all.
    numbers
        Largest number of numbers in a block; a single clip may have more.

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
    """Yield which clips go together: several with at most ``most`` rows, or a single one with more."""
    ends, start, before = counts.cumsum(), 0, 0
    while start < len(counts):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start, before = stop, int(ends[stop - 1])


def runs(starts: Places, counts: Places) -> Places:
    """Return runs of whole numbers, one after the other: ``counts`` numbers from each of ``starts`` on.

    Examples
    --------
    >>> runs(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    offsets = np.repeat(starts - (counts.cumsum() - counts), counts)
    return (offsets + np.arange(int(counts.sum()))).astype(np.int64, copy=False)


def place_blocks(places: Places, width: int) -> Iterator[Places]:
    """Yield a few places at a time, for rows of ``width`` numbers."""
    size = max(1, NUMBERS // max(1, width))
    for start in range(0, len(places), size):
        yield places[start : start + size]
