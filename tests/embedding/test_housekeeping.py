"""What the cache folder holds, and what is removed from it."""

from __future__ import annotations

import os
from pathlib import Path

from audiogen_metrics.embedding.cache import embeddings_folder, shards
from audiogen_metrics.embedding.housekeeping import Amount, prune, summarise, usage
from audiogen_metrics.settings import cache_dir
from tests.embedding.test_cache import run


def test_usage_is_all_that_lies_there(tones: Path) -> None:
    assert sum(usage(cache_dir()).values(), Amount()) == Amount(0, 0)
    run(tones)
    for place in ("weights/a.pth", "weights/digests/a.json", "weights/converted/a.safetensors", "latents/x/a", "odd"):
        (cache_dir() / place).parent.mkdir(parents=True, exist_ok=True)
        (cache_dir() / place).write_bytes(b"1234567")
    os.link(cache_dir() / "odd", cache_dir() / "weights" / "the same file")
    (cache_dir() / "a link").symlink_to(tones / "a.wav")
    found = usage(cache_dir())
    there = [path.lstat() for path in cache_dir().rglob("*") if path.is_symlink() or path.is_file()]
    sizes = {status.st_ino: status.st_size for status in there}
    assert sum(found.values(), Amount()) == Amount(len(sizes), sum(sizes.values()))
    assert found["embeddings"].size == sum(space["bytes"] for space in summarise(embeddings_folder()))
    assert found["converted weights"] == found["latents"] == Amount(1, 7)
    assert prune(embeddings_folder(), 1, everything=True, dry_run=True) == found["embeddings"]
    assert prune(embeddings_folder(), 1, everything=True) == found["embeddings"]
    assert usage(cache_dir()) == found | {"embeddings": Amount(0, 0)}


def test_a_damaged_shard_is_named_in_the_summary(tones: Path) -> None:
    run(tones)
    (shard,) = shards(embeddings_folder())
    (shard.parent / "b.safetensors").write_bytes(b"no shard")
    (summary,) = summarise(embeddings_folder())
    assert (summary["clips"], summary["shards"], list(summary["damaged"])) == (3, 2, ["b.safetensors"])
