"""Rank and linear correlation, with their uncertainty as far as it is known to hold (docs/agreement.md)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.student import student_quantile

Coefficient = Literal["spearman", "kendall", "pearson"]
COEFFICIENTS: tuple[Coefficient, ...] = get_args(Coefficient)

Numbers = npt.NDArray[np.float64]
Estimate = Callable[[npt.NDArray[np.bool_]], float]
"""A function that returns the correlation of the rows where the mask is true."""

FEW = 20
"""Below this many units, tests permute them; from it on, they leave units out."""

FEWEST = 5
"""Smallest number of units for an interval or a p."""

GROUPS = 200
"""Largest number of groups of units that are left out, one after the other."""

SKEWED = 2.0
"""Skewness of a column beyond which the uncertainty of Pearson's coefficient is not known."""

_DRAWS = 1999
_MATRIX = 200  # up to which a matrix of all pairs is faster than sorting
_EXACT = 7  # 7! = 5040
_EXACT_SWAPS = 12  # half of 2**12 = 2048; a swap of all leaves the statistic


def correlation(kind: Coefficient, x: Numbers, y: Numbers) -> float:
    """Return Spearman's, Kendall's (tau-b) or Pearson's coefficient, in [−1, 1].

    Parameters
    ----------
    kind
        Coefficient.
    x, y
        ``(n,)``, finite.

    Raises
    ------
    InsufficientDataError
        Fewer than three rows, or a column without differences.

    Examples
    --------
    >>> round(correlation("spearman", np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])), 3)
    0.8
    """
    if len(x) < 3:
        raise InsufficientDataError(f"n = {len(x)}, and a correlation needs at least 3")
    for name, column in (("the metric", x), ("the rating", y)):
        if np.ptp(column) <= 1e-12 * max(1e-300, float(np.abs(column).max())):
            raise InsufficientDataError(f"{name} has the same value everywhere")
    if kind == "pearson":
        found = _linear(x, y)
    elif len(x) <= _MATRIX:
        found = float(many(kind, x, y))
    else:
        found = _linear(stats.rankdata(x), stats.rankdata(y)) if kind == "spearman" else _kendall(x, y)
    return max(-1.0, min(1.0, found))


def _linear(x: Numbers, y: Numbers) -> float:
    # Scaled, so that neither 1e-200 nor 1e200 leaves the range of a product.
    x, y = (column / np.abs(column).max() for column in (x - x.mean(), y - y.mean()))
    return float(x @ y / math.sqrt(float(x @ x) * float(y @ y)))


def _kendall(x: Numbers, y: Numbers) -> float:
    return float(stats.kendalltau(x, y).statistic)


def many(kind: Coefficient, x: Numbers, y: Numbers) -> Numbers:
    """Return the coefficient along the last axis of two stacks of few rows; 0 where a column has no differences."""
    if kind != "pearson":
        x, y = (np.sign(column[..., :, None] - column[..., None, :]) for column in (x, y))
    if kind == "spearman":
        x, y = x.sum(-1), y.sum(-1)  # centred ranks, twice
    axes = (-2, -1) if kind == "kendall" else (-1,)
    if kind == "pearson":
        x, y = (column - column.mean(-1, keepdims=True) for column in (x, y))
    x, y = np.broadcast_arrays(x, y)
    scale = np.sqrt((x * x).sum(axes) * (y * y).sum(axes))
    found: Numbers = np.divide((x * y).sum(axes), scale, out=np.zeros(scale.shape), where=scale > 0)
    return found


def fisher(found: npt.ArrayLike) -> Numbers:
    """Return Fisher's z; for ±1, a large finite number."""
    return np.arctanh(np.clip(np.asarray(found, dtype=np.float64), -1 + 1e-12, 1 - 1e-12))


def groups_of(units: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the group of each unit: itself, or one of `GROUPS` of nearly equal size where there are more."""
    if units <= GROUPS:
        return np.arange(units)
    return np.random.default_rng(seed).permutation(np.arange(units) % GROUPS)


def left_out(estimate: Estimate, group: npt.NDArray[np.int64]) -> Numbers:
    """Return the estimate without the rows of each group, ``(groups,)``; ``group`` numbers them from 0.

    Raises
    ------
    InsufficientDataError
        Without a group, the estimate does not exist.
    """
    try:
        return np.array([estimate(group != one) for one in range(int(group.max()) + 1)])
    except InsufficientDataError as error:
        raise InsufficientDataError("without some of the units there is no correlation") from error


def standard_error(replicates: Numbers) -> float:
    """Return the jackknife's standard error from estimates that each lack one group."""
    return math.sqrt((len(replicates) - 1) * float(np.var(replicates)))


def interval(kind: Coefficient, value: float, replicates: Numbers, rows: int | None) -> tuple[float, float]:
    """Return the 95 % interval of a coefficient: leaving out units, on Fisher's scale, with Student's t.

    Parameters
    ----------
    kind, value
        The coefficient.
    replicates
        What `left_out` returns.
    rows
        Number of rows if these are independent, otherwise None. The interval is then at least as wide as by the formula
        for normal data (Fisher; Bonett and Wright 2000 for Spearman; Fieller et al. 1957 for Kendall), since leaving
        out units gives too narrow intervals with ties and few rows.

    Raises
    ------
    InsufficientDataError
        All rows are in the same order, so leaving one out changes nothing.
    """
    half = student_quantile(0.975, len(replicates) - 1) * standard_error(fisher(replicates))
    if abs(value) > 1 - 1e-9:
        raise InsufficientDataError("a perfect correlation has no spread, so it has no interval")
    if rows is not None:
        variance = {"pearson": 1 / (rows - 3), "spearman": (1 + value**2 / 2) / (rows - 3)}
        variance["kendall"] = 0.437 / (rows - 4)
        half = max(half, 1.96 * math.sqrt(variance[kind]))
    centre = float(fisher(value))
    return math.tanh(centre - half), math.tanh(centre + half)


def student_p(difference: float, error: float, groups: int) -> float:
    """Return the two-sided p of an estimate that should be 0, by its standard error over left-out groups."""
    if error <= 1e-12:
        return 1.0 if abs(difference) <= 1e-12 else 0.0
    return float(2 * stats.t.sf(abs(difference) / error, groups - 1))


def association_p(kind: Coefficient, x: Numbers, y: Numbers, seed: int) -> float:
    """Return the chance of a coefficient as far from 0 if ratings were dealt out at random, two-sided.

    It takes all orders up to seven rows, otherwise 1999 random ones. It is for few rows, or for a perfect correlation
    of any number of rows.
    """
    n = len(x)
    if n > FEW and kind != "pearson":  # perfect, so that ranks show as much as pairs do
        kind, x, y = "pearson", stats.rankdata(x), stats.rankdata(y)
    if n <= _EXACT:
        orders = np.array([*itertools.permutations(range(n))])
        dealt = np.abs(many(kind, x, y[orders]))
        return float((dealt >= abs(many(kind, x, y)) - 1e-9).mean())
    rng = np.random.default_rng(seed)
    dealt = np.abs(many(kind, x, rng.permuted(np.tile(y, (_DRAWS, 1)), axis=1)))
    return float((1 + (dealt >= abs(many(kind, x, y)) - 1e-9).sum()) / (_DRAWS + 1))


def swap_p(kind: Coefficient, a: Numbers, b: Numbers, y: Numbers, seed: int) -> float:
    """Return the chance of so large a difference between two coefficients if metrics were swapped in random rows.

    Both metrics are first brought to one scale: ranks, or standard deviations for Pearson. The difference is tested
    by itself and over its standard error, two-sided; the larger p counts. It is for few rows.
    """
    if kind == "pearson":
        a, b = ((column - column.mean()) / column.std() for column in (a, b))
    else:
        a, b = stats.rankdata(a), stats.rankdata(b)
    n = len(y)
    if n <= _EXACT_SWAPS:
        swapped = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) % 2 == 1  # the first one: as it is
    else:
        drawn = np.random.default_rng(seed).random((999, n)) < 0.5
        swapped = np.concatenate([np.zeros((1, n), dtype=bool), drawn])
    statistics = _differences(kind, np.where(swapped, b, a), np.where(swapped, a, b), y)
    return max(float((found >= found[0] - 1e-9).mean()) for found in statistics)


def _differences(kind: Coefficient, a: Numbers, b: Numbers, y: Numbers) -> Sequence[Numbers]:
    """Return the difference of two coefficients, by itself and studentised, for each row of two stacks."""
    n = len(y)
    plain = np.abs(many(kind, a, y) - many(kind, b, y))
    others = [np.delete(np.arange(n), each) for each in range(n)]
    kept = np.stack([fisher(many(kind, a[:, o], y[o])) - fisher(many(kind, b[:, o], y[o])) for o in others], axis=1)
    error = np.sqrt((n - 1) * kept.var(axis=1))
    scaled = np.abs(fisher(many(kind, a, y)) - fisher(many(kind, b, y)))
    return plain, np.divide(scaled, error, out=np.zeros(len(error)), where=error > 1e-9)


def is_skewed(*columns: Numbers) -> bool:
    """Tell whether a column has a tail so long that Pearson's coefficient has no known uncertainty."""
    return any(abs(float(stats.skew(column / np.abs(column).max()))) > SKEWED for column in columns)


def holm(found: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's rule.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(found), 0.0
    for rank, place in enumerate(sorted(range(len(found)), key=found.__getitem__)):
        largest = max(largest, min(1.0, (len(found) - rank) * found[place]))
        corrected[place] = largest
    return corrected
