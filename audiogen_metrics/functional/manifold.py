"""Fidelity and variety as separate numbers: precision, recall, density and coverage of neighbourhoods."""

from __future__ import annotations

from typing import NamedTuple

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.distances import neighbour_radii, squared_distance_blocks
from audiogen_metrics.functional.validation import Array, float64_tensor


class Manifold(NamedTuple):
    """Precision, recall and coverage in [0, 1], density in [0, ∞); higher is better."""

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(gen: Array, ref: Array, *, nearest: int = 5) -> Manifold:
    """Return how much of each set lies in the neighbourhoods of the other.

    A row's neighbourhood is the ball that reaches to its ``nearest``-th neighbour in its own set. A row exactly as far
    away as that neighbour is in the ball (≤, as in the papers and in torch-fidelity; prdc takes <), and distances that
    differ by rounding only count as equal. *Precision* is the share of gen within any neighbourhood of ref: does it
    sound like the reference? *Recall* is the share of ref within any neighbourhood of gen: is all of the reference
    made? *Density* is the mean number of neighbourhoods of ref that a generated row lies in, over ``nearest``.
    *Coverage* is the share of ref's neighbourhoods that have a generated row in them. A generator that makes one good
    clip again and again has a high precision and a low recall and coverage.

    Parameters
    ----------
    gen, ref
        ``(n, d)`` and ``(m, d)``, more than ``nearest`` rows each.
    nearest
        Number of the neighbour; 5 as in prdc. The first papers took 3.

    Raises
    ------
    DataError
        Shapes that do not fit.
    InsufficientDataError
        A set has ``nearest`` rows or fewer.

    References
    ----------
    T. Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019;
    M. F. Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020.

    Examples
    --------
    >>> import torch
    >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> manifold(rows, rows)
    Manifold(precision=1.0, recall=1.0, density=1.2, coverage=1.0)
    >>> manifold(rows[:1].repeat(60, 1), rows).recall
    0.016666666666666666
    """
    ours, theirs = float64_tensor(gen, "gen", ndim=2), float64_tensor(ref, "ref", ndim=2)
    theirs = theirs.to(ours.device)
    if ours.shape[1] != theirs.shape[1]:
        raise DataError(
            f"embeddings of dimension {ours.shape[1]} and {theirs.shape[1]} cannot be compared",
            fix="Both must come from one backbone",
        )
    if nearest < 1:
        raise DataError(f"nearest is {nearest}", fix="Pass 1 or more")
    for name, rows in (("gen", ours), ("ref", theirs)):
        if len(rows) <= nearest:
            raise InsufficientDataError(
                f"{name} has {len(rows)} rows, which have no {nearest}th neighbour", fix="Score more clips"
            )
    gen_radii, ref_radii = neighbour_radii(ours, nearest), neighbour_radii(theirs, nearest)
    precise = recalled = dense = covered = 0
    for _, squares in squared_distance_blocks(ours, theirs):
        within_ref = squares <= ref_radii
        precise += int(within_ref.any(1).sum())
        dense += int(within_ref.sum())
    for start, squares in squared_distance_blocks(theirs, ours):
        recalled += int((squares <= gen_radii).any(1).sum())
        covered += int((squares.min(1).values <= ref_radii[start : start + len(squares)]).sum())
    n, m = len(ours), len(theirs)
    return Manifold(precise / n, recalled / m, dense / (nearest * n), covered / m)
