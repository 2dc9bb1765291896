"""Inception score of class logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.blocks import Read, place_blocks
from audiogen_metrics.functional.validation import Array, float64_tensor
from audiogen_metrics.options import whole


class InceptionScore(NamedTuple):
    """Mean and standard deviation (ddof 0) over splits, and the score of each split; each in [1, classes]."""

    mean: float
    std: float
    splits: tuple[float, ...]


def inception_score(logits: Array, *, splits: int = 10, seed: int | None = 2020) -> InceptionScore:
    """Return the inception score ``exp(mean_x KL(p(y|x) ‖ p(y)))`` of softmax probabilities.

    Rows are permuted by ``np.random.RandomState(seed)`` and cut into ``splits`` parts ``[i·n//k : (i+1)·n//k]``.
    The score depends on the order of the rows and strongly on the size of a split: sort rows by clip id, and
    compare scores of equal ``n`` and ``splits`` only.

    Parameters
    ----------
    logits
        ``(n, classes)``, before the softmax, with ``n ≥ splits``.
    splits
        Number of parts, at least 1.
    seed
        Seed of the permutation, in [0, 2³²); None keeps the order of the rows.

    Returns
    -------
    InceptionScore
        Higher is better: confident on each clip, varied over the set.

    Raises
    ------
    InsufficientDataError
        Fewer rows than splits.
    DataError
        Logits of another shape, or with NaN or infinite values.

    References
    ----------
    T. Salimans et al., "Improved techniques for training GANs", NeurIPS 2016.

    Examples
    --------
    Four classes, each clip certain of its own: the score is the number of classes.

    >>> import torch
    >>> round(inception_score(100.0 * torch.eye(4), splits=1).mean, 6)
    4.0
    """
    splits = whole("splits", splits, 1)
    if seed is not None:
        seed = whole("seed", seed, 0, 2**32 - 1)
    rows = float64_tensor(logits, "logits", ndim=2)
    return inception_of(lambda places: rows[torch.from_numpy(places).to(rows.device)], len(rows), splits, seed)


def inception_of(read: Read, count: int, splits: int, seed: int | None) -> InceptionScore:
    """Return what `inception_score` does, for ``count`` logits that are read a part at a time.

    ``read`` returns the logits at some places, ``(places, classes)``.
    """
    if count < splits:
        raise InsufficientDataError(
            f"inception score over {splits} splits needs at least {splits} clips, got {count}",
            fix="Score more clips or choose fewer splits",
        )
    width = read(np.zeros(1, dtype=np.int64)).shape[1]
    scores = tuple(_split_score(read, part, width) for part in inception_parts(count, splits, seed))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), scores)


def inception_parts(count: int, splits: int, seed: int | None) -> list[npt.NDArray[np.int64]]:
    """Return the rows of each split of an inception score of ``count`` clips."""
    order = np.arange(count) if seed is None else np.random.RandomState(seed).permutation(count)
    return [order[i * count // splits : (i + 1) * count // splits] for i in range(splits)]


def _split_score(read: Read, part: npt.NDArray[np.int64], width: int) -> float:
    def log_p() -> Iterator[torch.Tensor]:
        for places in place_blocks(part, width):
            yield float64_tensor(read(places), "logits", ndim=2).log_softmax(dim=1)

    sums = torch.stack([block.logsumexp(dim=0) for block in log_p()])
    log_marginal = sums.logsumexp(dim=0) - math.log(len(part))
    divergences = torch.cat([(block.exp() * (block - log_marginal)).sum(dim=1) for block in log_p()])
    return float(divergences.mean().exp())
