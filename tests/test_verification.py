"""A report says what it was made of; repeated, it is equal, or says in what not."""

from __future__ import annotations

import json
import shutil

import pytest

from audiogen_metrics import ScoreReport, score
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.verification import verify
from tests.conftest import write_tone


@pytest.fixture
def tones(tmp_path):
    """Two folders of four short clips."""
    for place in range(4):
        write_tone(tmp_path / "gen" / f"{place}.wav")
        write_tone(tmp_path / "ref" / f"other {place}.wav")
        (tmp_path / "ref" / f"other {place}.wav").rename(tmp_path / "ref" / f"{place}.wav")
    return tmp_path / "gen", tmp_path / "ref"


@pytest.fixture
def written(tones, tmp_path):
    """The report's file."""
    path = tmp_path / "report.json"
    score(*tones, protocol="yamnet", limit=4, batch_size=3).to_json(path)
    return path


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def kinds(path, **options):
    return [difference.kind for difference in verify(path, **options).differences]


def test_a_report_is_read_back_whole(tones, written):
    assert ScoreReport.load(written) == score(*tones, protocol="yamnet", limit=4, batch_size=3)


def test_equal(written, capsys):
    assert main(["verify", str(written)]) == 0
    assert capsys.readouterr().out.endswith("\nequal\n")
    assert verify(written, cache=True).differences == ()


def test_with_gaps_pairing_and_statistics(tones, tmp_path):
    score(*tones, protocol="yamnet", pairing="none").to_json(tmp_path / "gaps.json")
    assert verify(tmp_path / "gaps.json").equal
    reference_statistics(tones[1], protocol="yamnet").save(tmp_path / "ref.stats")
    score(tones[0], tmp_path / "ref.stats", protocol="yamnet", metrics=["fd", "kl"]).to_json(tmp_path / "stats.json")
    assert verify(tmp_path / "stats.json").equal


def test_files_changed_missing_added(tones, written, capsys):
    write_tone(tones[0] / "1.wav", seconds=2)
    (tones[0] / "2.wav").unlink()
    write_tone(tones[0] / "new <b>.wav")
    assert main(["verify", str(written), "--format", "json"]) == 5
    found = json.loads(capsys.readouterr().out)
    texts = [each["text"] for each in found["differences"] if each["kind"] == "files"]
    assert texts == [
        "1 files changed: 1",
        "1 files missing or no longer usable: 2",
        "1 files added: new <b>",
    ]
    assert not found["equal"]
    assert any(each["kind"] == "score" for each in found["differences"])


def test_moved_sets(tones, written, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(tones[0], moved)
    with pytest.raises(DataError, match="does not exist"):
        verify(written)
    assert verify(written, gen=moved).equal


def test_another_score_weights_recipe(written):
    edit(written, lambda content: content["scores"]["kl_yamnet"].update(value=9.0))
    edit(written, lambda content: content["backbones"]["yamnet"].update(weights_sha256="0" * 64))
    edit(written, lambda content: content["manifest"]["recipes"]["fd_yamnet"].update(channel="left"))
    assert kinds(written) == ["backbone", "recipe", "score"]


def test_tolerance(written):
    value = json.loads(written.read_text())["scores"]["fd_yamnet"]["value"]
    edit(written, lambda content: content["scores"]["fd_yamnet"].update(value=value * 1.0001))
    assert kinds(written) == ["score"]
    assert verify(written, tolerance=1e-3).equal
    with pytest.raises(UsageError, match="tolerance"):
        verify(written, tolerance=-1)


def test_other_versions_alone_are_a_note(written, capsys):
    edit(written, lambda content: content["versions"].update(torch="1.0"))
    assert kinds(written) == ["version"]
    assert main(["verify", str(written)]) == 0
    assert "note: version of torch: 1.0, now " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.clear(), "is no report"),
        (lambda content: content.update(schema_version=2), "no report of version 1"),
        (lambda content: content.pop("inputs"), "inputs is missing"),
        (lambda content: content.update(extra=1), "unknown field 'extra'"),
        (lambda content: content["manifest"].update(limit="4"), "manifest.limit: a whole number belongs here, not '4'"),
        (lambda content: content["manifest"].update(metrics="fd"), "manifest.metrics: a list belongs here"),
        (lambda content: content["scores"].update(fd_yamnet=[]), "scores.fd_yamnet: an object belongs here"),
        (lambda content: content["scores"]["fd_yamnet"].update(ci95=[1]), "2 values belongs here"),
        (lambda content: content["scores"]["fd_yamnet"].update(value=float("nan")), "NaN is no number"),
        (lambda content: content["scores"]["fd_yamnet"].update(value=10**400), "a number belongs here"),
        (lambda content: content["inputs"]["gen"].pop("path"), "path is missing"),
        (lambda content: content.update(manifest=None), "does not say which folders"),
        (lambda content: content.update(protocol="none"), "none"),
    ],
)
def test_what_is_no_report(written, change, message):
    edit(written, change)
    with pytest.raises((DataError, UsageError), match=message.replace("(", r"\(")):
        verify(written)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        verify(tmp_path / "none.json")
