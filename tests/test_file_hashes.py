"""One memo for the hashes of audio and of weights: what it spares, and what it never believes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from audiogen_metrics import file_hashes, filesystems, score
from audiogen_metrics.backbones.vggish import VGGish
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.file_hashes import HashMemo, hashing_as_asked, is_settled, memo_folder, sha256_of
from audiogen_metrics.settings import cache_dir
from tests.checkpoints import write_vggish
from tests.conftest import write_tone


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written only now are believed, whatever file system the tests run on."""
    monkeypatch.setattr(file_hashes, "RACY_NS", -(10**18))
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the name of every file that is hashed from here on is added."""
    names: list[str] = []
    real = hashlib.file_digest

    def digest(file: Any, kind: str) -> Any:  # type: ignore[no-untyped-def]
        names.append(Path(file.name).name)
        return real(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", digest)
    return names


@pytest.mark.usefixtures("trusting")
def test_weights_and_audio_have_memos_of_one_kind(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    digest = sha256_of(file)
    (kept,) = (cache_dir() / "weights" / "digests").iterdir()
    assert HashMemo(kept.parent, file).recall(file) == digest == hashlib.sha256(b"weights").hexdigest()
    assert HashMemo(memo_folder(), file).recall(file) is None, "another hash is kept there"
    content = json.loads(kept.read_text())
    assert content["version"] == file_hashes.VERSION
    assert [*content["files"]] == [str(file)]


@pytest.mark.usefixtures("trusting")
def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    names = count_hashes(monkeypatch)
    assert {sha256_of(file) for _ in range(3)} == {hashlib.sha256(b"one").hexdigest()}
    assert len(names) == 1
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # no program can set the change time
    assert sha256_of(file) == hashlib.sha256(b"two").hexdigest()
    other = tmp_path / "other.pth"
    other.write_bytes(b"six")
    other.replace(file)
    assert sha256_of(file) == hashlib.sha256(b"six").hexdigest()


def test_a_file_that_changed_shortly_before_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")
    monkeypatch.setattr(filesystems, "WHOLE_SECONDS", frozenset(["ext4"]))
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    names = count_hashes(monkeypatch)
    sha256_of(file)
    sha256_of(file)
    assert len(names) == 2
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + file_hashes.RACY_NS)
    sha256_of(file)
    sha256_of(file)
    assert len(names) == 3


def test_what_matters_is_when_hashing_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing a large file takes seconds; a change at its beginning may carry the time of the one before."""
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    real, now = hashlib.file_digest, time.time_ns

    def slowly(opened: Any, kind: str) -> Any:  # type: ignore[no-untyped-def]
        monkeypatch.setattr(time, "time_ns", lambda: now() + 10 * file_hashes.RACY_NS)
        return real(opened, kind)

    monkeypatch.setattr(hashlib, "file_digest", slowly)
    sha256_of(file)
    assert is_settled(file_hashes.identity_of(file))
    assert not (cache_dir() / "weights" / "digests").exists()


@pytest.mark.usefixtures("trusting")
def test_a_change_while_a_file_is_hashed_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    real = hashlib.file_digest

    def meanwhile(opened: Any, kind: str) -> Any:  # type: ignore[no-untyped-def]
        found = real(opened, kind)
        file.write_bytes(b"other")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", meanwhile)
        sha256_of(file)
    assert sha256_of(file) == hashlib.sha256(b"other").hexdigest()


@pytest.mark.usefixtures("trusting")
def test_no_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        sha256_of(tmp_path / "pipe")


@pytest.mark.usefixtures("trusting")
def test_what_is_asked_for_ends_with_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")

    @hashing_as_asked
    def run(*, verify: bool = False, fails: bool = False) -> str:  # noqa: ARG001 (what is asked for)
        if fails:
            raise ValueError
        return sha256_of(file)

    run()
    names = count_hashes(monkeypatch)
    run()
    run(verify=False)
    assert not names
    run(verify=True)
    with pytest.raises(ValueError):  # noqa: PT011 (raised above)
        run(verify=True, fails=True)
    assert len(names) == 1
    run()
    assert len(names) == 1


@pytest.mark.usefixtures("trusting")
def test_verify_hashes_weights_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = write_vggish(tmp_path / "vggish.pth")
    for name in ("gen", "ref"):
        for clip in "abc":
            write_tone(tmp_path / name / f"{name}-{clip}.wav")
    asked = {"metrics": ["fad"], "weights": {"vggish": weights}, "ci": False}
    cold = score(tmp_path / "gen", tmp_path / "ref", **asked)
    monkeypatch.setattr(VGGish, "load", lambda _self: pytest.fail("loaded"))
    names = count_hashes(monkeypatch)
    assert score(tmp_path / "gen", tmp_path / "ref", **asked).scores == cold.scores
    assert not names
    assert score(tmp_path / "gen", tmp_path / "ref", **asked, verify=True).scores == cold.scores
    assert names == ["vggish.pth"]
    del asked["ci"]
    reference_statistics(tmp_path / "ref", **asked)
    assert len(names) == 1
    reference_statistics(tmp_path / "ref", **asked, verify=True)
    assert len(names) == 2
