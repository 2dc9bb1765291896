"""Pairwise distances in blocks: memory follows the block, not the square of the set."""

from __future__ import annotations

from collections.abc import Iterator

import torch

BLOCK = 1024
"""Rows whose distances to all others are held at a time."""


def squared_distance_blocks(rows: torch.Tensor, others: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield the first row of a block, and its squared Euclidean distances to all ``others``, ``(block, n)`` ≥ 0."""
    lengths = others.square().sum(1)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        squares = block.square().sum(1)[:, None] + lengths - 2 * block @ others.T
        yield start, squares.clamp_(min=0)


def neighbour_radii(rows: torch.Tensor, nearest: int) -> torch.Tensor:
    """Return each row's squared distance to its ``nearest``-th neighbour among the others, ``(n,)``."""
    radii = []
    for start, squares in squared_distance_blocks(rows, rows):
        own = torch.arange(len(squares), dtype=torch.int64, device=rows.device)
        squares[own, start + own] = torch.inf
        radii.append(squares.kthvalue(nearest, dim=1).values)
    return torch.cat(radii)
