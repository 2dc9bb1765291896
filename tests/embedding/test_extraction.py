"""Extraction: the same features whatever the batch, workers, order or cache; bad files by name."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tqdm import tqdm

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.files import AudioFolder, scan
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.embedding import extraction, lanes, passes
from audiogen_metrics.embedding.extraction import EmbeddingSet, Extraction, ExtractionOptions, extract
from audiogen_metrics.errors import AudioFileError, DataError, NumericsError
from tests.conftest import write_tone
from tests.memory import LINUX_ONLY, printed

AUDIO = Preprocessing(16_000, "mean", minimum_samples=15_600)
UNCACHED = ExtractionOptions(cache=False, workers=0)


@pytest.fixture(scope="module")
def backbone() -> YAMNet:
    return YAMNet()


def run(folder: AudioFolder, backbone: Backbone, **options: object) -> EmbeddingSet:
    return extract(folder, [backbone], AUDIO, replace(UNCACHED, **options)).sets[backbone.name]  # type: ignore[arg-type]


def assert_same(one: EmbeddingSet, other: EmbeddingSet, rel: float) -> None:
    assert one.clip_ids == other.clip_ids
    for output in ("embeddings", "windows", "logits"):
        a, b = one.rows(output), other.rows(output)  # type: ignore[arg-type]
        assert a.shape == b.shape
        assert float((a - b).norm() / a.norm()) <= rel


@pytest.mark.slow
def test_features_are_the_backbones_own(small: tuple[Path, Path], backbone: YAMNet) -> None:
    from audiogen_metrics.audio.decoding import decode

    folder = scan(small[1])
    features = run(folder, backbone)
    assert features.clip_ids == tuple(clip.clip_id for clip in folder.clips)
    for clip in folder.clips[:4]:
        waveform = prepare(decode(clip.path, clip.path.read_bytes()), AUDIO)
        alone = backbone(waveform[None]).named()
        for output, value in features.features[clip.clip_id].items():
            torch.testing.assert_close(value, alone[output][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", [True, False])
def test_equal_content_is_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: bool) -> None:
    """Whatever the batch they would be in: to the bit the same features, cold, warm, and whenever workers are ready."""
    for name in "abcde":
        write_tone(tmp_path / f"{name}.wav", seconds=1.2)
    for copy in ("b2", "b3", "f", "z"):
        shutil.copy(tmp_path / "b.wav", tmp_path / f"{copy}.wav")
    backbone, sizes = YAMNet(), []
    forward = backbone.network.forward
    monkeypatch.setattr(
        backbone.network, "forward", lambda waveforms: (sizes.append(len(waveforms)), forward(waveforms))[1]
    )
    folder = scan(tmp_path)
    for workers in (0, 2):
        found = run(folder, backbone, cache=cache, workers=workers, batch_size=3)
        assert found.clip_ids == tuple(sorted(found.clip_ids))
        for copy in ("b2", "b3", "f", "z"):
            for output, value in found.features["b"].items():
                assert torch.equal(found.features[copy][output], value)
    assert sizes == [3, 2] if cache else [3, 2, 3, 2]


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 5}, {"workers": 3}, {"workers": 1}], ids=str)
def test_batch_and_workers_do_not_matter(small: tuple[Path, Path], backbone: YAMNet, options: dict[str, int]) -> None:
    folder = scan(small[0])
    assert_same(run(folder, backbone), run(folder, backbone, **options), rel=0 if "workers" in options else 1e-5)


@pytest.mark.slow
def test_file_order_and_place_do_not_matter(small: tuple[Path, Path], backbone: YAMNet, tmp_path: Path) -> None:
    folder = scan(small[0])
    clips = list(folder.clips)
    random.Random(0).shuffle(clips)
    assert_same(run(folder, backbone), run(replace(folder, clips=tuple(clips)), backbone), rel=1e-5)
    moved = shutil.copytree(small[0], tmp_path / "elsewhere")
    assert_same(run(folder, backbone), run(scan(moved), backbone), rel=0)


@pytest.mark.parametrize("limit", ["MAX_BATCH_SAMPLES", "MAX_WAITING_SAMPLES"])
def test_memory_bounds_do_not_matter(
    small: tuple[Path, Path], backbone: YAMNet, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    folder = scan(small[0])
    unbounded = run(folder, backbone)
    monkeypatch.setattr(passes if limit == "MAX_BATCH_SAMPLES" else lanes, limit, 20_000)
    assert_same(unbounded, run(folder, backbone), rel=1e-5)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_clips_that_are_loaded_one_after_the_other_give_the_same(
    small: tuple[Path, Path], backbone: YAMNet, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    folder = scan(small[0])
    unbounded = run(folder, backbone)
    monkeypatch.setattr(extraction, "MAX_LOADED_SAMPLES", 0)
    assert_same(unbounded, run(folder, backbone, workers=workers), rel=0)


def break_ten_ways(folder: Path) -> dict[str, str]:
    """Add ten kinds of bad file; return clip id to the expected reason."""
    tone = write_tone(folder / "sound.wav")
    (folder / "b01_empty.wav").write_bytes(b"")
    (folder / "b02_text.wav").write_text("this is not audio " * 50)
    (folder / "b03_html.mp3").write_text("<html><body>404 not found</body></html>")
    whole = (folder / "sound.wav").read_bytes()
    (folder / "b04_cut.wav").write_bytes(whole[: len(whole) // 2])
    for suffix in ("flac", "ogg", "mp3"):
        soundfile.write(folder / f"whole.{suffix}", tone, 16_000)
        content = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"b05_cut_{suffix}.{suffix}").write_bytes(content[: len(content) // 2])
        (folder / f"whole.{suffix}").unlink()
    for name, value in (("b06_nan", np.nan), ("b07_inf", np.inf)):
        soundfile.write(folder / f"{name}.wav", np.where(np.arange(16_000) == 9, value, tone), 16_000, subtype="FLOAT")
    soundfile.write(folder / "b08_zero.wav", tone[:0], 16_000)
    (folder / "b09_gone.wav").symlink_to(folder / "nowhere.wav")
    (folder / "b10_other.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + whole)
    soundfile.write(folder / "b11_rate.wav", tone, 44)
    return {
        "b01_empty": "the file is empty",
        "b02_text": "cannot be decoded",
        "b03_html": "cannot be decoded",
        "b04_cut": "truncated",
        "b05_cut_flac": "cannot be decoded",
        "b05_cut_ogg": "truncated",
        "b05_cut_mp3": "truncated",
        "b06_nan": "NaN or infinite",
        "b07_inf": "NaN or infinite",
        "b08_zero": "no samples",
        "b09_gone": "cannot be read",
        "b10_other": "cannot be decoded",
        "b11_rate": "its header says 44 Hz",
    }


def test_bad_files_are_named_and_the_rest_is_scored(tmp_path: Path, backbone: YAMNet) -> None:
    expected = break_ten_ways(tmp_path)
    for workers in (0, 2):
        result = extract(scan(tmp_path), [backbone], AUDIO, ExtractionOptions(workers=workers))
        found = {failure.clip_id: failure.reason for failure in result.failures}
        assert found.keys() == expected.keys()
        for clip_id, reason in expected.items():
            assert reason in found[clip_id]
        assert result.sets["yamnet"].clip_ids == ("sound",)


def test_nothing_usable_is_an_error(tmp_path: Path, backbone: YAMNet) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 2 audio files can be used \(a.wav: the file is empty; b.wav"):
        run(scan(tmp_path), backbone)


class Loudness(Backbone):
    """A backbone of one number, to see how often and with what it is called; what it notes of that is not a setting."""

    name = "loudness"
    sample_rate = 16_000
    outputs = frozenset[Output]({"embeddings"})
    minimum_samples = 8000
    weights_sha256 = "none"

    def __init__(self, value: float | None = None) -> None:
        super().__init__()
        self.value, self._batches = value, list[tuple[int, ...]]()

    def load(self) -> torch.nn.Module:
        outer = self

        class Mean(torch.nn.Module):
            def forward(self, waveforms: torch.Tensor) -> Features:
                outer._batches.append(tuple(waveforms.shape))
                rows = waveforms.abs().mean(dim=1, keepdim=True)
                return Features(rows if outer.value is None else torch.full_like(rows, outer.value))

        return Mean()


def lengths(folder: Path, *seconds: float) -> AudioFolder:
    for index, length in enumerate(seconds):
        write_tone(folder / f"{index}.wav", length)
    return scan(folder)


def test_only_equal_lengths_share_a_batch(tmp_path: Path) -> None:
    meter = Loudness()
    extract(lengths(tmp_path, 1, 2, 1, 2, 1), [meter], Preprocessing(16_000), UNCACHED)
    assert sorted(meter._batches) == [(2, 32_000), (3, 16_000)]


def test_clips_too_short_for_one_backbone_are_left_out_there_only(tmp_path: Path, backbone: YAMNet) -> None:
    folder = lengths(tmp_path, 0.3, 1.0)
    result = extract(folder, [Loudness(), backbone], AUDIO, UNCACHED)
    assert result.sets["loudness"].clip_ids == result.sets["yamnet"].clip_ids == ("0", "1")
    unpadded = extract(folder, [Loudness()], Preprocessing(16_000), UNCACHED)
    assert unpadded.sets["loudness"].clip_ids == ("1",)
    assert [failure.clip_id for failure in unpadded.sets["loudness"].left_out] == ["0"]
    assert "shorter than the 0.5 s" in unpadded.sets["loudness"].left_out[0].reason


def test_a_backbone_that_fails_is_named_with_the_clip(tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match=r"0\.wav: loudness gave NaN or infinity"):
        extract(lengths(tmp_path, 1), [Loudness(float("nan"))], Preprocessing(16_000), UNCACHED)


def test_an_error_reaches_the_caller_while_clips_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "MAX_LOADED_SAMPLES", 0)
    options = replace(UNCACHED, workers=4, batch_size=1)
    with pytest.raises(NumericsError, match="loudness gave NaN or infinity"):
        extract(lengths(tmp_path, *[1] * 12), [Loudness(float("nan"))], Preprocessing(16_000), options)


LONG_ONES = """
    from audiogen_metrics.audio.files import scan
    from audiogen_metrics.audio.preparation import Preprocessing
    from audiogen_metrics.embedding.extraction import ExtractionOptions, extract
    from tests.embedding.test_extraction import Loudness

    folder, before = scan(Path(sys.argv[1])), peak()
    result = extract(folder, [Loudness()], Preprocessing(16_000), ExtractionOptions(cache=False, workers=4))
    assert len(result.digests) == len(folder.clips), result.failures
    print(peak() - before)
"""


@pytest.mark.slow
@LINUX_ONLY
def test_hours_of_sound_do_not_lie_in_memory_together(tmp_path: Path) -> None:
    """Six clips of an hour, 230 MB each once decoded: 3700 MB without a bound."""
    for name in range(6):
        with soundfile.SoundFile(tmp_path / f"{name}.flac", "w", 16_000, 1) as file:
            for minute in range(60):
                file.write(np.full(16_000 * 60, (name + 1 + minute / 60) / 100))
    [growth] = printed(LONG_ONES, tmp_path)
    assert growth < 1400


class SmallMemory(YAMNet):
    """YAMNet on a device that has no room for more than a few clips."""

    room = 3

    def __call__(self, waveforms: torch.Tensor) -> Features:
        if len(waveforms) > self.room:
            raise torch.OutOfMemoryError
        return super().__call__(waveforms)


def test_out_of_memory_halves_the_batch_and_goes_on(tmp_path: Path, backbone: YAMNet) -> None:
    folder = lengths(tmp_path, *[1.0] * 11)
    result = extract(folder, [SmallMemory()], AUDIO, replace(UNCACHED, batch_size=8))
    assert_same(result.sets["yamnet"], run(folder, backbone), rel=1e-5)
    assert [problem.partition(";")[2] for problem in result.problems] == [
        " went on with 4 at a time",
        " went on with 2 at a time",
    ]


class FewSeconds(Loudness):
    """A backbone on a device that has room for a number of samples."""

    def __call__(self, waveforms: torch.Tensor) -> Features:
        if waveforms.numel() > 6 * 16_000:
            raise torch.OutOfMemoryError
        return super().__call__(waveforms)


def test_long_clips_out_of_memory_do_not_make_short_ones_go_one_by_one(tmp_path: Path) -> None:
    meter = FewSeconds()
    result = extract(
        lengths(tmp_path, 4, 4, *[1.0] * 8), [meter], Preprocessing(16_000), replace(UNCACHED, batch_size=2)
    )
    assert sorted(meter._batches) == [(1, 64_000)] * 2 + [(2, 16_000)] * 4
    assert len(result.problems) == 1


@pytest.mark.slow
def test_one_very_long_clip_disturbs_no_short_ones(tmp_path: Path) -> None:
    """Ten minutes, more than a batch may hold, beside short clips: these share batches, and all are cached."""
    folder = lengths(tmp_path, *[1.0] * 20, 600, *[1.0] * 20)
    meter, options = Loudness(), ExtractionOptions(workers=2, batch_size=8)
    assert count(extract(folder, [meter], Preprocessing(16_000), options)) == (41, 0)
    assert sorted(meter._batches) == [(1, 9_600_000)] + [(8, 16_000)] * 5
    assert count(extract(folder, [meter], Preprocessing(16_000), options)) == (41, 41)
    assert len(meter._batches) == 6


def out_of_cuda() -> None:
    raise torch.OutOfMemoryError


@pytest.mark.parametrize(
    "run_out",
    [
        out_of_cuda,
        lambda: np.empty(2**50, np.uint8),
        lambda: torch.empty(2**50, dtype=torch.uint8),
        lambda: torch.ones(2**20, dtype=torch.uint8).expand(2**30, -1).contiguous(),
    ],
)
def test_a_clip_that_does_not_fit_is_left_out_by_name(tmp_path: Path, run_out: Callable[[], object]) -> None:
    """Also one that lies there twice; the others go on."""

    class Small(Loudness):
        def __call__(self, waveforms: torch.Tensor) -> Features:
            if waveforms.shape[1] > 2 * 16_000:
                run_out()
            return super().__call__(waveforms)

    folder = lengths(tmp_path, 1, 4, 1)
    shutil.copy(tmp_path / "1.wav", tmp_path / "copy.wav")
    result = extract(scan(folder.root), [Small()], Preprocessing(16_000), UNCACHED).sets["loudness"]
    assert result.clip_ids == ("0", "2")
    reasons = {failure.clip_id: failure.reason for failure in result.left_out}
    assert reasons == dict.fromkeys(("1", "copy"), "too long for the memory of cpu: cut it into clips")


def test_another_error_of_the_network_is_none_of_memory(tmp_path: Path) -> None:
    class Broken(Loudness):
        def __call__(self, _waveforms: torch.Tensor) -> Features:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        extract(lengths(tmp_path, 1), [Broken()], Preprocessing(16_000), UNCACHED)


@pytest.mark.parametrize("rate", [1, 16, 48, 200, 999])
def test_a_rate_in_kilohertz_is_named_and_costs_nothing(tmp_path: Path, rate: int) -> None:
    folder = lengths(tmp_path, 1, 1)
    soundfile.write(tmp_path / "odd.wav", np.zeros(160_000, np.float32) + 0.1, rate)
    result = extract(scan(folder.root), [Loudness()], Preprocessing(16_000), UNCACHED)
    assert len(result.digests) == 2
    reason = f"its header says {rate} Hz, which is not a rate of sound (kHz for Hz?)"
    assert [failure.reason for failure in result.failures] == [reason]


def test_days_of_sound_are_named_before_they_are_resampled() -> None:
    audio = Audio(np.broadcast_to(np.float32(0), (2**26, 1)), 1000)
    with pytest.raises(AudioFileError, match="67109 s are too long: cut it into clips of at most 16777 s"):
        prepare(audio, Preprocessing(16_000))


def count(result: Extraction) -> tuple[int, int]:
    return len(result.digests), result.from_cache


def test_each_backbone_runs_once_and_not_at_all_when_cached(tmp_path: Path) -> None:
    folder = lengths(tmp_path, 1, 1, 1)
    meter = Loudness()
    assert count(extract(folder, [meter], Preprocessing(16_000))) == (3, 0)
    assert meter._batches == [(3, 16_000)]
    assert count(extract(folder, [meter], Preprocessing(16_000))) == (3, 3)
    assert meter._batches == [(3, 16_000)]


@pytest.mark.parametrize("backbones", [1, 2])
def test_the_progress_bar_counts_clips_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbones: int
) -> None:
    """Clips of a length of their own wait until all are decoded: the bar stood at 100 % while they were embedded."""
    bars: list[tqdm] = []

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            bars.append(self)

    class Watching(Loudness):
        def __call__(self, waveforms: torch.Tensor) -> Features:
            seen.append(bars[-1].n)
            return super().__call__(waveforms)

    seen: list[int] = []
    monkeypatch.setattr("audiogen_metrics.embedding.extraction.tqdm", Bar)
    folder = lengths(tmp_path, *(1 + index / 10 for index in range(6)))
    (tmp_path / "bad.wav").write_bytes(b"")
    networks = [Watching() for _ in range(backbones)]
    for index, network in enumerate(networks):
        network.name = f"loudness{index}"
    extract(scan(tmp_path), networks, Preprocessing(16_000), replace(UNCACHED, progress=True))
    assert len(folder.clips) == 6
    assert seen == [1 + done // backbones for done in range(6 * backbones)]
    assert bars[-1].n == bars[-1].total == 7


def test_the_bar_ends_full_where_memory_runs_out_and_clips_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm] = []

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr("audiogen_metrics.embedding.extraction.tqdm", Bar)
    folder = lengths(tmp_path, *[1.0] * 6)
    write_tone(tmp_path / "other.wav", 1.5)
    folder = scan(tmp_path)
    extract(folder, [SmallMemory()], AUDIO, replace(UNCACHED, progress=True, batch_size=8))
    assert bars[-1].n == bars[-1].total == 7
