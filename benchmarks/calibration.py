"""Does ``agm score`` keep its word? Coverage of the 95 % interval over repeats whose truth is known by simulation.

``python benchmarks/calibration.py [REPEATS]`` prints the table of docs/uncertainty.md. The truth is the expected score
at this n: the mean over an independent set of draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch

from audiogen_metrics.functional import GaussianStatistics, frechet_distance, inception_score, kl_divergence
from audiogen_metrics.functional.uncertainty import (
    Z95,
    frechet_leave_one_out,
    inception_error,
    inception_leave_one_out,
    jackknife_error,
    mean_error,
)

Draw = Callable[[torch.Generator], tuple[float, float]]


def normal(stream: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def frechet(n: int, d: int, windows: int = 1) -> Draw:
    """Sets of a power-law spectrum, the generated one shifted and wider; windows of a clip are alike."""
    scales = torch.arange(1, d + 1, dtype=torch.float64) ** -0.5

    def rows(stream: torch.Generator) -> torch.Tensor:
        clips = normal(stream, n, 1, d) + 0.5 * normal(stream, n, windows, d)
        return (clips * scales).flatten(0, 1)

    def draw(stream: torch.Generator) -> tuple[float, float]:
        gen, ref = 1.2 * rows(stream) + 0.2, rows(stream)
        counts = [windows] * n
        statistics = [GaussianStatistics.from_embeddings(side) for side in (gen, ref)]
        errors = [
            jackknife_error(frechet_leave_one_out(gen, statistics[1], counts)),
            jackknife_error(frechet_leave_one_out(ref, statistics[0], counts)),
        ]
        return frechet_distance(*statistics).value, float(np.hypot(*errors))

    return draw


def inception(n: int, classes: int, splits: int) -> Draw:
    order = np.random.RandomState(2020).permutation(n)
    parts = [order[i * n // splits : (i + 1) * n // splits] for i in range(splits)]

    def draw(stream: torch.Generator) -> tuple[float, float]:
        logits = 3 * normal(stream, n, classes)
        score = inception_score(logits, splits=splits, seed=2020).mean
        return score, inception_error(inception_leave_one_out(logits, parts), parts)

    return draw


def divergence(n: int, classes: int) -> Draw:
    def draw(stream: torch.Generator) -> tuple[float, float]:
        ref = 3 * normal(stream, n, classes)
        found = kl_divergence(ref + normal(stream, n, classes), ref)
        return found.mean, mean_error(found.per_pair)

    return draw


def cases() -> Iterator[tuple[str, Draw]]:
    yield "FD, n = 160, d = 16", frechet(160, 16)
    yield "FD, n = 640, d = 64", frechet(640, 64)
    yield "FAD, 160 clips of 10 windows, d = 16", frechet(160, 16, 10)
    yield "FD, n = 80, d = 128", frechet(80, 128)
    yield "FD, n = 40, d = 512", frechet(40, 512)
    yield "IS, n = 400, 50 classes, 10 splits", inception(400, 50, 10)
    yield "IS, n = 400, 50 classes, 1 split", inception(400, 50, 1)
    yield "KL, n = 200, 50 classes", divergence(200, 50)


def main(repeats: int = 300) -> None:
    torch.set_num_threads(1)
    print("| score | covered | mean standard error | spread of the score |\n|---|---|---|---|")
    for name, draw in cases():
        found = np.array([draw(torch.Generator().manual_seed(seed)) for seed in range(2 * repeats)])
        truth = found[repeats:, 0].mean()
        values, errors = found[:repeats].T
        covered = np.abs(values - truth) <= Z95 * errors
        print(f"| {name} | {covered.mean():.1%} | {errors.mean():.3g} | {values.std(ddof=1):.3g} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
