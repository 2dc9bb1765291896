"""What took long to draw is kept by all that shapes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from audiogen_metrics import score
from audiogen_metrics.evaluation import kept
from audiogen_metrics.metrics.measuring.chance import Chance
from audiogen_metrics.settings import cache_dir
from tests.places import GENERATED, REFERENCE

FOUND = Chance(0.07, 28.2, 99)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "WORTH_KEEPING", -1.0)


def files() -> list[Path]:
    return sorted((cache_dir() / "chance").glob("*.json"))


def test_it_is_drawn_once_for_the_same_features() -> None:
    rows, made = torch.arange(6.0, dtype=torch.float64).reshape(3, 2), []

    def make() -> Chance:
        made.append(1)
        return replace(FOUND, draws=len(made))

    assert kept.kept_chance(rows, "fd", make) == kept.kept_chance(rows, "fd", make) == replace(FOUND, draws=1)
    assert kept.kept_chance(rows + 1, "fd", make).draws == 2
    assert kept.kept_chance(rows, "kid", make).draws == 3
    files()[0].write_text("not JSON")
    assert {kept.kept_chance(rows, "fd", make).draws, kept.kept_chance(rows, "kid", make).draws} & {4}


def test_what_is_quick_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "WORTH_KEEPING", 1e6)
    assert kept.kept_chance(torch.ones(2, 2, dtype=torch.float64, device="cpu"), "fd", lambda: FOUND) == FOUND
    assert not files()


def test_a_warm_run_reads_it_and_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = GENERATED, REFERENCE
    cold = score(*folders, protocol="yamnet", metrics=["fd"])
    assert len(files()) == 1
    monkeypatch.setattr("audiogen_metrics.metrics.measuring.chance.chance", None)  # would be called to draw again
    assert score(*folders, protocol="yamnet", metrics=["fd"]).scores == cold.scores
    with pytest.raises(TypeError):
        score(*folders, protocol="yamnet", metrics=["fd"], seed=1)
    with pytest.raises(TypeError):
        score(*folders, protocol="yamnet", metrics=["fd"], cache=False)
