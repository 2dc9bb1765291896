"""What people type first, and what they are told."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen_metrics import ScoreReport, score
from audiogen_metrics.audio.files import scan
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import InsufficientDataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import create_backbones
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.networks import require_weights
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.registry import Registry
from audiogen_metrics.score_text import TABLE_WIDTH
from tests.conftest import EXAMPLES, write_tone

YAMNET = ("--protocol", "yamnet")


@pytest.fixture(scope="module")
def report() -> ScoreReport:
    return score(EXAMPLES / "generated", EXAMPLES / "reference", protocol="yamnet")


@pytest.fixture
def tones(tmp_path: Path) -> Any:
    for side in ("gen", "ref"):
        for place in range(12):
            write_tone(tmp_path / side / f"{place}.wav", seconds=1 + place / 50)
            (tmp_path / side / f"{place}.wav").touch()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("scores.json", "{"),
        ("scores.CSV", "score,value"),
        ("scores.md", "| score |"),
        ("scores.tex", "% Needs"),
        ("scores.html", "<!doctype html>"),
        ("scores.txt", "protocol yamnet"),
        ("scores", "protocol yamnet"),
    ],
)
def test_the_suffix_chooses_the_format(tones: Path, capsys: pytest.CaptureFixture[str], name: str, start: Any) -> None:
    assert main(["score", str(tones / "gen"), str(tones / "ref"), *YAMNET, "-m", "fd", "-o", str(tones / name)]) == 0
    assert (tones / name).read_text().startswith(start)
    assert capsys.readouterr().out == ""


def test_a_format_that_is_named_wins(tones: Path) -> None:
    output = tones / "scores.csv"
    options = [*YAMNET, "-m", "fd", "--format", "json", "-o", str(output)]
    assert main(["score", str(tones / "gen"), str(tones / "ref"), *options]) == 0
    assert json.loads(output.read_text())["protocol"] == "yamnet"


@pytest.mark.slow
def test_a_report_is_a_collection(report: ScoreReport) -> None:
    assert list(report) == ["fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"]
    assert len(report) == 4
    assert "fd" in report
    assert "fd_yamnet" in report
    assert "kid" not in report
    assert 3 not in report
    assert report["fd"] is report["fd_yamnet"]
    with pytest.raises(UsageError, match="Did you mean 'fd_yamnet'"):
        _ = report["fd_yamnett"]


def test_the_table_fits_a_terminal(report: ScoreReport) -> None:
    table = str(report).split("\n\n")[1].splitlines()
    assert len(table) > 4
    assert max(map(len, table)) <= TABLE_WIDTH
    assert "    10 splits (± over splits)" in table


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["-m", "kid", "-m", "fd"], ["fd_yamnet", "kid_yamnet"]),
        (["-m", "fd, kl"], ["fd_yamnet", "kl_yamnet"]),
        (["-m", "FD"], ["fd_yamnet"]),
        (["-m", "fd,kl,"], ["fd_yamnet", "kl_yamnet"]),
        (["-m", "all", "-m", "kid"], ["fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet", "kid_yamnet"]),
    ],
)
def test_metrics_as_people_write_them(tones: Path, capsys: pytest.CaptureFixture[str], given: Any, found: Any) -> None:
    assert main(["score", str(tones / "gen"), str(tones / "ref"), *YAMNET, *given, "--format", "json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["scores"]) == found


def test_metrics_as_one_text(tones: Path) -> None:
    assert list(score(tones / "gen", tones / "ref", protocol="yamnet", metrics="fd, KL")) == ["fd_yamnet", "kl_yamnet"]


def test_all_missing_weights_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError) as caught:
        require_weights(get_protocol("audioldm").select(None), {})
    assert "Cnn14_16k_mAP=0.438.pth, vggish-10086976.pth are not on this machine" in str(caught.value)
    assert "agm weights fetch panns-cnn14-16k vggish;" in str(caught.value)


def test_kl_is_spoken_of_where_it_was_asked_for(tones: Path) -> None:
    (tones / "gen" / "0.wav").unlink()
    for metrics, said in (("kl", True), ("fd", False)):
        found = score(tones / "gen", tones / "ref", protocol="yamnet", metrics=metrics)
        assert any("not in KL" in warning for warning in found.warnings) is said


def test_padding_is_spoken_of_where_it_happens(tones: Path) -> None:
    """A recipe that does not pad leaves such a clip out."""
    write_tone(tones / "gen" / "0.wav", seconds=0.5)
    (recipe,) = get_protocol("yamnet").select("fd")
    for padded in (True, False):
        samples = recipe.preprocessing.minimum_samples if padded else 0
        asked = [replace(recipe, preprocessing=replace(recipe.preprocessing, minimum_samples=samples))]
        backbones, options = create_backbones(asked, torch.device("cpu")), ExtractionOptions(cache=False)
        side = FolderSide.extract("gen", scan(tones / "gen"), asked, backbones, options)
        assert any("padded with silence" in warning for warning in side.warnings()) is padded
        assert any("yamnet left out 1 clips" in warning for warning in side.warnings()) is not padded


def test_a_comparison_goes_on_with_what_can_be_compared(tones: Path) -> None:
    gen, ref = tones / "gen", tones / "ref"
    found = compare(gen, ref, ref, protocol="yamnet", permutations=0)
    assert [difference.metric for difference in found.differences] == ["fd", "fad", "is", "kl"]
    assert found.differences[2].verdict.startswith(("none: ", "equal"))
    for place in range(12):
        shutil.move(gen / f"{place}.wav", gen / f"other {place}.wav")
    found = compare(gen, gen, ref, protocol="yamnet", permutations=0)
    assert [difference.metric for difference in found.differences] == ["fd", "fad", "is"]
    assert any(warning.startswith("kl_yamnet is not compared: ") for warning in found.warnings)
    with pytest.raises(InsufficientDataError):
        compare(gen, gen, ref, protocol="yamnet", permutations=0, metrics=["kl"])


def test_doctor_says_what_can_be_scored_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AGM_OFFLINE", raising=False)

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["doctor"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    fetch = "for audioldm, the default: agm weights fetch panns-cnn14-16k vggish"
    assert last == f"What can be scored now: --protocol yamnet; {fetch}."


def test_one_broken_plugin_leaves_list_and_doctor_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    from audiogen_metrics import backbones
    from audiogen_metrics.cli import listing

    registry = Registry[type]("backbone", "test.group")
    registry.add("yamnet", "audiogen_metrics.backbones.yamnet:YAMNet")
    values = {"broken": "tests.broken_plugin:Net", "number": "math:pi", "yamnet": "fractions:Fraction"}
    points = EntryPoints(EntryPoint(name, value, "test.group") for name, value in values.items())
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points.select(group=group))
    for module in (backbones, listing):
        monkeypatch.setattr(module, "BACKBONES", registry)
    assert main(["list", "backbones"]) == 0
    shown = capsys.readouterr().out
    assert "SystemError: this plug-in is broken" in shown
    assert "sample rate: 16000 Hz" in shown
    assert "fractions:Fraction of an installed package announces the same name; it is not used" in shown
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "MISSING  backbone broken: " in shown
    assert "MISSING  backbone number: TypeError: " in shown
    assert "ok       backbone yamnet" in shown
