"""Audio is found in memory as the file system would find it, and each folder is listed once."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audiogen_metrics.audio.files import AUDIO, DECODABLE, UNDECODABLE
from audiogen_metrics.cli.main import main
from audiogen_metrics.datasets.finding import AudioByName, AudioByPath, Listings, names_of_segment
from audiogen_metrics.datasets.folder import open_dataset
from audiogen_metrics.errors import DataError
from tests.datasets import miniatures
from tests.embedding.test_cache import another_user


def oracle(folder: Path, name: str) -> Path | None:
    """Find what a table names by asking the file system for one name after another."""

    def spelt(text: str) -> str:
        return unicodedata.normalize("NFC", text).strip()

    for written in (name, name.strip(), name.strip().replace("\\", "/")):
        path = folder / written
        if written.rpartition("/")[2] in {"", ".", ".."}:
            continue
        if path.is_file():
            return path
        inner = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
        files = [each for each in inner if each.is_file()]
        for file in files:
            if spelt(file.name) == spelt(path.name):
                return file
        bare = path.suffix.lower() not in AUDIO
        stem = path.name if bare else path.stem
        for suffixes in (DECODABLE, UNDECODABLE) if bare else (UNDECODABLE,):
            for file in sorted(files, key=lambda file: (file.suffix, file.name)):
                if file.suffix.lower() in suffixes and spelt(file.stem) == spelt(stem):
                    return file
    return None


PIECES = ("a", "A", " ", ".", "caf\u00e9", "cafe\u0301", "b", "\\")
SUFFIXES = ("", ".wav", ".WAV", ".flac", ".m4a", ".M4A", ".txt", ".ts")


def names(rng: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        stem = "".join(rng.choices(PIECES, k=rng.randint(1, 3)))
        yield rng.choice(("", "", "sub/", "sub\\", "./", "none/")) + stem + rng.choice(SUFFIXES)


@pytest.mark.skipif(sys.platform == "win32", reason="a backslash is no letter of a name there")
@pytest.mark.parametrize("seed", range(8))
def test_names_are_found_as_the_file_system_finds_them(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "sub").mkdir()
    for name in names(rng, 25):
        path = tmp_path / name
        if path.parent.is_dir() and not path.exists():
            path.touch()
    audio = AudioByPath()
    asked = [*names(rng, 200), " ", "", ".", "..", "sub", "sub/", "../x.wav", f"../{tmp_path.name}/a.wav"]
    found = {name: audio(tmp_path, name) for name in asked}
    assert found == {name: oracle(tmp_path, name) for name in asked}
    assert sum(path is not None for path in found.values()) > 5


def test_an_absolute_name(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    audio = AudioByPath()
    assert audio(Path("elsewhere"), str(tmp_path / "x.wav")) == tmp_path / "x.wav"
    assert audio(Path("elsewhere"), str(tmp_path / "y.wav")) is None
    assert audio(Path("elsewhere"), "/x.wav") is None


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x.wav").touch()
    (tmp_path / "set").symlink_to("there")
    (tmp_path / "there" / "link.wav").symlink_to("x.wav")
    (tmp_path / "there" / "gone.wav").symlink_to("nowhere.wav")
    (tmp_path / "there" / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "there" / "folder.wav").mkdir()
    (tmp_path / "around").symlink_to("around")
    audio, by_name = AudioByPath(), AudioByName(tmp_path / "set")
    for stem in ("x", "link"):
        assert audio(tmp_path, f"set/{stem}.wav") == by_name(stem) == tmp_path / "set" / f"{stem}.wav"
    for stem in ("gone", "loop", "folder"):
        assert audio(tmp_path, f"set/{stem}.wav") is by_name(stem) is None
    assert audio(tmp_path, "around/x.wav") is None


@pytest.mark.parametrize("name", ["a\0b.wav", "a\0b/x.wav", "x" * 300, "x" * 300 + "/x.wav", "a dog, barking.\n"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.wav").touch()
    assert AudioByPath()(tmp_path, name) is None


def test_other_letters_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a file system that ignores case, of which none is at hand: it is asked, and believed."""
    (tmp_path / "Dog.wav").touch()
    audio = AudioByPath()
    assert audio(tmp_path, "dog.WAV") is None
    asked = []
    monkeypatch.setattr("os.path.isfile", lambda path: asked.append(path) or Path(path).name.lower() == "dog.wav")
    assert audio(tmp_path, "dog.WAV") == tmp_path / "dog.WAV"
    assert audio(tmp_path, "cat.wav") is None
    assert asked == [tmp_path / "dog.WAV"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
def test_a_folder_that_cannot_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="agm-tests-") as place:
        root = Path(place)
        root.chmod(0o755)
        miniatures.write(root / "audio" / "x.wav", miniatures.recording(0, 1.0, 16_000), 16_000)
        miniatures.table(root / "all.csv", ("file", "caption"), [("audio/x.wav", "rain")])
        miniatures.table(root / "more.csv", ("file", "caption"), [("audio/x.wav", "rain"), ("audio/y.wav", "wind")])
        miniatures.table(root / "test.csv", ("audiocap_id", "youtube_id", "start_time", "caption"), [(1, "x", 0, "a")])
        assert open_dataset(root / "more.csv").missing == ("audio/y",)
        (root / "audio").chmod(0o311)
        try:
            with another_user():
                assert open_dataset(root / "all.csv").missing == ()
                with pytest.raises(DataError, match=r"audio: cannot list the folder \(Permission denied\)"):
                    open_dataset(root / "more.csv")
                assert main(["data", "check", "audiocaps", str(root)]) == 3
        finally:
            (root / "audio").chmod(0o755)
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot list the folder" in line


def rows_of(root: Path, count: int, *, missing: bool) -> None:
    miniatures.table(
        root / "test.csv",
        ("audiocap_id", "youtube_id", "start_time", "caption"),
        [(index, f"{index:011d}", 10, f"sound {index}") for index in range(count)],
    )
    miniatures.table(root / "own.csv", ("file", "caption"), [(f"audio/Y{i:011d}.wav", "rain") for i in range(count)])
    (root / "audio").mkdir()
    for index in range(1 if missing else count):
        (root / "audio" / f"Y{index:011d}.wav").touch()


@pytest.mark.parametrize("source", ["audiocaps={}", "{}/own.csv", "{}/audio"])
@pytest.mark.parametrize("missing", [False, True])
def test_no_clip_costs_a_question_to_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, missing: bool
) -> None:
    asked: list[object] = []

    def counted(ask: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            asked.append(arguments)
            return ask(*arguments, **options)

        return wrapped

    for name in ("stat", "lstat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    counts = []
    for count in (10, 200):
        root = tmp_path / str(count)
        rows_of(root, count, missing=missing)
        asked.clear()
        found = open_dataset(source.format(root))
        assert len(found.present) == (1 if missing else count)
        counts.append(len(asked))
    assert counts[0] == counts[1] < 20


def test_folders_are_looked_through_in_their_order(tmp_path: Path) -> None:
    for name in ("one/v_30.wav", "two/Yv.wav", "two/w.m4a", "two/w.FLAC", "two/W.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listings = Listings()
    audio = AudioByName(tmp_path / "one", tmp_path / "two", tmp_path / "none", listings=listings)
    assert audio(*names_of_segment("v", 30.0, 40.0)) == tmp_path / "one" / "v_30.wav"
    assert audio("w") == tmp_path / "two" / "w.FLAC"
    assert audio("V") is None
    (tmp_path / "one" / "later.wav").touch()
    assert AudioByName(tmp_path / "one", listings=listings)("later") is None
    assert AudioByName(tmp_path / "one")("later") == tmp_path / "one" / "later.wav"
