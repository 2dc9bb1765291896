"""Student's t against scipy, over all that scores ask of it."""

from __future__ import annotations

import math
from importlib import metadata

import pytest
from packaging.version import Version
from scipy import stats

from audiogen_metrics.functional.student import MANY, student_quantile

FREEDOMS = (0.5, 1, 1.5, 2, 3, 4.7, 9, 22.3, 99, 998, 5000.5, MANY - 1, MANY, 99_999, 1e6, 1e9, 1e15, math.inf)
EXACT = 1e-12 if Version(metadata.version("scipy")) >= Version("1.15") else 1e-8
"""Relative; quantiles of older releases of scipy are less exact."""

SHARES = (0.51, 0.6, 0.75, 0.9, 0.95, 0.975, 0.999, 1 - 0.001 / 48, 1 - 0.001 / 2e5, 1 - 1e-9, 1 - 1e-14)


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_quantiles_are_those_of_scipy(freedom: float) -> None:
    for share in (*SHARES, *(1 - share for share in SHARES)):
        assert student_quantile(share, freedom) == pytest.approx(float(stats.t.ppf(share, freedom)), rel=EXACT), share


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_the_two_halves_are_alike_and_meet_at_nought(freedom: float) -> None:
    assert student_quantile(0.5, freedom) == 0
    assert student_quantile(0.25, freedom) == -student_quantile(0.75, freedom)
    near = 0.5 + 2.0**-30
    assert student_quantile(near, freedom) == pytest.approx(float(stats.t.ppf(near, freedom)), abs=1e-14)


@pytest.mark.parametrize(
    ("share", "freedom"), [(0, 5), (1, 5), (-0.1, 5), (1e-16, 5), (math.nan, 5), (0.9, 0), (0.9, -1)]
)
def test_what_has_no_quantile_is_refused(share: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_quantile(share, freedom)


def test_errors_that_are_nan_give_nan() -> None:
    assert math.isnan(student_quantile(0.975, math.nan))
