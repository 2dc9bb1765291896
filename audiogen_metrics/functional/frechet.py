"""Fréchet distance between two Gaussians."""

from __future__ import annotations

import math
from typing import NamedTuple

from audiogen_metrics.errors import DataError, NumericsError
from audiogen_metrics.functional.decomposition import nuclear_norm
from audiogen_metrics.functional.statistics import GaussianStatistics


class FrechetDistance(NamedTuple):
    """Fréchet distance and its two parts, ``value = mean_term + covariance_term``; all ≥ 0."""

    value: float
    mean_term: float
    covariance_term: float


def frechet_distance(gen: GaussianStatistics, ref: GaussianStatistics) -> FrechetDistance:
    """Return the Fréchet distance between the Gaussians of two sets of embeddings.

    ``|m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½)``. With factors ``C = FᵀF`` the trace of the root is the nuclear
    norm of ``F₁F₂ᵀ``, so no matrix square root is taken: the result is real, exact for identical sets and for
    fewer embeddings than dimensions, and symmetric in its arguments.

    Parameters
    ----------
    gen, ref
        Statistics of embeddings of one dimension, each of at least two rows.

    Returns
    -------
    FrechetDistance
        ``value`` in the squared unit of the embeddings, in [0, ∞). Lower is better; 0 for equal statistics.

    Raises
    ------
    DataError
        The dimensions differ.
    InsufficientDataError
        A set has fewer than two embeddings.
    NumericsError
        The singular values could not be computed, or the rounding error is larger than the result.

    Notes
    -----
    Householder's QR and the bidiagonalisation are backward stable: a singular value is off by a small multiple of
    ``ε |F₁|₂ |F₂|₂``, whatever the condition of the covariances. So the distance is off by at most ``c r ε`` of the
    total variance ``tr C₁ + tr C₂``, with ``r`` singular values and ``c`` about 1. Against 40 digits it is within 1e-14
    of that variance, on sets whose units' variances span 30 decades and on rank-deficient ones
    (``tests/functional/test_frechet_oracle.py``); identical sets are within 1e-12. Eigenvalues of ``F₁F₂ᵀF₂F₁ᵀ``, which
    are cheaper, keep no such bound: where ``λ`` is lost to rounding, ``√λ`` is off by ``√ε``.

    References
    ----------
    D. Dowson, B. Landau, "The Fréchet distance between multivariate normal distributions", 1982;
    K. Kilgour et al., "Fréchet Audio Distance", Interspeech 2019.

    Examples
    --------
    Two unit Gaussians, one shifted by (3, 4): the squared length of the shift.

    >>> import torch
    >>> ref = GaussianStatistics(torch.zeros(2).double(), torch.eye(2).double(), count=10)
    >>> gen = GaussianStatistics(torch.tensor([3.0, 4.0]).double(), torch.eye(2).double(), count=10)
    >>> round(frechet_distance(gen, ref).value, 9)
    25.0
    """
    if gen.dimension != ref.dimension:
        raise DataError(
            f"embeddings of dimension {gen.dimension} and {ref.dimension} cannot be compared",
            fix="Both must come from one backbone",
        )
    gen.require_covariance()
    ref.require_covariance()
    gen_factor, ref_factor = gen.factor, ref.factor.to(gen.factor.device)
    mean_term = float((gen.mean - ref.mean.to(gen.mean.device)).square().sum())
    traces = float(gen_factor.square().sum() + ref_factor.square().sum())
    covariance_term = traces - 2 * nuclear_norm(gen_factor, ref_factor) if math.isfinite(traces) else math.nan
    # AM–GM makes the term ≥ 0; below it there can only be rounding, which is far under 1e-9 of the traces.
    if not (math.isfinite(mean_term) and covariance_term >= -1e-9 * traces):
        raise NumericsError(
            f"mean term {mean_term:.3g}, covariance term {covariance_term:.3g} at a total variance of {traces:.3g}",
            fix="Check the scale of the embeddings",
        )
    covariance_term = max(covariance_term, 0.0)
    return FrechetDistance(mean_term + covariance_term, mean_term, covariance_term)
