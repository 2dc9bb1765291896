"""FD and FAD: what both sides of an interval share."""

from __future__ import annotations

import gc

import pytest
import torch

from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.functional import GaussianStatistics, downdates
from audiogen_metrics.functional.downdates import frechet_leave_one_out
from audiogen_metrics.metrics import fd
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured


def features(clips: int, dimension: int, seed: int, windows: int = 1) -> GivenFeatures:
    rows = torch.randn(clips * windows, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ids = tuple(f"{clip:03d}" for clip in range(clips))
    counts = tuple([windows] * clips)
    return GivenFeatures(ids, gaussian=GaussianStatistics.from_embeddings(rows), embeddings=rows, row_counts=counts)


@pytest.fixture
def decompositions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the decompositions."""
    found: list[int] = []
    whole = downdates.singular_vectors

    def counted(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found.append(len(left))
        return whole(left, right)

    monkeypatch.setattr(downdates, "singular_vectors", counted)
    return found


@pytest.mark.parametrize("dimension", [6, 50])
@pytest.mark.parametrize("windows", [1, 3])
def test_both_sides_of_an_interval_share_one_decomposition(
    dimension: int, windows: int, decompositions: list[int]
) -> None:
    metric = FrechetDistance() if windows == 1 else FrechetAudioDistance()
    gen, ref = features(12, dimension, 0, windows), features(15, dimension, 1, windows)
    measured = Measured(metric, gen, ref)
    assert measured.interval.low < measured.interval.high
    assert len(decompositions) == 1
    assert not fd._ROOTS
    for side, rows, other in (("gen", gen, ref), ("ref", ref, gen)):
        alone = frechet_leave_one_out(
            rows.rows(metric.output), other.statistics(metric.output), rows.counts(metric.output)
        )
        torch.testing.assert_close(measured.without(side), alone, rtol=1e-10, atol=1e-10)  # type: ignore[arg-type]


def test_another_pair_has_its_own(decompositions: list[int]) -> None:
    metric, gen = FrechetDistance(), features(12, 6, 0)
    refs = features(15, 6, 1), features(15, 6, 2)
    found = [metric.leave_one_out(gen, ref, "gen") for ref in refs]
    assert len(decompositions) == 2
    assert not torch.allclose(*found, rtol=1e-6, atol=1e-6)


def test_a_decomposition_goes_with_the_statistics() -> None:
    gen, ref = features(12, 6, 0), features(15, 6, 1)
    FrechetDistance().leave_one_out(gen, ref, "gen")
    assert len(fd._ROOTS) == 1
    del gen
    gc.collect()
    assert not fd._ROOTS


@pytest.mark.parametrize("dimension", [6, 50])
def test_clips_that_leave_together_are_found_in_any_order(dimension: int) -> None:
    """Tied clips are brought together, so that their rows lie in another order than those of the statistics."""
    gen, ref = features(12, dimension, 0), features(15, dimension, 1)
    prompts = {clip: str(place % 6) for place, clip in enumerate(gen.clip_ids)}
    measured = Measured(FrechetDistance(), gen, ref, links=Links(contents={"gen": [prompts]}))
    without = measured.without("gen")
    rows, statistics = gen.rows("embeddings"), ref.statistics("embeddings")
    for place, unit in enumerate(measured.units("gen").values()):
        rest = torch.from_numpy(unit)
        left = torch.ones(12, dtype=torch.bool, device=rows.device)
        left[rest] = False
        expected = fd.Frechet.compute(
            FrechetDistance(), GivenFeatures((), gaussian=GaussianStatistics.from_embeddings(rows[left])), ref
        )
        assert float(without[place]) == pytest.approx(expected.value, rel=1e-9)
    assert len(without) == 6
    assert statistics.count == 15
