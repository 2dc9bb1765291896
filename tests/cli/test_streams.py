"""Text leaves the program whatever stdout and stderr are, and the result is safe before it does."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from audiogen_metrics.cli.main import main
from audiogen_metrics.writing import write_atomically
from tests.conftest import Run, write_tone

COMMANDS = (
    *("score", "generate", "finetune", "data", "bench", "compare", "clap", "embed", "stats", "protocols", "probe"),
    *("study", "import", "verify", "list", "weights", "cache", "doctor"),
)
TEXTS = [
    *([name, "--help"] for name in COMMANDS),
    ["--help"],
    ["--version"],
    ["stats", "build", "--help"],
    ["protocols", "compare", "--help"],
    *(["list", what] for what in ("metrics", "backbones", "probes", "protocols")),
    ["data", "list"],
    ["weights", "list"],
    ["weights", "verify"],
    ["cache", "info"],
]
JSON = [
    *(["list", what, "--format", "json"] for what in ("metrics", "backbones", "probes", "protocols")),
    ["weights", "list", "--format", "json"],
    ["cache", "info", "--format", "json"],
]
ENCODINGS = ["cp1252", "gbk", "latin-1", "cp437", "ascii", "cp932", "utf-16"]

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")


def written(arguments: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bytes]:
    """Run a command with stdout and stderr in an encoding; return its code and the bytes of stdout."""
    out = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
        patch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, out.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_encoding_takes_any_text(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in TEXTS:
        code, content = written(arguments, encoding, monkeypatch)
        assert code == 0, arguments
        assert content.decode(encoding).splitlines()[:1] or arguments == ["weights", "verify"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_stays_the_same_json(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in JSON:
        code, content = written(arguments, encoding, monkeypatch)
        assert code == 0
        assert json.loads(content.decode("utf-16") if encoding == "utf-16" else content) == json.loads(
            written(arguments, "utf-8", monkeypatch)[1]
        )


def test_signs_become_readable_and_letters_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("é–…", "\U0001f600"):
        write_tone(tmp_path / "ref" / name / "a.wav")
        write_tone(tmp_path / "ref" / name / "b.wav")
    score = ["score", str(tmp_path / "ref" / "é–…"), str(tmp_path / "ref" / "\U0001f600"), "--protocol", "yamnet"]
    score += ["-m", "fd"]
    code, content = written(score, "ascii", monkeypatch)
    assert code == 0
    assert b"/\\u00e9-...: 2 of 2 clips" in content
    assert b"/\\ud83d\\ude00: 2 of 2 clips" in content
    code, content = written([*score, "--format", "json"], "ascii", monkeypatch)
    assert json.loads(content)["inputs"]["ref"]["path"].endswith("/\U0001f600")


@POSIX
def test_names_that_are_no_unicode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    for name in ("a", "b"):
        write_tone(tmp_path / "set" / f"{name}.wav")
    try:
        (tmp_path / "set").rename(folder)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    score = ["score", str(folder), str(folder), "--protocol", "yamnet", "-m", "fd", "--format"]
    for form in ("table", "json", "csv", "markdown", "latex"):
        assert written([*score, form], "utf-8", monkeypatch)[0] == 0
        assert main([*score, form, "-o", str(tmp_path / form)]) == 0
    assert json.loads((tmp_path / "json").read_text())["inputs"]["gen"]["path"].endswith("udcff")


AGM = f"{shlex.quote(sys.executable)} -m audiogen_metrics"

STREAMS = {
    "stdout closed": "{} >&-",
    "stderr closed": "{} 2>&-",
    "all closed": "{} <&- >&- 2>&-",
    "stdout broken": "{} | true; exit ${{PIPESTATUS[0]}}",
    "both broken": "{} 2>&1 | true; exit ${{PIPESTATUS[0]}}",
    "stderr broken": "{} 2>&1 >/dev/null | true; exit ${{PIPESTATUS[0]}}",
    "stderr full": "{} 2>/dev/full",
}
OUTCOMES = {"list metrics": 0, "score --help": 0, "weights list": 0, "list nothing": 2, "verify nowhere.json": 3}


def shell(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("streams", STREAMS)
def test_exit_codes_survive_any_stream(streams: str, tmp_path: Path) -> None:
    for command, code in OUTCOMES.items():
        done = shell(STREAMS[streams].format(f"{AGM} {command}"), tmp_path)
        assert done.returncode == code, (command, done.stderr)
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_an_error(tmp_path: Path) -> None:
    for command in ("list metrics", "score --help"):
        done = shell(f"{AGM} {command} >/dev/full", tmp_path)
        assert done.returncode == 2
        assert done.stderr == (
            "agm: error: stdout: cannot be written (No space left on device). Write the result to a file: -o FILE\n"
        )


@POSIX
def test_results_come_first(small: tuple[Path, Path], tmp_path: Path) -> None:
    score = f"{AGM} score {small[0]} {small[1]} --protocol yamnet --fail-if 'fd_yamnet>1'"
    files = "--format json -o out.json --html page.html"
    assert shell(f"{score} {files} 2>&1 | true; exit ${{PIPESTATUS[0]}}", tmp_path).returncode == 5
    assert json.loads((tmp_path / "out.json").read_text())["scores"]["fd_yamnet"]["value"] > 1
    assert (tmp_path / "page.html").exists()
    done = shell(f"{score} --html full.html >/dev/full", tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "full.html").exists()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_page_that_cannot_be_written_does_not_keep_the_result(agm: Run, small: tuple[Path, Path]) -> None:
    place = small[0].parent / "file"
    place.write_text("")
    command = ("score", *small, "--protocol", "yamnet", "-m", "fd")
    done = agm(*command, "--html", place / "a.html", "-o", place / "b.txt")
    assert done.returncode == 2
    assert "fd_yamnet" in done.stdout
    assert "a.html: cannot be written" in done.stderr
    assert "b.txt: cannot be written" in done.stderr
    assert "the result is on stdout instead" in done.stderr


@POSIX
def test_stdout_as_a_file(tmp_path: Path) -> None:
    expected = shell(f"{AGM} list metrics", tmp_path).stdout
    for output in ("-", "/dev/stdout", "/dev/fd/1", ">(cat)", "/proc/self/fd/1"):
        if output.startswith("/proc") and not Path("/proc/self/fd").exists():
            continue
        done = shell(f"{AGM} list metrics -o {output} | cat", tmp_path)
        assert (done.returncode, done.stdout) == (0, expected), output
    assert list(tmp_path.iterdir()) == []
    for output in ("-", "/dev/stdout", "/dev/fd/1"):
        (tmp_path / "log").write_text("before\n")
        assert shell(f"{AGM} list metrics -o {output} >> log", tmp_path).returncode == 0
        assert (tmp_path / "log").read_text() == f"before\n{expected}"


@POSIX
def test_own_descriptors_are_written_to() -> None:
    reader, writer = os.pipe()
    write_atomically(Path(f"/dev/fd/{writer}"), b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write_atomically(Path(f"/dev/fd/{writer}"), b"content")
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_atomically(Path(f"/dev/fd/{writer}"), b"content")


@POSIX
def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything(tmp_path: Path) -> None:
    code = "import os, sys; os.set_blocking(1, False); from audiogen_metrics.cli.main import main; sys.exit(main())"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} list probes --format json"
    (tmp_path / "slow.py").write_text("import sys, time; time.sleep(2); sys.stdout.write(sys.stdin.read())")
    done = shell(f"({command}; {command}; {command}; {command}) | {sys.executable} slow.py", tmp_path)
    assert done.stderr == ""
    assert len(done.stdout) > 4 * 1000
