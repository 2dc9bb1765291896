"""A Fréchet distance at infinite n: the bias of a finite generated set fitted and taken away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.frechet import frechet_distance
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array, float64_tensor
from audiogen_metrics.options import whole

SIZES, REPEATS, LARGEST_RATIO = 10, 5, 4
"""Sizes of subsets, subsets of each, and how many times the whole set the smallest is."""

FEWEST_CLIPS = 20


class Extrapolation(NamedTuple):
    """The line ``distance = value + slope / n``, how well it fits (R²), and what it was fitted to."""

    value: float
    slope: float
    r_squared: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def extrapolate(
    gen: Array,
    ref: GaussianStatistics,
    counts: Sequence[int] | None = None,
    seed: int = 0,
    *,
    whole_gen: GaussianStatistics | None = None,
) -> Extrapolation:
    """Return the Fréchet distance that an infinite generated set would have, by a line in 1 / n.

    Subsets are drawn without replacement, by clip. (With replacement, as fadtk and kadtk draw, a subset keeps the bias
    of the whole set, and the line takes none away.) The reference's own bias remains.

    Parameters
    ----------
    gen
        Rows ``(n, d)``, those of one clip together.
    ref
        Statistics of the reference, fixed.
    counts
        Rows of each clip; None for one each.
    seed
        Of the subsets.
    whole_gen
        Statistics of all rows of gen, where they are known already.

    Raises
    ------
    InsufficientDataError
        Fewer than twenty clips.

    References
    ----------
    M. J. Chong, D. Forsyth, "Effectively Unbiased FID and Inception Score and where to find them", CVPR 2020;
    A. Gui et al., "Adapting Fréchet Audio Distance for Generative Music Evaluation", ICASSP 2024.

    Examples
    --------
    >>> rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> truth = GaussianStatistics(torch.zeros(4).double(), torch.eye(4).double(), count=10**6)
    >>> fit = extrapolate(rows, truth)
    >>> fit.slope > 0  # the fewer clips, the larger the distance
    True
    """
    rows = float64_tensor(gen, "gen", ndim=2)
    blocks = rows.split([1] * len(rows) if counts is None else list(counts))
    clips = len(blocks)
    require_clips(clips)
    rng = np.random.default_rng(whole("seed", seed, 0))
    inverse = np.linspace(1, LARGEST_RATIO, SIZES) / clips
    sizes = np.unique(np.round(1 / inverse).astype(int))[::-1]
    means = []
    for size in sizes:
        if size == clips and whole_gen is not None:
            rng.permutation(clips)  # the draws that follow stay the same
            means.append(frechet_distance(whole_gen, ref).value)
            continue
        draws = [rng.permutation(clips)[:size] for _ in range(1 if size == clips else REPEATS)]
        parts = [torch.cat([blocks[clip] for clip in sorted(draw)]) for draw in draws]
        found = [frechet_distance(GaussianStatistics.from_embeddings(part), ref).value for part in parts]
        means.append(float(np.mean(found)))
    slope, value = np.polyfit(1 / sizes, means, 1)
    residual = np.array(means) - (value + slope / sizes)
    spread = float(np.sum((np.array(means) - np.mean(means)) ** 2))
    fit = 1.0 if spread == 0 else 1 - float(residual @ residual) / spread
    return Extrapolation(float(value), float(slope), fit, tuple(map(int, sizes)), tuple(means))


def require_clips(clips: int) -> None:
    """Raise InsufficientDataError unless so many clips can be extrapolated from."""
    if clips < FEWEST_CLIPS:
        raise InsufficientDataError(f"{clips} clips are too few to extrapolate", fix=f"Score {FEWEST_CLIPS} or more")
