"""How often do FD∞'s interval, the study's verdicts and the page's differences say what is not so?

``python benchmarks/once/calibration_study.py [RUNS]`` prints their tables, on simulated sets whose truth is known.
Given a file as second argument, an ``.npz`` of ``logits`` and ``embeddings`` by clip, it also draws sets from these
real clips.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from audiogen_metrics.functional import GaussianStatistics
from audiogen_metrics.functional.extrapolation import extrapolate
from audiogen_metrics.report.chance import LEVEL, class_chances, variety
from audiogen_metrics.studies.verdicts import judge


def infinite_n(runs: int) -> None:
    """Print the coverage of FD∞'s interval: of its expected value, and of the truth."""
    print(
        "| FD∞: clips, windows, d | part of the bias only | expected value covered | truth covered | error / spread |"
    )
    print("|---|---|---|---|---|")
    for n, windows, d in ((20, 1, 2), (80, 1, 4), (80, 3, 4), (200, 1, 16), (400, 1, 16), (20, 1, 128), (100, 1, 128)):
        scales = torch.arange(1, d + 1, dtype=torch.float64) ** -0.5
        ref = GaussianStatistics(torch.zeros(d).double(), torch.diag(scales), count=10**6)
        truth = 0.01 * d + 0.01 * float(scales.square().sum())
        fits = []
        for seed in range(runs):
            stream = torch.Generator().manual_seed(seed)
            clips = torch.randn(n, 1, d, generator=stream, dtype=torch.float64)
            own = torch.randn(n, windows, d, generator=stream, dtype=torch.float64)
            rows = 1.1 * scales * ((clips + own) / 2**0.5).flatten(0, 1) + 0.1
            fits.append(extrapolate(rows, ref, [windows] * n, seed=seed))
        values = np.array([fit.value for fit in fits])
        low, high = np.array([fit.ci95 for fit in fits]).T
        expected, true = (float(np.mean((low <= at) & (at <= high))) for at in (values.mean(), truth))
        ratio = np.mean([fit.standard_error for fit in fits]) / values.std()
        partial = "yes" if fits[0].partial else "no"
        print(f"| {n}, {windows}, {d} | {partial} | {expected:.1%} | {true:.1%} | {ratio:.2f} |", flush=True)


def verdicts(runs: int) -> None:
    """Print how often a metric of pure noise, and one that hears something, gets which verdict."""
    print(
        "\n| study | noise: any verdict | rises by 4 standard deviations: responds | rises and falls: comes and goes |"
    )
    print("|---|---|---|---|")
    ends = ("11 shares", 11, 5, (0, -1)), ("3 shares", 3, 5, (0, -1)), ("3 shares", 3, 2, (0, -1))
    severity = ("5 severities, redrawn", 5, 5, (0,)), ("5 severities, not redrawn", 5, 1, ())
    for name, doses, repeats, alike in (*ends, *severity):
        rng = np.random.default_rng(0)
        dose = np.linspace(0, 1, doses)
        cells = []
        for curve, counted in (
            (0 * dose, ("responds", "wrong direction", "comes and goes")),
            (4 * dose, ("responds",)),
            (16 * dose * (1 - dose), ("comes and goes",)),
        ):
            found = 0
            for _ in range(runs):
                scores = curve[:, None] + rng.normal(size=(doses, repeats))
                for place in alike:
                    scores[place] = scores[place, 0]
                by_dose = dict(zip(dose.tolist(), scores.tolist(), strict=True))
                found += judge(by_dose, 1.0, higher_is_better=False).answer in counted
            cells.append(f"{found / runs:.1%}")
        print(f"| {name}, {repeats} repeats | {' | '.join(cells)} |", flush=True)


def differences(runs: int, path: Path | None) -> None:
    """Print how often the page lists a class, or a difference in variety, between two samples of one distribution."""
    print("\n| page | clips | pairs | any class | variety |\n|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    real = None if path is None else np.load(path)
    for name in ("synthetic",) if real is None else ("synthetic", "real"):
        for n, m, paired in ((20, 20, True), (100, 100, True), (20, 20, False), (100, 100, False), (40, 200, False)):
            classes = varieties = 0
            for run in range(runs):
                if real is None or name == "synthetic":
                    heard = 1 / (1 + np.exp(6 - 3 * rng.normal(size=(n + m, 100))))
                    rows = rng.standard_t(3, size=(n + m, 16))
                else:
                    chosen = rng.choice(len(real["logits"]), n + m, replace=False)
                    heard = 1 / (1 + np.exp(-real["logits"][chosen].astype(float)))
                    rows = real["embeddings"][chosen].astype(float)
                gen, ref = torch.from_numpy(heard).split([n, m])
                classes += bool((class_chances(gen, ref, paired=paired, seed=run) <= LEVEL).any())
                gen, ref = torch.from_numpy(rows).split([n, m])
                varieties += variety(gen, ref, ([1] * n, [1] * m), paired=paired, seed=run).beyond_chance
            pairs = "yes" if paired else "no"
            print(f"| {name} | {n}, {m} | {pairs} | {classes / runs:.1%} | {varieties / runs:.1%} |", flush=True)


if __name__ == "__main__":
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    infinite_n(repeats)
    verdicts(repeats)
    differences(repeats, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
