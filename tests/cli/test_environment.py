"""Commands in hostile environments: launchers' variables, no home, caches that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiogen_metrics import score
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.backbones.weights import fetch
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import UsageError
from audiogen_metrics.options import at_home
from audiogen_metrics.settings import cache_dir, whole_number
from tests.conftest import EXAMPLES, Run

LIGHT = [["list", "metrics"], ["weights", "list"], ["weights", "verify"], ["cache", "info"], ["data", "list"]]
GROUPS = [
    ["score", "gen", "ref", "--protocol", "yamnet"],
    ["generate", "--model", "tiny-random", "--prompt", "a dog", "-o", "out"],
    ["finetune", "--model", "tiny-random", "--data", "data", "--output", "out"],
]
YAMNET = ("--protocol", "yamnet", "-m", "fd")


@pytest.mark.parametrize("value", ["", " ", "abc", "0", "-1", "1.5", "²", "2", "99999999999999999999"])
def test_world_size_means_nothing_to_most_commands(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    monkeypatch.setenv("RANK", "0")
    for arguments in LIGHT:
        assert main(arguments) == 0
    assert "WORLD_SIZE" not in capsys.readouterr().err


@pytest.mark.parametrize("value", ["abc", "0", "-1", "1.5", "²"])
def test_world_size_that_is_no_number(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", value)
    for arguments in GROUPS:
        assert main(arguments) == 2
        assert f"WORLD_SIZE{' is ' if value == '0' else '='}{value}" in capsys.readouterr().err


@pytest.mark.parametrize("rank", [None, "2", "x"])
def test_rank_that_does_not_fit(
    rank: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    for arguments in GROUPS:
        assert main(arguments) == 2
        assert "RANK" in capsys.readouterr().err


@pytest.mark.slow
def test_empty_world_size_is_one_process(agm: Run, small: tuple[Path, Path]) -> None:
    done = agm("score", *small, *YAMNET, env={**os.environ, "WORLD_SIZE": "", "RANK": "", "LOCAL_RANK": ""})
    assert done.returncode == 0, done.stderr


def test_processes_that_were_not_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GROUPS[0], "--processes", "3"]) == 2
    assert "--processes: asks for 3 processes, and 1 are started" in capsys.readouterr().err


@pytest.mark.slow
def test_nobody_else_comes(agm: Run, small: tuple[Path, Path]) -> None:
    launched = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29563"}
    environment = {**os.environ, **launched, "AGM_GROUP_TIMEOUT": "5"}
    begin = time.monotonic()
    done = agm("score", *small, *YAMNET, env=environment)
    assert time.monotonic() - begin < 60
    assert done.returncode == 4
    waiting, error = done.stderr.splitlines()
    assert waiting.startswith("agm: waiting at 127.0.0.1:29563 for the rest of 2 processes, at most 5 s. WORLD_SIZE=2")
    assert "did not come to 127.0.0.1:29563 within 5 s" in error
    assert "AGM_GROUP_TIMEOUT=SECONDS" in error
    assert agm("score", *small, *YAMNET, "--processes", "1", env=environment).returncode == 0


# As under `docker run --user`: without HOME, and without an entry in passwd, which no test can take away for real.
STRANGER = """
import pwd, sys
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
from audiogen_metrics.cli.main import main
sys.exit(main())
"""


def stranger(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STRANGER, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd="/", env=variables | environment
    )


SETS = ("score", EXAMPLES / "generated", EXAMPLES / "reference", "--limit", "12", *YAMNET)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="passwd is POSIX")
def test_no_home(tmp_path: Path) -> None:
    for arguments in LIGHT:
        done = stranger(*arguments)
        expected = 2 if arguments[0] == "cache" else 0
        assert done.returncode == expected, done.stderr
        assert ("Set AGM_CACHE_DIR" in done.stderr) == (arguments[0] == "cache")
    done = stranger("weights", "fetch", "vggish")
    assert done.returncode == 2
    assert "AGM_WEIGHTS_DIR" in done.stderr
    done = stranger(*SETS, "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("no home folder") == 1
    assert (tmp_path / "page.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="passwd is POSIX")
def test_no_home_and_all_folders_given(tmp_path: Path) -> None:
    folders = {"AGM_CACHE_DIR": str(tmp_path / "cache"), "AGM_WEIGHTS_DIR": str(tmp_path / "weights")}
    for arguments in (*LIGHT, SETS):
        done = stranger(*arguments, **folders)
        assert done.returncode == 0, done.stderr
        assert "AGM_" not in done.stdout + done.stderr
    assert list(tmp_path.rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="passwd is POSIX")
def test_every_protocol_without_a_home() -> None:
    done = stranger("protocols", "compare", *SETS[1:3], "--base", "yamnet", AGM_OFFLINE="1")
    assert done.returncode == 0, done.stderr


BAD = {"a file": "{}/file/cache", "too long": "{}/" + 300 * "x", "a device": "/dev/null/cache"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BAD)
def test_a_cache_that_cannot_be_written_is_said_once(
    kind: str,
    small: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    expected = score(*small, protocol="yamnet", metrics=["fd"], cache=False)
    monkeypatch.setenv("AGM_CACHE_DIR", BAD[kind].format(tmp_path))
    report = score(*small, protocol="yamnet", metrics=["fd"])
    assert report.scores == expected.scores
    assert [text for text in report.warnings if "cache" in text] == list(report.problems)
    (problem,) = report.problems
    assert f"the cache in {cache_dir()} cannot be written" in problem
    assert "Set AGM_CACHE_DIR" in problem
    for arguments in LIGHT:
        assert main(arguments) in (0, 3, 4)
    assert main(["doctor"]) == 4
    assert "Set AGM_CACHE_DIR to another folder" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"weights: cannot be written .*Set AGM_WEIGHTS_DIR"):
        fetch(WEIGHTS.get("vggish"))


def test_paths_that_cannot_be(small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody's home, and names that no file system takes."""
    long = str(small[0].parent / (300 * "x"))
    for gen, code, message in (("~nobody-has-it/x", 2, "home folder is not known"), (long, 3, "File name too long")):
        assert main(["score", gen, str(small[1]), *YAMNET]) == code
        assert message in capsys.readouterr().err
    for output, message in (("~nobody-has-it/x", "home folder is not known"), (long, "File name too long")):
        with pytest.raises(SystemExit, match="2"):  # before anything is computed
            main(["score", *map(str, small), *YAMNET, "-o", output])
        assert message in capsys.readouterr().err
    with pytest.raises(UsageError, match="AGM_CACHE_DIR=~nobody-has-it"):
        at_home("~nobody-has-it", "AGM_CACHE_DIR")


def test_a_result_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves ``~`` as it is in ``--output=~/x``, and nothing but a shell would replace it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert main(["list", "metrics", "--output=~/metrics.json"]) == 0
    assert (tmp_path / "metrics.json").read_text().startswith("[")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may enter any folder")
def test_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "set").mkdir()
    (tmp_path / "closed").chmod(0)
    folders = {"AGM_CACHE_DIR": str(tmp_path / "cache")}
    done = stranger("score", tmp_path / "closed" / "set", *SETS[2:], **folders)
    (tmp_path / "closed").chmod(0o700)
    assert done.returncode == 3
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("", None), (" 4 ", 4), ("0", 0)):
        monkeypatch.setenv("AGM_TEST", text)
        assert whole_number("AGM_TEST") == expected
    monkeypatch.delenv("AGM_TEST")
    assert whole_number("AGM_TEST") is None
