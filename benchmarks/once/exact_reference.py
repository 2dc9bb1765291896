"""Two systems that are one, against a reference taken as exact: ``python -m benchmarks.once.exact_reference [PAIRS]``.

Prints how often p is at most 0.05, the interval of the difference holds 0, and there is a verdict, of FD and FAD, with
common prompts and without; 60 clips, 16 dimensions. With 300 pairs (the default) two minutes on one core.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import torch

from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.functional import GaussianStatistics
from audiogen_metrics.metrics.fd import Frechet, FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals

CLIPS, WIDTH, WINDOWS = 60, 16, 3
EXACT = GivenFeatures(
    (), gaussian=GaussianStatistics.from_covariance(np.zeros(WIDTH), np.eye(WIDTH), None), counted=False
)


def system(
    rng: np.random.Generator, mix: npt.NDArray[np.float64], prompts: npt.NDArray[np.float64] | None, windows: int
) -> GivenFeatures:
    """Return the features of a system: clips that vary around prompts, or alone, each of some windows."""
    base = rng.normal(size=(CLIPS, WIDTH)) if prompts is None else prompts + 0.5 * rng.normal(size=(CLIPS, WIDTH))
    rows = np.repeat(base @ mix + 0.3, windows, 0)
    rows = rows + 0.3 * (windows > 1) * rng.normal(size=rows.shape)
    ids = tuple(f"{clip:03d}" for clip in range(CLIPS))
    gaussian = GaussianStatistics.from_embeddings(rows)
    return GivenFeatures(ids, gaussian=gaussian, embeddings=torch.from_numpy(rows), row_counts=tuple([windows] * CLIPS))


def main() -> None:
    """Print a line for each metric and way to pair."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(WIDTH, WIDTH)) / 4
    metrics: list[tuple[Frechet, int]] = [(FrechetDistance(), 1), (FrechetAudioDistance(), WINDOWS)]
    for metric, windows in metrics:
        for paired in (False, True):
            rejected = held = verdicts = 0
            for number in range(pairs):
                prompts = rng.normal(size=(CLIPS, WIDTH)) if paired else None
                a, b = (Measured(metric, system(rng, mix, prompts, windows), EXACT) for _ in range(2))
                rivals = Rivals(a, b, paired)
                p, interval = rivals.permutation(99, number)[0], rivals.interval
                holds = interval.low <= 0 <= interval.high
                rejected, held, verdicts = rejected + (p <= 0.05), held + holds, verdicts + (p < 0.05 and not holds)
            shares = ", ".join(
                f"{what} {count / pairs:.1%}"
                for what, count in (("p ≤ 0.05", rejected), ("interval holds 0", held), ("verdicts", verdicts))
            )
            print(f"{metric.symbol}, {'common prompts' if paired else 'no common prompts'}: {shares}")


if __name__ == "__main__":
    main()
