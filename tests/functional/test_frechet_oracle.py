"""The Fréchet distance, and what leaving clips out does to it, against 40 digits, where float64 has least to go by."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp

from audiogen_metrics.functional import GaussianStatistics, decomposition, frechet_distance
from audiogen_metrics.functional.downdates import frechet_leave_one_out

DIGITS = 40
VALUE = 1e-14
"""Of the total variance: what a distance may be off. The worst that was seen is 1e-15."""


def centred(rows: torch.Tensor) -> tuple[mpmath.matrix, mpmath.matrix]:
    """Return mean and factor, ``(1, d)`` and ``(n, d)``."""
    count, dimension = rows.shape
    held = mp.matrix(rows.tolist())
    mean = mp.matrix([[mp.fsum(held[:, column]) / count for column in range(dimension)]])
    shifted = [[held[row, column] - mean[column] for column in range(dimension)] for row in range(count)]
    return mean, mp.matrix(shifted) / mp.sqrt(count - 1)


def oracle(gen: torch.Tensor, ref: torch.Tensor) -> tuple[float, float]:
    """Return the distance and the total variance, in 40 digits: singular values without QR, of any shape."""
    with mp.workdps(DIGITS):
        (gen_mean, gen_factor), (ref_mean, ref_factor) = centred(gen), centred(ref)
        product = gen_factor * ref_factor.T
        product = product if product.rows >= product.cols else product.T
        variance = mp.fsum(entry**2 for factor in (gen_factor, ref_factor) for entry in factor)
        shift = mp.fsum((one - other) ** 2 for one, other in zip(gen_mean, ref_mean, strict=True))
        return float(shift + variance - 2 * mp.fsum(mp.svd_r(product, compute_uv=False))), float(variance)


def rows(count: int, dimension: int, seed: int, decades: float = 0.0) -> torch.Tensor:
    """Return rows whose units' variances fall over so many decades, turned so that no unit is one of the axes."""
    generator = torch.Generator().manual_seed(seed)
    turned, _ = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, dtype=torch.float64))
    scales = torch.logspace(0, -decades / 2, dimension, dtype=torch.float64)
    return torch.randn(count, dimension, generator=generator, dtype=torch.float64) * scales @ turned + seed / 10


def fit(data: torch.Tensor) -> GaussianStatistics:
    return GaussianStatistics.from_embeddings(data)


def silenced(data: torch.Tensor) -> torch.Tensor:
    """Return the rows with a unit that is 0, one that is 0.1, one that is another's copy, and one that is a sum."""
    data = data.clone()
    data[:, 0], data[:, 2], data[:, 3], data[:, 4] = 0.0, 0.1, data[:, 1], data[:, 1] + data[:, 5]
    return data


@pytest.mark.parametrize("decades", [0, 8, 16, 30])
@pytest.mark.parametrize(("gen_count", "ref_count", "dimension"), [(14, 20, 6), (5, 4, 12), (7, 8, 7), (20, 5, 9)])
def test_ill_conditioned_sets(
    gen_count: int, ref_count: int, dimension: int, decades: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gen, ref = rows(gen_count, dimension, 1, decades), rows(ref_count, dimension, 2, decades)
    expected, variance = oracle(gen, ref)
    assert frechet_distance(fit(gen), fit(ref)).value == pytest.approx(expected, abs=VALUE * variance)
    monkeypatch.setattr(decomposition, "LARGE", 0)
    assert frechet_distance(fit(gen), fit(ref)).value == pytest.approx(expected, abs=VALUE * variance)


@pytest.mark.parametrize("counts", [(14, 20), (4, 5), (20, 5)])
def test_rank_deficient_sets(counts: tuple[int, int]) -> None:
    gen, ref = rows(counts[0], 8, 1, 6), rows(counts[1], 8, 2, 6)
    for pair in ((silenced(gen), silenced(ref)), (silenced(gen), ref), (gen[:, :3] @ ref[:3], ref)):
        expected, variance = oracle(*pair)
        assert frechet_distance(*map(fit, pair)).value == pytest.approx(expected, abs=VALUE * variance)


@pytest.mark.parametrize("counts", [(40, 30), (200, 300), (300, 30)])
def test_silent_units_take_no_part(counts: tuple[int, int]) -> None:
    gen, ref = (silenced(rows(count, 60, seed)) for seed, count in enumerate(counts))
    spoken = [column for column in range(60) if column not in (0, 2)]
    fitted = fit(gen)
    assert len(fitted.factor) == min(counts[0], len(spoken))
    assert bool((fitted.factor[:, [0, 2]] == 0).all())
    without = frechet_distance(fit(gen[:, spoken]), fit(ref[:, spoken]))
    assert frechet_distance(fitted, fit(ref)).value == pytest.approx(without.value, rel=1e-12)
    silent = fit(torch.full((5, 3), 0.1, dtype=torch.float64))
    assert frechet_distance(silent, silent).value == 0
    assert len(silent.factor) == 1


@pytest.mark.parametrize("large", [0, decomposition.LARGE])
def test_identical_sets_of_any_condition_are_at_zero(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decomposition, "LARGE", large)
    for decades in (0, 8, 30):
        for data in (rows(600, 128, 0, decades), silenced(rows(600, 128, 0, decades)), rows(100, 128, 0, decades)):
            fitted = fit(data)
            variance = float(fitted.factor.square().sum())
            assert 0 <= frechet_distance(fitted, fit(data.clone())).value <= 1e-12 * variance


@pytest.mark.parametrize("shape", [(700, 130), (130, 130), (129, 130), (300, 1)])
def test_both_engines_find_one_triangle(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = rows(*shape, 0, 6)
    found = decomposition.triangle(data)
    monkeypatch.setattr(decomposition, "LARGE", 0)
    other = decomposition.triangle(data)
    assert found.shape == other.shape == (min(shape), shape[1])
    for triangle in (found, other):
        assert torch.equal(triangle, triangle.triu())
        torch.testing.assert_close(triangle.T @ triangle, data.T @ data, rtol=1e-13, atol=1e-13 * shape[0])


FEW = [(3, 4, 5, 0), (4, 5, 20, 0), (5, 3, 3, 0), (5, 5, 2, 0), (6, 7, 10, 6), (12, 10, 6, 8)]


@pytest.mark.parametrize(("gen_count", "ref_count", "dimension", "decades"), FEW)
@pytest.mark.parametrize("width", [1, 2])
def test_leaving_out_clips_of_few_rows(
    gen_count: int, ref_count: int, dimension: int, decades: int, width: int
) -> None:
    """Most of them span an axis of their own: all that a determinant has is in what rounding would take."""
    gen, ref = rows(gen_count, dimension, 1, decades), rows(ref_count, dimension, 2, decades)
    if gen_count - width < 2:
        width = 1
    counts = [width, *[1] * (gen_count - width)]
    found, ends = frechet_leave_one_out(gen, ref, counts), np.cumsum(counts)
    for place, (count, end) in enumerate(zip(counts, ends, strict=True)):
        expected, variance = oracle(torch.cat([gen[: end - count], gen[end:]]), ref)
        assert float(found[place]) == pytest.approx(expected, abs=1e-9 * variance)
