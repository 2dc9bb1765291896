"""The cache: exact, content-addressed, never trusted when damaged, never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from audiogen_metrics import file_hashes, filesystems, score
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.embedding import cache as cache_module
from audiogen_metrics.embedding.cache import CachedClip, EmbeddingCache, embeddings_folder, read_shard, shards
from audiogen_metrics.embedding.extraction import Extraction, ExtractionOptions, extract
from audiogen_metrics.embedding.housekeeping import damaged_shards, summarise
from audiogen_metrics.embedding.index import read_shard_digests
from audiogen_metrics.file_hashes import FileIdentity, HashMemo, digest_of, identity_of, memo_folder
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


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memo believes files that were written only now, whatever file system the tests run on."""
    monkeypatch.setattr(file_hashes, "RACY_NS", -1)
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: "ext4")


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list to which every recording that is read from here on is added."""
    reads: list[Path] = []
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.suffix == ".wav":
            reads.append(path)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    return reads


@pytest.mark.usefixtures("trusting")
def test_memo_spares_reading(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tones)
    reads = count_reads(monkeypatch)
    assert run(tones).from_cache == 3
    assert not reads
    assert run(tones, verify=True).from_cache == 3
    assert len(reads) == 3


def test_memo_does_not_trust_a_fresh_file(tmp_path: Path) -> None:
    """Git's racy rule: a file changed just before it was hashed may change again within the clock's grain."""
    path = tmp_path / "fresh.wav"
    path.write_bytes(b"one")
    memo = HashMemo(tmp_path / "memo", tmp_path)
    memo.remember(path, identity_of(path), digest_of(b"one"))
    memo.save()
    assert HashMemo(tmp_path / "memo", tmp_path).recall(path) is None


@pytest.mark.usefixtures("trusting")
def test_memo_notices_size_time_and_identity(tmp_path: Path) -> None:
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
    "content",
    ["", "[]", "\x00"]
    + [f'{{"version": 2, "files": {files}}}' for files in ('{"a": 1}', "[1]", '{"a": [[1], 2]}', '{"a": ["bc", 2]}')],
)
@pytest.mark.usefixtures("trusting")
def test_a_damaged_memo_only_costs_time(tones: Path, content: str) -> None:
    cold = run(tones)
    (file,) = (cache_dir() / "memo").iterdir()
    file.write_text(content)
    assert_same_features(cold, run(tones))


@contextmanager
def equal_identities() -> Iterator[None]:
    """Let all files look alike, as those of two images that were made alike. No program can set a change time."""
    identity: FileIdentity = (32_044, 1_600_000_000_123_456_789, 1_600_000_000_123_456_789, 7, 1)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("file_hashes", "embedding.extraction"):
            patch.setattr(f"audiogen_metrics.{module}.identity_of", lambda _path: identity)
        yield


@pytest.mark.parametrize(
    "kind",
    [
        *("squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs", "overlay", "fuse.squashfuse", "fuse.s3fs"),
        *("fuse.gcsfuse", "fuseblk", "virtiofs", "9p", "cifs", "vfat", "exfat", "ntfs3", "a kind of tomorrow", ""),
    ],
)
def test_memo_does_not_believe_what_cannot_tell(tones: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Whatever may show other content under equal size, times and inode is read."""
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: kind)
    with equal_identities():
        before = run(tones)
        shutil.copy(tones / "b.wav", tones / "a.wav")
        after = run(tones)
    assert after.digests["a"] == after.digests["b"] == before.digests["b"] != before.digests["a"]
    features = after.sets["yamnet"].features
    assert torch.equal(features["a"]["logits"], features["b"]["logits"])
    assert after.from_cache == 3


@pytest.mark.parametrize("kind", sorted(filesystems.STAMPING))
def test_memo_stays_fast_where_the_kernel_stamps(tones: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Also over NFS, read-only or not: its server stamps. Only files that did not change look alike there."""
    monkeypatch.setattr(filesystems, "kind_of", lambda _path: kind)
    with equal_identities():
        run(tones)
        reads = count_reads(monkeypatch)
        assert run(tones).from_cache == 3
    assert not reads


@pytest.mark.usefixtures("trusting")
def test_memo_notices_another_volume_at_the_same_place(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems.Volume, "of", lambda _path: filesystems.Volume("ext4", 1))
    with equal_identities():
        run(tones)
        assert HashMemo(memo_folder(), tones).recall(tones / "a.wav") is not None
        monkeypatch.setattr(filesystems.Volume, "of", lambda _path: filesystems.Volume("ext4", 2))
        assert HashMemo(memo_folder(), tones).recall(tones / "a.wav") is None


@pytest.mark.usefixtures("trusting")
def test_memo_of_an_earlier_version_is_not_believed(tones: Path) -> None:
    """It may have been written where the file system could not tell."""
    run(tones)
    (file,) = memo_folder().iterdir()
    content = json.loads(file.read_text())
    assert content["version"] == 2
    file.write_text(json.dumps(content | {"version": 1}))
    assert HashMemo(memo_folder(), tones).recall(tones / "a.wav") is None
    files = {path: [stamp[:4], digest] for path, (stamp, digest) in content["files"].items()}
    file.write_text(json.dumps({"version": 1, "files": files}))
    assert HashMemo(memo_folder(), tones).recall(tones / "a.wav") is None


def known(root: Path) -> set[str]:
    (file,) = memo_folder().iterdir()
    return {Path(path).relative_to(root).as_posix() for path in json.loads(file.read_text())["files"]}


@pytest.mark.usefixtures("trusting")
def test_memo_of_a_part_keeps_the_rest(tones: Path) -> None:
    write_tone(tones / "more" / "d.wav")
    run(tones)
    assert known(tones) == {"a.wav", "b.wav", "c.wav", "more/d.wav"}
    write_tone(tones / "e.wav")
    folder = scan(tones)
    extract(replace(folder, clips=folder.clips[:2]), [YAMNet()], AUDIO, ExtractionOptions(workers=0))
    assert known(tones) == {"a.wav", "b.wav", "c.wav", "more/d.wav"}
    (tones / "a.wav").unlink()
    shutil.rmtree(tones / "more")
    run(tones)
    assert known(tones) == {"b.wav", "c.wav", "e.wav"}


@pytest.mark.usefixtures("trusting")
def test_memos_of_two_runs_at_once_are_joined(tones: Path) -> None:
    paths = [tones / f"{name}.wav" for name in "abc"]
    first, second = HashMemo(memo_folder(), tones), HashMemo(memo_folder(), tones)
    first.remember(paths[0], identity_of(paths[0]), "one")
    second.remember(paths[1], identity_of(paths[1]), "two")
    first.save()
    second.save()
    assert known(tones) == {"a.wav", "b.wav"}
    both = HashMemo(memo_folder(), tones)
    assert [both.recall(path) for path in paths] == ["one", "two", None]


MEMOIST = """
import sys
from pathlib import Path
from audiogen_metrics import file_hashes, filesystems
file_hashes.RACY_NS = -1
filesystems.kind_of = lambda path: "ext4"
root, number = Path(sys.argv[1]), int(sys.argv[2])
for turn in range(40):
    written = file_hashes.HashMemo(file_hashes.memo_folder(), root)
    for path in sorted(root.iterdir())[number::4]:
        written.remember(path, file_hashes.identity_of(path), path.name)
    written.save()
    assert not written.problems
    read = file_hashes.HashMemo(file_hashes.memo_folder(), root)
    assert len(read._known) >= 50, len(read._known)
    assert all(digest == Path(path).name for path, (_, digest) in read._known.items())
"""


@pytest.mark.slow
def test_four_processes_write_one_memo(tmp_path: Path) -> None:
    """Whatever they lose of each other's, the memo is whole and true at any time."""
    for index in range(200):
        (tmp_path / f"{index:03d}.wav").write_bytes(b"content")
    command = [sys.executable, "-c", MEMOIST, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number)], cwd=Path(__file__).parents[2]) for number in range(4)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0, 0]
    assert len(known(tmp_path)) >= 50


def test_features_do_not_keep_their_shard_in_memory() -> None:
    filled(*range(50))
    (found,) = EmbeddingCache({"backbone": "test"}, "test").get(["digest7"]).values()
    assert_equal(found, clip(7, windows=8))
    for tensor in found.features.values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    (shard,) = shards(embeddings_folder())
    shard.write_bytes(bytes(shard.stat().st_size))  # nor do they depend on its file
    assert_equal(found, clip(7, windows=8))


def test_clips_of_a_damaged_shard_are_found_in_another_one() -> None:
    """What was computed again is not computed in every run, however the two shards are named."""
    cache = filled(0, 1)
    (sound,) = shards(cache.folder)
    for name in ("0.safetensors", "f.safetensors"):
        content = bytearray(sound.read_bytes())
        content[-5] ^= 1
        (cache.folder / name).write_bytes(content)
    sound.rename(cache.folder / "8.safetensors")
    reader = EmbeddingCache({"backbone": "test"}, "test")
    assert reader.get(["digest0", "digest1"]).keys() == {"digest0", "digest1"}
    assert len(reader.problems) == 1


def test_a_clip_larger_than_a_shard_gets_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage to it, or reading it, does not concern the short clips around it."""
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 50 * sum(t.nbytes for t in clip(0).features.values()))
    cache = EmbeddingCache({}, "test")
    for index in range(20):
        cache.put(f"digest{index}", clip(index))
    cache.put("long", clip(0, windows=10_000))
    for index in range(20, 40):
        cache.put(f"digest{index}", clip(index))
    cache.flush()
    sizes = [len(read_shard_digests(shard)) for shard in shards(cache.folder)]
    assert sorted(sizes) == [1, 20, 20]
    assert len(EmbeddingCache({}, "test").get(["long", *(f"digest{index}" for index in range(40))])) == 41


@contextmanager
def another_user() -> Iterator[None]:
    """Become a user without rights; permissions do not stop the superuser, as whom tests may run."""
    if os.geteuid():
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="agm-tests-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
@pytest.mark.parametrize("closed", ["umask 077", "cache", "embeddings", "space", "shard", "memo", "memo files"])
@pytest.mark.usefixtures("trusting")
def test_a_cache_of_another_user_is_one_warning(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    cache = open_folder / "cache"
    monkeypatch.setenv("AGM_CACHE_DIR", str(cache))
    for name in ("gen", "ref"):
        for clip_id in "abc":
            write_tone(open_folder / name / f"{name}-{clip_id}.wav")
    before = os.umask(0o077 if closed == "umask 077" else 0o022)
    try:
        expected = score(open_folder / "gen", open_folder / "ref", protocol="yamnet", workers=0)
    finally:
        os.umask(before)
    assert not any("cache" in text for text in expected.warnings)
    (space,) = (cache / "embeddings").iterdir()
    places = {
        "cache": [cache],
        "embeddings": [cache / "embeddings"],
        "space": [space],
        "shard": shards(space),
        "memo": [cache / "memo"],
        "memo files": [*(cache / "memo").iterdir()],
        "umask 077": [] if os.geteuid() == 0 else [cache],
    }
    if closed == "memo files":
        (cache / "memo").chmod(0o777)  # others may write beside them, so that reading alone fails
    for path in places[closed]:
        path.chmod(0)
    try:
        with another_user():
            found = score(open_folder / "gen", open_folder / "ref", protocol="yamnet", workers=0)
            if closed == "shard":
                assert [*damaged_shards(space).values()] == ["Permission denied"] * len(shards(space))
                assert [*summarise(space.parent)[0]["damaged"].values()] == ["Permission denied"] * len(shards(space))
    finally:
        for path in places[closed]:
            path.chmod(0o755)
    assert found.scores == expected.scores
    warnings = [text for text in found.warnings if "cache" in text]
    assert len(warnings) == 1, warnings
    assert f"the cache in {cache} has" in warnings[0]
    assert f"chmod -R a+rwX {cache}" in warnings[0]
    assert "AGM_CACHE_DIR" in warnings[0]


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
