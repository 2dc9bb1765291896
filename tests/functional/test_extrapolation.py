"""The line in 1 / n takes the bias away, which it would not with replacement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional import GaussianStatistics, frechet_distance
from audiogen_metrics.functional.extrapolation import extrapolate

TRUTH = GaussianStatistics(torch.zeros(16).double(), torch.eye(16).double(), count=10**6)


def rows(seed: int, n: int = 200) -> torch.Tensor:
    return torch.randn(n, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_by_clip_and_seeded() -> None:
    counts = [4] * 50
    first, again = (extrapolate(rows(0), TRUTH, counts, seed=3) for _ in range(2))
    assert first == again
    assert first.sizes[0] == 50
    assert extrapolate(rows(0), TRUTH, counts, seed=4).value != first.value


def test_too_few_clips() -> None:
    with pytest.raises(InsufficientDataError, match="19 clips are too few"):
        extrapolate(rows(0, 19), TRUTH)
