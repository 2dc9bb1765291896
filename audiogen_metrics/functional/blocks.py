"""Rows of clips read a part at a time, so that memory follows the part and not the set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

NUMBERS = 2**20
"""Numbers that a second pass over rows looks at together (8 MB in float64)."""

Block: TypeAlias = tuple[torch.Tensor, list[int]]
"""Rows of some clips, and how many rows each of these clips has."""

Read: TypeAlias = Callable[[npt.NDArray[np.int64]], torch.Tensor]
"""Gives the rows at some places."""


def clip_blocks(rows: torch.Tensor, counts: Sequence[int], numbers: int = NUMBERS) -> Iterator[Block]:
    """Yield the rows of a few clips at a time, with the number of rows of each.

    Parameters
    ----------
    rows
        ``(n, d)``, those of one clip together.
    counts
        Rows of each clip.
    numbers
        Numbers of a block, at most; more where one clip alone has more.

    Examples
    --------
    >>> [(len(block), counts) for block, counts in clip_blocks(torch.zeros(6, 2), [1, 2, 3], numbers=6)]
    [(3, [1, 2]), (3, [3])]
    """
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    most, start, before = numbers // max(1, rows.shape[1]), 0, 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield rows[before : int(ends[stop - 1])], list(counts[start:stop])
        start, before = stop, int(ends[stop - 1])


def place_blocks(places: npt.NDArray[np.int64], width: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield places a few at a time, for rows of so many numbers."""
    size = max(1, NUMBERS // max(1, width))
    for start in range(0, len(places), size):
        yield places[start : start + size]
