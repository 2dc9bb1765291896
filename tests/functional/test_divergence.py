"""KL divergence: published examples, other projects' code, both activations."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.functional import kl_divergence


def row(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def logits(count: int, classes: int, seed: int) -> torch.Tensor:
    return 2 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The two examples of stable-audio-metrics (src/test_kld.py), with its results.
EIGHT = (row(0.05, 0.1, 0.2, 0.05, 0.15, 0.25, 0.08, 0.12), row(0.3, 0.1, 0.2, 0.1, 0.1, 0.02, 0.08, 0.1))
THREE = (row(0.10, 0.40, 0.50), row(0.80, 0.15, 0.05))


@pytest.mark.parametrize(
    ("pair", "eps", "expected"),
    [(EIGHT, 0, 0.589885181619163), (EIGHT, 1e-6, 0.58986632), (THREE, 0, 1.3356800935337299)],
)
def test_published_examples(pair: tuple[torch.Tensor, torch.Tensor], eps: float, expected: float) -> None:
    ref, gen = pair
    assert kl_divergence(gen, ref, eps=eps).mean == pytest.approx(expected, rel=1e-7)


def test_equals_scipy_pair_by_pair() -> None:
    gen, ref = logits(30, 12, 0), logits(30, 12, 1)
    result = kl_divergence(gen, ref)
    expected = scipy.stats.entropy(ref.softmax(1).numpy(), gen.softmax(1).numpy(), axis=1)
    torch.testing.assert_close(result.per_pair, torch.from_numpy(expected), rtol=1e-11, atol=0)
    assert result.mean == pytest.approx(expected.mean(), rel=1e-12)


@pytest.mark.peers
def test_equals_torchmetrics() -> None:
    from torchmetrics.functional.regression import kl_divergence as theirs

    gen, ref = logits(30, 12, 0), logits(30, 12, 1)
    expected = theirs(ref.log_softmax(1), gen.log_softmax(1), log_prob=True)
    assert kl_divergence(gen, ref).mean == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_equal_logits_are_at_zero_and_the_rest_above(activation: str) -> None:
    gen, ref = logits(10, 5, 0), logits(10, 5, 1)
    assert kl_divergence(gen, gen, activation=activation).mean == 0  # type: ignore[arg-type]
    assert float(kl_divergence(gen, ref, activation=activation).per_pair.min()) > 0  # type: ignore[arg-type]


def test_the_published_epsilon_goes_below_zero() -> None:
    data = torch.zeros(1, 527)
    assert kl_divergence(data, data, eps=1e-6).mean == pytest.approx(-math.log1p(527e-6), rel=1e-9)


def test_sigmoid_is_the_whole_bernoulli_divergence() -> None:
    """Over-activating every class must not look good, as it does where the negative term is left out."""
    ref = logits(1, 527, 3)
    p, q = ref.sigmoid(), (ref + 3).sigmoid()
    positive_term_only = float((p * (p / q).log()).sum())
    expected = float((p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum())
    assert positive_term_only < 0 < expected
    assert kl_divergence(ref + 3, ref, activation="sigmoid").mean == pytest.approx(expected, rel=1e-9)


def test_direction_is_ref_from_gen() -> None:
    ref, gen = THREE
    assert kl_divergence(gen_logits=gen, ref_logits=ref).mean != pytest.approx(kl_divergence(ref, gen).mean, rel=0.01)


def test_extreme_logits_stay_finite() -> None:
    gen, ref = torch.tensor([[1e5, 0.0]]), torch.tensor([[0.0, 1e5]])
    assert kl_divergence(gen, ref).mean == pytest.approx(1e5, rel=1e-9)


def test_refuses() -> None:
    with pytest.raises(DataError, match="not paired"):
        kl_divergence(logits(3, 4, 0), logits(2, 4, 0))
    with pytest.raises(InsufficientDataError, match="no pairs"):
        kl_divergence(torch.zeros(0, 4), torch.zeros(0, 4))
    with pytest.raises(UsageError, match="eps=-1"):
        kl_divergence(logits(3, 4, 0), logits(3, 4, 0), eps=-1)
    with pytest.raises(UsageError, match="unknown activation 'relu'"):
        kl_divergence(logits(3, 4, 0), logits(3, 4, 0), activation="relu")  # type: ignore[arg-type]
