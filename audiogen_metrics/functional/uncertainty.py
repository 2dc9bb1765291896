"""How sure a score is: the jackknife over clips, exact without computing the score once per clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array, float64_tensor

Z95 = 1.959963984540054
"""Half width of a 95 % interval of a normal distribution, in standard errors."""

_STEP = 0.25
_REACH = 24.0
"""Nodes of the integral over ln t, and how far they reach beyond the singular values. The trapezoidal rule converges
exponentially here: at this step its error is below float64's."""


class Interval(NamedTuple):
    """A standard error and the interval of ±1.96 of them around the value."""

    standard_error: float
    low: float
    high: float


def interval(value: float, standard_error: float) -> Interval:
    """Return the 95 % interval of a score.

    Examples
    --------
    >>> interval(10.0, 1.0).high
    11.959963984540053
    """
    return Interval(standard_error, value - Z95 * standard_error, value + Z95 * standard_error)


def frechet_leave_one_out(
    gen: Array, ref: Array | GaussianStatistics, counts: Sequence[int] | None = None
) -> torch.Tensor:
    """Return the Fréchet distance without each clip of *gen* in turn, ``(clips,)``, exactly.

    Taking rows out of a covariance is a downdate of low rank, and the trace of a root has an integral form,
    ``√λ = (1/π) ∫₀^∞ ln(1 + λ/t²) dt``; so the change of the sum of singular values is an integral over the determinant
    of a matrix no larger than a clip's rows. One decomposition serves all clips.

    Parameters
    ----------
    gen, ref
        Rows ``(n, d)``, those of one clip together; and rows ``(m, d)`` or their statistics.
    counts
        Rows of each clip of gen; None for one each.

    Returns
    -------
    torch.Tensor
        The distances, float64. ``distance − result[i]`` is what clip i adds to the distance.

    Raises
    ------
    DataError
        Shapes or counts that do not fit.
    InsufficientDataError
        A clip without which fewer than two rows are left.

    Examples
    --------
    >>> from audiogen_metrics.functional import frechet_distance
    >>> rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)).double()
    >>> without = frechet_leave_one_out(rows[:20], rows[20:])
    >>> rest = GaussianStatistics.from_embeddings(rows[1:20])
    >>> direct = frechet_distance(rest, GaussianStatistics.from_embeddings(rows[20:])).value
    >>> abs(float(without[0]) - direct) < 1e-9
    True
    """
    rows = float64_tensor(gen, "gen", ndim=2)
    if isinstance(ref, GaussianStatistics):
        statistics = ref
    else:
        statistics = GaussianStatistics.from_embeddings(float64_tensor(ref, "ref", ndim=2).to(rows.device))
    counts = [1] * len(rows) if counts is None else list(counts)
    if sum(counts) != len(rows) or any(count < 0 for count in counts):
        raise DataError(f"counts add up to {sum(counts)} rows of {len(rows)}", fix="Count the rows of every clip")
    if rows.shape[1] != statistics.dimension:
        raise DataError(f"dimensions {rows.shape[1]} and {statistics.dimension} differ", fix="Use one backbone")
    if len(rows) - max(counts) < 2:
        raise InsufficientDataError("without its longest clip, a set has fewer than two rows", fix="Score more clips")
    mean = rows.mean(0)
    centred = rows - mean
    # Rows in the basis of the right singular vectors of F_gen F_refᵀ, where the inner matrix is diagonal.
    cross = centred @ statistics.factor.T / math.sqrt(len(rows) - 1)
    _, singular, basis = torch.linalg.svd(cross, full_matrices=False)
    projected = cross @ basis.T
    values = torch.empty(len(counts), dtype=torch.float64, device=rows.device)
    starts = torch.tensor([0, *counts], dtype=torch.int64, device=rows.device).cumsum(0)[:-1]
    for width in sorted(set(counts)):
        clips = [index for index, count in enumerate(counts) if count == width]
        places = starts[clips][:, None] + torch.arange(width, dtype=torch.int64, device=rows.device)
        values[clips] = _without(centred, projected, singular, places, mean - statistics.mean, statistics)
    return values


def _without(
    centred: torch.Tensor,
    projected: torch.Tensor,
    singular: torch.Tensor,
    places: torch.Tensor,
    shift: torch.Tensor,
    ref: GaussianStatistics,
) -> torch.Tensor:
    """Return the distances without each clip whose rows are at ``places``, ``(clips, width)``."""
    n, width = len(centred), places.shape[1]
    left = n - width
    # Centring again after rows have left adds a term of rank one to the downdate.
    weight = torch.eye(width, dtype=torch.float64, device=centred.device) + 1 / left
    taken = centred[places]
    gram = taken @ taken.mT
    scale = 1 / (left - 1)
    spread = (centred.square().sum() - (gram * weight).sum((1, 2))) * scale
    moved = shift - taken.sum(1) / left
    root = _root_changes(projected, singular, places, weight)
    root = math.sqrt((n - 1) * scale) * (singular.sum() + root)
    distance = moved.square().sum(1) + spread + ref.factor.square().sum() - 2 * root
    return distance.clamp(min=0)


def _root_changes(
    projected: torch.Tensor, singular: torch.Tensor, places: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Return the change of the sum of singular values without each clip: ``(1/π) ∫ ln det(1 − W K(t)) dt``."""
    known = singular > singular[0] * 1e-14 if len(singular) else singular > 0
    if not bool(known.any()):
        return torch.zeros(len(places), dtype=torch.float64, device=projected.device)
    rows, squares = projected[:, known], singular[known].square()
    low = math.log(float(singular[known].min())) - _REACH
    high = math.log(float(singular[0])) + _REACH
    nodes = torch.arange(low, high, _STEP, dtype=torch.float64, device=rows.device).exp()
    total = torch.zeros(len(places), dtype=torch.float64, device=rows.device)
    taken = rows[places]
    if places.shape[1] == 1:
        parts = taken[:, 0].square() * weight[0, 0]
        for block in nodes.split(32):
            inside = parts @ (1 / (block[:, None].square() + squares)).T
            total += (torch.log1p(-inside.clamp(max=1 - 1e-15)) * block).sum(1)
    else:
        unit = torch.eye(places.shape[1], dtype=torch.float64, device=rows.device)
        root = torch.linalg.cholesky(weight)
        for t in nodes:
            half = root.T @ (taken / (t.square() + squares).sqrt())
            total += torch.linalg.slogdet(unit - half @ half.mT).logabsdet * t
    # Beyond the last node the logarithm is its first term, whose integral is known.
    tail = ((taken @ taken.mT) * weight).sum((1, 2)) / nodes[-1]
    return (total * _STEP - tail) / math.pi


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
        A split of one clip: without it there is none.
    """
    rows = float64_tensor(logits, "logits", ndim=2)
    probabilities, logs = rows.softmax(1), rows.log_softmax(1)
    own = (probabilities * logs).sum(1)
    if any(len(part) < 2 for part in parts):
        raise InsufficientDataError("a split has one clip", fix="Score at least twice as many clips as splits")
    scores, changed = [], torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for part in parts:
        places = torch.from_numpy(part).to(rows.device)
        n, marginal = len(places), probabilities[places].mean(0)
        scores.append(float((own[places].mean() - torch.xlogy(marginal, marginal).sum()).exp()))
        others = (n * marginal - probabilities[places]).clamp(min=0) / (n - 1)
        sharpness = (own[places].sum() - own[places]) / (n - 1)
        changed[places] = (sharpness - torch.xlogy(others, others).sum(1)).exp()
    whole = torch.tensor(scores, dtype=torch.float64, device=rows.device)
    for part, score in zip(parts, whole, strict=True):
        places = torch.from_numpy(part).to(rows.device)
        changed[places] = (whole.sum() - score + changed[places]) / len(parts)
    return changed


def inception_error(without: torch.Tensor, parts: Sequence[npt.NDArray[np.int64]]) -> float:
    """Return the standard error of an inception score: a jackknife within each split, the splits apart."""
    return math.hypot(*(jackknife_error(without[torch.from_numpy(part).to(without.device)]) for part in parts))


def mean_error(values: Array) -> float:
    """Return the standard error of a mean, such as KL over pairs: ``s / √n``; InsufficientDataError for one value."""
    rows = float64_tensor(values, "values", ndim=1)
    if len(rows) < 2:
        raise InsufficientDataError("one value has no standard error", fix="Score more clips")
    return float(rows.std(correction=1)) / math.sqrt(len(rows))
