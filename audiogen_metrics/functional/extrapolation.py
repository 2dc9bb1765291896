"""A Fréchet distance at infinite n: the bias of a finite generated set is fitted and removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.functional.blocks import Block, Places, clip_blocks
from audiogen_metrics.functional.frechet import frechet_distance
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.student import student_quantile
from audiogen_metrics.functional.validation import Array, float64_tensor
from audiogen_metrics.options import whole

SIZES, REPEATS, LARGEST_RATIO = 10, 5, 4
"""Number of sizes of subsets, of subsets of each size, and how many times smaller than the set the smallest is."""

FEWEST_CLIPS = 20

FEWEST_ROWS = 2
"""Rows of the smallest subset per dimension from which on the bias is a line in 1 / n."""


class Extrapolation(NamedTuple):
    """The line ``distance = value + slope / n``, how well it fits (R²), what it was fitted to, and how sure it is.

    Parameters
    ----------
    sizes, distances
        Clips of the subsets, and the mean distance of each size.
    partial
        Whether only part of the bias is removed: the smallest subset has fewer than two rows for each dimension,
        where the bias is not a line in 1 / n. A high R² does not show this.
    standard_error
        Standard error of the value, over other draws of gen; the reference is taken as exact.
    ci95
        The 95 % interval of the expected value at this n. It says nothing about the bias that is left.
    """

    value: float
    slope: float
    r_squared: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]
    partial: bool
    standard_error: float
    ci95: tuple[float, float]


def extrapolate(
    gen: Array,
    ref: GaussianStatistics,
    counts: Sequence[int] | None = None,
    seed: int = 0,
    *,
    whole_gen: GaussianStatistics | None = None,
) -> Extrapolation:
    """Return the Fréchet distance that an infinite generated set would have, by a line in 1 / n.

    Subsets are drawn without replacement, by clip. (With replacement, as in fadtk and kadtk, a subset keeps the bias of
    the whole set, and the line does not remove it.) The bias of the reference remains.

    Parameters
    ----------
    gen
        Rows ``(n, d)``, those of one clip together.
    ref
        Statistics of the reference, fixed.
    counts
        Rows of each clip; None for one each.
    seed
        Seed of the subsets.
    whole_gen
        Statistics of all rows of gen, if they are known already.

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
    counts = [1] * len(rows) if counts is None else list(counts)
    whole_gen = GaussianStatistics.from_embeddings(rows) if whole_gen is None else whole_gen
    return extrapolate_parts(lambda clips: clip_blocks(rows, counts, clips), len(counts), ref, whole_gen, seed)


def extrapolate_parts(
    read: Callable[[Places], Iterable[Block]],
    clips: int,
    ref: GaussianStatistics,
    whole_gen: GaussianStatistics,
    seed: int = 0,
) -> Extrapolation:
    """Return what `extrapolate` does, for rows that are read a block at a time.

    Parameters
    ----------
    read
        Function that returns the rows of the clips at some places, in blocks, with the number of rows of each clip.
    clips
        Number of clips.
    ref, whole_gen
        Statistics of the reference, and of all rows of gen.
    seed
        Seed of the subsets.
    """
    require_clips(clips)
    rng = np.random.default_rng(whole("seed", seed, 0))
    inverse = np.linspace(1, LARGEST_RATIO, SIZES) / clips
    sizes = np.unique(np.round(1 / inverse).astype(int))[::-1]
    means, shares, smallest = [], [], whole_gen.count or 0
    for size in sizes:
        draws = [np.sort(rng.permutation(clips)[:size]) for _ in range(1 if size == clips else REPEATS)]
        found, share = [], np.zeros(clips)
        for draw in draws:
            statistics = whole_gen
            if size < clips:
                statistics = GaussianStatistics.from_blocks(rows for rows, _ in read(draw))
            found.append(frechet_distance(statistics, ref).value)
            share[draw] += _shares(read(draw), statistics, ref).cpu().numpy() / len(draws)
            smallest = min(smallest, statistics.count or 0)
        means.append(float(np.mean(found)))
        shares.append(share)
    slope, value = np.polyfit(1 / sizes, means, 1)
    residual = np.array(means) - (value + slope / sizes)
    spread = float(np.sum((np.array(means) - np.mean(means)) ** 2))
    fit = 1.0 if spread == 0 else 1 - float(residual @ residual) / spread
    # The value is linear in the distances, so what a clip adds to them adds up to what it adds to the value.
    shares_of_value = np.polyfit(1 / sizes, shares, 1)[1]
    error = math.sqrt(clips / (clips - 1) * float(shares_of_value @ shares_of_value))
    half = error * student_quantile(0.975, clips - 1)
    return Extrapolation(
        float(value),
        float(slope),
        fit,
        tuple(map(int, sizes)),
        tuple(means),
        smallest < FEWEST_ROWS * ref.dimension,
        error,
        (float(value) - half, float(value) + half),
    )


def _shares(blocks: Iterable[Block], gen: GaussianStatistics, ref: GaussianStatistics) -> torch.Tensor:
    """Return what each clip adds to the Fréchet distance, ``(clips,)``, to first order in its weight; the sum is 0."""
    count, factor = gen.count or 0, ref.factor.to(gen.factor.device)
    cross = gen.factor @ factor.T
    # diag((A Aᵀ)^½), from the smaller of the two Gram matrices. Directions without variance add nothing.
    flat = cross.shape[0] <= cross.shape[1]
    squares, vectors = torch.linalg.eigh(cross @ cross.T if flat else cross.T @ cross)
    known = squares > squares[-1] * 1e-13
    roots, vectors = squares[known].sqrt(), vectors[:, known]
    turn = factor.T @ (cross.T @ vectors / roots if flat else vectors) / math.sqrt(count - 1)
    variance, shift = gen.factor.square().sum(), gen.mean - ref.mean.to(gen.mean.device)
    shares = []
    for block in blocks:
        for part, counts in clip_blocks(*block):
            centred = float64_tensor(part, "gen", ndim=2).to(gen.mean.device) - gen.mean
            root = ((centred @ turn).square() / roots).sum(1)
            influence = centred.square().sum(1) - variance + 2 * centred @ shift - ((count - 1) * root - roots.sum())
            shares += [each.sum() for each in influence.split(counts)]
    return torch.stack(shares) / count


def require_clips(clips: int) -> None:
    """Raise InsufficientDataError if there are too few clips to extrapolate from."""
    if clips < FEWEST_CLIPS:
        raise InsufficientDataError(f"{clips} clips are too few to extrapolate", fix=f"Score {FEWEST_CLIPS} or more")
