"""Gaussian statistics: exact, mergeable in any order, honest about too few rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional import GaussianStatistics, statistics


def rows(count: int, dimension: int, seed: int = 0, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64) + offset


def assert_fits(fitted: GaussianStatistics, data: torch.Tensor, rel: float = 1e-10) -> None:
    covariance = np.atleast_2d(np.cov(data.numpy(), rowvar=False))
    torch.testing.assert_close(fitted.mean, data.mean(0), rtol=rel, atol=rel)
    np.testing.assert_allclose(fitted.covariance.numpy(), covariance, rtol=rel, atol=rel * np.trace(covariance))
    assert fitted.count == len(data)
    assert fitted.factor.shape[0] <= fitted.dimension


@pytest.mark.parametrize("shape", [(2, 1), (2, 5), (5, 5), (6, 5), (100, 5), (5, 100)])
def test_equals_numpy(shape: tuple[int, int]) -> None:
    assert_fits(GaussianStatistics.from_embeddings(rows(*shape)), rows(*shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_any_type_is_summed_in_float64(dtype: torch.dtype) -> None:
    data = (rows(50, 4) * 10).to(dtype)
    fitted = GaussianStatistics.from_embeddings(data)
    assert fitted.mean.dtype == fitted.factor.dtype == torch.float64
    assert_fits(fitted, data.double())


def test_a_large_mean_does_not_cancel() -> None:
    """Moments about zero would lose all digits of a variance of 1 at a mean of 1e8."""
    data = rows(1000, 3, offset=1e8)
    assert_fits(GaussianStatistics.from_embeddings(data), data, rel=1e-8)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 12), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_merging_in_any_split_and_order(sizes: list[int], dimension: int, random: object) -> None:
    data = rows(sum(sizes), dimension, seed=1, offset=3.0)
    parts = [GaussianStatistics.from_embeddings(part) for part in data.split(sizes)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    if len(data) > 1:
        assert_fits(merged, data)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(500, 7)
    whole = GaussianStatistics.from_embeddings(data)
    monkeypatch.setattr(statistics, "ROWS_PER_BLOCK", 64)
    monkeypatch.setattr(statistics, "NUMBERS_PER_BLOCK", 1)
    torch.testing.assert_close(
        GaussianStatistics.from_embeddings(data).covariance, whole.covariance, rtol=1e-12, atol=0
    )


def test_takes_arrays_and_lists() -> None:
    data = rows(6, 2)
    for form in (data.numpy(), data.tolist(), data.clone().requires_grad_()):
        assert_fits(GaussianStatistics.from_embeddings(form), data)


def test_one_row_has_a_mean_and_no_covariance() -> None:
    single = GaussianStatistics.from_embeddings(rows(1, 3))
    assert single.mean.shape == (3,)
    with pytest.raises(InsufficientDataError, match="covariance of one embedding is undefined"):
        _ = single.covariance


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(0, 4), "no embeddings"),
        (torch.zeros(4), r"shape \(4,\)"),
        (torch.tensor([[1.0], [float("nan")]]), "first in row 1"),
        (torch.tensor([[float("inf")], [1.0]]), "first in row 0"),
        (torch.zeros(2, 2, dtype=torch.complex64), "complex"),
    ],
)
def test_refuses(data: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        GaussianStatistics.from_embeddings(data)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.ones(2, 3), "do not belong together"),
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "eigenvalue -1"),
    ],
)
def test_refuses_what_is_no_covariance(covariance: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        GaussianStatistics.from_covariance(torch.zeros(2), covariance, 10)


def test_refuses_to_merge_other_dimensions() -> None:
    with pytest.raises(DataError, match="dimension 2 and 3"):
        GaussianStatistics.from_embeddings(rows(3, 2)).merge(GaussianStatistics.from_embeddings(rows(3, 3)))
