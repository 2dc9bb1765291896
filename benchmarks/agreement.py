"""Does what `agm correlate` says of its uncertainty hold? Counted on simulated ratings whose truth is known.

python benchmarks/agreement.py [--table NAME] [--runs N] prints the tables of docs/agreement.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from audiogen_metrics.agreement.joining import LevelRows
from audiogen_metrics.agreement.reading import Key
from audiogen_metrics.agreement.running import correlation_of, difference_of
from audiogen_metrics.functional.correlation import COEFFICIENTS, Coefficient, correlation

Column = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Column, ...]]
"""Ratings and one or two metrics of so many units."""


def linked(rho: float, kind: str = "normal") -> Draw:
    """Return ratings and a metric with correlation ``rho`` before what ``kind`` says is done to them."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Column, ...]:
        x, noise = rng.standard_normal((2, n))
        if kind == "fan":
            noise = noise * np.abs(x)
        y = rho * x + np.sqrt(1 - rho**2) * noise
        if kind == "t(3)":
            scale = np.sqrt(3 / rng.chisquare(3, n))
            x, y = x * scale, y * scale
        return (np.clip(np.round(3 + y), 1, 5) if kind == "five steps" else y), (
            np.exp(x) if kind == "long tail" else x
        )

    return draw


def rivals(a: float, b: float, between: float, kind: str = "normal") -> Draw:
    """Return ratings and two metrics with correlations ``a`` and ``b``, and ``between`` each other."""
    root = np.linalg.cholesky(np.array([[1, a, b], [a, 1, between], [b, between, 1]]))

    def draw(rng: np.random.Generator, n: int) -> tuple[Column, ...]:
        y, one, other = root @ rng.standard_normal((3, n))
        if kind == "t(3)":
            scale = np.sqrt(3 / rng.chisquare(3, n))
            y, one, other = y * scale, one * scale, other * scale
        return (np.clip(np.round(3 + y), 1, 5) if kind == "five steps" else y), one, other

    return draw


def wrong_at_times(share: float, kind: Coefficient) -> Draw:
    """Return a metric that is noise in a share of units and else right, and a normal one that agrees as well."""
    right = 1 - share
    rho = {
        "pearson": right,
        "spearman": 2 * np.sin(np.pi * right / 6),
        "kendall": np.sin(np.pi / 2 * (right**2 + 2 * right * share / 3)),
    }[kind]

    def draw(rng: np.random.Generator, n: int) -> tuple[Column, ...]:
        y, noise, other = rng.standard_normal((3, n))
        return y, np.where(rng.random(n) < right, y, other), rho * y + np.sqrt(1 - rho**2) * noise

    return draw


@cache
def truth(draw: Draw, kind: Coefficient) -> float:
    """Return the coefficient in the population."""
    rng = np.random.default_rng(99)
    return float(np.mean([correlation(kind, *draw(rng, 50_000)[::-1][:2]) for _ in range(4)]))


def rows(columns: tuple[Column, ...], keys: list[Key] | None = None, name: Any = "system") -> LevelRows:
    """Return columns as one level of `correlate`."""
    keys = keys or [(f"{number:04}", None) for number in range(len(columns[0]))]
    values = [dict(zip(keys, column.tolist(), strict=True)) for column in columns]
    return LevelRows(name, values[0], dict(zip("ab", values[1:], strict=False)), several=name != "system")


def coverage(draw: Draw, n: int, runs: int) -> Iterator[str]:
    """Yield, for each coefficient, the share of intervals that hold the truth, and the share of runs without one."""
    rng = np.random.default_rng([n, 1])
    levels = [rows(draw(rng, n)) for _ in range(runs)]
    for kind in COEFFICIENTS:
        true = truth(draw, kind)
        found = [correlation_of(level, "a", kind, True, 0).interval for level in levels]
        known = [each for each in found if each is not None]
        held = np.mean([low <= true <= high for low, high in known]) if known else None
        none = 1 - len(known) / runs
        yield ("–" if held is None or none > 0.9 else f"{100 * held:.0f}") + (f" ({100 * none:.0f})" if none else "")


def found(draw: Draw, n: int, runs: int, kind: Coefficient, *, pair: bool) -> str:
    """Return the share of runs, in percent, in which p is below 0.05."""
    rng = np.random.default_rng([n, 2])
    tested = []
    for run in range(runs):
        level = rows(draw(rng, n))
        one = difference_of(level, kind, "a", "b", {}, run) if pair else correlation_of(level, "a", kind, True, run)
        if one.p is not None:
            tested.append(one.p < 0.05)
    return f"{100 * np.mean(tested):.1f}" if len(tested) > runs / 10 else "–"


class Nested:
    """Clips of a few systems, which stay the same, for prompts that are drawn anew; prompts differ in difficulty."""

    def __init__(self, systems: int, apart: float) -> None:
        offsets = np.random.default_rng(5).standard_normal((2, systems)) * apart
        self.offsets = offsets[0], 0.5 * offsets[0] + offsets[1]

    def level(self, rng: np.random.Generator, prompts: int, name: str, slopes: tuple[float, float]) -> LevelRows:
        """Return one draw; both metrics follow what people hear, as closely as ``slopes`` say."""
        size = (len(self.offsets[0]), prompts)
        heard = rng.standard_normal(prompts) + rng.standard_normal(size) + self.offsets[0][:, None]
        hard = rng.standard_normal(prompts)
        metrics = [slope * heard + hard + rng.standard_normal(size) + self.offsets[1][:, None] for slope in slopes]
        keys: list[Key] = [(f"s{one}", f"p{each:05}") for one in range(size[0]) for each in range(prompts)]
        return rows((heard.ravel(), *(metric.ravel() for metric in metrics)), keys, name)

    def value(self, level: LevelRows, kind: Coefficient) -> float:
        """Return a coefficient alone, without its uncertainty."""
        keys = level.keys("a")
        x, y = level.columns("a", keys, higher=True)
        return level.estimate(kind, x, y, keys)(np.ones(len(keys), dtype=bool))

    def line(self, prompts: int, name: str, runs: int) -> str:
        """Return coverage, and the size of the test between two metrics that agree equally, for each coefficient."""
        rng = np.random.default_rng(6)
        large = [self.level(rng, 4000, name, (1, 1))]
        cells = []
        levels = [self.level(rng, prompts, name, (1, 1)) for _ in range(runs)]
        for kind in COEFFICIENTS:
            true = np.mean([self.value(each, kind) for each in large])
            ends = [correlation_of(each, "a", kind, True, 0).interval or (1, -1) for each in levels]
            p = [difference_of(each, kind, "a", "b", {}, 0).p for each in levels]
            cells.append(f"{100 * np.mean([low <= true <= high for low, high in ends]):.0f}")
            cells.append(f"{100 * np.mean([each is not None and each < 0.05 for each in p]):.1f}")
        return " | ".join(cells)


SIZES = (5, 8, 12, 20, 100)


def intervals(runs: int) -> Iterator[str]:
    """Yield how often the interval holds the truth, and in parentheses how often there is none, in percent."""
    yield "| 95 % interval | n | Spearman | Kendall | Pearson |\n|---|---|---|---|---|"
    cases = [("normal", rho) for rho in (0.0, 0.5, 0.8, 0.95)] + [("fan", 0.5)]
    cases += [(kind, 0.8) for kind in ("five steps", "t(3)", "long tail")]
    for kind, rho in cases:
        for n in SIZES:
            cells = coverage(linked(rho, kind), n, runs if n < 100 else runs // 2)
            yield f"| {kind}, ρ = {rho:g} | {n} | {' | '.join(cells)} |"


def single(runs: int) -> Iterator[str]:
    """Yield how often p of one metric is below 0.05, in percent."""
    yield "| p of one metric | n | Spearman | Kendall | Pearson |\n|---|---|---|---|---|"
    for kind, rho in (("normal", 0.0), ("five steps", 0.0), ("long tail", 0.0), ("normal", 0.8)):
        for n in SIZES:
            count = runs if n < 100 else runs // 2
            cells = [found(linked(rho, kind), n, count, each, pair=False) for each in COEFFICIENTS]
            yield f"| {kind}, ρ = {rho:g} | {n} | {' | '.join(cells)} |"


def pairs(runs: int) -> Iterator[str]:
    """Yield how often p of a difference between two metrics is below 0.05, in percent."""
    yield "| p of a difference | n | Spearman | Kendall | Pearson |\n|---|---|---|---|---|"
    equal = [("normal", 0.0, 0.0), ("normal", 0.5, 0.3), ("normal", 0.7, 0.8), ("normal", 0.9, 0.85)]
    equal += [("t(3)", 0.9, 0.85), ("five steps", 0.9, 0.85)]
    cases = {f"equal: {kind}, {a:g}, {c:g} between them": rivals(a, a, c, kind) for kind, a, c in equal}
    cases |= {f"apart: {a:g} and {b:g}": rivals(a, b, 0.5) for a, b in ((0.9, 0.5), (0.8, 0.2))}
    rows_of = {name: dict.fromkeys(COEFFICIENTS, draw) for name, draw in cases.items()}
    for share in (0.3, 0.15):
        name = f"equal: one is noise in {100 * share:.0f} % of the units"
        rows_of[name] = {each: wrong_at_times(share, each) for each in COEFFICIENTS}
    for name, draws in rows_of.items():
        for n in (6, *SIZES[1:]):
            count = runs if n < 100 else runs // 2
            cells = [found(draws[each], n, count, each, pair=True) for each in COEFFICIENTS]
            yield f"| {name} | {n} | {' | '.join(cells)} |"


def nested(runs: int) -> Iterator[str]:
    """Yield the same of clips by several systems: intervals held, and differences found between equal metrics."""
    yield "| clips of several systems | prompts | Spearman | equal | Kendall | equal | Pearson | equal |"
    yield "|---|---|---|---|---|---|---|---|"
    for systems, apart in ((5, 1.0), (10, 0.3)):
        for prompts in (20, 50):
            for name, level in (("together", "clip"), ("within systems", "clip_within_system")):
                cells = Nested(systems, apart).line(prompts, level, runs // 3)
                yield f"| {systems} systems, {apart:g} apart, {name} | {prompts} | {cells} |"


def williams(runs: int) -> Iterator[str]:
    """Yield how often Williams' t (Steiger 1980), which is not used, finds a difference that is not there."""
    yield "| Williams' t | n | Spearman | Pearson |\n|---|---|---|---|"
    for kind in ("normal", "t(3)"):
        draw = rivals(0.9, 0.9, 0.85, kind)
        for n in (6, *SIZES[1:]):
            rng, shares = np.random.default_rng([n, 2]), []
            drawn = [draw(rng, n) for _ in range(runs)]
            for each in ("spearman", "pearson"):
                shares.append(np.mean([_williams_p(each, *columns) < 0.05 for columns in drawn]))
            yield f"| equal: {kind}, 0.9, 0.85 between them | {n} | {' | '.join(f'{100 * x:.1f}' for x in shares)} |"


def _williams_p(kind: Any, y: Column, a: Column, b: Column) -> float:
    n, (one, other, between) = len(y), (correlation(kind, *pair) for pair in ((a, y), (b, y), (a, b)))
    determinant = 1 - one**2 - other**2 - between**2 + 2 * one * other * between
    scale = 2 * (n - 1) / (n - 3) * determinant + ((one + other) / 2) ** 2 * (1 - between) ** 3
    if scale <= 0:
        return 1.0 if one == other else 0.0
    return float(2 * stats.t.sf(abs(one - other) * np.sqrt((n - 1) * (1 + between) / scale), n - 3))


TABLES = {"intervals": intervals, "single": single, "pairs": pairs, "nested": nested, "williams": williams}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=[*TABLES], action="append")
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    for name in arguments.table or TABLES:
        for line in TABLES[name](arguments.runs):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
