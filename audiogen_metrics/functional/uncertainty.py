"""How sure a score is: intervals of its expected value, and its change when single clips are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.blocks import Read, place_blocks
from audiogen_metrics.functional.student import student_quantile
from audiogen_metrics.functional.validation import Array, float64_tensor

RESAMPLES = 999
"""Resamples of the studentised bootstrap at 95 %; at a higher level there are more."""

RESAMPLED_AT_ONCE = 10**6
"""Values of a bootstrap that are held at a time."""

OUTLIER = 0.001
"""Chance that Grubbs's test calls a clip an outlier where all are drawn from one normal distribution."""

FEWEST_GROUPS = 5
"""Smallest number of groups for a bootstrap."""


class Interval(NamedTuple):
    """A standard error with its degrees of freedom, and the interval, by default at 95 %."""

    standard_error: float
    low: float
    high: float
    freedom: float = math.inf


class Spread(NamedTuple):
    """The standard error that comes from one set, with its degrees of freedom."""

    standard_error: float
    freedom: float = math.inf


def interval(value: float, *parts: Spread, level: float = 0.95) -> Interval:
    """Return the interval of a score from the independent parts of its standard error, by Student's t.

    The degrees of freedom of the parts together are those of Welch and Satterthwaite.

    Examples
    --------
    >>> round(interval(10.0, Spread(1.0)).high, 6)
    11.959964
    >>> round(interval(10.0, Spread(3.0, 9), Spread(4.0, 9)).freedom, 2)
    16.69
    """
    error, freedom = joined(parts)
    half = student_quantile((1 + level) / 2, freedom) * error
    return Interval(error, value - half, value + half, freedom)


def joined(parts: Sequence[Spread]) -> Spread:
    """Return the standard error of independent parts together, with the degrees of freedom of Satterthwaite."""
    error = math.hypot(*(part.standard_error for part in parts))
    shares = sum(part.standard_error**4 / part.freedom for part in parts)
    return Spread(error, error**4 / shares if shares else math.inf)


def jackknife_error(without: torch.Tensor) -> float:
    """Return the standard error from a score without each of n clips, ``(n,)``: ``√((n−1)/n · Σ (θᵢ − θ̄)²)``."""
    n = len(without)
    return math.sqrt((n - 1) / n * float((without - without.mean()).square().sum()))


def inception_leave_one_out(logits: Array, parts: Sequence[npt.NDArray[np.int64]]) -> torch.Tensor:
    """Return the inception score without each clip, in closed form, ``(clips,)``.

    Parameters
    ----------
    logits
        ``(n, classes)``.
    parts
        Rows of each split, as `inception_score` makes them; each of at least two.

    Raises
    ------
    InsufficientDataError
        A split has a single clip, without which it is empty.
    """
    rows = float64_tensor(logits, "logits", ndim=2)
    return inception_without_each(lambda places: rows[torch.from_numpy(places).to(rows.device)], parts)


def inception_without_each(read: Read, parts: Sequence[npt.NDArray[np.int64]]) -> torch.Tensor:
    """Return what `inception_leave_one_out` does, for logits that are read a part at a time.

    Parameters
    ----------
    read
        Function that returns the logits at some places, ``(places, classes)``.
    parts
        Rows of each split; together they are all places.
    """
    if any(len(part) < 2 for part in parts):
        raise InsufficientDataError("a split has one clip", fix="Score at least twice as many clips as splits")
    width = read(parts[0][:1]).shape[1]
    scores, changes = [], []
    for part in parts:
        own, total = [], torch.zeros(width, dtype=torch.float64, device="cpu")
        for places in place_blocks(part, width):
            rows = float64_tensor(read(places), "logits", ndim=2)
            own.append((rows.softmax(1) * rows.log_softmax(1)).sum(1))
            total = total.to(rows.device) + rows.softmax(1).sum(0)
        sharp, n = torch.cat(own), len(part)
        marginal = total / n
        scores.append(float((sharp.mean() - torch.xlogy(marginal, marginal).sum()).exp()))
        changed = []
        for places, sharpness in zip(place_blocks(part, width), own, strict=True):
            probabilities = float64_tensor(read(places), "logits", ndim=2).softmax(1)
            others = (total - probabilities).clamp(min=0) / (n - 1)
            kept = (sharp.sum() - sharpness) / (n - 1)
            changed.append((kept - torch.xlogy(others, others).sum(1)).exp())
        changes.append(torch.cat(changed))
    found = torch.empty(sum(map(len, parts)), dtype=torch.float64, device=changes[0].device)
    for part, score, changed_scores in zip(parts, scores, changes, strict=True):
        places_of_part = torch.from_numpy(part).to(found.device)
        found[places_of_part] = (math.fsum(scores) - score + changed_scores) / len(parts)
    return found


def mean_interval(totals: Array, counts: Array | None = None, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the interval of a mean by the studentised bootstrap, which follows a skewed distribution.

    Parameters
    ----------
    totals
        ``(groups,)``: the sum of each group of values that belong together, such as the samples of a prompt.
    counts
        ``(groups,)``: how many values each sum has; None for one each.
    seed
        Seed of the resamples.
    level
        Share of intervals that should hold the mean. A higher level draws more resamples, so that as many of them lie
        beyond each end.

    Raises
    ------
    InsufficientDataError
        Fewer than five groups.

    Examples
    --------
    >>> values = torch.arange(40.0).square()
    >>> found = mean_interval(values)
    >>> found.high - float(values.mean()) > float(values.mean()) - found.low  # the long tail is above
    True
    """
    sums = float64_tensor(totals, "totals", ndim=1).cpu().numpy()
    sizes = np.ones(len(sums)) if counts is None else float64_tensor(counts, "counts", ndim=1).cpu().numpy()
    if len(sums) < FEWEST_GROUPS:
        raise InsufficientDataError(f"{len(sums)} values are too few for an interval", fix="Score more clips")
    rng = np.random.default_rng(seed)
    value, error = _ratio(sums[None], sizes[None])
    if not error[0] > 0:
        return Interval(0.0, float(value[0]), float(value[0]))
    found, resamples = [], round((RESAMPLES + 1) * 0.05 / (1 - level)) - 1
    for block in np.array_split(np.arange(resamples), math.ceil(resamples * len(sums) / RESAMPLED_AT_ONCE)):
        draws = rng.integers(0, len(sums), (len(block), len(sums)))
        found.append(_ratio(sums[draws], sizes[draws]))
    values, errors = (np.concatenate(part) for part in zip(*found, strict=True))
    usable = errors > 1e-12 * error[0]
    low, high = np.quantile((values[usable] - value[0]) / errors[usable], ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(error[0]), float(value[0] - high * error[0]), float(value[0] - low * error[0]), len(sums) - 1)


def _ratio(sums: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the mean of values in groups, ``(resamples,)``, and its standard error."""
    groups = sums.shape[1]
    means = sums.sum(1) / sizes.sum(1)
    residuals = (sums - means[:, None] * sizes) / sizes.mean(1)[:, None]
    return means, np.sqrt((residuals**2).sum(1) / (groups * (groups - 1)))


def jackknife(without: torch.Tensor) -> Spread:
    """Return the part of a standard error that the clips of one set make, from a score without each, ``(n,)``."""
    return Spread(jackknife_error(without), len(without) - 1)


def outlier(without: torch.Tensor) -> tuple[int, float] | None:
    """Return the clip that makes the jackknife doubtful and its share of the variance, or None.

    The clip makes more than a fifth of the sum of squares, and Grubbs's test calls it an outlier. If such clips are
    rare, another sample may have two of them or not a single one; resampling this sample cannot show that.

    Parameters
    ----------
    without
        ``(n,)``: the score without each clip.
    """
    n = len(without)
    if n < 3:
        return None
    squares = (without - without.mean()).square()
    place = int(squares.argmax())
    total = float(squares.sum())
    if not total > 0:
        return None
    share = float(squares[place]) / total
    tail = student_quantile(1 - OUTLIER / (2 * n), n - 2) ** 2
    grubbs = (n - 1) / math.sqrt(n) * math.sqrt(tail / (n - 2 + tail))
    return (place, share) if share > 0.2 and math.sqrt(share * (n - 1)) > grubbs else None
