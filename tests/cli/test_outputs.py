"""A file that a command writes is neither one that it reads nor that of another result, for every command alike."""

from __future__ import annotations

import argparse
import json
import shutil
from itertools import combinations
from pathlib import Path

import pytest

from audiogen_metrics.cli.main import build_parser, main
from audiogen_metrics.cli.parsing import WRITTEN
from tests.test_docs import parsers

PARSERS = {parser.prog.removeprefix("agm "): parser for parser in parsers(build_parser())}
WRITING = [name for name, parser in PARSERS.items() if any(each.type in WRITTEN for each in parser._actions)]


def flag(action: argparse.Action) -> str:
    return action.option_strings[-1]


@pytest.mark.parametrize("command", WRITING)
def test_no_result_goes_over_another_or_over_what_is_read(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "read.svg").touch()
    actions = PARSERS[command]._actions
    outputs = [each for each in actions if each.type in WRITTEN]
    words = command.split() + ["read.svg" for each in actions if not each.option_strings and each.choices is None]
    for action in actions:
        if action.required and action.option_strings and action not in outputs:
            words += [flag(action), "read.svg"]
    words += ["--format", "json"] * any(each.dest == "format" for each in actions)
    for output in outputs if "read.svg" in words else ():
        other = [part for each in outputs if each.required and each is not output for part in (flag(each), "other")]
        assert main([*words, *other, flag(output), "./read.svg"]) == 2
        assert "read.svg: is read, and would be overwritten. Name another file" in capsys.readouterr().err
    for one, another in combinations(outputs, 2):
        assert main([*words, flag(one), "new.svg", flag(another), "./new.svg"]) == 2
        assert "new.svg: is named for two results. Name another file" in capsys.readouterr().err
    assert not (tmp_path / "read.svg").stat().st_size
    assert [*tmp_path.iterdir()] == [tmp_path / "read.svg"]


@pytest.mark.parametrize("given", ["read={}", "{}::vggish"])
def test_a_file_may_be_named_with_more(given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "read"
    file.touch()
    assert main(["score", "gen", "ref", "--weights", given.format(file), "-o", str(file)]) == 2
    assert "is read, and would be overwritten" in capsys.readouterr().err


def test_words_that_are_no_file_are_left_alone(
    small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text of any length, a home that is not known, and a page that is named twice do not stand in the way."""
    gen, _ = small
    monkeypatch.chdir(tmp_path)
    for text in ("~nobody of that name", "a dog " * 1000, "\0"):
        with pytest.raises(SystemExit):
            main(["generate", "--prompt", text, "-o", "out"])
        assert "--model" in capsys.readouterr().err
    for page in (["--format", "html"], []):
        assert main(["score", str(gen), "--protocol", "yamnet", "-o", "a.html", "--html", "a.html", *page]) == 0
    shutil.copytree(gen, "in")
    assert main(["score", "in", "--protocol", "yamnet", "-o", "in/scores.json"]) == 0
    assert json.loads(Path("in/scores.json").read_text())["scores"]


@pytest.mark.parametrize("name", ["table", "yamnet", "is", "cpu", "wav"])
def test_names_that_are_not_places_are_left_alone(
    name: str, small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time, the file of that name is there; too few clips for a score without a name are no error."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small[0], "in")
    words = ["score", "in", "--protocol", "yamnet", "--device", "cpu", "--suffix", "wav", "-o", name]
    assert [main(words), main(words)] == [0, 0]
    assert "is_yamnet" in Path(name).read_text()


def test_a_clip_of_a_set_is_read(small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(small[0], tmp_path / "in")
    clip = next(folder.rglob("*.wav"))
    content = clip.read_bytes()
    assert main(["score", str(folder), "--protocol", "yamnet", "--format", "json", "-o", str(clip)]) == 2
    assert f"{clip.name}: is read, and would be overwritten" in capsys.readouterr().err
    assert clip.read_bytes() == content
