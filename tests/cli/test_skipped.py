"""What would mend a clip that is skipped reaches whoever looks: once on the terminal, for each clip in files."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.results import ScoreReport
from tests.audio.golden.foreign import ARCHIVE
from tests.conftest import EXAMPLES

CONVERT = "what helps 3 skipped clips: Convert it, and put the result in its place: ffmpeg -i IN -c:a pcm_f32le OUT.wav"
FETCH = "what helps 1 skipped clip: Fetch it: git lfs pull"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Some clips of each set; in gen also three files that must be converted, and a pointer."""
    root = tmp_path_factory.mktemp("skipped")
    for source, name in (("generated", "gen"), ("reference", "ref")):
        (root / name).mkdir()
        for index, clip in enumerate(sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())[:4]):
            shutil.copy(clip, root / name / f"{index}{clip.suffix}")
    with zipfile.ZipFile(ARCHIVE) as archive:
        for name in ("two words.m4a", "b.wav", "c.mkv"):
            source = {"c.mkv": "clip.mka"}.get(name, "clip.m4a")
            (root / "gen" / name).write_bytes(archive.read(source))
    (root / "gen" / "d.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    return root / "gen", root / "ref"


def test_score(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["score", *map(str, folders), "-m", "fd", "--protocol", "yamnet", "--no-ci"]
    page, file = tmp_path / "page.html", tmp_path / "report.json"
    assert main([*arguments, "--html", str(page), "-o", str(file)]) == 0
    shown = capsys.readouterr().err
    for line in (CONVERT, FETCH):
        assert shown.count(line) == 1
    assert shown.count("ffmpeg") == 1
    report = json.loads(file.read_text())
    fixes = {entry["clip"]: entry["fix"] for entry in report["inputs"]["gen"]["skipped"]}
    gen = folders[0]
    assert fixes["two words"].endswith(f"ffmpeg -i '{gen}/two words.m4a' -c:a pcm_f32le '{gen}/two words.wav'")
    assert fixes["b"].endswith(f"ffmpeg -i {gen}/b.wav -c:a pcm_f32le {gen}/b.new.wav")
    assert fixes["d"] == "Fetch it: git lfs pull"
    assert "what helps</th>" in page.read_text()
    assert page.read_text().count("ffmpeg -i") == 4  # for each of three clips, and once above
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("ffmpeg") == 1


def test_a_report_of_before_is_still_verified(folders: tuple[Path, Path], tmp_path: Path) -> None:
    report = score(*folders, metrics="fd", protocol="yamnet", ci=False)
    report.to_json(tmp_path / "new.json")
    content = json.loads((tmp_path / "new.json").read_text())
    for entry in content["inputs"]["gen"]["skipped"]:
        del entry["fix"]
    content["warnings"] = [warning for warning in content["warnings"] if "what helps" not in warning]
    (tmp_path / "old.json").write_text(json.dumps(content))
    for name in ("new.json", "old.json"):
        assert verify(tmp_path / name, cache=True).differences == ()
    moved = shutil.copytree(folders[0], tmp_path / "moved")
    assert verify(tmp_path / "new.json", gen=moved, cache=True).differences == ()
    assert ScoreReport.load(tmp_path / "old.json").gen.skipped[0].keys() == {"clip", "path", "reason"}


@pytest.mark.parametrize("command", ["stats", "embed", "probe"])
def test_other_commands(
    folders: tuple[Path, Path], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gen = str(folders[0])
    arguments = {
        "stats": ["stats", "build", gen, "-o", str(tmp_path / "out"), "--protocol", "yamnet", "-m", "fd"],
        "embed": ["embed", gen, "-o", str(tmp_path / "out.npz"), "--protocol", "yamnet"],
        "probe": ["probe", gen, str(tmp_path / "out"), "--probe", "noise"],
    }[command]
    assert main(arguments) == 0
    shown = capsys.readouterr().err
    assert shown.count(CONVERT) == shown.count(FETCH) == shown.count("ffmpeg") == 1
    if command == "probe":
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        fixes = {skip["file"]: skip["fix"] for skip in manifest["skipped"]}
        assert f"ffmpeg -i {gen}/c.mkv " in fixes["c.mkv"]


def test_data_check(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "folder", str(folders[0])]) == 5
    shown = capsys.readouterr().out
    assert shown.count(CONVERT) == shown.count(FETCH) == shown.count("ffmpeg") == 1
    assert main(["data", "check", "folder", str(folders[0]), "--format", "json"]) == 5
    fixes = json.loads(capsys.readouterr().out)["fixes"]
    assert fixes["d"] == "Fetch it: git lfs pull"
    assert f"ffmpeg -i {folders[0]}/c.mkv -c:a" in fixes["c"]


def test_errors_say_what_helps(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run without strict; what helps 3 .*ffmpeg -i IN .*; what helps 1 .*lfs pull"):
        score(*folders, metrics="fd", protocol="yamnet", strict=True)
    shutil.copy(folders[0] / "c.mkv", tmp_path / "c.mkv")
    with pytest.raises(DataError, match=r"none of 1 .*\(c\.mkv: cannot .* Matroska\)\. Convert it.* ffmpeg -i IN "):
        score(tmp_path, folders[1], metrics="fd", protocol="yamnet")
