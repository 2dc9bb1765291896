"""What takes long says so before it begins, and large sets keep no matrix of all pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics import score
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.metrics import mmd
from audiogen_metrics.metrics.definition import Metric
from audiogen_metrics.metrics.fd import FrechetDistance
from audiogen_metrics.metrics.measuring import cost as module
from audiogen_metrics.metrics.measuring.cost import cost
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.pool import RowPool
from audiogen_metrics.metrics.mmd import KernelAudioDistance, KernelDistance
from audiogen_metrics.metrics.prdc import Coverage, Density, Recall


def given(count: int, seed: int = 0, width: int = 4) -> GivenFeatures:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, width, generator=generator, dtype=torch.float64, device="cpu")
    return GivenFeatures(tuple(f"{place:06d}" for place in range(count)), embeddings=rows)


@pytest.mark.parametrize("metric", [KernelDistance(), KernelAudioDistance(), Recall(), Coverage(), Density()])
def test_what_takes_minutes_says_so(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rate", lambda: 1e9)
    large = Measured(metric, given(40_000, width=64), given(30_000, width=64))
    for ci in (False, True):
        pairs = metric.comparisons(40_000, 30_000, ci=ci)
        minutes = pairs * 128 / 1e9 / 60
        took = f"{minutes:.2g} minutes" if minutes < 120 else f"{minutes / 60:.2g} hours"
        said = f"{metric.name} compares rows with all others, {pairs:.1e} pairs of 64 numbers: about {took}"
        assert cost(large, ci=ci) == said
    assert cost(Measured(metric, given(300), given(300)), ci=True) == ""


def test_what_takes_seconds_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rate", lambda: 1e15)
    assert cost(Measured(KernelDistance(), given(90_000), given(90_000)), ci=True) == ""
    monkeypatch.setattr(module, "rate", lambda: 1.0)
    assert cost(Measured(FrechetDistance(), given(90_000), given(90_000)), ci=True) == ""


def test_statistics_alone_have_no_cost() -> None:
    assert cost(Measured(KernelDistance(), given(90_000), GivenFeatures(())), ci=True) == ""


def test_a_run_says_it_on_stderr(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    score(*small, metrics="kid", protocol="yamnet", draws=0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "FEWEST_OPERATIONS", 1)
    monkeypatch.setattr(module, "rate", lambda: 1.0)
    report = score(*small, metrics="kid,fd", protocol="yamnet", draws=0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("agm: kid_yamnet: kid compares rows with all others, ")
    assert not any("compares rows" in text for text in (*report.warnings, *report.problems)), "time is no finding"


def test_this_machine_multiplies() -> None:
    assert 1e7 < module.rate() < 1e14


@pytest.mark.parametrize("metric", [KernelDistance(), KernelAudioDistance(), KernelAudioDistance("gen")])
def test_deals_of_a_large_pool_are_computed_without_a_matrix(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = RowPool("embeddings", given(30, 0), given(25, 1))
    rng = np.random.default_rng(0)
    deals = [np.split(rng.permutation(55), [30]) for _ in range(3)]
    expected = [metric.scorer(pool)(*deal) for deal in deals]
    monkeypatch.setattr(mmd, "LARGEST_MATRIX", 54)
    monkeypatch.setattr("audiogen_metrics.functional.pooled.PooledKernel", None)
    monkeypatch.setattr("audiogen_metrics.functional.pooled.PooledGaussian", None)
    assert [metric.scorer(pool)(*deal) for deal in deals] == pytest.approx(expected, rel=1e-9)
