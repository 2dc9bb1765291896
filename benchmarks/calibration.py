"""Does ``agm`` keep its word? Every statement of uncertainty that it prints, over repeats whose truth is known.

::

    python benchmarks/population.py FOLDER
    python benchmarks/calibration.py FOLDER [--runs 1000] [--only "FD real"] [-o FILE.json]

prints the tables of docs/calibration.md: how often the 95 % interval holds the expected score, how often chance is
ruled out, how often one system is called better. Features are real (`population`) or synthetic; the sets of a run are
drawn without replacement, of different clips. Numbers are those that ``agm score`` and ``agm compare`` print.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, cast
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from draws import Draw, Real, Rivalry, Tournament, classifiers, several, synthetic, synthetic_pairs, systems
from population import CONDITIONS, load, subsets

from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.evaluation import compare as comparing
from audiogen_metrics.evaluation.one_score import scored
from audiogen_metrics.metrics.measuring import chance as measuring_chance
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.ranking.separating import permutations_for, separate

Found = Mapping[str, float]

PERMUTATIONS = 199
"""As by default."""

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cell:
    """One row of a table: a metric, and what share of the runs it gets (1 / ``cost``)."""

    name: str
    metric: str
    draw: Any
    cost: int = 1

    title: ClassVar[str]
    head: ClassVar[str]

    @property
    def recipe(self) -> Recipe:
        """The metric as a protocol has it."""
        return get_protocol("yamnet").select([self.metric])[0]

    def measure(self, runs: int) -> Found:
        """Return what became of so many runs, by name."""
        raise NotImplementedError

    def row(self, found: Found) -> str:
        """Return the row of the table."""
        raise NotImplementedError


class Coverage(Cell):
    """How often the 95 % interval holds the truth: the expected score at this n, over draws that no interval was of."""

    draw: Draw
    title = "Intervals"
    head = (
        "| score | runs | truth | holds it | lies below / above | width ÷ true | doubted | holds it if not doubted |\n"
        "|---|---|---|---|---|---|---|---|"
    )

    def measure(self, runs: int) -> Found:
        """Make as many intervals, and twice as many other draws for the truth."""
        recipe, bounds, doubted = self.recipe, [], []
        for seed in range(runs):
            measured = Measured(recipe.definition, *self.draw(np.random.default_rng([1, seed])), draws=0)
            score = scored(recipe, measured, ci=True)
            bounds.append((math.nan, math.nan) if score.ci95 is None else score.ci95)
            doubted.append(any("too narrow" in remark for remark in score.remarks))
        others = [
            recipe.definition.compute(*self.draw(np.random.default_rng([2, seed]))).value for seed in range(2 * runs)
        ]
        truth, deviation = float(np.mean(others)), float(np.std(others, ddof=1))
        low, high = np.array(bounds).T
        known, sure = np.isfinite(low) & np.isfinite(high), ~np.array(doubted)
        holds = (low <= truth) & (truth <= high)
        return {
            "runs": runs,
            "truth": truth,
            "covered": _share(holds[known]),
            "below": _share(high[known] < truth),
            "above": _share(low[known] > truth),
            "none": 1 - _share(known),
            "width": float((high - low)[known].mean() / (2 * 1.96 * deviation)) if known.any() else math.nan,
            "doubted": _share(~sure[known]),
            "covered_sure": _share(holds[known & sure]),
        }

    def row(self, found: Found) -> str:
        """Return the row of the table."""
        if found["none"] == 1:
            return f"| {self.name} | {found['runs']} | {found['truth']:.4g} | no interval | – | – | – | – |"
        lost = f", {found['none']:.1%} none" if found["none"] else ""
        return (
            f"| {self.name} | {found['runs']} | {found['truth']:.4g} | {found['covered']:.1%}{lost} | "
            f"{found['below']:.1%} / {found['above']:.1%} | {found['width']:.2f} | {found['doubted']:.1%} | "
            f"{found['covered_sure']:.1%} |"
        )


class Dealt(Cell):
    """How often chance is ruled out (p ≤ 0.05), and what it is said to give."""

    draw: Draw
    title = "Chance"
    head = (
        "| gen and ref | runs | p ≤ 0.05 | no p | score | expected | half of gen and ref | halves of ref | "
        "gen's above where p is small |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )

    def measure(self, runs: int) -> Found:
        """Deal out; halves are made of every run, though they are printed only where p is small."""
        found, values, refused = [], [], 0
        with mock.patch.object(measuring_chance, "SIGNIFICANT", 1.0):
            for seed in range(runs):
                measured = Measured(self.recipe.definition, *self.draw(np.random.default_rng([1, seed])), seed=seed)
                values.append(measured.measurement.value)
                try:
                    found.append(measured.chance)
                except measuring_chance.InsufficientDataError:
                    refused += 1
        p, expected, gen, ref = (
            np.array([getattr(each, name) for each in found], dtype=float)
            for name in ("p", "expected", "halves_gen", "halves_ref")
        )
        return {
            "runs": runs,
            "found": _share(p <= SIGNIFICANT),
            "refused": refused / runs,
            "value": float(np.mean(values)),
            "expected": float(expected.mean()) if len(p) else math.nan,
            "halves_gen": float(gen.mean()) if len(p) else math.nan,
            "halves_ref": float(ref.mean()) if len(p) else math.nan,
            "above": _share((gen > ref)[p <= SIGNIFICANT]),
        }

    def row(self, found: Found) -> str:
        """Return the row of the table."""
        return (
            f"| {self.name} | {found['runs']} | {found['found']:.1%} | {found['refused']:.0%} | {found['value']:.4g} | "
            f"{found['expected']:.4g} | {found['halves_gen']:.4g} | {found['halves_ref']:.4g} | {found['above']:.0%} |"
        )


class Contest(Cell):
    """How often one of two systems is called better: p < 0.05 and an interval without 0."""

    draw: Rivalry
    title = "Two systems"
    head = "| A and B | runs | A better | B better | either | 0 outside the interval |\n|---|---|---|---|---|---|"

    def measure(self, runs: int) -> Found:
        """Permute only where the interval leaves 0 out: elsewhere there is no verdict whatever p is."""
        verdicts, apart = [], []
        for seed in range(runs):
            a, b, ref = self.draw(np.random.default_rng([1, seed]))
            first, second = (Measured(self.recipe.definition, system, ref) for system in (a, b))
            rivals = Rivals(first, second, a.clip_ids == b.clip_ids)
            bounds = rivals.interval
            apart.append(not bounds.low <= 0 <= bounds.high)
            better = apart[-1] and rivals.permutation(PERMUTATIONS, seed)[0] < SIGNIFICANT
            verdicts.append(better * (1 if (rivals.difference > 0) == self.recipe.definition.higher_is_better else -1))
        return _verdicts(np.array(verdicts), np.array(apart))

    def row(self, found: Found) -> str:
        """Return the row of the table."""
        return (
            f"| {self.name} | {found['runs']} | {found['a']:.1%} | {found['b']:.1%} | {found['either']:.1%} | "
            f"{found['apart']:.1%} |"
        )


class Unequal(Contest):
    """The same of systems of unequal size, which `agm compare` cuts to one."""

    def measure(self, runs: int) -> Found:
        """Ask ``agm compare`` itself; as `Contest`, without permutations where they cannot matter."""
        verdicts, apart = [], []
        for seed in range(runs):
            drawn = zip(("A", "B", "ref"), self.draw(np.random.default_rng([1, seed])), strict=True)
            sides = [cast(FolderSide, _Side(name, features)) for name, features in drawn]
            match = comparing.matched(self.recipe, *sides, None, seed)
            found = comparing._difference(self.recipe, match, 0, seed)
            assert found.ci95 is not None
            apart.append(not found.ci95[0] <= 0 <= found.ci95[1])
            if apart[-1]:
                found = comparing._difference(self.recipe, match, PERMUTATIONS, seed)
            verdicts.append(apart[-1] * {"A": 1, "B": -1}.get(found.verdict.split(" better")[0], 0))
        return _verdicts(np.array(verdicts), np.array(apart))


class Several(Cell):
    """How often any of several systems is called better than one that is as good, in a table of all of them.

    The first system may be worse than the others, which are of one distribution.
    """

    draw: Tournament
    title = "Several systems"
    head = (
        "| systems | runs | any false verdict | the same, uncorrected | worse one found by one or more | by all |\n"
        "|---|---|---|---|---|---|"
    )

    def measure(self, runs: int) -> Found:
        """Ask ``agm score`` itself; permutations are made where the intervals alone find something: they find more."""
        false, plain, one, every = [], [], [], []
        for seed in range(runs):
            *gens, ref = self.draw(np.random.default_rng([1, seed]))
            names = [f"s{number}" for number in range(len(gens))]
            sides = [cast(FolderSide, _Side(name, gen)) for name, gen in zip(names, gens, strict=True)]
            last = cast(FolderSide, _Side("ref", ref))
            pairs = [comparing.matched(self.recipe, a, b, last, None, seed) for a, b in combinations(sides, 2)]
            alone = [comparing._difference(self.recipe, pair, 0, seed) for pair in pairs]
            among = [place for place, pair in enumerate(pairs) if "s0" not in pair.names or not self.worse]
            found = separate(pairs, 0, seed)
            if any(each.better for each in found):
                found = separate(pairs, permutations_for(len(pairs)), seed)
            plain.append(any("better" in alone[place].verdict for place in among))
            false.append(
                any(each.better and (place in among or each.better == "s0") for place, each in enumerate(found))
            )
            worse = [each.better == each.system_b for each in found if each.system_a == "s0"]
            one.append(any(worse))
            every.append(all(worse))
        shares = {"false": false, "plain": plain, "one": one, "every": every}
        return {"runs": runs, **{name: _share(np.array(hits)) for name, hits in shares.items()}}

    @property
    def worse(self) -> bool:
        """Whether the first system is worse."""
        return "worse" in self.name

    def row(self, found: Found) -> str:
        """Return the row of the table."""
        shown = f"{found['one']:.1%} | {found['every']:.1%}" if self.worse else "– | –"
        return f"| {self.name} | {found['runs']} | {found['false']:.1%} | {found['plain']:.1%} | {shown} |"


class _Side:
    """A set as `agm compare` knows it, without its files."""

    def __init__(self, name: str, source: GivenFeatures) -> None:
        self.name = name
        rows = source.rows("embeddings")
        self._features = EmbeddingSet(
            {clip: {"embeddings": row} for clip, row in zip(source.clip_ids, rows, strict=True)}
        )

    def features(self, _: Recipe) -> EmbeddingSet:
        return self._features

    def summary(self) -> mock.Mock:
        return mock.Mock(files={})


def _verdicts(verdicts: npt.NDArray[np.int64], apart: npt.NDArray[np.bool_]) -> Found:
    a, b = _share(verdicts > 0), _share(verdicts < 0)
    return {"runs": len(verdicts), "a": a, "b": b, "either": a + b, "apart": _share(apart)}


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else math.nan


def coverages(real: Mapping[str, Real]) -> Iterator[Cell]:
    """Yield the cells of intervals."""
    whole, varied = real["whole"], real["varied"]
    for n in (20, 40, 100):
        for name, population in real.items():
            yield Coverage(f"FD real, {name}, n = {n}", "fd", population.embeddings(n))
        yield Coverage(f"FD real, varied, 20 dB noise, n = {n}", "fd", varied.embeddings(n, "noise20"))
    for n in (40, 150):
        for law in ("normal", "t(3)", "lognormal"):
            yield Coverage(f"FD synthetic, {law}, d = 32, n = {n}", "fd", synthetic(n, 32, law))
    yield Coverage("FD synthetic, power law, d = 16, n = 160", "fd", synthetic(160, 16, "spectrum"))
    yield Coverage("FD synthetic, power law, d = 512, n = 40", "fd", synthetic(40, 512, "spectrum"))
    for n, d in ((40, 16), (160, 16), (40, 128)):
        law = f"power law, d = {d}, n = {n}"
        pairs = synthetic(n, d, "spectrum", shared=0.5, pairing="pairs")
        yield Coverage(f"FD synthetic pairs, {law}, clips of a pair together", "fd", pairs)
        apart = synthetic(n, d, "spectrum", shared=0.5)
        yield Coverage(f"FD synthetic pairs, {law}, as if there were no pairs", "fd", apart)
    for n in (40, 100):
        pairs = varied.embeddings(n, "noise20", "pairs")
        yield Coverage(f"FD real pairs, varied, 20 dB noise, n = {n}", "fd", pairs)
    for n in (20, 25, 40, 100, 400):
        yield Coverage(f"IS real, whole, n = {n}", "is", whole.logits(n, "clean"))
        if n <= 100:
            yield Coverage(f"IS real, varied, n = {n}", "is", varied.logits(n, "clean"))
        yield Coverage(f"IS synthetic, n = {n}", "is", synthetic_pairs(n))
    for n in (10, 20, 40, 100):
        yield Coverage(f"KL real, 20 dB noise, n = {n}", "kl", whole.logits(n, "noise20"))
        yield Coverage(f"KL real, varied, 20 dB noise, n = {n}", "kl", varied.logits(n, "noise20"))
        yield Coverage(f"KL synthetic, n = {n}", "kl", synthetic_pairs(n))
    for metric, name, cost in (("kid", "KID", 1), ("kad", "KAD", 2), ("density", "Density", 5)):
        for n in (20, 40, 100):
            for condition in ("clean", "noise20"):
                draw = varied.embeddings(n, condition)
                yield Coverage(f"{name} real, varied, {condition}, n = {n}", metric, draw, cost)
    yield Coverage("FAD real, varied, n = 20", "fad", varied.windows(20), cost=3)
    yield Coverage("FAD real, varied, n = 40", "fad", varied.windows(40), cost=3)
    yield Coverage("FAD synthetic, 10 windows, d = 16, n = 160", "fad", synthetic(160, 16, "spectrum", 10), cost=3)


def chances(real: Mapping[str, Real]) -> Iterator[Cell]:
    """Yield the cells of chance: one distribution, then damage that is to be found."""
    whole, varied = real["whole"], real["varied"]
    words = {"pairs": "pairs", "half": "half of them pairs", "none": "no pairs"}
    for pairing, said in words.items():
        for d in (16, 128):
            draw = synthetic(40, d, shared=0.5 if pairing != "none" else 0.0, pairing=pairing)
            yield Dealt(f"FD one distribution, normal, d = {d}, n = 40, {said}", "fd", draw)
        for name in ("whole", "varied"):
            draw = real[name].embeddings(40, "noise20", pairing, exchange=True)
            yield Dealt(f"FD one distribution, real, {name}, n = 40, {said}", "fd", draw)
    for n in (40, 100):
        cost = 1 if n == 40 else 3
        for name in ("whole", "varied"):
            draw = real[name].embeddings(n)
            yield Dealt(f"FD one distribution, real, {name}, clean, n = {n}, no pairs", "fd", draw, cost)
    for n in (40, 100):
        for condition in ("noise20", "noise40", "lowpass"):
            for name, population in (("whole", whole), ("varied", varied)):
                for pairing in ("pairs", "none"):
                    draw = population.embeddings(n, condition, pairing)
                    found = f"FD {condition}, real, {name}, n = {n}, {words[pairing]}"
                    yield Dealt(found, "fd", draw, 3 if n == 40 else 10)
    for metric, cost in (("kid", 2), ("kad", 4)):
        draw = varied.embeddings(40, "noise20", exchange=True)
        yield Dealt(f"{metric.upper()} one distribution, real, varied, n = 40, no pairs", metric, draw, cost)
        draw = varied.embeddings(40, "noise20")
        yield Dealt(f"{metric.upper()} noise20, real, varied, n = 40, no pairs", metric, draw, 5)
    draw = varied.windows(40, "noise20", "pairs", exchange=True)
    yield Dealt("FAD one distribution, real, varied, n = 40, pairs", "fad", draw, 5)
    yield Dealt("FAD one distribution, real, varied, n = 40, no pairs", "fad", varied.windows(40), 5)
    yield Dealt("FAD noise20, real, varied, n = 40, pairs", "fad", varied.windows(40, "noise20", "pairs"), 10)


def contests(real: Mapping[str, Real]) -> Iterator[Cell]:
    """Yield the cells of two systems: where neither is better, then where one is."""
    ways: dict[str, float | None] = {"pairs alike": 0.5, "pairs not alike": 0.0, "no pairs": None}
    for said, shared in ways.items():
        for n, d in ((40, 16), (100, 16), (400, 16), (40, 128), (100, 128), (40, 256), (40, 1024), (100, 1024)):
            cost = _cost(n, d)
            draw = systems(n, d, shared=shared)
            yield Contest(f"FD identical, d = {d}, n = {n}, {said}", "fd", draw, cost)
            for shift in (0.3, 1.0):
                for axes in ("one", "all"):
                    where = f"{'one axis' if axes == 'one' else 'all axes'}, ±{shift:g}"
                    draw = systems(n, d, (shift, -shift), axes=axes, shared=shared)
                    yield Contest(f"FD as far, {where}, d = {d}, n = {n}, {said}", "fd", draw, cost)
        for n, d in ((40, 16), (200, 8)):
            name = f"FD as far, A 1.5 times as wide, B shifted, d = {d}, n = {n}, {said}"
            yield Contest(name, "fd", partial(_as_far, n, d, shared), 2)
    for n in (40, 100):
        for together in (True, False):
            said = "one set of clips" if together else "no pairs"
            draw = real["varied"].astray(n, together)
            yield Contest(f"FD as far, real, varied, n = {n}, {said}", "fd", draw, 2)
    for n in (20, 40, 100):
        for together in (True, False):
            said = "pairs" if together else "no pairs"
            for metric in ("kl", "is"):
                yield Contest(f"{metric.upper()} identical, n = {n}, {said}", metric, classifiers(n, together))
    for said, shared in ways.items():
        yield Contest(f"KID identical, d = 16, n = 40, {said}", "kid", systems(40, 16, shared=shared), 2)
        draw = systems(40, 16, (1.0, -1.0), shared=shared)
        yield Contest(f"KID as far, one axis, ±1, d = 16, n = 40, {said}", "kid", draw, 2)
    for said, shared in ways.items():
        for axes, d in (("one", 4), ("one", 16), ("all", 16)):
            where = "one axis" if axes == "one" else "all axes"
            draw = systems(40, d, (1.0, 0.7), axes=axes, shared=shared)
            yield Contest(f"FD B is better: shifted by 1 and 0.7, {where}, d = {d}, n = 40, {said}", "fd", draw, 2)
        draw = systems(40, 16, widths=(1.5, 1.0), shared=shared)
        yield Contest(f"FD B is better: A 1.5 times as wide, d = 16, n = 40, {said}", "fd", draw, 4)
    for n, larger, cost in ((100, 20, 5), (500, 500, 20)):
        draw = systems(n, 128, shared=None, larger=larger)
        yield Unequal(f"FD identical, d = 128, n = {n} and {n + larger}, no pairs", "fd", draw, cost)


def tournaments(_: Mapping[str, Real]) -> Iterator[Cell]:
    """Yield the cells of several systems: all alike, then with a worse one."""
    ways: dict[str, float | None] = {"pairs alike": 0.5, "no pairs": None}
    for said, shared in ways.items():
        for count in (3, 5):
            same = (0.0,) * count
            yield Several(
                f"FD {count} identical, d = 16, n = 40, {said}", "fd", several(40, 16, same, shared=shared), 2
            )
            moved = (0.7,) * count
            draw = several(40, 16, moved, shared=shared)
            yield Several(f"FD {count} as far, ±0.7 on all axes, d = 16, n = 40, {said}", "fd", draw, 2)
            draw = several(40, 16, (0.3, *same[1:]), shared=shared)
            yield Several(f"FD {count}, the first worse, d = 16, n = 40, {said}", "fd", draw, 4)


def _cost(n: int, d: int) -> int:
    return 1 if n * min(n, d) <= 1600 else 2 if d < 1024 else 10


def _as_far(
    n: int, d: int, shared: float | None, rng: np.random.Generator
) -> tuple[GivenFeatures, GivenFeatures, GivenFeatures]:
    """Draw A that is 1.5 times as wide as the reference, and B whose shift adds as much to the expected FD."""
    return systems(n, d, (0.0, _shift(n, d, shared)), (1.5, 1.0), shared=shared)(rng)


@cache
def _shift(n: int, d: int, shared: float | None) -> float:
    metric = get_protocol("yamnet").select(["fd"])[0].definition
    more = []
    for seed in range(2000):
        wide, narrow, ref = systems(n, d, widths=(1.5, 1.0), shared=shared)(np.random.default_rng([3, seed]))
        more.append(metric.compute(wide, ref).value - metric.compute(narrow, ref).value)
    return math.sqrt(np.mean(more))


def main() -> None:
    """Print the tables, and write their numbers where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("population", type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", default="", help="cells whose name has this regular expression in it")
    parser.add_argument("-o", "--output", type=Path, help="JSON; what it holds already is kept, not measured again")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kept = json.loads(asked.output.read_text()) if asked.output and asked.output.exists() else {}
    conditions = {condition: load(asked.population, condition) for condition in CONDITIONS}
    real = {name: Real(conditions, among) for name, among in subsets(conditions["clean"]).items()}
    for kind in (coverages, chances, contests, tournaments):
        title = ""
        for cell in kind(real):
            if not re.search(asked.only, cell.name):
                continue
            if cell.title != title:
                title = cell.title
                print(f"\n## {title}\n\n{cell.head}")
            if cell.name not in kept:
                begun = time.monotonic()
                found = cell.measure(max(1, asked.runs // cell.cost))
                kept[cell.name] = {**found, "seconds": time.monotonic() - begun}
                if asked.output:
                    asked.output.write_text(json.dumps(kept, indent=2) + "\n")
            print(cell.row(kept[cell.name]), flush=True)


if __name__ == "__main__":
    main()
