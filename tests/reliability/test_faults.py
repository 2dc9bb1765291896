"""A fault at every single step of writing: nothing is lost, nothing half-written is believed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audiogen_metrics import score
from audiogen_metrics.embedding.cache import embeddings_folder
from audiogen_metrics.embedding.housekeeping import damaged_shards
from audiogen_metrics.embedding.reference import ReferenceStatistics
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.report.html import score_html
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import write_atomically
from tests.conftest import write_tone


class KilledError(BaseException):
    """The process ends here; nothing after it runs but what a kill leaves to run, which is nothing."""


@pytest.fixture
def tones(tmp_path: Path) -> Any:
    """Two folders of three short clips."""
    for place in range(3):
        write_tone(tmp_path / "gen" / f"{place}.wav", seconds=0.3)
        write_tone(tmp_path / "ref" / f"{place}.flac", seconds=0.4)
    return tmp_path / "gen", tmp_path / "ref"


STEPS = ("mkdir", "open", "fsync", "rename")


@contextmanager
def fault(at: int | None, error: Callable[[], BaseException]) -> Iterator[list[str]]:
    """Raise at the ``at``-th step of writing, counted over all files; yield the steps that were taken.

    A killed process cleans nothing up: with KilledError, removing the temporary file does not happen either.
    """
    steps: list[str] = []
    dead = False
    with pytest.MonkeyPatch.context() as patch:

        def guard(name: str, real: Callable[..., object]) -> Callable[..., object]:
            def step(*arguments: object, **options: object) -> object:
                nonlocal dead
                mode = str(arguments[1] if len(arguments) > 1 else options.get("mode", "r"))
                if name == "open" and "w" not in mode:
                    return real(*arguments, **options)
                if dead:
                    raise KilledError
                steps.append(name)
                if len(steps) - 1 == at:
                    raised = error()
                    dead = isinstance(raised, KilledError)
                    raise raised
                return real(*arguments, **options)

            return step

        def unlink(path: Path, missing_ok: bool = False, real: Callable[..., None] = Path.unlink) -> None:
            if not dead:
                real(path, missing_ok=missing_ok)

        patch.setattr(Path, "mkdir", guard("mkdir", Path.mkdir))
        patch.setattr(Path, "open", guard("open", Path.open))
        patch.setattr(Path, "replace", guard("rename", Path.replace))
        patch.setattr(os, "fsync", guard("fsync", os.fsync))
        patch.setattr(Path, "unlink", unlink)
        yield steps


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def run(tones: Path) -> Any:
    return score(*tones, protocol="yamnet", workers=0)


def count(action: Callable[[], object]) -> int:
    """Return how many steps of writing an action takes."""
    with fault(None, full) as steps:
        action()
    assert set(steps) <= set(STEPS)
    return len(steps)


@pytest.mark.slow
def test_cache_and_memo_with_a_full_disk(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step fails, the scores are the same, and the fault is said where it costs something."""
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "counted"))
    total = count(lambda: run(tones))
    expected = run(tones)
    assert total >= 12
    for at in range(total):
        monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / f"full {at}"))
        with fault(at, full) as steps:
            report = run(tones)
        assert report.scores == expected.scores, (at, steps)
        assert any("cannot be written (No space left on device)" in text for text in report.warnings), (at, steps)
        assert run(tones).scores == expected.scores
        assert not list(cache_dir().rglob("*.tmp"))


@pytest.mark.slow
def test_cache_and_memo_under_kill(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any step: the next run gives the same scores, and no shard on the disk is damaged."""
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "counted"))
    total = count(lambda: run(tones))
    expected = run(tones)
    for at in range(total):
        monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / f"killed {at}"))
        with fault(at, KilledError), pytest.raises(KilledError):
            run(tones)
        assert damaged_shards(embeddings_folder()) == {}
        report = run(tones)
        assert report.scores == expected.scores
        assert report.warnings == expected.warnings


def writers(tones: Path, target: Path) -> dict[str, Callable[[], object]]:
    """Everything that a user asks to be written to one file."""
    statistics = reference_statistics(tones[1], protocol="yamnet")
    report = run(tones)
    return {
        "bytes": lambda: write_atomically(target, b"new"),
        "statistics": lambda: statistics.save(target),
        "report": lambda: report.to_json(target),
        "page": lambda: score_html(*tones, target, protocol="yamnet", cache=False),
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "statistics", "report", "page"])
@pytest.mark.parametrize("error", [full, KilledError])
def test_results_are_whole_or_as_before(tones: Path, tmp_path: Path, kind: str, error: Any) -> None:
    target = tmp_path / "out" / "result"
    write = writers(tones, target)[kind]
    for at in range(count(write)):
        target.write_bytes(b"before")
        with fault(at, error), pytest.raises((OSError, UsageError, KilledError)):
            write()
        assert target.read_bytes() == b"before"
        if error is full:
            assert [path.name for path in target.parent.iterdir()] == ["result"]
    write()
    assert target.read_bytes() != b"before"


def test_devices_and_links_are_written_through(tmp_path: Path) -> None:
    """``-o /dev/null`` must not put a file in the place of the device."""
    write_atomically(Path(os.devnull), b"gone")
    assert Path(os.devnull).is_char_device()
    target = tmp_path / "target"
    target.write_bytes(b"old")
    (tmp_path / "link").symlink_to(target)
    write_atomically(tmp_path / "link", b"new")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
from audiogen_metrics.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
def test_a_real_limit_on_the_size_of_files(tones: Path, tmp_path: Path) -> None:
    """The kernel itself refuses to write more: scores come out, the page does not, and nothing half-written stays."""
    command = [sys.executable, "-c", LIMITED, "score", *map(str, tones), "--protocol", "yamnet", "--format", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cannot be written (File too large); nothing is kept" in done.stderr
    page = tmp_path / "page.html"
    failed = subprocess.run([*command, "--html", str(page)], capture_output=True, text=True, check=False, timeout=120)
    assert failed.returncode == 2
    assert failed.stdout == done.stdout
    assert "page.html: cannot be written (File too large)" in failed.stderr
    assert not page.exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_cache_that_is_read_only(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(tones)
    before = files_of_cache()

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Permissions alone do not stop the superuser, as whom tests may run.
    with monkeypatch.context() as patch:
        patch.setattr("audiogen_metrics.writing.os.fsync", refuse)
        assert run(tones) == expected
        write_tone(tones[0] / "new.wav", seconds=0.3)
        report = run(tones)
    assert report.gen.scored == 4
    assert any("cannot be written (Permission denied)" in text for text in report.warnings)
    assert files_of_cache() == before


def files_of_cache() -> list[Path]:
    """Return the files: on a slow machine a folder comes, for what is remembered of audio older than two seconds."""
    return sorted(path for path in cache_dir().rglob("*") if path.is_file())


def test_statistics_survive_a_failed_second_build(tones: Path, tmp_path: Path) -> None:
    built = reference_statistics(tones[1], protocol="yamnet")
    built.save(tmp_path / "ref.stats")
    with fault(2, full), pytest.raises(UsageError, match="No space"):
        built.save(tmp_path / "ref.stats")
    assert ReferenceStatistics.load(tmp_path / "ref.stats").summary == built.summary


@pytest.mark.slow
def test_four_processes_on_one_cache(tones: Path) -> None:
    """All four give the same scores, and leave a sound cache."""
    command = [sys.executable, "-m", "audiogen_metrics", "score", *map(str, tones), "--protocol", "yamnet"]
    running = [
        subprocess.Popen([*command, "--format", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=240) for process in running]
    assert {process.returncode for process in running} == {0}, outputs
    assert len({out for out, _ in outputs}) == 1
    assert not any("cache" in errors for _, errors in outputs)
    assert damaged_shards(embeddings_folder()) == {}
    assert not list(cache_dir().rglob("*.tmp"))
