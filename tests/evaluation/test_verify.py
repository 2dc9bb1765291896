"""A report says what it was made of; repeated, it is equal, or says in what not."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audiogen_metrics import FD, IS, KL, MetricSuite, ScoreReport, score
from audiogen_metrics import verify_systems as exported
from audiogen_metrics.backbones import from_callable
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import HELPS, AudiogenMetricsError, DataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import embed_folder, reference_statistics
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.differences import LATER, NOTES
from audiogen_metrics.evaluation.external import score_features
from audiogen_metrics.evaluation.verify import verify, verify_systems
from tests.conftest import EXAMPLES, write_tone


@pytest.fixture
def tones(tmp_path: Path) -> Any:
    """Two folders of four short clips."""
    for place in range(4):
        write_tone(tmp_path / "gen" / f"{place}.wav")
        write_tone(tmp_path / "ref" / f"other {place}.wav")
        (tmp_path / "ref" / f"other {place}.wav").rename(tmp_path / "ref" / f"{place}.wav")
    return tmp_path / "gen", tmp_path / "ref"


@pytest.fixture
def written(tones: Path, tmp_path: Path) -> Any:
    """The report's file."""
    path = tmp_path / "report.json"
    score(*tones, protocol="yamnet", limit=4, batch_size=3).to_json(path)
    return path


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def kinds(path: Path, **options: Any) -> Any:
    return [difference.kind for difference in verify(path, **options).differences]


def test_a_report_is_read_back_whole(tones: Path, written: Any) -> None:
    assert ScoreReport.load(written) == score(*tones, protocol="yamnet", limit=4, batch_size=3)


def test_equal(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(written)]) == 0
    assert capsys.readouterr().out.endswith("\nequal\n")
    assert verify(written, cache=True).differences == ()


def test_with_gaps_pairing_and_statistics(tones: Path, tmp_path: Path) -> None:
    score(*tones, protocol="yamnet", pairing="none").to_json(tmp_path / "gaps.json")
    assert verify(tmp_path / "gaps.json").equal
    reference_statistics(tones[1], protocol="yamnet").save(tmp_path / "ref.stats")
    score(tones[0], tmp_path / "ref.stats", protocol="yamnet", metrics=["fd", "kl"]).to_json(tmp_path / "stats.json")
    assert verify(tmp_path / "stats.json").equal


def test_files_changed_missing_added(tones: Path, written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write_tone(tones[0] / "1.wav", seconds=2)
    (tones[0] / "2.wav").unlink()
    write_tone(tones[0] / "new <b>.wav")
    assert main(["verify", str(written), "--format", "json"]) == 5
    found = json.loads(capsys.readouterr().out)
    texts = [each["text"] for each in found["differences"] if each["what"] == "gen"]
    assert texts == [
        "1 files changed: 1",
        "1 files missing or no longer usable: 2",
        "1 files added: new <b>",
    ]
    consequences = {each["what"] for each in found["differences"] if each["kind"] == "files"} - {"gen"}
    assert consequences == {"gen seconds", "pairing gen_only", "pairing paired", "pairing ref_only"}
    assert not found["equal"]
    assert any(each["kind"] == "score" for each in found["differences"])


def test_moved_sets(tones: Path, written: Any, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.move(tones[0], moved)
    with pytest.raises(DataError, match="does not exist"):
        verify(written)
    assert verify(written, gen=moved).equal


def test_another_score_weights_recipe(written: Any) -> None:
    edit(written, lambda content: content["scores"]["kl_yamnet"].update(value=9.0))
    edit(written, lambda content: content["backbones"]["yamnet"].update(weights_sha256="0" * 64))
    edit(written, lambda content: content["manifest"]["recipes"]["fd_yamnet"].update(channel="left"))
    assert kinds(written) == ["backbone", "recipe", "score"]


def test_tolerance(written: Any) -> None:
    value = json.loads(written.read_text())["scores"]["fd_yamnet"]["value"]
    edit(written, lambda content: content["scores"]["fd_yamnet"].update(value=value * 1.0001))
    assert kinds(written) == ["score"]
    assert verify(written, tolerance=1e-3).equal
    with pytest.raises(UsageError, match="tolerance"):
        verify(written, tolerance=-1)


def test_other_versions_alone_are_a_note(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    edit(written, lambda content: content["versions"].update(torch="1.0"))
    assert kinds(written) == ["version"]
    assert main(["verify", str(written)]) == 0
    assert "note: version of torch: 1.0, now " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.clear(), "is not a score report"),
        (lambda content: content.update(schema_version=2), "is not a score report of version 1"),
        (lambda content: content.pop("inputs"), "inputs is missing"),
        (lambda content: content.update(extra=1), "unknown field 'extra'"),
        (lambda content: content["manifest"].update(limit="4"), "manifest.limit: a whole number belongs here, not '4'"),
        (lambda content: content["manifest"].update(metrics="fd"), "manifest.metrics: a list belongs here"),
        (lambda content: content["scores"].update(fd_yamnet=[]), "scores.fd_yamnet: an object belongs here"),
        (lambda content: content["scores"]["fd_yamnet"].update(ci95=[1]), "2 values belongs here"),
        (lambda content: content["scores"]["fd_yamnet"].update(value=float("nan")), "NaN is not a number"),
        (lambda content: content["scores"]["fd_yamnet"].update(value=10**400), "a number belongs here"),
        (lambda content: content["inputs"]["gen"].pop("path"), "path is missing"),
        (lambda content: content.update(manifest=None), "does not say which folders"),
        (lambda content: content.update(protocol="none"), "none"),
    ],
)
def test_what_is_no_report(written: Any, change: Any, message: str) -> None:
    edit(written, change)
    with pytest.raises((DataError, UsageError), match=message.replace("(", r"\(")):
        verify(written)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        verify(tmp_path / "none.json")


def leaves(content: Any, place: Any = ()) -> Iterator[Any]:
    """Yield where each value of a report is; an empty list or object is one."""
    children = content if isinstance(content, dict) else dict(enumerate(content)) if isinstance(content, list) else {}
    if not children:
        yield place
    for key, value in children.items():
        yield from leaves(value, (*place, key))


def parent_of(content: Any, place: Any) -> Any:
    for key in place[:-1]:
        content = content[key]
    return content


ENTRY = {"clip": "c", "path": "p", "reason": "r"}


def others(value: Any) -> Any:
    """Return values to put in the place of one, of which at least one has the right type."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"]
    if value is None:
        return [7, "x", [0.0, 1.0]]
    return [["x"], [ENTRY]] if value == [] else [{"x": "y"}, {"x": [ENTRY]}, {"x": 1.0}]


def verdict(path: Path, **options: Any) -> Any:
    """Return "refused", or the kinds of the differences."""
    try:
        return {difference.kind for difference in verify(path, device="cpu", cache=True, **options).differences}
    except AudiogenMetricsError:
        return "refused"


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A report with a skipped file, clips without partner, nulls, intervals, a limit and most warnings."""
    folder = tmp_path_factory.mktemp("rich")
    for place in range(10):
        write_tone(folder / "gen" / f"{place}.wav", seconds=0.5 + place % 2)
        write_tone(folder / "ref" / f"{place if place < 6 else place + 10}.flac")
    (folder / "gen" / "0.wav").write_bytes(b"RIFF")
    return folder, score(folder / "gen", folder / "ref", protocol="yamnet", limit=8).to_dict()


@pytest.mark.slow
def test_every_value_of_a_report_is_compared(rich: Any, tmp_path: Path) -> None:
    """Another value anywhere is a difference, and of the machine and of versions a note; batch_size changes nothing."""
    report = json.loads(json.dumps(rich[1]))
    assert report["inputs"]["gen"]["skipped"]
    assert report["pairing"]["gen_only"]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert verdict(path) == set()
    notes, unseen, count = set(), set(), 0
    for place in leaves(report):
        value = parent_of(report, place)[place[-1]]
        for changed in others(value):
            copied = copy.deepcopy(report)
            parent_of(copied, place)[place[-1]] = changed
            path.write_text(json.dumps(copied))
            try:
                ScoreReport.load(path)
            except DataError:
                continue
            count += 1
            found = verdict(path)
            if not found:
                unseen.add(".".join(map(str, place)))
            elif found != "refused" and found <= {*NOTES}:
                notes.add(place[0] if place[0] != "backbones" else place[-1])
    assert count > 150
    # What would mend a file or a score follows from what is wrong, and the words may change.
    helps = {f"warnings.{place}" for place, text in enumerate(report["warnings"]) if HELPS in text}
    assert unseen == {"manifest.batch_size", "inputs.gen.skipped.0.fix", "scores.is_yamnet.reason", *helps}
    assert notes == {"versions", "numerics_version", "device", "device_type", "problems"}


@pytest.mark.slow
def test_every_value_left_out_of_a_report_is_missed(rich: Any, tmp_path: Path) -> None:
    """A field that is gone is a difference, unless it said nothing."""
    report = json.loads(json.dumps(rich[1]))
    path = tmp_path / "report.json"
    places = {place[:depth] for place in leaves(report) for depth in range(1, len(place) + 1)}
    noted = set()
    for place in sorted(places, key=str):
        copied = copy.deepcopy(report)
        parent = parent_of(copied, place)
        value = parent.pop(place[-1])
        path.write_text(json.dumps(copied))
        if (
            HELPS not in str(value)
            and value not in (None, "", [], {})
            and verdict(path) in (set(), {"version"}, {"machine"})
        ):
            noted.add(place[0] if place[0] in ("versions", "device") else place[-1])
    machine = {"versions", "numerics_version", "device", "device_type"}
    assert noted == machine | {"ci95_ref", "ci", "extrapolate", "seed", "fix", "pairs", "remarks", "trust_reference"}


@pytest.mark.slow
def test_scores_taken_away_or_added(rich: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.json"
    for change, expected in (
        (dict.clear, {"fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"}),
        (lambda scores: scores.pop("kl_yamnet"), {"kl_yamnet"}),
        (lambda scores: scores.update(fd_other={**scores["fd_yamnet"], "id": "fd_other"}), {"fd_other"}),
    ):
        report = copy.deepcopy(rich[1])
        change(report["scores"])
        path.write_text(json.dumps(report))
        assert {each.what for each in verify(path, cache=True).differences if each.kind == "score"} == expected
        assert main(["verify", str(path), "--cached"]) == 5
        out = capsys.readouterr().out
        assert all(f"score: {name}: " in out for name in expected)
        assert out.endswith("\nDIFFERENT\n")


def test_metrics_of_the_manifest_edited(rich: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    for metrics, expected in (
        (["fd"], {"fad_yamnet", "is_yamnet", "kl_yamnet"}),
        (["fd", "fad", "is", "kl", "kid"], {"kid_yamnet"}),
    ):
        report = copy.deepcopy(rich[1])
        report["manifest"]["metrics"] = metrics
        path.write_text(json.dumps(report))
        found = verify(path, cache=True).differences
        assert {each.what for each in found if each.kind == "score"} == expected


@pytest.mark.slow
def test_what_extrapolation_says_is_compared(tmp_path: Path) -> None:
    for place in range(20):
        write_tone(tmp_path / "gen" / f"{place}.wav")
        write_tone(tmp_path / "ref" / f"{place}.flac")
    path = tmp_path / "report.json"
    report = score(tmp_path / "gen", tmp_path / "ref", protocol="yamnet", extrapolate=True).to_dict()
    path.write_text(json.dumps(report))
    assert verdict(path) == set()
    for key in report["scores"]["fd_yamnet"]["details"]:
        for change in (lambda value: value + 1, None):
            copied = copy.deepcopy(report)
            details = copied["scores"]["fd_yamnet"]["details"]
            details.update({key: change(details[key])}) if change else details.pop(key)
            path.write_text(json.dumps(copied))
            assert verdict(path) == {"score"}, key


@pytest.mark.parametrize("ci", [False, True])
def test_options_of_the_run_are_repeated(tones: Path, tmp_path: Path, ci: bool) -> None:
    path = tmp_path / "report.json"
    score(*tones, protocol="yamnet", metrics=["fd", "kid"], ci=ci).to_json(path)
    found = verify(path)
    assert found.differences == ()
    assert (found.found["fd_yamnet"].ci95 is not None) == ci


@pytest.mark.slow
def test_a_moved_set_is_compared_by_its_new_path(rich: Any, tmp_path: Path) -> None:
    folder, report = rich
    path, moved = tmp_path / "report.json", tmp_path / "elsewhere"
    shutil.copytree(folder / "gen", moved)
    path.write_text(json.dumps(report))
    assert verify(path, gen=moved).differences == ()
    for change in (
        lambda content: content["inputs"]["gen"]["skipped"][0].update(path="other/0.wav"),
        lambda content: content["inputs"]["gen"]["skipped"][0].update(reason="none"),
        lambda content: content["warnings"].pop(0),
        lambda content: content["inputs"]["ref"].update(path="other"),
    ):
        edited = copy.deepcopy(json.loads(json.dumps(report)))
        change(edited)
        path.write_text(json.dumps(edited))
        assert verify(path, gen=moved).differences


def test_relative_paths_from_another_folder(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where it looked and names the option of the set that is missing, and of no other."""
    monkeypatch.chdir(tmp_path)
    score("gen", tones[1], protocol="yamnet").to_json("report.json")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    with pytest.raises(DataError) as caught:
        verify("../report.json")
    text = str(caught.value)
    assert f"gen: gen does not exist below {tmp_path / 'deep'}" in text
    assert 'gen="../gen"' in text  # it is beside the report
    assert 'ref="' not in text
    assert verify("../report.json", gen="../gen").equal
    shutil.move(tones[1], tmp_path / "moved")
    with pytest.raises(DataError, match="ref=PATH"):
        verify("../report.json", gen="../gen")
    with pytest.raises(DataError, match="folder does not exist"):
        verify("../report.json", gen="nowhere", ref="../moved")


def test_weights_that_are_gone(written: Any) -> None:
    edit(written, lambda content: content["manifest"].update(weights={"yamnet": "there/yamnet.onnx"}))
    with pytest.raises(MissingWeightsError, match=r'weights=\{"yamnet": FILE\}'):
        verify(written)


def test_another_machine_is_a_note(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    edit(written, lambda content: content["backbones"]["yamnet"].update(device_type="cuda", tf32=2))
    edit(written, lambda content: content.update(device="cuda:1", problems=["no memory"]))
    edit(written, lambda content: content["warnings"].append("no memory"))
    assert {*kinds(written, device="cpu")} == {"machine"}
    assert main(["verify", str(written), "--device", "cpu"]) == 0
    assert "note: device: cuda:1, now cpu" in capsys.readouterr().out


@pytest.mark.slow
def test_another_version_may_word_otherwise(written: Any) -> None:
    """Values still count; so do warnings where the version is the same."""
    edit(written, lambda content: content["warnings"].append("gen: reworded"))
    assert kinds(written) == ["warning"]
    edit(written, lambda content: content["versions"].update({"audiogen-metrics": "0.0.9"}))
    edit(written, lambda content: content["manifest"]["recipes"]["fd_yamnet"].pop("peak_floor"))
    assert {*kinds(written)} == {"version"}
    edit(written, lambda content: content["scores"]["fd_yamnet"].update(n_ref=5))
    assert {*kinds(written)} == {"version", "score"}


def test_problems_of_the_machine_are_not_differences(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that cannot be written is a warning of its run, and no property of the sets."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    report = score(*tones, protocol="yamnet")
    assert report.problems
    assert {*report.problems} <= {*report.warnings}
    report.to_json(tmp_path / "report.json")
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "good"))
    assert {*kinds(tmp_path / "report.json")} == {"machine"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["folder", "statistics"])
def test_reports_of_the_first_version(name: str, tmp_path: Path) -> None:
    """Version 0.1 had other intervals and a noise floor: values are compared, and that is said."""
    reference_statistics(EXAMPLES / "reference", protocol="yamnet", limit=20).save(tmp_path / "ref.stats")
    places = {"gen": EXAMPLES / "generated"}
    places["ref"] = EXAMPLES / "reference" if name == "folder" else tmp_path / "ref.stats"
    path = tmp_path / "report.json"
    path.write_text((Path(__file__).parents[1] / "reports" / f"{name}.json").read_text())
    if name == "statistics":  # what a statistics file says of its folder is relative to where it was built
        edit(path, lambda content: content["inputs"]["ref"].update(path=str(EXAMPLES / "reference")))
    found = verify(path, device="cpu", **places)
    assert {each.kind for each in found.differences} == {"version"}
    assert any(
        "version 0.1 told it in another way: only values are compared" in str(each) for each in found.differences
    )
    edit(path, lambda content: content["scores"]["fd_yamnet"].update(std=1.0))
    assert not verify(path, device="cpu", **places).equal


def test_later_fields_are_those_that_the_schema_does_not_require() -> None:
    schema = json.loads((files("audiogen_metrics") / "schemas" / "score_report.schema.json").read_text())
    parts = [schema, schema["$defs"]["score"], schema["$defs"]["input"], schema["$defs"]["manifest"]]
    later = {name for part in parts for name in part["properties"] if name not in part["required"]}
    assert later == LATER


def test_results_of_other_commands(tones: Path, tmp_path: Path) -> None:
    compared = compare(tones[0], tones[0], tones[1], protocol="yamnet", metrics=["fd"], permutations=0)
    (tmp_path / "compare.json").write_text(json.dumps(compared.to_dict()))
    with pytest.raises(DataError, match="not a score report but what agm compare writes"):
        verify(tmp_path / "compare.json")
    for folder in tones:
        side, _ = embed_folder(folder, protocol="yamnet", metrics=["fd"])
        np.save(tmp_path / f"{folder.name}.npy", side.features(next(iter(side.sets))).rows("embeddings").numpy())
    score_features(tmp_path / "gen.npy", tmp_path / "ref.npy").to_json(tmp_path / "imported.json")
    with pytest.raises(UsageError, match="made by agm import"):
        verify(tmp_path / "imported.json")
    suite = MetricSuite([FD(protocol="yamnet")]).score(*tones)
    suite.to_json(tmp_path / "suite.json")
    assert verify(tmp_path / "suite.json").equal
    replace(suite, manifest=None).to_json(tmp_path / "suite.json")
    with pytest.raises(UsageError, match="does not say which folders"):
        verify(tmp_path / "suite.json")
    mine = from_callable("mine", lambda waves: waves[:, :400].abs(), sample_rate=16_000, version="1")
    MetricSuite([FD(protocol="yamnet", backbone=mine)]).score(*tones).to_json(tmp_path / "suite.json")
    with pytest.raises(UsageError, match="fd_mine: protocol yamnet does not have this score"):
        verify(tmp_path / "suite.json")


def test_a_report_without_its_intervals_is_not_that_of_a_run_without(rich: Any, tmp_path: Path) -> None:
    report = json.loads(json.dumps(rich[1]))
    for each in report["scores"].values():
        each.update(ci95=None, ci95_ref=None, remarks=[])
        each["details"] = {k: v for k, v in each["details"].items() if k != "standard_error"}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert "score" in verdict(path)


@pytest.fixture
def unpaired(tones: Path, tmp_path: Path) -> Any:
    """A report in which KL has a reason that names an option, and its file."""
    for path in tones[1].iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    report = score(*tones, protocol="yamnet")
    assert "pairs=FILE" in (report["kl"].reason or "")
    report.to_json(tmp_path / "unpaired.json")
    return tones, report, tmp_path / "unpaired.json"


def test_a_reason_does_not_depend_on_who_asks(
    unpaired: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (gen, ref), report, path = unpaired
    assert main(["verify", str(path)]) == 0
    made = tmp_path / "made.json"
    assert main(["score", str(gen), str(ref), "--protocol", "yamnet", "-o", str(made)]) == 0
    assert ScoreReport.load(made)["kl"].reason == report["kl"].reason
    assert verify(made).equal
    capsys.readouterr()
    # An error is no report: it speaks as its reader writes.
    assert main(["score", str(gen), str(ref), "--protocol", "yamnet", "-m", "kl"]) == 3
    assert "kl_yamnet: no clip id is in both sets" in (shown := capsys.readouterr().err)
    assert "--pairs FILE" in shown


def test_a_reason_that_an_earlier_command_line_said_in_flags(unpaired: Any) -> None:
    _, report, path = unpaired
    flags = report["kl"].reason.replace("pairs=FILE", "--pairs FILE")
    edit(path, lambda content: content["scores"]["kl_yamnet"].update(reason=flags))
    assert verify(path).equal
    edit(path, lambda content: content["scores"]["kl_yamnet"].update(reason="there is no reference. " + flags))
    assert kinds(path) == ["score"]


def test_a_suite_with_a_reason_is_computed_again_for_its_own_metrics(unpaired: Any, tmp_path: Path) -> None:
    (gen, ref), _, _ = unpaired
    for members in ([FD(protocol="yamnet"), KL(protocol="yamnet")], [FD(protocol="yamnet"), IS(protocol="yamnet")]):
        found = MetricSuite(members).score(gen, ref)
        assert any(each.reason for each in found.scores.values())
        found.to_json(tmp_path / "suite.json")
        assert verify(tmp_path / "suite.json").equal


@pytest.mark.slow
def test_a_copy_of_the_reference_is_found_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What deals of equal clips give is rounding, of another size in each run."""
    shutil.copytree(EXAMPLES / "reference", tmp_path / "copy")
    path = tmp_path / "report.json"
    report = score(tmp_path / "copy", EXAMPLES / "reference", protocol="yamnet", metrics=["fd", "fad"])
    report.to_json(path)
    edit(path, lambda content: content["scores"]["fd_yamnet"]["details"].update(chance_expected=1.2e-7))
    assert verify(path).equal
    edit(path, lambda content: content["scores"]["fd_yamnet"]["details"].update(chance_expected=1e-2))
    assert main(["verify", str(path)]) == 5
    assert "1 difference from the report" in capsys.readouterr().err


def test_several_are_refused_with_what_takes_them(tmp_path: Path) -> None:
    assert exported is verify_systems
    (tmp_path / "several.json").write_text(json.dumps({"schema_version": 1, "systems": [], "reports": []}))
    with pytest.raises(DataError, match=r"audiogen_metrics\.verify_systems"):
        verify(tmp_path / "several.json")
