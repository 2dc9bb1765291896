"""Protocols side by side on the same folders, and one option at a time."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.comparison import compare_protocols, variants
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.protocols import PROTOCOLS
from tests.checkpoints import write_vggish
from tests.conftest import Run

Folders = tuple[Path, Path]


def test_each_option_changes_one_field_of_the_recipe() -> None:
    for recipe in PROTOCOLS["audioldm"].recipes.values():
        found = dict(variants(recipe))
        for name, changed in found.items():
            differing = {key for key, value in changed.options().items() if value != recipe.options()[key]}
            assert len(differing) == (3 if name == "32 kHz" else 1), name
        assert ("eps 0" in found) == (recipe.metric == "kl")
        assert ("splits 1" in found) == (recipe.metric == "is")
        assert ("32 kHz" in found) == (recipe.metric != "fad")


def test_base_scores_changes_and_shares_fit_together(small: Folders) -> None:
    comparison = compare_protocols(*small, base="yamnet")
    plain = score(*small, protocol="yamnet")
    for score_id, rows in comparison.by_score().items():
        if not score_id.endswith("yamnet"):
            continue
        assert rows[0].name == "yamnet"
        assert rows[0].score.value == plain[score_id].value
        options = [row for row in rows if row.kind == "option"]
        assert {"channel first", "remove_dc False", "resampler resampy", "no padding"} <= {row.name for row in options}
        for row in options:
            if row.score.value is None:  # too few clips are left without padding
                assert row.score.reason
                assert row.name == "no padding"
                continue
            assert row.change == row.score.value - rows[0].score.value
        assert sum(row.share or 0 for row in options) == pytest.approx(1)
    assert set(comparison.missing) >= {"panns-cnn14-16k", "vggish"}
    assert "not computed on vggish" in str(comparison)


def test_each_network_runs_once_per_distinct_preprocessing(small: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = 0
    original = YAMNet.__call__

    def counted(self: YAMNet, waveforms: object) -> object:
        nonlocal clips
        clips += len(waveforms)  # type: ignore[arg-type]
        return original(self, waveforms)  # type: ignore[arg-type]

    monkeypatch.setattr(YAMNet, "__call__", counted)
    comparison = compare_protocols(*small, base="yamnet", cache=False)
    assert comparison.passes["yamnet"] == 5  # the base's, channel, DC, resampler, padding; not epsilon, not splits
    whole = comparison.gen.scored + comparison.ref.scored
    short = sum(len(summary.left_out["yamnet"]) for summary in (comparison.gen, comparison.ref))
    assert clips == 5 * whole - short


@pytest.mark.slow
def test_a_score_of_a_present_network_is_compared_across_protocols(small: Folders, tmp_path: Path) -> None:
    weights = {"vggish": write_vggish(tmp_path / "vggish.pth")}
    rows = compare_protocols(*small, base="fadtk", weights=weights).by_score()["fad_vggish"]
    names = [row.name for row in rows if row.kind == "protocol"]
    assert names == ["fadtk", "audioldm", "audioldm-0.0.3", "audioldm-2023-02", "av-benchmark", "google-fad"]
    values = [row.score.value for row in rows if row.kind == "protocol"]
    assert len(set(values)) >= 5


def test_missing_weights_of_the_base_and_needless_weights_are_errors(small: Folders) -> None:
    with pytest.raises(MissingWeightsError):
        compare_protocols(*small)
    with pytest.raises(UsageError, match="weights for 'mert'"):
        compare_protocols(*small, base="yamnet", weights={"mert": "x"})


def test_command_line(agm: Run, small: Folders, tmp_path: Path) -> None:
    common = ("protocols", "compare", *small, "--base", "yamnet")
    table = agm(*common)
    assert table.returncode == 0, table.stderr
    assert "yamnet with one option changed" in table.stdout
    file = tmp_path / "c.json"
    assert agm(*common, "--format", "json", "-o", file).returncode == 0
    content = json.loads(file.read_text())
    assert content["base"] == "yamnet"
    lines = list(csv.DictReader(io.StringIO(agm(*common, "--format", "csv").stdout)))
    assert len(lines) == len(content["rows"])
    assert "| fd_yamnet | option | channel first |" in agm(*common, "--format", "markdown").stdout
    failed = agm("protocols", "compare", *small)
    assert failed.returncode == 4
    assert "panns-cnn14-16k" in failed.stderr
