"""What a metric costs that compares every row with every other one, said before it begins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from audiogen_metrics.errors import InsufficientDataError

if TYPE_CHECKING:
    from audiogen_metrics.metrics.measuring.measured import Measured

LONG_SECONDS = 60.0
"""From how long on it is said."""

FEWEST_OPERATIONS = 1e11
"""Operations below which the machine is not asked for its speed: they take seconds anywhere."""


def cost(measured: Measured, *, ci: bool) -> str:
    """Return what to say before a metric is computed on two sets: nothing where it takes less than a minute."""
    metric = measured.metric
    if not metric.comparisons(1, 1, ci=ci):
        return ""
    try:
        rows = [
            measured.gen.rows(metric.output),
            *([measured.ref.rows(metric.output)] if "ref" in metric.sides else []),
        ]
    except InsufficientDataError:
        return ""
    n, m, dimension = len(rows[0]), len(rows[-1]), rows[0].shape[-1]
    pairs = metric.comparisons(n, m, ci=ci)
    operations = 2.0 * pairs * dimension
    if operations < FEWEST_OPERATIONS:
        return ""
    seconds = operations / rate()
    if seconds < LONG_SECONDS:
        return ""
    minutes = seconds / 60
    took = f"{minutes / 60:.2g} hours" if minutes >= 120 else f"{minutes:.2g} minutes"
    return f"{metric.name} compares rows with all others, {pairs:.1e} pairs of {dimension} numbers: about {took}"


def rate() -> float:
    """Return the float64 operations a second of a product of matrices on this machine's CPU."""
    import torch

    matrix = torch.ones(768, 768, dtype=torch.float64, device="cpu")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - start)
    return float(2 * 768**3 / min(seconds))
