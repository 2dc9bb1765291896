"""The index of a space's shards: a hint that spares reading headers, and is never believed against the shards."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiogen_metrics.embedding import index
from audiogen_metrics.embedding.cache import EmbeddingCache, embeddings_folder, shards
from audiogen_metrics.embedding.housekeeping import prune, summarise, usage
from audiogen_metrics.embedding.index import INDEX, ShardIndex
from audiogen_metrics.settings import cache_dir
from tests.embedding.test_cache import assert_equal, clip

SPACE = {"backbone": "test"}


@pytest.fixture(autouse=True)
def _always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WORTH_WRITING", 0.0)


def opened() -> EmbeddingCache:
    return EmbeddingCache(SPACE, "test")


def add(*seeds: int) -> Path:
    """Write clips as one shard and return it."""
    cache = opened()
    before = set(shards(cache.folder))
    for seed in seeds:
        cache.put(f"digest{seed}", clip(seed))
    cache.flush()
    (shard,) = set(shards(cache.folder)) - before
    return shard


def headers_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the name of every shard whose header is read from here on is added."""
    names: list[str] = []
    real = index.read_shard_digests

    def read(shard: Path) -> list[str]:
        names.append(shard.name)
        return real(shard)

    monkeypatch.setattr(index, "read_shard_digests", read)
    return names


def test_a_second_opening_reads_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    add(0, 1)
    add(2)
    opened()
    names = headers_read(monkeypatch)
    found = opened().get([f"digest{seed}" for seed in range(4)])
    assert not names
    assert found.keys() == {"digest0", "digest1", "digest2"}
    for seed in range(3):
        assert_equal(found[f"digest{seed}"], clip(seed))


def test_the_shards_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has come is read by its header, one that has gone is dropped, and one that is not as it was is read."""
    gone, changed, kept = add(0), add(1), add(2)
    opened()
    gone.unlink()
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
    with monkeypatch.context() as patch:
        patch.setattr(ShardIndex, "save", lambda _self: None)
        come = add(3)
    names = headers_read(monkeypatch)
    cache = opened()
    assert sorted(names) == sorted([changed.name, come.name])
    assert [f"digest{seed}" in cache for seed in range(4)] == [False, True, True, True]
    assert not cache.problems
    names.clear()
    opened()
    assert not names
    assert gone.name not in (kept.parent / INDEX).read_text()


def test_a_shard_of_another_size_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = add(0)
    opened()
    before = shard.stat()
    shard.write_bytes(shard.read_bytes()[:-8])
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    names = headers_read(monkeypatch)
    assert len(opened().problems) == 1
    assert names == [shard.name]


@pytest.mark.parametrize("fault", ["empty", "cut", "bit", "version", "text", "JSON", "binary", "folder"])
def test_a_damaged_index_is_made_anew(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = add(0, 1).parent / INDEX
    add(2)
    opened()
    sound = file.read_bytes()
    head, lines = sound.split(b"\n", 1)
    spoilt = {
        "empty": b"",
        "cut": sound[:-9],
        "bit": sound.replace(b"digest1", b"digest9"),
        "version": head.replace(b'"version": 1', b'"version": 0') + b"\n" + lines,
        "text": b"no index",
        "JSON": b"[" * 100_000,
        "binary": bytes(range(256)),
    }
    file.unlink()
    if fault == "folder":
        file.mkdir()
    else:
        file.write_bytes(spoilt[fault])
    cache = opened()
    assert [f"digest{seed}" in cache for seed in range(4)] == [True, True, True, False]
    assert not cache.problems
    if fault != "folder":
        assert sorted(file.read_bytes().splitlines()[1:]) == sorted(lines.splitlines())
        names = headers_read(monkeypatch)
        opened()
        assert not names


def test_damage_behind_a_sound_index_is_found() -> None:
    shard = add(0)
    opened()
    before, content = shard.stat(), bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    cache = opened()
    assert cache.get(["digest0"]) == {}
    assert "is damaged" in cache.problems[0]
    assert "digest0" not in cache


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_cache_that_cannot_be_written_is_opened_without_a_word(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add(0).parent

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("audiogen_metrics.writing.os.fsync", refuse)
        cache = opened()
    assert "digest0" in cache
    assert not cache.problems
    assert not (folder / INDEX).exists()


def test_headers_that_are_read_quickly_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WORTH_WRITING", 1e6)
    folder = add(0).parent
    opened()
    assert not (folder / INDEX).exists()


def test_prune_and_info_know_it() -> None:
    old, young = add(0), add(1)
    opened()
    assert usage(cache_dir())["embeddings"].size == summarise(embeddings_folder())[0]["bytes"]
    os.utime(old, (0, 0))
    assert prune(embeddings_folder(), 1).files == 1
    assert "digest1" in opened()
    os.utime(young, (0, 0))
    assert prune(embeddings_folder(), 1, dry_run=True).files == 3
    assert prune(embeddings_folder(), 1).files == 3
    assert not young.parent.exists()


OPENER = """
import sys, torch
from tests.embedding.test_cache import clip
from audiogen_metrics.embedding import index
from audiogen_metrics.embedding.cache import EmbeddingCache
index.WORTH_WRITING = 0.0
number = int(sys.argv[1])
for turn in range(20):
    cache = EmbeddingCache({"backbone": "test"}, "test")
    assert all(f"digest{number}-{before}" in cache for before in range(turn)), (number, turn)
    assert not cache.problems, cache.problems
    cache.put(f"digest{number}-{turn}", clip(turn))
    cache.flush()
"""


@pytest.mark.slow
def test_four_processes_write_one_index() -> None:
    """Each finds all that it has written itself at any time, whatever the others make of the index meanwhile."""
    root = Path(__file__).parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", OPENER, str(number)], cwd=root) for number in range(4)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0, 0]
    cache = opened()
    assert len(cache.get(f"digest{number}-{turn}" for number in range(4) for turn in range(20))) == 80
    assert not cache.problems


@pytest.mark.slow
def test_a_large_cache_opens_in_a_third_of_a_second() -> None:
    cache = opened()
    for place in range(100_000):
        cache._pending[f"{place:040x}"] = clip(0, windows=1)
        if place % 150 == 149:
            cache.flush()
    opened()
    start = time.process_time()
    assert len(opened()._shard_of) == 100_000 - 100_000 % 150
    assert time.process_time() - start <= 0.3
