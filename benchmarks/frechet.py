"""Fréchet distance: ours against scipy.linalg.sqrtm, as the published evaluators take it.

Both run on the same features, alternately, in one process; the table gives the median of the pairwise ratios.
Run with ``make bench`` or ``python benchmarks/frechet.py``; ``--json FILE`` keeps the raw times.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy
import scipy.linalg
import torch

from audiogen_metrics.functional import GaussianStatistics, frechet_distance

Features = npt.NDArray[np.float64]


def main() -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="24x128,1000x128,100x1024,500x1024,2000x1024", help="n x d, comma-separated")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the raw times here")
    arguments = parser.parse_args()
    machine = (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, scipy {scipy.__version__}"
    )
    print(f"{machine}\n{'n':>6} {'d':>6} {'ours (s)':>10} {'sqrtm (s)':>10} {'ratio':>8}  difference")
    square_root(*np.random.default_rng(0).normal(size=(2, 9, 4)))  # both libraries load and warm up
    nuclear_norm(*np.random.default_rng(0).normal(size=(2, 9, 4)))
    rows = [measure(*map(int, size.split("x")), arguments.repeats) for size in arguments.sizes.split(",")]
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


def measure(count: int, dimension: int, repeats: int) -> dict[str, object]:
    """Time both on features with a power-law spectrum, as networks give them."""
    generator = np.random.default_rng(0)
    scale = np.arange(1, dimension + 1) ** -0.5
    gen, ref = (generator.normal(size=(count, dimension)) * scale for _ in range(2))
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(timed(nuclear_norm, gen, ref))
        theirs.append(timed(square_root, gen, ref))
    ratio = statistics.median(slow[0] / fast[0] for fast, slow in zip(ours, theirs, strict=True))
    difference = abs(ours[0][1] - theirs[0][1]) / ours[0][1]
    fast, slow = (statistics.median(seconds for seconds, _ in runs) for runs in (ours, theirs))
    print(f"{count:6} {dimension:6} {fast:10.4f} {slow:10.4f} {ratio:8.1f}  {difference:.1e}", flush=True)
    times = {"ours": [seconds for seconds, _ in ours], "sqrtm": [seconds for seconds, _ in theirs]}
    return {"n": count, "d": dimension, "ratio": ratio, "relative_difference": difference, "seconds": times}


def timed(function: Callable[[Features, Features], float], gen: Features, ref: Features) -> tuple[float, float]:
    """Return seconds and result."""
    start = time.perf_counter()
    value = function(gen, ref)
    return time.perf_counter() - start, value


def nuclear_norm(gen: Features, ref: Features) -> float:
    """Ours, statistics included."""
    return frechet_distance(GaussianStatistics.from_embeddings(gen), GaussianStatistics.from_embeddings(ref)).value


def square_root(gen: Features, ref: Features) -> float:
    """Covariances and the square root of their product."""
    cov_gen, cov_ref = np.cov(gen, rowvar=False), np.cov(ref, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular for n ≤ d: what this benchmark is about
        root = scipy.linalg.sqrtm(cov_gen @ cov_ref)
    shift = gen.mean(axis=0) - ref.mean(axis=0)
    return float(shift @ shift + np.trace(cov_gen) + np.trace(cov_ref) - 2 * np.trace(root).real)


if __name__ == "__main__":
    main()
