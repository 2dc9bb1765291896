"""Finding clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_ids_are_paths_without_suffix_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.wav", "dog/bark 1.FLAC", "a.v2.ogg", "täglich.opus", "-x.mp3")
    assert [clip.clip_id for clip in scan(tmp_path).clips] == ["-x", "a.v2", "b", "dog/bark 1", "täglich"]


def test_counts_what_is_not_audio(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "notes.txt", "meta.csv", ".DS_Store", "._a.wav", "emb/a.npy", ".cache/b.wav")
    folder = scan(tmp_path)
    assert [clip.clip_id for clip in folder.clips] == ["a"]
    assert folder.ignored == 5  # hidden folders are not entered


def test_audio_that_cannot_be_decoded_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.m4a")
    assert [clip.clip_id for clip in scan(tmp_path).clips] == ["a", "b"]


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path / "store", "x.wav")
    touch(tmp_path / "set", "a.wav")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert [clip.clip_id for clip in scan(tmp_path / "set").clips] == ["a", "linked/x"]


def test_refuses_two_files_of_one_id(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "a.mp3")
    with pytest.raises(DataError, match=r"two files have the clip id 'a': a\.(wav|mp3) and a\.(wav|mp3)"):
        scan(tmp_path)


def test_refuses_what_is_no_set(tmp_path: Path) -> None:
    touch(tmp_path, "empty/notes.txt")
    for path, message in (("none", "does not exist"), ("empty/notes.txt", "a file"), ("empty", "no audio files")):
        with pytest.raises(DataError, match=message):
            scan(tmp_path / path)


def test_pairing() -> None:
    pairs = pair(["a", "c", "b"], ["b", "d", "a"])
    assert (pairs.paired, pairs.gen_only, pairs.ref_only) == (("a", "b"), ("c",), ("d",))
