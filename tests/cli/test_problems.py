"""Trouble of the machine is said once by every command, and one output that fails does not take the others along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audiogen_metrics.cli.common import write_result
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import MissingDependencyError, UsageError

YAMNET = ["--protocol", "yamnet"]


@pytest.mark.parametrize(
    "command",
    [
        ["score", "GEN", "REF", *YAMNET, "-m", "fd", "--no-ci"],
        ["score", "GEN", "REF", *YAMNET, "-m", "fd", "--no-ci", "--format", "markdown"],
        ["score", "GEN", "REF", *YAMNET, "-m", "fd", "--no-ci", "--format", "json", "-o", "OUT"],
        ["score", "GEN", "REF", *YAMNET, "-m", "fd", "--no-ci", "-o", "OUT"],
        ["stats", "build", "REF", "-o", "OUT", *YAMNET, "-m", "fd"],
        ["embed", "REF", "-o", "OUT.npz", *YAMNET],
        ["study", "REF", *YAMNET, "-m", "fd", "--probes", "noise", "--fractions", "0,1", "--repeats", "1"],
        ["compare", "GEN", "GEN", "REF", *YAMNET, "-m", "fd", "--permutations", "0"],
        pytest.param(["protocols", "compare", "GEN", "REF", "--base", "yamnet"], marks=pytest.mark.slow),
    ],
    ids=lambda command: " ".join(command),
)
def test_a_cache_that_cannot_be_written_is_said_once(
    command: list[str],
    small: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    places = {
        "GEN": str(small[0]),
        "REF": str(small[1]),
        "OUT": str(tmp_path / "out"),
        "OUT.npz": f"{tmp_path}/out.npz",
    }
    assert main([places.get(word, word) for word in command]) == 0
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("Set AGM_CACHE_DIR to another folder") == 1


@pytest.mark.slow
def test_it_is_said_also_where_the_command_fails(
    small: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    arguments = [
        "score",
        *map(str, small),
        *YAMNET,
        "-m",
        "fd",
        "--no-ci",
        "--fail-if",
        "fd_yamnet>0",
        "--format",
        "csv",
    ]
    assert main(arguments) == 5
    assert capsys.readouterr().err.count("Set AGM_CACHE_DIR to another folder") == 1


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no"),
        MissingDependencyError("no"),
        OSError(28, "no", "page.html"),
        ZeroDivisionError("no"),
        KeyboardInterrupt("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_second_output_that_fails_does_not_lose_the_first(
    error: BaseException, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    for output in (None, tmp_path / "out.json"):
        with pytest.raises(type(error), match="no"):
            write_result(json.dumps({"fd": 1}), output, "json", [fail, (tmp_path / "page").touch])
        text = capsys.readouterr().out if output is None else output.read_text()
        assert json.loads(text) == {"fd": 1}
        assert (tmp_path / "page").exists()
        (tmp_path / "page").unlink()


def test_of_several_errors_none_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bug() -> None:
        raise ZeroDivisionError("a bug")

    def mistake() -> None:
        raise UsageError("a mistake")

    with pytest.raises(UsageError, match="a mistake; a mistake"):
        write_result("text", None, files=[mistake, mistake])
    (tmp_path / "file").touch()
    capsys.readouterr()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        write_result("text", tmp_path / "file" / "out", files=[mistake, bug])
    shown = capsys.readouterr()
    assert shown.out == "text"
    assert "a mistake" in shown.err
    assert "the result is on stdout instead" in shown.err
