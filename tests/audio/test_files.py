"""Finding clips."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from audiogen_metrics.audio import files
from audiogen_metrics.audio.files import parse_suffixes, scan
from audiogen_metrics.audio.pairing import Pairing, pair
from audiogen_metrics.errors import DataError, UsageError


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


def ids(root: Path, **options: str | list[str]) -> list[str]:
    return [clip.clip_id for clip in scan(root, **options).clips]


def test_a_folder_is_listed_below_every_link_to_it(tmp_path: Path) -> None:
    touch(tmp_path / "store", "x.wav", "deep/y.wav")
    touch(tmp_path / "set", "a.wav")
    for name in ("one", "two"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "store")
        (tmp_path / "set" / f"{name}.wav").symlink_to(tmp_path / "store" / "x.wav")
    assert ids(tmp_path / "set") == ["a", "one", "one/deep/y", "one/x", "two", "two/deep/y", "two/x"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path / "set", "a.wav", "b/c.wav")
    touch(tmp_path / "beside", "d.wav")
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "b" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "up").symlink_to(tmp_path)  # leads out, and only from there back in
    assert ids(tmp_path / "set") == ["a", "b/c", "up/beside/d"]


def test_links_that_multiply_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in range(12):
        touch(tmp_path / "store" / str(level), "x.wav")
    for level in range(11):
        for name in "abc":
            (tmp_path / "store" / str(level) / name).symlink_to(tmp_path / "store" / str(level + 1))
    monkeypatch.setattr(files, "MAX_REPEATED", 1000)
    with pytest.raises(DataError, match="links list more than 1000 files and folders a second time"):
        scan(tmp_path / "store" / "0")


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "notes.txt")
    for name in ("system", "gone.wav", ".hidden"):
        (tmp_path / name).symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    folder = scan(tmp_path)
    assert [clip.clip_id for clip in folder.clips] == ["a", "gone"]  # one with a suffix of audio is skipped by name
    assert folder.lost == ("loop (Too many levels of symbolic links)", "system (No such file or directory)")


def test_refuses_two_files_of_one_id(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "x/a.flac")
    with pytest.raises(DataError, match=r"two files have the clip id 'x/a': x/a\.flac and x/a\.mp4") as raised:
        scan(tmp_path)
    assert raised.value.fix == 'Keep one of them, or choose: suffixes=".flac"'
    touch(tmp_path / "b", "a.wav", "a.WAV")
    with pytest.raises(DataError) as raised:
        scan(tmp_path / "b")
    assert raised.value.fix == "Keep one of them"


def test_suffixes_choose_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.flac", "a.mp4", "b.FLAC", "c.wav", "notes.txt")
    folder = scan(tmp_path, ".flac")
    assert ([clip.path.name for clip in folder.clips], folder.ignored) == (["a.flac", "b.FLAC"], 3)
    assert ids(tmp_path, suffixes=["WAV", "flac"]) == ids(tmp_path, suffixes="wav, .Flac") == ["a", "b", "c"]
    with pytest.raises(
        DataError, match=r"no file has the suffix \.mp3 or \.ogg\. There are 2 \.flac, 1 \.mp4, 1 \.wav"
    ):
        scan(tmp_path, ["mp3", "ogg"])
    for wrong in ("flack", ".", "txt", "*.wav"):
        with pytest.raises(UsageError, match="unknown audio suffix"):
            parse_suffixes(wrong)


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_ids_are_composed(tmp_path: Path) -> None:
    """As macOS writes names, and as everybody else does; the paths stay what they are on the disk."""
    touch(tmp_path / "gen", f"{COMPOSED}/b.wav", "a.wav")
    touch(tmp_path / "ref", f"{DECOMPOSED}/b.wav", "a.wav")
    gen, ref = scan(tmp_path / "gen"), scan(tmp_path / "ref")
    assert [clip.clip_id for clip in gen.clips] == [clip.clip_id for clip in ref.clips] == ["a", f"{COMPOSED}/b"]
    assert all(clip.path.exists() for clip in ref.clips)
    assert (gen.written[f"{COMPOSED}/b"], ref.written["a"]) == (f"{COMPOSED}/b", "a")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes both names for one")
def test_names_that_differ_in_their_unicode_form_are_one_id(tmp_path: Path) -> None:
    touch(tmp_path, f"{COMPOSED}.wav", f"{DECOMPOSED}.wav")
    with pytest.raises(DataError, match=r"cafe\\u0301\.wav' and 'caf\\xe9\.wav' differ in their Unicode form"):
        scan(tmp_path)


def test_refuses_what_is_no_set(tmp_path: Path) -> None:
    touch(tmp_path, "empty/notes.txt")
    for path, message in (("none", "does not exist"), ("empty/notes.txt", "a file"), ("empty", "no audio files")):
        with pytest.raises(DataError, match=message):
            scan(tmp_path / path)


def test_pairing() -> None:
    pairs = pair(["a", "c", "b"], ["b", "d", "a"])
    assert (pairs.paired, pairs.gen_only, pairs.ref_only) == (("a", "b"), ("c",), ("d",))


@pytest.mark.parametrize(
    ("gen", "ref", "expected"),
    [
        (["Dog", "Cat", "x"], ["dog", "cat", "y"], "2 differ only in case (gen 'Cat', ref 'cat')"),
        (["a /b"], ["a/ b"], "1 differs only in spaces at the ends of a name (gen 'a /b', ref 'a/ b')"),
        (["d/dog.WAV"], ["d/dog"], "1 differs only in an audio suffix within the name (gen 'd/dog.WAV', ref 'd/dog')"),
        (
            ["Dog", "rain.flac"],
            ["dog", "rain"],
            "1 differs only in case (gen 'Dog', ref 'dog'); "
            "1 differs only in an audio suffix within the name (gen 'rain.flac', ref 'rain')",
        ),
        (["dog", "Dog"], ["dog", "other"], ""),  # the partner is taken
        (["a.v2"], ["a"], ""),
    ],
)
def test_names_that_nearly_pair(gen: list[str], ref: list[str], expected: str) -> None:
    """Said, and never paired."""
    pairs = pair(gen, ref)
    assert pairs.near_misses() == expected
    assert set(pairs.paired) == set(gen) & set(ref)


def test_unpaired_clips_are_a_warning_beside_pairs() -> None:
    assert pair(["a", "B"], ["a", "b"]).warnings() == [
        "not in KL: 2 clips have no partner: gen 'B', ref 'b'; 1 differs only in case (gen 'B', ref 'b')"
    ]
    assert pair(["a", *"bcde"], ["a"]).warnings(skipped=1) == [
        "not in KL: 4 clips have no partner: gen 'b', gen 'c', gen 'd', …; 1 because the partner could not be used"
    ]
    assert pair(["a"], ["b"]).warnings() == pair(["a"], ["a"]).warnings() == []
    assert Pairing((), (), ()).near_misses() == ""
