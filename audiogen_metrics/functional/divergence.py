"""Kullback–Leibler divergence between the class probabilities of paired clips."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F

from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.functional.validation import Array, float64_tensor


class KLDivergence(NamedTuple):
    """Mean over pairs, and the divergence of each pair, ``(n,)`` float64, in nats."""

    mean: float
    per_pair: torch.Tensor


def kl_divergence(
    gen_logits: Array,
    ref_logits: Array,
    *,
    activation: Literal["softmax", "sigmoid", "sigmoid_positive"] = "softmax",
    eps: float = 0.0,
) -> KLDivergence:
    """Return the mean over pairs of ``KL(ref ‖ gen)``; row i of both belongs to one clip id.

    ``softmax`` compares one distribution over classes, ``Σ p_ref (log p_ref − log(p_gen + eps))``;
    ``sigmoid`` is the multi-label form: the sum over classes of the divergence of two Bernoulli variables,
    with both of its terms. ``sigmoid_positive`` keeps only the first term, as audioldm_eval's "KL sigmoid" does. This
    is not a divergence: it can be negative, and falls without bound as gen claims more of every class. It is here only
    to reproduce that number.

    Parameters
    ----------
    gen_logits, ref_logits
        ``(n, classes)``, before the activation.
    activation
        How logits become probabilities.
    eps
        Added to the generated probability inside the logarithm, ≥ 0. With 0, the result is exact, ≥ 0, and 0
        for equal logits; the published evaluator uses 1e-6, which makes ``KL(x, x)`` slightly negative.

    Returns
    -------
    KLDivergence
        Lower is better.

    Raises
    ------
    DataError
        Shapes that differ, NaN or infinite values.
    InsufficientDataError
        No pairs.

    References
    ----------
    S. Kullback, R. Leibler, "On information and sufficiency", 1951.

    Examples
    --------
    >>> import torch
    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    >>> round(kl_divergence(gen_logits=q.log(), ref_logits=p.log()).mean, 6)  # log(5/3)
    0.510826
    """
    gen = float64_tensor(gen_logits, "gen_logits", ndim=2)
    ref = float64_tensor(ref_logits, "ref_logits", ndim=2).to(gen.device)
    if gen.shape != ref.shape:
        raise DataError(
            f"gen_logits {tuple(gen.shape)} and ref_logits {tuple(ref.shape)} are not paired",
            fix="Give one row per clip id to both, in one order",
        )
    if gen.shape[0] == 0:
        raise InsufficientDataError("no pairs to compare", fix="Pair clips by equal clip ids")
    if eps < 0:
        raise UsageError(f"eps={eps}", fix="Use eps ≥ 0")
    if activation == "softmax":
        per_pair = _relative_entropy(gen.log_softmax(1), ref.log_softmax(1), eps)
    elif activation == "sigmoid":
        present = _relative_entropy(F.logsigmoid(gen), F.logsigmoid(ref), eps)
        per_pair = present + _relative_entropy(F.logsigmoid(-gen), F.logsigmoid(-ref), eps)
    elif activation == "sigmoid_positive":
        per_pair = _relative_entropy(F.logsigmoid(gen), F.logsigmoid(ref), eps)
    else:
        raise UsageError(f"unknown activation {activation!r}", fix="Use softmax, sigmoid or sigmoid_positive")
    return KLDivergence(float(per_pair.mean()), per_pair)


def _relative_entropy(log_gen: torch.Tensor, log_ref: torch.Tensor, eps: float) -> torch.Tensor:
    if eps > 0:
        log_gen = (log_gen.exp() + eps).log()
    return (log_ref.exp() * (log_ref - log_gen)).sum(dim=1)
