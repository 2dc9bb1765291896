"""What the page calls a difference: rarely by chance, and found where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics import score
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.report.chance import class_chances, variety
from audiogen_metrics.report.diagnosis import diagnose
from audiogen_metrics.report.html import score_html
from tests.conftest import EXAMPLES

RUNS = 200
AT_MOST = 0.05 + 3 * (0.05 * 0.95 / RUNS) ** 0.5
"""Three standard errors above the promised rate."""


def probabilities(rng: np.random.Generator, n: int, classes: int = 60) -> torch.Tensor:
    """Most classes are heard in few clips: skewed and heavy-tailed, as AudioSet's are."""
    return torch.from_numpy(1 / (1 + np.exp(6 - 3 * rng.normal(size=(n, classes)))))


@pytest.mark.parametrize(("n", "m", "paired"), [(12, 12, True), (30, 30, True), (30, 30, False), (15, 60, False)])
def test_no_class_differs_between_samples_of_one_distribution(n: int, m: int, paired: bool) -> None:
    rng, alarms = np.random.default_rng(0), 0
    for run in range(RUNS):
        gen, ref = probabilities(rng, n), probabilities(rng, m)
        alarms += bool((class_chances(gen, ref, paired=paired, seed=run) <= 0.05).any())
    assert alarms <= AT_MOST * RUNS


@pytest.mark.parametrize("paired", [True, False])
def test_a_class_that_is_missed_is_found(paired: bool) -> None:
    rng, found, others = np.random.default_rng(0), 0, 0
    for run in range(20):
        gen, ref = probabilities(rng, 40), probabilities(rng, 40)
        ref[:, 7] = (ref[:, 7] + 0.3).clamp(max=1)
        chances = class_chances(gen, ref, paired=paired, seed=run)
        found += bool(chances[7] <= 0.05)
        others += int((chances <= 0.05).sum()) - int(chances[7] <= 0.05)
    assert found >= 19
    assert others <= 4


def test_few_pairs_and_equal_sets_have_no_class() -> None:
    rng = np.random.default_rng(0)
    ref = probabilities(rng, 4)
    assert (class_chances((ref + 0.5).clamp(max=1), ref, paired=True) > 0.05).all()
    for paired in (True, False):
        assert (class_chances(ref, ref, paired=paired) == 1).all()


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_variety_does_not_differ_between_samples_of_one_distribution(paired: bool, tails: str) -> None:
    rng, alarms = np.random.default_rng(0), 0
    for run in range(RUNS):
        rows = rng.normal(size=(60, 4)) if tails == "normal" else rng.standard_t(3, size=(60, 4))
        gen, ref = torch.from_numpy(rows).split(30 if paired else [20, 40])
        counts = [1] * len(gen), [1] * len(ref)
        alarms += variety(gen, ref, counts, paired=paired, seed=run).beyond_chance
    assert alarms <= AT_MOST * RUNS


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("paired", [True, False])
def test_more_variety_is_found_by_clip(windows: int, paired: bool) -> None:
    rng, found, ratios = np.random.default_rng(0), 0, []
    for run in range(20):
        gen, ref = (torch.from_numpy(np.repeat(rng.normal(size=(60, 8)), windows, axis=0)) for _ in range(2))
        result = variety(1.3 * gen, ref + 5, ([windows] * 60,) * 2, paired=paired, seed=run)
        found += result.beyond_chance
        ratios.append(result.ratio)
        assert result.low < result.ratio < result.high
    assert found >= 18
    assert np.mean(ratios) == pytest.approx(1.3**2, rel=0.05)


def test_the_jackknife_is_that_of_leaving_each_clip_out() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(14, 3)))
    gen, ref = rows[:7], rows[7:]
    counts = [2, 1, 2, 2], [1, 3, 1, 2]
    found = variety(gen, ref, counts, paired=True)

    def log_variance(side: torch.Tensor, lengths: list[int], out: int) -> float:
        kept = torch.cat([block for place, block in enumerate(side.split(lengths)) if place != out])
        return float(kept.var(0).sum().log())

    without = np.array([log_variance(gen, counts[0], out) - log_variance(ref, counts[1], out) for out in range(4)])
    error = np.sqrt(3 / 4 * np.sum((without - without.mean()) ** 2))
    assert found.high / found.ratio == pytest.approx(np.exp(3.182446305284263 * error), rel=1e-9)


@pytest.mark.slow
def test_a_set_and_its_noisy_copy_on_the_page(tmp_path: Path) -> None:
    """The page lists what a real classifier misses, and nothing where the copy is the set itself."""
    ref = EXAMPLES / "reference"
    corrupt_folder(ref, tmp_path / "noisy", CopyOptions(probe="white-noise", severity=1.0))
    seen = []
    score(tmp_path / "noisy", ref, protocol="yamnet", metrics=["kl"], observe=seen.append)
    classes = diagnose(seen[0]).classes
    assert classes is not None
    assert classes.paired
    assert classes.beyond_chance
    assert all(share.p <= 0.05 for share in classes.beyond_chance)
    score_html(tmp_path / "noisy", ref, tmp_path / "noisy.html", protocol="yamnet", metrics=["fd", "kl"])
    assert "Most invented classes" in (tmp_path / "noisy.html").read_text()
    score_html(ref, ref, tmp_path / "same.html", protocol="yamnet", metrics=["fd", "kl"])
    text = (tmp_path / "same.html").read_text()
    assert "No class differs beyond chance at this n" in text
    assert "no difference in variety beyond chance" in text
    assert "Most missed" not in text
