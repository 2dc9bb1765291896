"""Leave-one-out by integral and closed form against computing the score once per clip."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional import GaussianStatistics, frechet_distance, inception_score
from audiogen_metrics.functional.downdates import frechet_leave_one_out
from audiogen_metrics.functional.uncertainty import inception_leave_one_out, jackknife


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    scales = torch.linspace(0.1, 3, d, dtype=torch.float64)
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scales + seed


def one_by_one(gen: torch.Tensor, ref: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Return what is claimed to be computed without computing this."""
    statistics, values, start = GaussianStatistics.from_embeddings(ref), [], 0
    for count in counts:
        rest = torch.cat([gen[:start], gen[start + count :]])
        values.append(frechet_distance(GaussianStatistics.from_embeddings(rest), statistics).value)
        start += count
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("n", "m", "d"), [(20, 30, 50), (20, 30, 8), (60, 40, 40), (12, 9, 200), (100, 300, 16)])
def test_fewer_and_more_clips_than_dimensions(n: int, m: int, d: int) -> None:
    gen, ref = rows(n, d, 0), rows(m, d, 1)
    expected = one_by_one(gen, ref, [1] * n)
    torch.testing.assert_close(frechet_leave_one_out(gen, ref), expected, rtol=1e-8, atol=1e-9)
    from_statistics = frechet_leave_one_out(gen, GaussianStatistics.from_embeddings(ref))
    torch.testing.assert_close(from_statistics, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("d", [8, 100])
def test_clips_of_several_and_unequal_windows(d: int) -> None:
    counts = [3, 1, 4, 4, 2, 10, 1, 3, 3, 0, 5]
    gen, ref = rows(sum(counts), d, 0), rows(25, d, 1)
    torch.testing.assert_close(
        frechet_leave_one_out(gen, ref, counts), one_by_one(gen, ref, counts), rtol=1e-7, atol=1e-8
    )


def test_repeated_clips_equal_sets_and_constant_rows() -> None:
    ref = rows(15, 30, 1)
    for gen in (rows(5, 30, 0).repeat(4, 1), ref, torch.ones(6, 30, dtype=torch.float64)):
        expected = one_by_one(gen, ref, [1] * len(gen))
        torch.testing.assert_close(frechet_leave_one_out(gen, ref), expected, rtol=1e-7, atol=1e-8)


def test_an_outlier_has_the_largest_influence() -> None:
    gen, ref = rows(40, 12, 0), rows(60, 12, 0)
    gen[7] += 30
    without = frechet_leave_one_out(gen, ref)
    assert int(without.argmin()) == 7


def test_what_cannot_be_left_out() -> None:
    with pytest.raises(DataError, match="counts add up to 3 rows of 4"):
        frechet_leave_one_out(rows(4, 3, 0), rows(4, 3, 1), [1, 2])
    with pytest.raises(DataError, match="dimensions 3 and 4 differ"):
        frechet_leave_one_out(rows(4, 3, 0), rows(4, 4, 1))
    with pytest.raises(InsufficientDataError, match="fewer than two rows"):
        frechet_leave_one_out(rows(4, 3, 0), rows(4, 3, 1), [3, 1])


@pytest.mark.parametrize("splits", [1, 5])
def test_inception_score_in_closed_form(splits: int) -> None:
    logits = 3 * torch.randn(45, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = np.random.RandomState(2020).permutation(45)
    parts = [order[i * 45 // splits : (i + 1) * 45 // splits] for i in range(splits)]
    without = inception_leave_one_out(logits, parts)
    for clip in (0, 7, 44):
        scores = [inception_score(logits[[i for i in part if i != clip]], splits=1, seed=None).mean for part in parts]
        assert float(without[clip]) == pytest.approx(np.mean(scores), rel=1e-12)
    with pytest.raises(InsufficientDataError, match="a split has one clip"):
        inception_leave_one_out(logits[:1], [np.array([0])])


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = jackknife((values.sum() - values) / 49)
    assert found.standard_error == pytest.approx(float(values.std()) / math.sqrt(50))
    assert found.freedom == 49
