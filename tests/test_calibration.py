"""Small forms of benchmarks/calibration.py: what is printed about uncertainty is true, on sets whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.functional.blocks import Places
from audiogen_metrics.metrics.measuring.chance import _halves, rows_apart


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The two modules of the benchmark as one."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import calibration

    return calibration


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "n"), [("is", 20), ("kl", 10)])
def test_few_clips_are_enough_for_an_interval(benchmark: Any, metric: str, n: int) -> None:
    """The interval of IS had no width at n = 20; that of KL, without a bootstrap, holds 89 % at n = 10."""
    found = benchmark.Coverage(metric, metric, benchmark.synthetic_pairs(n)).measure(400)
    assert found["none"] == 0
    assert 0.92 <= found["covered"] <= 0.975, found


@pytest.mark.slow
@pytest.mark.parametrize("pairing", ["pairs", "half", "none"])
def test_chance_is_ruled_out_as_often_as_p_says(benchmark: Any, pairing: str) -> None:
    """About 1 in 20 of one distribution; what is expected by chance is the expected score."""
    same = benchmark.synthetic(24, 8, shared=0.0 if pairing == "none" else 0.5, pairing=pairing)
    found = benchmark.Dealt("same", "fd", same).measure(150)
    assert found["refused"] == 0
    assert 0.01 <= found["found"] <= 0.09, found
    assert found["expected"] == pytest.approx(found["value"], rel=0.05)
    assert found["halves_gen"] == pytest.approx(found["halves_ref"], rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.5, None])
def test_chance_is_ruled_out_where_gen_differs(benchmark: Any, shared: float | None) -> None:
    """By a shift of one standard deviation on every axis, in every run."""

    def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures]:
        gen, _, ref = benchmark.systems(24, 8, (1.0, 0.0), axes="all", shared=shared)(rng)
        return gen, ref

    assert benchmark.Dealt("apart", "fd", draw).measure(20)["found"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.5, None])
def test_neither_of_two_systems_that_are_as_far_is_better(benchmark: Any, shared: float | None) -> None:
    """Permutation alone finds one better in more than half of the runs; where one is wider, that is found."""
    far = benchmark.Contest("as far", "fd", benchmark.systems(40, 8, (1.0, -1.0), shared=shared)).measure(100)
    assert far["either"] <= 0.06, far
    wider = benchmark.Contest("wider", "fd", benchmark.systems(24, 8, widths=(2.0, 1.0), shared=shared)).measure(10)
    assert wider["b"] >= 0.9, wider


def test_a_larger_system_is_not_better(benchmark: Any) -> None:
    """100 clips against 120 in 128 dimensions were "better" in 91 % of the runs."""
    found = benchmark.Unequal("unequal", "fd", benchmark.systems(40, 48, shared=None, larger=8)).measure(25)
    assert found["either"] <= 0.05, found


@pytest.mark.slow
def test_none_of_five_systems_that_are_as_far_is_better(benchmark: Any) -> None:
    """The rule for two systems finds one better among the ten pairs in a fifth of the tables."""
    shifts = (1.0,) * 5
    found = benchmark.Several("as far", "fd", benchmark.several(24, 8, shifts)).measure(60)
    assert found["false"] <= 0.05 < found["plain"], found


@pytest.mark.slow
def test_the_interval_covers_what_it_says(benchmark: Any) -> None:
    """90 to 98.5 % in 400 runs where the target is 92 to 97 %; conservative where n < d."""
    for metric, draw, low, high in (
        ("fd", benchmark.synthetic(160, 16, "spectrum"), 0.90, 0.985),
        ("fd", benchmark.synthetic(160, 16, "spectrum", shared=0.5, pairing="pairs"), 0.90, 0.985),
        ("fd", benchmark.synthetic(40, 64, "spectrum"), 0.90, 1.0),
        ("is", benchmark.synthetic_pairs(200), 0.90, 0.985),
        ("kl", benchmark.synthetic_pairs(100), 0.90, 0.985),
    ):
        found = benchmark.Coverage(metric, metric, draw).measure(400)
        assert found["none"] == 0
        assert low <= found["covered"] <= high, found


def test_sets_of_one_distribution_of_lengths_are_compared() -> None:
    """By chance alone, forty clips differ by more than a tenth in how many windows they have."""
    rng = np.random.default_rng(0)
    pairs = [rng.geometric(0.4, (2, 40)) for _ in range(200)]
    assert np.mean([rows_apart(one.tolist(), other.tolist()) for one, other in pairs]) <= 0.05
    assert np.mean([rows_apart((one * 2).tolist(), other.tolist()) for one, other in pairs]) >= 0.95
    assert rows_apart([20] * 6, [19] * 6) is False
    assert rows_apart([10] * 6, [8] * 6) is True


def test_half_of_gen_has_no_partner_in_the_other_half_of_ref() -> None:
    """Where half of the clips are pairs, there are enough others; a partner would bring the halves together."""
    strata = np.array([*range(1, 21), *[0] * 20] * 2)
    labels = np.arange(80) < 40

    def partners(gen: Places, ref: Places) -> float:
        return float(len(np.intersect1d(strata[gen], strata[ref])) - (0 in strata[gen] and 0 in strata[ref]))

    assert _halves(partners, labels, strata, np.random.default_rng(0)) == (0, 0, 20)
