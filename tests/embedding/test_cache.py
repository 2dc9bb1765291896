"""The cache: exact, content-addressed, never trusted when damaged, never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.embedding import cache as cache_module
from audiogen_metrics.embedding import memo as memo_module
from audiogen_metrics.embedding.cache import (
    CachedClip,
    EmbeddingCache,
    embeddings_folder,
    read_shard,
    shards,
    summarise,
)
from audiogen_metrics.embedding.extraction import Extraction, ExtractionOptions, extract
from audiogen_metrics.embedding.memo import HashMemo, digest_of, identity_of
from audiogen_metrics.settings import cache_dir
from tests.conftest import write_tone

AUDIO = Preprocessing(16_000, "mean", minimum_samples=15_600)
FACTS = ClipFacts(seconds=1.0, sample_rate=16_000, channels=2, peak=0.25, clipped=0.0, constant=False, unheard=False)


def clip(seed: int, windows: int = 3) -> CachedClip:
    generator = torch.Generator().manual_seed(seed)
    features = {
        "embeddings": torch.randn(8, generator=generator),
        "windows": torch.randn(windows, 8, generator=generator),
        "logits": torch.randn(5, generator=generator),
    }
    return CachedClip(features, FACTS)  # type: ignore[arg-type]


def assert_equal(one: CachedClip, other: CachedClip) -> None:
    assert one.facts == other.facts
    assert one.features.keys() == other.features.keys()
    assert all(torch.equal(one.features[name], other.features[name]) for name in one.features)


def filled(*seeds: int) -> EmbeddingCache:
    cache = EmbeddingCache({"backbone": "test"}, "test")
    for seed in seeds:
        cache.put(f"digest{seed}", clip(seed, windows=1 + seed))
    cache.flush()
    return cache


def test_returns_what_was_put_in_to_the_bit() -> None:
    filled(0, 1, 2)
    reader = EmbeddingCache({"backbone": "test"}, "test")
    assert "digest1" in reader
    assert "digest9" not in reader
    found = reader.get(["digest0", "digest2", "digest9"])
    assert found.keys() == {"digest0", "digest2"}
    for seed in (0, 2):
        assert_equal(found[f"digest{seed}"], clip(seed, windows=1 + seed))


def test_another_space_is_another_cache() -> None:
    filled(0)
    assert "digest0" not in EmbeddingCache({"backbone": "test", "numerics_version": 2}, "test")


def test_writers_do_not_disturb_each_other() -> None:
    one, other = EmbeddingCache({}, "test"), EmbeddingCache({}, "test")
    one.put("a", clip(0))
    other.put("b", clip(1))
    one.flush()
    other.flush()
    assert EmbeddingCache({}, "test").get(["a", "b"]).keys() == {"a", "b"}
    assert len(shards(one.folder)) == 2


def test_many_clips_make_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 100 * sum(t.nbytes for t in clip(0).features.values()))
    cache = EmbeddingCache({}, "test")
    for index in range(1000):
        cache.put(f"digest{index}", clip(index))
    cache.flush()
    assert len(shards(cache.folder)) == 10
    assert len(EmbeddingCache({}, "test").get(f"digest{index}" for index in range(1000))) == 1000


def test_a_shard_is_closed_after_a_time_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_SECONDS", 0.0)
    cache = EmbeddingCache({}, "test")
    cache.put("a", clip(0))
    assert len(shards(cache.folder)) == 1


@pytest.mark.parametrize("place", [0.1, 0.5, 0.999])
def test_a_flipped_bit_is_found(place: float) -> None:
    cache = filled(0, 1)
    (shard,) = shards(cache.folder)
    content = bytearray(shard.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    shard.write_bytes(content)
    reader = EmbeddingCache({"backbone": "test"}, "test")
    assert reader.get(["digest0", "digest1"]) == {}
    assert "digest0" not in reader
    assert len(reader.problems) == 1
    assert shard.name in reader.problems[0]


def test_a_shard_cut_short_or_of_other_origin_is_found() -> None:
    cache = filled(0)
    (shard,) = shards(cache.folder)
    shard.write_bytes(shard.read_bytes()[:-10])
    save_file({"x": torch.zeros(2)}, cache.folder / "foreign.safetensors")
    reader = EmbeddingCache({"backbone": "test"}, "test")
    assert len(reader.problems) == 2
    assert reader.get(["digest0"]) == {}


def test_a_changed_number_is_found() -> None:
    """A shard that is sound as a file, but was edited."""
    cache = filled(0)
    (shard,) = shards(cache.folder)
    with cache_module.safe_open(shard, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(shard)
    tensors["logits"][0, 0] += 1
    save_file(tensors, shard, metadata)
    with pytest.raises(ValueError, match="checksum mismatch"):
        read_shard(shard)


def run(folder: Path, **options: bool) -> Extraction:
    return extract(scan(folder), [YAMNet()], AUDIO, ExtractionOptions(workers=0, **options))  # type: ignore[arg-type]


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    for name in "abc":
        write_tone(tmp_path / "tones" / f"{name}.wav")
    return tmp_path / "tones"


def assert_same_features(one: Extraction, other: Extraction) -> None:
    for clip_id, features in one.sets["yamnet"].features.items():
        for name, tensor in features.items():
            assert torch.equal(tensor, other.sets["yamnet"].features[clip_id][name])
    assert one.facts == other.facts
    assert one.digests == other.digests


def test_a_warm_run_is_the_cold_run(tones: Path) -> None:
    cold, warm = run(tones), run(tones)
    assert (cold.from_cache, warm.from_cache) == (0, 3)
    assert_same_features(cold, warm)


def test_a_damaged_shard_is_computed_again_and_said(tones: Path) -> None:
    cold = run(tones)
    (shard,) = shards(embeddings_folder())
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    again = run(tones)
    assert again.from_cache == 0
    assert "damaged" in again.problems[0]
    assert_same_features(cold, again)


def test_a_changed_file_is_never_served_stale(tones: Path) -> None:
    run(tones)
    before = (tones / "a.wav").stat()
    shutil.copy(tones / "b.wav", tones / "a.wav")
    os.utime(tones / "a.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    again = run(tones)
    features = again.sets["yamnet"].features
    assert torch.equal(features["a"]["logits"], features["b"]["logits"])


def test_a_renamed_file_and_a_copied_folder_are_cached(tones: Path, tmp_path: Path) -> None:
    run(tones)
    (tones / "a.wav").rename(tones / "z.wav")
    assert run(tones).from_cache == 3
    assert run(shutil.copytree(tones, tmp_path / "copy")).from_cache == 3


def test_no_cache_leaves_no_trace(tones: Path) -> None:
    assert run(tones, cache=False).from_cache == 0
    assert not cache_dir().exists() or not list(cache_dir().rglob("*"))


def test_nothing_is_written_beside_the_audio(tones: Path) -> None:
    before = sorted(tones.rglob("*"))
    run(tones)
    assert sorted(tones.rglob("*")) == before


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("AGM_CACHE_DIR", str(blocked))
    result = run(tones)
    assert len(result.digests) == 3
    assert any("cannot be written" in problem for problem in result.problems)


def test_an_interrupted_run_keeps_what_it_has(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = YAMNet.__call__, []

    def interrupted(self: YAMNet, waveforms: torch.Tensor) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, waveforms)

    with monkeypatch.context() as patch:
        patch.setattr(YAMNet, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(scan(tones), [YAMNet()], AUDIO, ExtractionOptions(batch_size=1, workers=2))
    assert sum(int(space["clips"]) for space in summarise(embeddings_folder())) == 2


def test_memo_spares_reading(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "RACY_NS", -1)
    run(tones)
    reads: list[Path] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (reads.append(self), original(self))[1])
    assert run(tones).from_cache == 3
    assert not [path for path in reads if path.suffix == ".wav"]
    assert run(tones, verify=True).from_cache == 3
    assert len([path for path in reads if path.suffix == ".wav"]) == 3


def test_memo_does_not_trust_a_fresh_file(tmp_path: Path) -> None:
    """Git's racy rule: a file changed just before it was hashed may change again within the clock's grain."""
    path = tmp_path / "fresh.wav"
    path.write_bytes(b"one")
    memo = HashMemo(tmp_path / "memo", tmp_path)
    memo.remember(path, identity_of(path), digest_of(b"one"))
    memo.save()
    assert HashMemo(tmp_path / "memo", tmp_path).recall(path) is None


def test_memo_notices_size_time_and_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "RACY_NS", -1)
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    memo = HashMemo(tmp_path / "memo", tmp_path)
    memo.remember(path, identity_of(path), "digest")
    memo.save()
    assert HashMemo(tmp_path / "memo", tmp_path).recall(path) == "digest"
    path.write_bytes(b"two")
    assert HashMemo(tmp_path / "memo", tmp_path).recall(path) is None
    assert HashMemo(tmp_path / "memo", tmp_path).recall(tmp_path / "none.wav") is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"files": {"a": 1}}', '{"files": [1]}', "\x00", '{"files": {"a": [[1], 2]}}']
)
def test_a_damaged_memo_only_costs_time(tones: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "RACY_NS", -1)
    cold = run(tones)
    (file,) = (cache_dir() / "memo").iterdir()
    file.write_text(content)
    assert_same_features(cold, run(tones))


WRITER = """
import sys, torch
from tests.embedding.test_cache import clip
from audiogen_metrics.embedding.cache import EmbeddingCache
cache = EmbeddingCache({}, "test")
for index in range(int(sys.argv[1]), int(sys.argv[1]) + 50):
    cache.put(f"digest{index}", clip(index))
    if index % 7 == 0:
        cache.flush()
cache.flush()
"""


@pytest.mark.slow
def test_four_processes_fill_one_cache() -> None:
    command = [sys.executable, "-c", WRITER]
    root = Path(__file__).parent.parent.parent
    writers = [subprocess.Popen([*command, str(25 * i)], cwd=root) for i in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    reader = EmbeddingCache({}, "test")
    found = reader.get(f"digest{index}" for index in range(125))
    assert len(found) == 125
    assert reader.problems == []
    for index in range(125):
        assert_equal(found[f"digest{index}"], clip(index))


def test_description_says_what_a_space_is(tones: Path) -> None:
    run(tones)
    (space,) = embeddings_folder().iterdir()
    described = json.loads((space / "space.json").read_text())
    assert described["backbone"]["name"] == "yamnet"
    assert described["preprocessing"]["sample_rate"] == 16_000
    assert described["decoder"].startswith("libsndfile")
    assert summarise(embeddings_folder())[0]["clips"] == 3
