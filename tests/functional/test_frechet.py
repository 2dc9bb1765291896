"""Fréchet distance: closed forms, a slow oracle, other projects' code, and where theirs fails."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError
from audiogen_metrics.functional import GaussianStatistics, frechet_distance

SIZES = [(3, 8), (8, 3), (40, 16), (16, 40), (20, 20), (2, 2)]


def features(count: int, dimension: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    rows = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return scale * (rows @ mixing + torch.randn(dimension, generator=generator, dtype=torch.float64))


def oracle(gen: torch.Tensor, ref: torch.Tensor) -> float:
    """Slow and plain: covariances, and the eigenvalues of their product, in long-double sums."""
    a, b = gen.numpy(), ref.numpy()
    cov_a, cov_b = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    eigenvalues = scipy.linalg.eigvals(cov_a @ cov_b).real.clip(min=0)
    mean = np.sum((a.mean(0) - b.mean(0)) ** 2, dtype=np.longdouble)
    return float(mean + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(eigenvalues).sum(dtype=np.longdouble))


def fit(rows: torch.Tensor) -> GaussianStatistics:
    return GaussianStatistics.from_embeddings(rows)


@pytest.mark.parametrize(("gen_count", "ref_count"), SIZES)
@pytest.mark.parametrize("dimension", [1, 5, 24])
def test_equals_the_oracle(gen_count: int, ref_count: int, dimension: int) -> None:
    gen, ref = features(gen_count, dimension, 1), features(ref_count, dimension, 2)
    assert frechet_distance(fit(gen), fit(ref)).value == pytest.approx(oracle(gen, ref), rel=1e-6)


@pytest.mark.parametrize("dimension", [1, 4, 64])
def test_shifted_unit_gaussians(dimension: int) -> None:
    identity, zero = torch.eye(dimension).double(), torch.zeros(dimension).double()
    shift = torch.linspace(-1, 2, dimension).double()
    distance = frechet_distance(
        GaussianStatistics(shift, identity, 100), GaussianStatistics.from_covariance(zero, identity, 100)
    )
    assert distance.value == pytest.approx(float(shift @ shift), rel=1e-12)
    assert distance.mean_term == pytest.approx(float(shift @ shift), rel=1e-12)
    assert distance.covariance_term == pytest.approx(0, abs=1e-12)


def test_commuting_covariances() -> None:
    a, b = torch.tensor([1.0, 4.0, 9.0, 0.0]).double(), torch.tensor([4.0, 1.0, 1.0, 2.0]).double()
    rotation = torch.linalg.qr(features(4, 4, 0)).Q
    zero = torch.zeros(4).double()
    gen = GaussianStatistics.from_covariance(zero, rotation @ a.diag() @ rotation.T, 10)
    ref = GaussianStatistics.from_covariance(zero, rotation @ b.diag() @ rotation.T, 10)
    expected = float((a.sqrt() - b.sqrt()).square().sum())
    assert frechet_distance(gen, ref).value == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("count", [2, 30, 200])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_identical_sets_are_at_zero(count: int, scale: float) -> None:
    statistics = fit(features(count, 64, 3, scale))
    trace = float(statistics.factor.square().sum())
    assert 0 <= frechet_distance(statistics, statistics).value <= 1e-12 * trace


def test_foreign_covariance_of_identical_sets() -> None:
    rows = features(20, 64, 3)
    own = fit(rows)
    foreign = GaussianStatistics.from_covariance(own.mean, own.covariance, 20)
    trace = float(own.factor.square().sum())
    assert frechet_distance(foreign, foreign).value <= 1e-10 * trace
    assert frechet_distance(own, foreign).value <= 1e-6 * trace


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 9), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_symmetric_and_never_negative(gen_count: int, ref_count: int, dimension: int, seed: int) -> None:
    gen, ref = fit(features(gen_count, dimension, seed)), fit(features(ref_count, dimension, seed + 1))
    forward, backward = frechet_distance(gen, ref), frechet_distance(ref, gen)
    assert forward.value == pytest.approx(backward.value, rel=1e-9)
    assert min(forward) >= 0
    assert forward.value == forward.mean_term + forward.covariance_term


def test_ill_conditioned_embeddings() -> None:
    """A power-law spectrum over 16 decades, as real embeddings have, with fewer rows than dimensions."""
    scales = torch.logspace(4, -12, 256, dtype=torch.float64)
    gen = torch.randn(100, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scales
    ref = torch.randn(100, 256, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * scales
    assert frechet_distance(fit(gen), fit(ref)).value == pytest.approx(oracle(gen, ref), rel=1e-9)


def naive(gen: npt.NDArray[np.float64], ref: npt.NDArray[np.float64]) -> complex:
    """The published evaluators' way: a matrix square root of the product of covariances."""
    cov_a, cov_b = np.cov(gen, rowvar=False), np.cov(ref, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    mean = gen.mean(0) - ref.mean(0)
    return complex(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root))


@pytest.mark.filterwarnings("ignore::scipy.linalg.LinAlgWarning", "ignore:Matrix is singular")
def test_the_matrix_square_root_is_worse() -> None:
    """Keeps the reason for the factor alive: with n < d the square root misses zero by far more than we do."""
    rows = features(24, 128, 5)
    ours = frechet_distance(fit(rows), fit(rows)).value
    assert abs(naive(rows.numpy(), rows.numpy())) > 1000 * ours


@pytest.mark.peers
def test_equals_torch_fidelity() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    gen, ref = features(200, 16, 7), features(150, 16, 8)
    ours = frechet_distance(fit(gen), fit(ref)).value
    fidelity = fid_statistics_to_metric(fid_features_to_statistics(gen), fid_features_to_statistics(ref), False)
    assert ours == pytest.approx(fidelity["frechet_inception_distance"], rel=1e-6)


def test_refuses_what_has_no_distance() -> None:
    one, two = fit(features(1, 3, 0)), fit(features(5, 3, 0))
    with pytest.raises(InsufficientDataError, match="covariance of one embedding"):
        frechet_distance(one, two)
    with pytest.raises(DataError, match="dimension 3 and 4"):
        frechet_distance(two, fit(features(5, 4, 0)))


def test_overflow_is_an_error_not_infinity() -> None:
    near, far = fit(features(5, 3, 0)), fit(features(5, 3, 0) + 1e200)
    wide = fit(features(5, 3, 0, scale=1e200))
    for gen, ref in ((far, near), (wide, near), (wide, wide)):
        with pytest.raises(NumericsError, match="Check the scale"):
            frechet_distance(gen, ref)
