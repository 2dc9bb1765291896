"""Inception score: closed forms, other projects' code, order and split size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.functional import inception_score


def logits(count: int, classes: int, seed: int = 0, sharpness: float = 3.0) -> torch.Tensor:
    return sharpness * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("classes", [2, 527])
def test_uniform_is_one(classes: int) -> None:
    assert inception_score(torch.full((20, classes), 7.0)).mean == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_balanced_certainty_is_the_number_of_classes(classes: int) -> None:
    result = inception_score(1e4 * torch.eye(classes).repeat(3, 1), splits=1)
    assert result.mean == pytest.approx(classes, rel=1e-12)
    assert result.std == 0


def test_equals_a_plain_oracle() -> None:
    data = logits(53, 9)
    order = np.random.RandomState(2020).permutation(53)
    p = scipy.special.softmax(data.numpy(), axis=1)[order]
    expected = []
    for i in range(10):
        part = p[i * 53 // 10 : (i + 1) * 53 // 10]
        expected.append(math.exp(np.mean([scipy.stats.entropy(row, part.mean(0)) for row in part])))
    result = inception_score(data)
    np.testing.assert_allclose(result.splits, expected, rtol=1e-12)
    assert result.mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert result.std == pytest.approx(np.std(expected), rel=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize("splits", [1, 10])
def test_equals_torch_fidelity(splits: int) -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    data = logits(101, 20)
    theirs = isc_features_to_metric(data, splits=splits, shuffle=True, rng_seed=2020)
    ours = inception_score(data, splits=splits)
    assert ours.mean == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert ours.std == pytest.approx(theirs["inception_score_std"], rel=1e-9, abs=1e-12)


def test_depends_on_order_unless_there_is_one_split() -> None:
    data = logits(40, 5)
    assert inception_score(data).mean != pytest.approx(inception_score(data.flip(0)).mean, rel=1e-6)
    one, flipped = (inception_score(d, splits=1).mean for d in (data, data.flip(0)))
    assert one == pytest.approx(flipped, rel=1e-12)


def test_does_not_touch_the_global_random_state() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    inception_score(logits(20, 4))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_extreme_logits_stay_finite() -> None:
    data = torch.tensor([[1e6, -1e6, 0.0], [-1e6, 1e6, 0.0]])
    assert inception_score(data, splits=1).mean == pytest.approx(2, rel=1e-9)


def test_refuses() -> None:
    with pytest.raises(InsufficientDataError, match="at least 10 clips, got 9"):
        inception_score(logits(9, 3))
    with pytest.raises(UsageError, match="splits=0"):
        inception_score(logits(9, 3), splits=0)
    with pytest.raises(DataError, match="NaN"):
        inception_score(torch.full((10, 3), torch.nan))
