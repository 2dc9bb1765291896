"""Protocols side by side on the same folders, and one option at a time."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path

import pytest

from audiogen_metrics.audio.files import scan
from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.protocol_sweep import compare_protocols, variants
from audiogen_metrics.protocols import PROTOCOLS
from tests.checkpoints import write_vggish
from tests.conftest import Run

Folders = tuple[Path, Path]


def test_each_option_changes_one_field_of_the_recipe() -> None:
    for recipe in PROTOCOLS["audioldm"].recipes.values():
        found = dict(variants(recipe))
        for name, changed in found.items():
            differing = {key for key, value in changed.options().items() if value != recipe.options()[key]}
            directions = ("KL(gen ‖ ref)", "both directions")
            assert len(differing) == (3 if name == "32 kHz" else 0 if name in directions else 1), name
            assert changed != recipe
        assert ("eps 0" in found) == (recipe.metric == "kl")
        assert ("splits 1" in found) == (recipe.metric == "is")
        assert ("32 kHz" in found) == (recipe.metric != "fad")


@pytest.mark.slow
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
    assert "agm doctor names the command" in str(comparison)
    assert "None" not in str(comparison)


@pytest.mark.slow
def test_one_name_has_three_directions(small: Folders) -> None:
    rows = {row.name: row.score.value for row in compare_protocols(*small, base="yamnet").by_score()["kl_yamnet"]}
    other = score(*small, protocol="yamnet", metrics="kl_reverse")["kl_reverse"].value
    assert rows["KL(gen ‖ ref)"] == other != rows["yamnet"]
    assert rows["both directions"] == pytest.approx(rows["yamnet"] + other)


@pytest.mark.slow
def test_scores_that_need_prompts_are_computed_with_them(small: Folders, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        weights = {"clap": write_tiny(tmp_path / "tiny") / "clap"}
    prompts = dict.fromkeys(scan(small[0]).clip_ids, "a tone")
    without = compare_protocols(*small, base="clap", weights=weights).by_score()
    assert [(row.name, row.score.value, row.score.reason) for row in without["clap_htsat_unfused"]] == [
        ("clap", None, "needs prompts")
    ]
    found = compare_protocols(*small, base="clap", weights=weights, prompts=prompts).by_score()
    known = score(small[0], protocol="clap", weights=weights, prompts=prompts)["clap"].value
    assert found["clap_htsat_unfused"][0].score.value == known


@pytest.mark.slow
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
    with pytest.raises(MissingWeightsError, match=r'panns-cnn14-16k vggish; .* without them: base="yamnet"'):
        compare_protocols(*small)
    with pytest.raises(UsageError, match="weights for 'mert'"):
        compare_protocols(*small, base="yamnet", weights={"mert": "x"})


@pytest.mark.slow
def test_command_line(agm: Run, small: Folders, tmp_path: Path) -> None:
    common = ("protocols", "compare", *small, "--base", "yamnet")
    table = agm(*common)
    assert table.returncode == 0, table.stderr
    assert "yamnet with one option changed" in table.stdout
    assert "needs prompts" in table.stdout
    assert table.stderr.count("no prompts: ") == table.stderr.count("clap_htsat_unfused") == 1
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
