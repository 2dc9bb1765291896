"""Which intervals could KID, KAD, precision, recall, density and coverage have? A study of candidates.

``python benchmarks/once/leaving_groups.py FOLDER [--runs 1000] [-o FILE.json]``, after
``benchmarks/population.py FOLDER``.

Candidates leave out clips, each side apart, and never draw with replacement: copies have distance 0. With G random
groups a side, ``SE² = (G−1)/G · Σ (θ_g − θ̄)²``, and Student's t with G − 1; or one clip at a time, with ±1.96.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from draws import Real
from population import load, subsets

from audiogen_metrics.functional import kernel_audio_distance, kernel_distance, manifold
from audiogen_metrics.functional.uncertainty import jackknife_error

Matrix = torch.Tensor
Values = dict[str, float]
NEAREST = 5


class Pair:
    """Two sets by their matrices of products and distances, and all six metrics without some of their clips."""

    def __init__(self, gen: Matrix, ref: Matrix) -> None:
        self.n, self.m = len(gen), len(ref)
        mean = torch.cat([gen, ref]).mean(0)
        sides = [(gen, gen), (ref, ref), (gen, ref)]
        self.cubes = [(a @ b.T / gen.shape[1] + 1) ** 3 for a, b in sides]
        moved = [(a - mean, b - mean) for a, b in sides]
        self.squares = [(a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0) for a, b in moved]
        self.middle = _median(self.squares[1])
        self.kernel = _kernel(self.squares, self.middle)
        self.radii = [_radii(self.squares[0]), _radii(self.squares[1])]

    def values(self) -> Values:
        """Return the metrics of all clips."""
        return self.without(None, None)

    def without(self, gen: Matrix | None, ref: Matrix | None) -> Values:
        """Return the metrics with these clips only; None keeps a side whole."""
        squares = _taken(self.squares, gen, ref)
        kernel = _taken(self.kernel, gen, ref) if ref is None else _kernel(squares, _median(squares[1]))
        radii = [
            whole if kept is None else _radii(square)
            for kept, whole, square in zip((gen, ref), self.radii, squares, strict=False)
        ]
        return {
            "kid": _mmd(_taken(self.cubes, gen, ref)),
            "kad": 100 * _mmd(kernel),
            **_manifold(squares[2], *radii),
        }

    def kernels_without_each(self) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        """Return KID and KAD without each clip of gen and of ref."""
        u = -1 / (2 * self.middle**2)
        moved = torch.tensor([-1 / (2 * self._middle(place) ** 2) - u for place in range(self.m)], dtype=torch.float64)
        # Kernels of another width by their series in it: the third term is 1e-7 of the first here.
        powers = [
            self.kernel,
            *([k * s**power for k, s in zip(self.kernel, self.squares, strict=True)] for power in (1, 2)),
        ]
        parts = [torch.from_numpy(_mmd_without_each([p[1], p[0], p[2].T])) for p in powers]
        kad_ref = 100 * (parts[0] + moved * parts[1] + moved.square() / 2 * parts[2]).numpy()
        gen, ref = _mmd_without_each(self.cubes), _mmd_without_each([self.cubes[1], self.cubes[0], self.cubes[2].T])
        return {"kid": (gen, ref), "kad": (100 * _mmd_without_each(self.kernel), kad_ref)}

    def _middle(self, place: int) -> float:
        """Return the median distance within ref without one clip."""
        rest = torch.arange(self.m)[torch.arange(self.m) != place]
        return _median(self.squares[1][rest][:, rest])


def _median(squares: Matrix) -> float:
    size = len(squares)
    above = squares[*torch.triu_indices(size, size, 1)].numpy()
    low, high = (len(above) - 1) // 2, len(above) // 2
    ordered = np.partition(above, [low, high])
    return (math.sqrt(ordered[low]) + math.sqrt(ordered[high])) / 2


def _kernel(squares: list[Matrix], middle: float) -> list[Matrix]:
    return [(square / (-2 * middle**2)).exp() for square in squares]


def _taken(matrices: list[Matrix], gen: Matrix | None, ref: Matrix | None) -> list[Matrix]:
    ours, theirs, between = matrices
    if gen is not None:
        ours, between = ours[gen][:, gen], between[gen]
    if ref is not None:
        theirs, between = theirs[ref][:, ref], between[:, ref]
    return [ours, theirs, between]


def _mmd(kernels: list[Matrix]) -> float:
    ours, theirs, between = kernels
    within = [(part.sum() - part.trace()) / (len(part) * (len(part) - 1)) for part in (ours, theirs)]
    return float(sum(within) - 2 * between.mean())


def _mmd_without_each(kernels: list[Matrix]) -> npt.NDArray[np.float64]:
    """Return the squared MMD without each clip of the first set."""
    ours, theirs, between = kernels
    n, m = between.shape
    pairs = ours - torch.diag(ours.diagonal())
    rest = (theirs.sum() - theirs.trace()) / (m * (m - 1))
    within = (pairs.sum() - 2 * pairs.sum(1)) / ((n - 1) * (n - 2))
    crossed = (between.sum() - between.sum(1)) / ((n - 1) * m)
    return (within + rest - 2 * crossed).numpy()


def _radii(squares: Matrix) -> Matrix:
    # A row is its own nearest neighbour, at distance 0.
    return squares.kthvalue(NEAREST + 1, dim=1).values


def _manifold(between: Matrix, gen_radii: Matrix, ref_radii: Matrix) -> Values:
    in_ref, in_gen = between <= ref_radii, between <= gen_radii[:, None]
    return {
        "precision": float(in_ref.any(1).double().mean()),
        "recall": float(in_gen.any(0).double().mean()),
        "density": float(in_ref.sum()) / (NEAREST * len(between)),
        "coverage": float((between.min(0).values <= ref_radii).double().mean()),
    }


def by_groups(pair: Pair, groups: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the standard error of each metric from random groups of clips left out."""
    squares: dict[str, float] = {}
    for side, size in (("gen", pair.n), ("ref", pair.m)):
        order = rng.permutation(size)
        found: dict[str, list[float]] = {}
        for group in range(groups):
            keep = torch.from_numpy(np.delete(order, np.s_[group * size // groups : (group + 1) * size // groups]))
            left = pair.without(keep, None) if side == "gen" else pair.without(None, keep)
            for name, value in left.items():
                found.setdefault(name, []).append(value)
        for name, values in found.items():
            squares[name] = squares.get(name, 0.0) + (groups - 1) * float(np.var(values))
    return {name: math.sqrt(square) for name, square in squares.items()}


def by_clips(pair: Pair) -> dict[str, float]:
    """Return the standard error of the kernel distances from each clip left out."""
    return {
        name: math.hypot(*(jackknife_error(torch.from_numpy(side)) for side in sides))
        for name, sides in pair.kernels_without_each().items()
    }


Draw = Callable[[np.random.Generator], tuple[Matrix, Matrix]]


def study(draw: Draw, runs: int) -> dict[str, dict[str, float]]:
    """Return coverage and width by metric and candidate."""
    values: dict[str, list[float]] = {}
    halves: dict[tuple[str, str], list[float]] = {}
    for seed in range(runs):
        rng = np.random.default_rng([1, seed])
        pair = Pair(*draw(rng))
        if seed == 0:
            _check(pair, *draw(np.random.default_rng([1, seed])))
        for name, value in pair.values().items():
            values.setdefault(name, []).append(value)
        for groups in (10, 20):
            quantile = float(scipy.stats.t.ppf(0.975, groups - 1))
            for name, error in by_groups(pair, groups, rng).items():
                halves.setdefault((name, f"G = {groups}"), []).append(quantile * error)
        for name, error in by_clips(pair).items():
            halves.setdefault((name, "each clip"), []).append(1.96 * error)
    others = [Pair(*draw(np.random.default_rng([2, seed]))).values() for seed in range(2 * runs)]
    found = {}
    for (name, candidate), half in halves.items():
        known = np.array([other[name] for other in others])
        off, width = np.array(values[name]) - known.mean(), np.array(half)
        found[f"{name}, {candidate}"] = {
            "runs": runs,
            "truth": float(known.mean()),
            "sd": float(known.std(ddof=1)),
            "covered": float((np.abs(off) <= width).mean()),
            "below": float((off + width < 0).mean()),
            "above": float((off - width > 0).mean()),
            "width": float(width.mean() / (1.96 * known.std(ddof=1))),
        }
    return found


def _check(pair: Pair, gen: Matrix, ref: Matrix) -> None:
    """Compare the metrics of a pair with the library's."""
    theirs = {
        "kid": kernel_distance(gen, ref).value,
        "kad": kernel_audio_distance(gen, ref).value,
        **manifold(gen, ref, nearest=NEAREST)._asdict(),
    }
    for name, value in pair.values().items():
        # The library's distances round more where a mean is far off, so that a tie may fall to the other side.
        assert math.isclose(value, theirs[name], rel_tol=1e-6, abs_tol=1e-9 if name in {"kid", "kad"} else 0.02), (
            name,
            value,
            theirs[name],
        )


def cases(folder: Path) -> Iterator[tuple[str, Draw, int]]:
    """Yield name, draw and cost."""
    conditions = {condition: load(folder, condition) for condition in ("clean", "noise20", "lowpass")}
    real = {name: Real(conditions, among) for name, among in subsets(conditions["clean"]).items()}

    def embeddings(population: Real, n: int, condition: str) -> Draw:
        drawn = population.embeddings(n, condition)

        def draw(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
            gen, ref = (side.embeddings.double() for side in drawn(rng) if side.embeddings is not None)
            return gen, ref

        return draw

    def normal(n: int, d: int, shift: float) -> Draw:
        def draw(rng: np.random.Generator) -> tuple[Matrix, Matrix]:
            return torch.from_numpy(rng.standard_normal((n, d)) + shift), torch.from_numpy(rng.standard_normal((n, d)))

        return draw

    for n, cost in ((40, 1), (100, 2), (300, 4)):
        for name in ("without outliers",) if n == 300 else ("varied", "without outliers"):
            for condition in ("clean", "noise20"):
                yield f"{name}, {condition}, n = {n}", embeddings(real[name], n, condition), cost
        for shift in (0.0, 0.3):
            yield f"normal, d = 16, shift {shift}, n = {n}", normal(n, 16, shift), cost
        yield f"without outliers, lowpass, n = {n}", embeddings(real["without outliers"], n, "lowpass"), cost


def main() -> None:
    """Print a row a metric and candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("population", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(asked.output.read_text()) if asked.output and asked.output.exists() else {}
    print("| case | candidate | runs | truth | sd | covered | below / above | width ÷ true |\n" + "|---" * 8 + "|")
    for name, draw, cost in cases(asked.population):
        begun = time.monotonic()
        if name not in kept:
            kept[name] = study(draw, max(1, asked.runs // cost))
            if asked.output:
                asked.output.write_text(json.dumps(kept, indent=2) + "\n")
        for row, each in kept[name].items():
            print(
                f"| {name} | {row} | {each['runs']} | {each['truth']:.4g} | {each['sd']:.3g} | {each['covered']:.1%} | "
                f"{each['below']:.1%} / {each['above']:.1%} | {each['width']:.2f} |",
                flush=True,
            )
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
