"""KAD whose kernel is as wide as the evaluated set, of clips and of windows, against kadtk's formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import audiogen_metrics
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.evaluation.one_score import scored
from audiogen_metrics.functional import kernel_audio_distance
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.pool import RowPool
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.metrics.mmd import KernelAudioDistance, WindowedKernelAudioDistance
from audiogen_metrics.objects import object_of
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.studies import sanity

GEN = KernelAudioDistance(bandwidth="gen")


def kadtk(gen: torch.Tensor, ref: torch.Tensor, *, middle: bool = False) -> float:
    """kadtk's distance by its formula, in float64 and pair by pair; ``middle``: of two medians their mean, as ours."""
    gen, ref = gen.double(), ref.double()
    apart = torch.pdist(gen)
    width = torch.quantile(apart, 0.5) if middle else apart.median()  # torch.median takes the lower one
    gamma = 1 / (2 * width**2 + (0 if middle else 1e-8))

    def mean_within(rows: torch.Tensor) -> torch.Tensor:
        return torch.exp(-gamma * torch.pdist(rows) ** 2).mean()

    between = torch.exp(-gamma * torch.cdist(gen, ref, compute_mode="donot_use_mm_for_euclid_dist") ** 2).mean()
    return 100 * float(mean_within(gen) + mean_within(ref) - 2 * between)


def normal(n: int, seed: int, d: int = 16) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clips(n: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> EmbeddingSet:
    rows = scale * normal(n, seed) + shift
    return EmbeddingSet(
        {
            f"c{place:02d}": {"embeddings": row, "windows": row + 0.2 * normal(1 + place % 3, place)}
            for place, row in enumerate(rows)
        }
    )


def test_the_kernel_is_as_wide_as_the_evaluated_set() -> None:
    gen, ref = 2 * normal(31, 0), normal(40, 1)
    found = kernel_audio_distance(gen, ref, bandwidth="gen").value
    assert found == pytest.approx(kadtk(gen, ref, middle=True), rel=1e-9)
    # Exchanging the sets exchanges whose width it is, and nothing else.
    assert found == pytest.approx(kernel_audio_distance(ref, gen).value, rel=1e-12)
    assert found != pytest.approx(kernel_audio_distance(gen, ref).value, rel=0.05)
    assert GEN.compute(clips(12, 0, 2.0), clips(14, 1)).value == pytest.approx(
        kernel_audio_distance(2 * normal(12, 0), normal(14, 1), bandwidth="gen").value, rel=1e-12
    )


@pytest.mark.parametrize(("n", "most"), [(9, 0.02), (40, 2e-3), (200, 1e-4)])
def test_how_far_kadtks_median_and_epsilon_are_from_ours(n: int, most: Any) -> None:
    """It takes the lower of two middle distances and adds 1e-8 to the width: less the more clips there are."""
    apart = []
    for seed in range(10):
        gen, ref = normal(n, seed), normal(n, 100 + seed) + 0.5
        theirs, ours = kadtk(gen, ref), kernel_audio_distance(gen, ref, bandwidth="gen").value
        apart.append(abs(ours / theirs - 1))
    assert max(apart) < most
    odd = normal(6, 0), normal(6, 1)  # 15 pairs: one middle
    assert kernel_audio_distance(*odd, bandwidth="gen").value == pytest.approx(kadtk(*odd), rel=1e-6)


def test_windows_are_pooled_over_all_clips() -> None:
    gen, ref = clips(11, 0, 1.5), clips(13, 1)
    pooled = gen.rows("windows"), ref.rows("windows")
    assert len(pooled[0]) == 21
    found = WindowedKernelAudioDistance(bandwidth="gen").compute(gen, ref).value
    assert found == pytest.approx(kadtk(*pooled, middle=True), rel=1e-9)
    assert WindowedKernelAudioDistance().compute(gen, ref).value == pytest.approx(
        kernel_audio_distance(*pooled).value, rel=1e-12
    )


@pytest.mark.parametrize("kind", [KernelAudioDistance, WindowedKernelAudioDistance])
@pytest.mark.parametrize("bandwidth", ["ref", "gen"])
def test_parts_of_a_pool_have_kernels_of_their_own(kind: str, bandwidth: Any) -> None:
    metric, gen, ref = kind(bandwidth=bandwidth), clips(9, 0, 2.0), clips(8, 1)
    pool = RowPool(metric.output, gen, ref)
    found = metric.scorer(pool)(np.arange(9), np.arange(9, 17))
    assert found == pytest.approx(metric.compute(gen, ref).value, rel=1e-9)
    some = np.array([0, 2, 5, 9, 12])
    others = np.array([1, 3, 10, 11, 15])
    every = [*gen.features.values(), *ref.features.values()]
    sets = [EmbeddingSet({f"c{place:02d}": every[place] for place in part}) for part in (some, others)]
    assert metric.scorer(pool)(some, others) == pytest.approx(metric.compute(*sets).value, rel=1e-9)


@pytest.mark.parametrize("bandwidth", ["ref", "gen"])
def test_two_systems_each_with_its_kernel(bandwidth: Any) -> None:
    metric = KernelAudioDistance(bandwidth=bandwidth)
    sets, ref = (clips(9, 0, 2.0), clips(9, 1)), clips(10, 2)
    rivals = Rivals(*(Measured(metric, each, ref) for each in sets), paired=True)
    difference = metric.contest(rivals)(np.arange(9), np.arange(9, 18))
    expected = metric.compute(sets[0], ref).value - metric.compute(sets[1], ref).value
    # With the reference's width, one kernel serves both; with gen's, the observed difference is that of the scores.
    assert difference == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        (GEN, "no interval is known of KAD whose bandwidth is that of gen"),
        (WindowedKernelAudioDistance(), "no interval is known of KAD over windows"),
        (WindowedKernelAudioDistance(bandwidth="gen"), "no interval is known of KAD over windows"),
    ],
)
def test_no_interval_but_p(metric: Any, why: str) -> None:
    recipe = replace(PROTOCOLS["kadtk"].recipes["kad"], definition=metric)
    measured = Measured(metric, clips(20, 0), clips(20, 1, shift=1.0))
    found = scored(recipe, measured, ci=True)
    assert found.ci95 is None
    assert found.remarks == (f"no interval: {why}",)
    assert found.details["chance_p"] <= 0.05
    with pytest.raises(InsufficientDataError, match=why):
        _ = Rivals(measured, measured, True).interval
    known = scored(recipe, Measured(KernelAudioDistance(), clips(20, 0), clips(20, 1, shift=1.0)), ci=True)
    assert known.ci95 is not None


def test_an_option_that_is_a_name() -> None:
    assert KernelAudioDistance().options == {"bandwidth": "ref"}
    for wrong in ("both", "Ref", "", None, 1):
        with pytest.raises(UsageError, match=rf"kad bandwidth={wrong}.*Use ref or gen"):
            KernelAudioDistance(bandwidth=wrong)
    with pytest.raises(UsageError, match="kad_windows bandwidth=all"):
        WindowedKernelAudioDistance(bandwidth="all")


def test_a_set_of_equal_rows_has_no_width() -> None:
    gen, ref = torch.ones(5, 3), normal(6, 0, 3)
    with pytest.raises(InsufficientDataError, match="most rows of gen are equal"):
        kernel_audio_distance(gen, ref, bandwidth="gen")
    assert kernel_audio_distance(gen, ref).value > 0
    # Beside other scores it has no value; they have theirs.
    same = EmbeddingSet({f"c{place}": {"embeddings": normal(1, 0)[0]} for place in range(5)})
    score = scored(PROTOCOLS["kadtk"].recipes["kad"], Measured(GEN, same, clips(6, 1)), ci=True)
    assert score.value is None
    assert "most rows of gen are equal" in (score.reason or "")


def test_the_option_reaches_objects_and_reports(small: tuple[Path, Path]) -> None:
    metric = object_of("kad")(protocol="yamnet", bandwidth="gen")
    found = metric.score(*small)
    assert metric.recipe.options()["bandwidth"] == "gen"
    assert found.ci95 is None
    assert found.value == pytest.approx(
        audiogen_metrics.score(*small[::-1], metrics="kad", protocol="yamnet")["kad"].value, rel=1e-9
    )
    with pytest.raises(UsageError, match="kad bandwidth=wide"):
        object_of("kad")(protocol="yamnet", bandwidth="wide")


@pytest.mark.slow
def test_a_study_measures_with_the_references_width(small: tuple[Path, Path]) -> None:
    """Copies of one clip, by which it scales, have no width."""
    options = {"metrics": ["kad"], "probes": ["noise"], "severities": (1.0,), "fractions": (), "repeats": 1}
    found = sanity(small[1], protocol="kadtk", backbone="yamnet", **options)
    assert found.findings[0].score == "kad_yamnet"
    assert found.findings[0].verdict.scale > 0
    assert GEN.whole() == KernelAudioDistance()
    assert WindowedKernelAudioDistance(bandwidth="gen").whole() == WindowedKernelAudioDistance()
