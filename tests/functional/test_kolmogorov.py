"""Kolmogorov's distance: its distribution against scipy, closed forms and drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from audiogen_metrics.functional.kolmogorov import kolmogorov_p

SCALED = (0.3, 0.5, 0.8, 1.0, 1.2, 1.358, 1.6, 2.0, 3.0)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 10, 24, 50, 100, 140])
def test_p_is_that_of_scipy_where_it_is_exact(count: int) -> None:
    for scaled in SCALED:
        distance = min(1.0, scaled / math.sqrt(count))
        assert kolmogorov_p(distance, count) == pytest.approx(float(stats.kstwo.sf(distance, count)), abs=1e-11)


@pytest.mark.parametrize("count", [141, 333, 1000, 5000, 20_000])
def test_p_is_that_of_scipys_approximation_for_many_draws(count: int) -> None:
    for scaled in SCALED:
        distance = scaled / math.sqrt(count)
        assert kolmogorov_p(distance, count) == pytest.approx(float(stats.kstwo.sf(distance, count)), abs=3e-6)


def test_p_has_its_limit() -> None:
    """Kolmogorov's own series, for many draws."""
    for scaled in (0.8, 1.0, 1.36):
        limit = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 20))
        assert kolmogorov_p(scaled / math.sqrt(20_000), 20_000) == pytest.approx(limit, abs=4e-3)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_p_beyond_one_half_is_twice_the_one_sided_one(count: int) -> None:
    for distance in (0.5, 0.6, 0.9):
        sided = sum(
            distance
            * math.comb(count, j)
            * (distance + j / count) ** (j - 1)
            * max(0.0, 1 - distance - j / count) ** (count - j)
            for j in range(math.floor(count * (1 - distance) + 1e-12) + 1)
        )
        assert kolmogorov_p(distance, count) == pytest.approx(2 * sided, abs=1e-12)


def test_what_is_never_and_always_so_far() -> None:
    assert kolmogorov_p(0.0, 7) == kolmogorov_p(1 / 14, 7) == kolmogorov_p(0.4, 0) == 1
    assert kolmogorov_p(1.0, 7) == 0
    assert kolmogorov_p(0.5, 10_000) == 0


def test_draws_are_as_far_as_it_says() -> None:
    count = 8
    draws = np.sort(np.random.default_rng(0).random((20_000, count)), axis=1)
    ranks = np.arange(1, count + 1) / count
    distances = np.maximum(ranks - draws, draws - ranks + 1 / count).max(axis=1)
    for distance in (0.2, 0.3, 0.45):
        assert kolmogorov_p(distance, count) == pytest.approx(float((distances >= distance).mean()), abs=0.015)
