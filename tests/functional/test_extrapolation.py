"""The line in 1 / n takes the bias away, which it would not with replacement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional import GaussianStatistics, frechet_distance
from audiogen_metrics.functional.extrapolation import extrapolate
from audiogen_metrics.report.fits import title_of

TRUTH = GaussianStatistics(torch.zeros(16).double(), torch.eye(16).double(), count=10**6)


def rows(seed: int, n: int = 200) -> torch.Tensor:
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.slow
def test_the_bias_goes_away() -> None:
    """Truth 0: both sets have one distribution."""
    plain, fitted = [], []
    for seed in range(20):
        plain.append(frechet_distance(GaussianStatistics.from_embeddings(rows(seed)), TRUTH).value)
        fit = extrapolate(rows(seed), TRUTH, seed=seed)
        fitted.append(fit.value)
        assert fit.r_squared > 0.9
        assert fit.sizes[0] == 200
        assert fit.sizes[-1] == 50
    assert np.mean(plain) > 0.3
    assert abs(np.mean(fitted)) < 0.1 * np.mean(plain)


@pytest.mark.parametrize(("n", "windows", "partial"), [(124, 1, True), (128, 1, False), (60, 2, True), (64, 2, False)])
def test_it_says_where_only_part_of_the_bias_goes(n: int, windows: int, partial: bool) -> None:
    """Two rows for each of 16 dimensions in the smallest subset, a quarter of all clips."""
    fit = extrapolate(rows(0, n * windows), TRUTH, [windows] * n)
    assert fit.partial == partial
    assert ("part of the bias only" in title_of(fit)) == partial
    assert f"{fit.ci95[0]:.4g}" in title_of(fit)


def test_high_r_squared_hides_the_bias_that_is_left() -> None:
    wide = GaussianStatistics(torch.zeros(64).double(), torch.eye(64).double(), count=10**6)
    drawn = torch.randn(60, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fit = extrapolate(drawn, wide)
    assert fit.r_squared > 0.95
    assert abs(fit.value) > 1
    assert fit.partial


@pytest.mark.slow
@pytest.mark.parametrize("windows", [1, 3])
def test_the_interval_holds_the_truth(windows: int) -> None:
    """The generated set is shifted and wider: the distance at infinite n is known."""
    truth = 4 * 0.3**2 + 4 * 0.2**2
    wide = GaussianStatistics(torch.zeros(4).double(), torch.eye(4).double(), count=10**6)
    fits = []
    for seed in range(120):
        stream = torch.Generator().manual_seed(seed)
        # Half of the variance is that of the clip: windows of one clip are alike.
        clips = torch.randn(80, 1, 4, generator=stream, dtype=torch.float64)
        own = torch.randn(80, windows, 4, generator=stream, dtype=torch.float64)
        drawn = 1.2 * ((clips + own) / 2**0.5).flatten(0, 1) + 0.3
        fits.append(extrapolate(drawn, wide, [windows] * 80, seed=seed))
    covered = np.mean([fit.ci95[0] <= truth <= fit.ci95[1] for fit in fits])
    assert covered >= 0.9
    spread = np.std([fit.value for fit in fits])
    assert 0.8 * spread < np.mean([fit.standard_error for fit in fits]) < 1.4 * spread


def test_by_clip_and_seeded() -> None:
    counts = [4] * 50
    first, again = (extrapolate(rows(0), TRUTH, counts, seed=3) for _ in range(2))
    assert first == again
    assert first.sizes[0] == 50
    assert extrapolate(rows(0), TRUTH, counts, seed=4).value != first.value


def test_too_few_clips() -> None:
    with pytest.raises(InsufficientDataError, match="19 clips are too few"):
        extrapolate(rows(0, 19), TRUTH)
