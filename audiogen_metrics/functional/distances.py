"""Pairwise distances in blocks, so that memory does not grow with the square of the set."""

from __future__ import annotations

from collections.abc import Iterator

import torch

BLOCK, NUMBERS = 1024, 2**23
"""Largest number of rows whose distances to all others are held at a time, and of numbers in such a block (64 MB)."""

ROUNDING = 1e-13
"""Squared distances nearer to one another than this share of the rows' squared lengths are equal: the matrix product
cannot tell them apart."""


def rows_at_once(others: int) -> int:
    """Return how many rows are compared at a time with this number of others."""
    return max(1, min(BLOCK, NUMBERS // max(1, others)))


def squared_distance_blocks(rows: torch.Tensor, others: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first row of a block, and its squared Euclidean distances to all ``others``, ``(block, n)`` ≥ 0.

    Copies have distance 0 exactly. Lengths are taken from the median of ``others``, which one far row cannot move, so
    that a common offset costs no digits.
    """
    centre = others.median(0).values
    others = others - centre
    lengths = others.square().sum(1)
    size = rows_at_once(len(others))
    for start in range(0, len(rows), size):
        block = rows[start : start + size] - centre
        sums = block.square().sum(1)[:, None] + lengths
        squares = sums - 2 * block @ others.T
        yield start, squares.masked_fill_(squares <= ROUNDING * sums, 0)


def neighbour_radii(rows: torch.Tensor, nearest: int) -> torch.Tensor:
    """Return each row's squared distance to its ``nearest``-th neighbour among the others, ``(n,)``.

    Widened by `ROUNDING`, so that a row at this very distance is within it whichever way it is computed.
    """
    radii = []
    for start, squares in squared_distance_blocks(rows, rows):
        own = torch.arange(len(squares), dtype=torch.int64, device=rows.device)
        squares[own, start + own] = torch.inf
        radii.append(squares.kthvalue(nearest, dim=1).values)
    found = torch.cat(radii)
    lengths = (rows - rows.median(0).values).norm(dim=1)
    # A row on the boundary is at most this far from the centre.
    slack: torch.Tensor = ROUNDING * (lengths.square() + (lengths + found.sqrt()).square())
    return found + slack
