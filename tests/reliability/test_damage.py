"""Files of any content: the readers answer rightly or refuse, and never believe what is damaged."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from audiogen_metrics import ScoreReport, score
from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.embedding.cache import CachedClip, EmbeddingCache, checksum_of, shards
from audiogen_metrics.embedding.reference import FORMAT, ReferenceStatistics
from audiogen_metrics.errors import AudioFileError, AudiogenMetricsError, DataError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.file_hashes import HashMemo
from tests.conftest import write_tone

FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class Damage:
    """A few bits of some content changed, a piece cut out, doubled, or its end missing.

    It is drawn without the content, which need not be the same each time: Hypothesis takes other draws for a fault.
    """

    kind: str
    start: int
    length: int
    flips: list[tuple[int, int]]
    tail: bytes

    def __call__(self, content: bytes) -> bytes:
        start = self.start % len(content)
        end = min(len(content), start + self.length)
        if self.kind == "flip":
            changed = bytearray(content)
            for place, bit in self.flips:
                changed[place % len(content)] ^= 1 << bit
            return bytes(changed)
        if self.kind == "cut":
            return content[:start] + content[end:]
        if self.kind == "double":
            return content[:end] + content[start:]
        return content[:start] if self.kind == "truncate" else content + self.tail


PLACE = st.integers(0, 2**20)
DAMAGE = st.builds(
    Damage,
    st.sampled_from(["flip", "cut", "double", "truncate", "append"]),
    PLACE,
    st.integers(1, 64),
    st.lists(st.tuples(PLACE, st.integers(0, 7)), min_size=1, max_size=8),
    st.binary(min_size=1, max_size=64),
)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One short clip in each container."""
    folder = tmp_path_factory.mktemp("sounds")
    found = {}
    for suffix, options in {
        ".wav": {"subtype": "PCM_16"},
        ".flac": {},
        ".ogg": {"format": "OGG", "subtype": "VORBIS"},
        ".opus": {"format": "OGG", "subtype": "OPUS"},
        ".mp3": {"format": "MP3"},
        ".aiff": {},
        ".caf": {},
        ".w64": {},
        ".au": {},
    }.items():
        write_tone(folder / f"tone{suffix}", seconds=0.2, **options)
        found[suffix] = (folder / f"tone{suffix}").read_bytes()
    return found


def sound_or_refused(path: Path, content: bytes) -> None:
    """Decode, or see it refused; anything else is raised."""
    try:
        audio = decode(path, content)
    except AudioFileError:
        return
    assert audio.samples.ndim == 2
    assert audio.samples.size > 0
    assert np.isfinite(audio.samples).all()
    assert audio.sample_rate > 0


@FUZZ
@given(damage=DAMAGE)
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".caf", ".w64", ".au"])
def test_decoder_on_damaged_files(sounds: Path, suffix: str, damage: Any) -> None:
    sound_or_refused(Path(f"clip{suffix}"), damage(sounds[suffix]))


@FUZZ
@given(
    start=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM", b".snd", b"caff", b"RF64"]),
    content=st.binary(max_size=400),
)
def test_decoder_on_anything(start: Any, content: Any) -> None:
    sound_or_refused(Path("clip.wav"), start + content)


def filled() -> tuple[EmbeddingCache, dict[str, CachedClip], Path]:
    """A cache with one shard of three clips."""
    cache = EmbeddingCache({"made": "here"}, "test")
    generator = torch.Generator().manual_seed(0)
    clips = {
        f"{place:040x}": CachedClip(
            {
                "embeddings": torch.randn(8, generator=generator),
                "windows": torch.randn(place + 1, 4, generator=generator),
            },
            ClipFacts(1.0, 16_000, 1, 0.5, 0.0, False, False),
        )
        for place in range(3)
    }
    for key, clip in clips.items():
        cache.put(key, clip)
    cache.flush()
    (shard,) = shards(cache.folder)
    return cache, clips, shard


def same(found: CachedClip, clip: CachedClip) -> bool:
    return found.facts == clip.facts and all(
        torch.equal(found.features[name], clip.features[name]) for name in clip.features
    )


@FUZZ
@given(damage=DAMAGE)
def test_cache_never_gives_what_was_not_put_in(damage: Any) -> None:
    _, clips, shard = filled()
    content = shard.read_bytes()
    shard.write_bytes(damage(content))
    try:
        cache = EmbeddingCache({"made": "here"}, "test")
        found = cache.get(clips)
        assert all(same(found[key], clips[key]) for key in found)
        assert set(found) == set(clips) or cache.problems
    finally:
        shard.unlink()


@pytest.mark.parametrize(
    "change",
    [
        lambda _tensors, texts: texts.update(digests=json.dumps(["0" * 40] * 9)),
        lambda _tensors, texts: texts.update(digests="[" * 5000),
        lambda _tensors, texts: texts.update(facts="[]"),
        lambda _tensors, texts: texts.update(facts=json.dumps([{"seconds": 1}] * 3)),
        lambda tensors, _texts: tensors.update(window_counts=torch.tensor([-1, 3, 4])),
        lambda tensors, _texts: tensors.update(window_counts=torch.tensor(7)),
        lambda tensors, _texts: tensors.update(embeddings=torch.tensor(1.0)),
    ],
    ids=["too many digests", "deep", "no facts", "other facts", "negative counts", "one count", "a number"],
)
def test_a_forged_shard_with_a_right_checksum_is_not_used(change: Any) -> None:
    """The checksum guards against damage, not against an author; what does not fit together is refused all the same."""
    _, clips, shard = filled()
    tensors = load_file(shard)
    from safetensors import safe_open

    with safe_open(shard, framework="pt") as file:
        texts = dict(file.metadata())
    change(tensors, texts)
    texts["checksum"] = checksum_of(tensors, texts["digests"], texts["facts"])
    shard.write_bytes(save(tensors, texts))
    cache = EmbeddingCache({"made": "here"}, "test")
    assert cache.get(clips) == {}
    assert cache.problems or not any(key in cache for key in clips)


@FUZZ
@given(
    content=st.one_of(st.binary(max_size=300), st.sampled_from([b"[" * 9000, b'{"files":{"a":[[1e999,1,1,1],"x"]}}']))
)
def test_memo_of_any_content_only_costs_time(tmp_path: Path, content: Any) -> None:
    memo = HashMemo(tmp_path / "memo", tmp_path)
    write_tone(tmp_path / "tone.wav")
    memo.save()
    (tmp_path / "memo").mkdir(exist_ok=True)
    memo._file.write_bytes(content)
    assert HashMemo(tmp_path / "memo", tmp_path).recall(tmp_path / "tone.wav") is None


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Path, dict[str, Any]]:
    """A folder, its statistics and a report of it, as bytes and as plain data."""
    folder = tmp_path_factory.mktemp("set")
    for place in range(3):
        write_tone(folder / "clips" / f"{place}.wav", seconds=0.3)
    reference_statistics(folder / "clips", protocol="yamnet").save(folder / "ref.stats")
    report = score(folder / "clips", folder / "clips", protocol="yamnet")
    return folder / "clips", (folder / "ref.stats").read_bytes(), folder / "file", json.loads(report.to_json())


@pytest.mark.slow
@FUZZ
@given(damage=DAMAGE)
def test_statistics_reader_on_damaged_files(saved: Any, damage: Any) -> None:
    _, content, path, _ = saved
    changed = damage(content)
    path.write_bytes(changed)
    try:
        read = ReferenceStatistics.load(path)
    except DataError:
        return
    path.write_bytes(content)
    whole = ReferenceStatistics.load(path)
    assert (read.summary, read.clip_ids, read.stamps) == (whole.summary, whole.clip_ids, whole.stamps)
    for score_id, given_features in whole.features.items():
        if given_features.gaussian is not None:
            assert torch.equal(read.features[score_id].gaussian.factor, given_features.gaussian.factor)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, _content: tensors.update(
            {"fd_yamnet.mean": torch.full((1024,), torch.nan, dtype=torch.float64)}
        ),
        lambda tensors, _content: tensors.update({"fd_yamnet.mean": torch.zeros(7, dtype=torch.float64)}),
        lambda tensors, _content: tensors.update({"fd_yamnet.factor": torch.zeros(7, 7, 7)}),
        lambda tensors, _content: tensors.update({"kl_yamnet.logits": torch.full((3, 521), torch.inf)}),
        lambda tensors, _content: tensors.update({"kl_yamnet.logits": torch.zeros(1, 521)}),
        lambda tensors, _content: tensors.update({"kl_yamnet.logits": torch.zeros(3, 521, dtype=torch.int64)}),
        lambda tensors, _content: tensors.pop("fd_yamnet.mean"),
        lambda _tensors, content: content["scores"]["fd_yamnet"].update(rows=-1),
        lambda _tensors, content: content["scores"]["fd_yamnet"].update(clips=3),
        lambda _tensors, content: content["scores"].update(fd_yamnet=None),
        lambda _tensors, content: content.update(summary={"path": "x"}),
        lambda _tensors, content: content.update(clips=None),
        lambda _tensors, content: content.update(scores=[1]),
    ],
)
def test_forged_statistics_with_a_right_checksum_are_refused(saved: Any, change: Any) -> None:
    folder, content, path, _ = saved
    path.write_bytes(content)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        texts = dict(file.metadata())
    tensors, described = load_file(path), json.loads(texts["content"])
    change(tensors, described)
    texts["content"] = json.dumps(described)
    texts["checksum"] = checksum_of(tensors, texts["content"])
    assert texts["format"] == FORMAT
    path.write_bytes(save(tensors, texts))
    with pytest.raises(AudiogenMetricsError):
        score(folder, path, protocol="yamnet", metrics=["fd", "kl"])


class Evil:
    """Code that runs when a pickle of it is read without care."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('this ran')",)


@pytest.mark.parametrize("suffix", [".stats", ".npz", ".pt", ".json"])
def test_a_pickle_in_the_place_of_anything_does_not_run(saved: Any, tmp_path: Path, suffix: str) -> None:
    folder = saved[0]
    path = tmp_path / f"evil{suffix}"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError):
        score(folder, path, protocol="yamnet")
    with pytest.raises(DataError):
        ScoreReport.load(path)
    torch.save(Evil(), path)
    with pytest.raises(DataError):
        score(folder, path, protocol="yamnet")
    sound_or_refused(path.with_suffix(".wav"), path.read_bytes())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(content: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside plain data."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return [each for key, value in items for each in [(*prefix, key), *places(value, (*prefix, key))]]
    return []


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_report_reader_on_other_values(saved: Any, data: Any) -> None:
    """Any value in any place: read as it is, or refused as data."""
    _, _, path, content = saved
    changed = copy.deepcopy(content)
    *parents, last = data.draw(st.sampled_from(places(content)))
    inner = changed
    for key in parents:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    path.write_text(json.dumps(changed))
    try:
        report = ScoreReport.load(path)
    except DataError:
        return
    assert json.loads(report.to_json()) is not None
    assert str(report)


@FUZZ
@given(damage=DAMAGE)
def test_report_reader_on_damaged_files(saved: Any, damage: Any) -> None:
    _, _, path, content = saved
    path.write_bytes(damage(json.dumps(content).encode()))
    try:
        ScoreReport.load(path)
    except DataError:
        return


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b"null", b'{"schema_version":1}'])
def test_report_reader_on_what_is_none(tmp_path: Path, content: Any) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(DataError):
        ScoreReport.load(tmp_path / "report.json")
