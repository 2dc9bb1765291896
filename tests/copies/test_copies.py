"""Copies of training data: planted ones are found with their sources, and real clips are seldom called copies."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from scipy.signal import resample_poly

from audiogen_metrics import Copies, find_copies
from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones.logmel import PREPROCESSING, LogMel
from audiogen_metrics.cli.main import main
from audiogen_metrics.copies.alignment import LEAST_CHANGE, LEAST_FRAMES, align, comparable
from audiogen_metrics.copies.calibration import calibrate, chance, rank_of, rate_for
from audiogen_metrics.embedding.extraction import ExtractionOptions, extract, extract_blocks
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.records import load_json
from tests.conftest import Run, write_tone
from tests.places import GENERATED, REFERENCE

REF = REFERENCE

Sound = npt.NDArray[np.float32]


def mono(path: Path) -> tuple[Sound, int]:
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return sound.mean(axis=1), rate


def with_noise(sound: Sound, snr_db: float) -> Sound:
    noise = np.random.default_rng(0).standard_normal(len(sound))
    scale = np.sqrt(np.mean(sound**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    return (sound + scale * noise).astype(np.float32)


def write_mp3(path: Path, sound: Sound, rate: int) -> None:
    sound = resample_poly(sound, 44_100, rate)
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": 0.9, "bitrate_mode": "CONSTANT"}
    soundfile.write(path, sound, 44_100, **options)


PLANTED: dict[str, tuple[str, float, Callable[[Sound, int], Sound]]] = {
    "quiet": ("ambi/glass_rub", 0.0, lambda x, _r: x / 4),
    "noisy": ("ambi/piano", 0.0, lambda x, _r: with_noise(x, 20)),
    "late": ("loop/compus", -0.5, lambda x, r: np.concatenate([np.zeros(r // 2, np.float32), x])),
    "part": ("loop/safari", 1.0, lambda x, r: x[r : 3 * r]),
    "upside_down": ("ambi/choir", 0.0, lambda x, _r: -x),
    "all_at_once": ("guit/harmonics", 0.8, lambda x, r: with_noise(x[int(0.8 * r) : int(3.2 * r)] / 4, 20)),
}
"""Name of the copy: its source, where it begins in it, and how it is made."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of damaged copies of reference clips, and of two that are identical to one."""
    root = tmp_path_factory.mktemp("planted")
    for name, (source, _, change) in PLANTED.items():
        path = next(path for path in REF.rglob("*") if path.with_suffix("") == REF / source)
        sound, rate = mono(path)
        if name in ("quiet", "all_at_once"):
            write_mp3(root / f"{name}.mp3", change(sound, rate), rate)
        elif name == "noisy":
            soundfile.write(root / f"{name}.flac", resample_poly(change(sound, rate), 1, 2), rate // 2)
        else:
            soundfile.write(root / f"{name}.wav", np.stack([change(sound, rate)] * 2, axis=1), rate)
    shutil.copy(REF / "elec/chime.wav", root / "same_bytes.wav")
    sound, rate = soundfile.read(REF / "ambi/choir.flac", dtype="int16")
    soundfile.write(root / "same_audio.wav", sound, rate)
    return root


@pytest.fixture(scope="module")
def found(planted: Path) -> Copies:
    return find_copies(planted, REF, protocol="yamnet", false_alarms=0.05)


def test_planted_copies_are_found_with_their_sources_and_offsets(found: Copies) -> None:
    clips = {clip.clip_id: clip for clip in found.clips}
    assert len(clips) == len(PLANTED) + 2
    for name, (source, offset, _) in PLANTED.items():
        match = clips[name].mel
        assert match is not None
        assert (match.clip_id, match.is_copy) == (source, True), name
        assert match.offset_seconds == pytest.approx(offset, abs=0.05), name
        assert match.similarity > found.thresholds["mel"].similarity
        assert clips[name].found_by[0] == "mel"
        assert clips[name].identical is None
    assert {"mel"} <= {*found.beyond_chance}


def test_identical_copies_are_said_to_be_identical(found: Copies) -> None:
    first = {clip.clip_id: (clip.identical, clip.identical_to) for clip in found.clips[:2]}
    assert first == {"same_bytes": ("bytes", "elec/chime"), "same_audio": ("audio", "ambi/choir")}
    assert [clip.clip_id for clip in found.identical] == ["same_bytes", "same_audio"]
    assert found.beyond_chance[0] == "identical clips"
    for clip in found.identical:
        assert clip.mel is not None
        assert clip.mel.similarity == pytest.approx(1, abs=1e-5)


def test_both_measures_know_how_alike_the_pair_of_the_other_is(found: Copies) -> None:
    agreeing = [c for c in found.clips if c.mel and c.embedding and c.mel.clip_id == c.embedding.clip_id]
    assert agreeing
    for clip in agreeing:
        assert clip.mel is not None
        assert clip.embedding is not None
        assert clip.mel.other == pytest.approx(clip.embedding.similarity, abs=1e-9)
        assert clip.embedding.other == pytest.approx(clip.mel.similarity, abs=1e-6)


def oracle(gen: torch.Tensor, train: torch.Tensor) -> tuple[float, int]:
    """Look at every lag."""
    best = (0.0, 0)
    for lag in range(-len(gen), len(train)):
        one = gen[max(0, -lag) : len(train) - lag].double()
        other = train[max(0, lag) : lag + len(gen)].double()
        if len(one) < max(LEAST_FRAMES, math.ceil(min(len(gen), len(train)) / 2)):
            continue
        if min(float(part.square().mean()) for part in (one, other)) < LEAST_CHANGE**2:
            continue
        value = float((one * other).sum() / (one.square().sum() * other.square().sum()).sqrt())
        best = max(best, (value, lag))
    return best


def test_alignment_is_that_of_every_lag_in_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(LEAST_FRAMES, 90, (2, 14), generator=generator)
    lengths[:, :4] = 60  # clips of one length take another way
    gen, train = ([5 * torch.randn(int(n), 30, generator=generator) for n in row] for row in lengths)
    train[5] = torch.cat([torch.zeros(40, 30), gen[3], torch.zeros(30, 30)])
    train[6] = gen[7][5:]
    similarity, lags = align(gen, train)
    for row, one in enumerate(gen):
        for column, other in enumerate(train):
            value, lag = oracle(one, other)
            assert float(similarity[row, column]) == pytest.approx(value, abs=1e-5)
            assert int(lags[row, column]) == lag or value < 1e-5
    assert (float(similarity[3, 5]), int(lags[3, 5])) == (pytest.approx(1, abs=1e-5), 40)
    assert (float(similarity[7, 6]), int(lags[7, 6])) == (pytest.approx(1, abs=1e-5), -5)


def test_alignment_does_not_depend_on_what_else_is_compared() -> None:
    generator = torch.Generator().manual_seed(1)
    clips = [5 * torch.randn(20 + 7 * n, 30, generator=generator) for n in range(30)]
    together = align(clips[:10], clips[10:])[0]
    for row in range(10):
        alone = align(clips[row : row + 1], clips[10:])[0]
        torch.testing.assert_close(together[row : row + 1], alone, atol=2e-6, rtol=0)
    assert align([], clips)[0].shape == (0, 30)


def contours_of(sound: Sound) -> torch.Tensor:
    windows = LogMel()(torch.from_numpy(np.ascontiguousarray(sound))[None]).windows
    assert windows is not None
    return windows[0]


def test_contours_do_not_hear_level_polarity_or_where_a_clip_begins() -> None:
    sound = mono(REF / "ambi/glass_rub.wav")[0]
    contours = contours_of(sound)
    torch.testing.assert_close(contours_of(-sound / 8), contours, atol=1e-3, rtol=0)
    # A second from either end of the part, the running mean is that of the whole; the loudest frame is in it.
    part = contours_of(sound[20 * 320 :])
    torch.testing.assert_close(part[30:], contours[50:], atol=1e-3, rtol=0)
    assert contours.abs().max() < 60


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (np.zeros(16_000, np.float32), "silent or unchanging"),
        (np.full(16_000, 0.3, np.float32), "silent or unchanging"),
        (np.full(16_000, 1e-30, np.float32), "silent or unchanging"),
        (np.sin(np.arange(32_000) * 0.3).astype(np.float32), "silent or unchanging"),
        (np.random.default_rng(0).standard_normal(3000).astype(np.float32), "shorter than 0.24 s"),
        (np.random.default_rng(0).standard_normal(16_000).astype(np.float32), ""),
    ],
    ids=["silence", "offset", "denormal", "tone", "short", "noise"],
)
def test_what_cannot_be_compared_is_said(sound: Sound, why: str) -> None:
    assert comparable(contours_of(sound)) == why


@pytest.mark.parametrize("held_out", [19, 40, 99, 500])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_real_clips_are_called_copies_as_rarely_as_promised(held_out: int, rate: float) -> None:
    """Over draws of held-out clips, exactly (n + 1 − k) / (n + 1), which is at most what was asked for."""
    if rate * (held_out + 1) < 1:
        with pytest.raises(InsufficientDataError, match=f"1 in {held_out + 1}"):
            rank_of(held_out, rate)
        return
    rng = np.random.default_rng(held_out)
    rates, bounds, chances = [], [], []
    for _ in range(400):
        pairs = [("a", "b", float(value)) for value in rng.beta(2, 5, held_out)]
        threshold = calibrate(pairs, rng.beta(2, 5, 100).tolist(), rate)
        rates.append(float((rng.beta(2, 5, 4000) > threshold.similarity).mean()))
        bounds.append(threshold.upper)
        chances.append(threshold.p)
    above = held_out + 1 - rank_of(held_out, rate)
    assert threshold.false_alarms == pytest.approx(above / (held_out + 1))
    assert threshold.false_alarms <= rate + 1e-12
    error = np.std(rates) / 20
    assert abs(np.mean(rates) - threshold.false_alarms) < 4 * error
    assert np.mean(np.array(rates) < np.array(bounds)) > 0.91
    # The number of copies is discrete, so the test's size is at most its level.
    assert np.mean(np.array(chances) < 0.05) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_ties_and_few_clips() -> None:
    same = [("a", "b", 1.0)] * 30
    assert calibrate(same, [1.0, 1.0], 0.1).flagged == 0
    assert rate_for(9, None) == pytest.approx(0.1)
    assert rate_for(2000, None) == 0.01
    with pytest.raises(InsufficientDataError, match="8 held-out clips are too few"):
        rate_for(8, None)
    assert chance(0.5, [0.1] * 9) == 0.1


@pytest.mark.parametrize("rate", [0, 1, -0.1, math.nan, "many", True])
def test_a_rate_is_a_share(rate: object, small: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        find_copies(*small, embedding=False, false_alarms=rate)  # type: ignore[arg-type]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Return clips that cannot be compared by mel, and one that is no audio."""
    folder = tmp_path / "odd"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, sound in {
        "silence": np.zeros(16_000),
        "offset": np.full(16_000, 0.25),
        "short": rng.standard_normal(1600) * 0.1,
        "one_sample": np.array([0.5]),
        "stereo": rng.standard_normal((48_000, 2)) * 0.1,
    }.items():
        soundfile.write(folder / f"{name}.wav", sound, 48_000 if name == "stereo" else 16_000)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def test_odd_clips_are_no_copies_unless_they_are_identical(odd: Path, tmp_path: Path) -> None:
    train = tmp_path / "train"
    shutil.copytree(REF, train)
    soundfile.write(train / "silence.flac", np.zeros(16_000), 16_000)
    found = find_copies(odd, train, protocol="yamnet")
    clips = {clip.clip_id: clip for clip in found.clips}
    assert {*clips} == {"silence", "offset", "short", "one_sample", "stereo"}
    assert (clips["silence"].identical, clips["silence"].identical_to) == ("audio", "silence")
    assert clips["offset"].mel is None
    assert clips["offset"].reasons == {"mel": "silent or unchanging"}
    assert clips["one_sample"].reasons["mel"] == clips["short"].reasons["mel"] == "shorter than 0.24 s"
    assert not clips["stereo"].reasons
    assert clips["stereo"].embedding is not None
    assert any("skipped" in warning and "broken" in warning for warning in found.warnings)
    assert found.gen.scored == 5
    json.loads(found.to_json(), parse_constant=pytest.fail)


def test_sets_that_are_too_small(tmp_path: Path, odd: Path) -> None:
    with pytest.raises(DataError, match="no audio files"):
        find_copies(odd, tmp_path / "odd" / ".." / "empty" if (tmp_path / "empty").mkdir() else tmp_path / "empty")
    write_tone(tmp_path / "one" / "a.wav")
    with pytest.raises(InsufficientDataError, match="no clip can be held out"):
        find_copies(odd, tmp_path / "one", embedding=False)
    with pytest.raises(InsufficientDataError, match=r"mel similarity: .* too few"):
        find_copies(odd, tmp_path / "one", heldout=odd, embedding=False)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="none of 1 audio files"):
        find_copies(REF, tmp_path / "bad", heldout=REF, embedding=False)
    with pytest.raises(UsageError, match="backbone: no network is used"):
        find_copies(odd, REF, embedding=False, backbone="yamnet")


def test_held_out_clips_of_the_training_set_are_not_their_own_copies(tmp_path: Path) -> None:
    """Twins in the training set are left out; every other clip is compared with all but itself."""
    train = tmp_path / "train"
    shutil.copytree(REF, train)
    shutil.copy(REF / "elec/chime.wav", train / "twin.wav")
    found = find_copies(REF, train, embedding=False)
    assert found.thresholds["mel"].similarity < 0.95
    assert all(one != other for one, other, _ in found.thresholds["mel"].nearest)
    assert "2 held-out clips have an identical twin in the training set and are left out" in found.warnings
    assert len(found.identical) == len(found.clips) == 40
    assert found.held_out is None
    trained = find_copies(REF, train, heldout=REF / "drum", embedding=False, false_alarms=0.5, limit=3)
    assert trained.held_out is not None
    assert trained.held_out.scored == 3


def test_held_out_clips_that_were_trained_on_are_left_out() -> None:
    with pytest.raises(InsufficientDataError, match="0 held-out clips"):
        find_copies(GENERATED, REF, heldout=REF, embedding=False)


def test_generated_clips_that_are_held_out_are_said() -> None:
    """They are as alike to the training set as themselves: what they copied would raise the threshold in silence."""
    found = find_copies(GENERATED, REF, heldout=GENERATED, embedding=False, limit=20)
    assert "gen and held-out are the same set: all 20 clips have the same ids and bytes" in found.warnings


def test_the_result_does_not_depend_on_blocks_cache_or_workers(
    planted: Path, found: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiogen_metrics.copies.finding.PER_BLOCK", 7)
    options = {"protocol": "yamnet", "false_alarms": 0.05, "workers": 0}
    for cache in (False, True, True):
        again = find_copies(planted, REF, cache=cache, **options)  # type: ignore[arg-type]
        assert [clip.clip_id for clip in again.clips] == [clip.clip_id for clip in found.clips]
        for one, other in zip(again.clips, found.clips, strict=True):
            assert one.found_by == other.found_by
            for kind, match in one.matches.items():
                assert match.clip_id == other.matches[kind].clip_id
                assert match.similarity == pytest.approx(other.matches[kind].similarity, abs=1e-5)


def test_blocks_are_the_whole_extraction(tmp_path: Path) -> None:
    shutil.copytree(REF / "drum", tmp_path / "clips")
    (tmp_path / "clips" / "a.wav").write_bytes(b"RIFF")
    folder, options = scan(tmp_path / "clips"), ExtractionOptions(cache=False)
    whole = extract(folder, [LogMel()], PREPROCESSING, options)
    blocks = [block[0] for block in extract_blocks(folder, {PREPROCESSING: [LogMel()]}, options, 1)]
    assert len(blocks) == len(folder.clips)
    assert not blocks[0].digests
    assert {key: value for block in blocks for key, value in block.digests.items()} == whole.digests
    for block in blocks:
        for clip, features in block.sets["log-mel"].features.items():
            assert torch.equal(features["windows"], whole.sets["log-mel"].features[clip]["windows"])


def test_the_draw_follows_the_seed(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiogen_metrics.copies.finding.HELD_OUT", 25)
    monkeypatch.setattr("audiogen_metrics.copies.finding.FALSE_ALARMS", 0.2)
    first, again, other = (find_copies(planted, REF, embedding=False, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.thresholds["mel"].nearest != other.thresholds["mel"].nearest


def test_formats(found: Copies, tmp_path: Path) -> None:
    rows = [*csv.DictReader(io.StringIO(found.to_csv()))]
    assert [row["clip_id"] for row in rows] == [clip.clip_id for clip in found.clips]
    assert rows[0]["identical_to"] == "elec/chime"
    assert float(rows[0]["mel_threshold"]) == found.thresholds["mel"].similarity
    assert {"copy", "found_by", "embedding_threshold", "offset_seconds", "mel_nearest_embedding"} <= rows[0].keys()
    content = json.loads(found.to_json(tmp_path / "found.json"))
    assert load_json(tmp_path / "found.json") == content
    assert content["copies"] == len(found.copies)
    assert content["clips"][0]["found_by"][0] == "identical bytes"
    assert "_files" not in content
    shown = str(found)
    assert "identical bytes" in shown
    assert f"above {found.thresholds['embedding'].similarity:.4f}" in shown
    assert found.to_markdown().count("| same_bytes |") == 1
    carried = pickle.loads(pickle.dumps(found))
    assert carried == replace(found, _files={})
    with pytest.raises(UsageError, match="where it was made"):
        carried.to_html()


def test_page_has_each_copy_beside_its_source(found: Copies) -> None:
    page = found.to_html()
    for name, (source, _, _) in PLANTED.items():
        assert f"gen: {name}" in page
        assert f"train: {source}" in page
    assert page.count("<audio") >= 2 * len(found.copies)
    assert page.count('<img src="data:image/png') == page.count("<audio")
    assert "http" not in page.replace("http-equiv", "")
    assert "identical bytes" in page


def test_command_line(planted: Path, agm: Run) -> None:
    options = ["--protocol", "yamnet", "--false-alarms", "0.05", "--seed", "1"]
    done = agm("copies", planted, REF, *options, "--fail-on-copies", "--format", "json")
    assert done.returncode == 5, done.stderr
    assert "copies of training clips: identical clips, mel" in done.stderr
    assert json.loads(done.stdout)["seed"] == 1


def test_command_line_without_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """New sounds pass the check, by mel alone and with held-out clips."""
    rng = np.random.default_rng(0)
    for number in range(24):
        steps = np.repeat(rng.uniform(200, 4000, 12), 2000)
        sound = 0.3 * np.sin(np.cumsum(2 * np.pi * steps / 16_000))
        folder = tmp_path / ("gen", "train", "real")[number % 3]
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{number}.wav", sound, 16_000)
    gen, train, real = (str(tmp_path / name) for name in ("gen", "train", "real"))
    command = ["copies", gen, train, "--heldout", real, "--no-embedding", "--fail-on-copies"]
    assert main([*command, "--false-alarms", "0.2", "--format", "markdown", "--suffix", "wav", "--workers", "0"]) == 0
    assert "| mel similarity |" in capsys.readouterr().out
    assert main([*command, "--false-alarms", "0.01"]) == 3
    assert "1 in 9" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--false-alarms", "2"])
    assert main([*command, "--limit", "3", "--false-alarms", "0.5", "--no-cache", "-o", str(tmp_path / "a.csv")]) == 0
    assert len((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()) == 4
    assert main([*command, "--limit", "3", "--false-alarms", "0.5", "--html", str(tmp_path / "a.html")]) == 0
    assert "<title>Copies in gen?" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_missing_weights_are_an_error_and_mel_needs_none(
    small: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    gen, train = map(str, small)
    assert main(["copies", gen, train]) == 4
    assert "panns" in capsys.readouterr().err
    assert main(["copies", gen, train, "--no-embedding", "--format", "csv"]) == 0
    assert os.environ["HOME"] not in capsys.readouterr().out


def test_what_mel_cannot_tell_does_not_keep_the_rest_back() -> None:
    """Steady tones have no mel similarity, and so no threshold of it; what is identical is found all the same."""
    time = np.arange(16_000) / 16_000
    tones = {f"t{place}": (0.2 * np.sin(2 * np.pi * (200 + 40 * place) * time), 16_000) for place in range(20)}
    found = find_copies({"same": tones["t3"], "softer": (tones["t4"][0] / 2, 16_000)}, tones, protocol="yamnet")
    assert {clip.clip_id: clip.identical for clip in found.clips}["same"] == "bytes"
    assert [*found.thresholds] == ["embedding"]
    assert any("mel similarity" in warning for warning in found.warnings)
    with pytest.raises(InsufficientDataError, match="mel similarity"):
        find_copies({"same": tones["t3"]}, tones, protocol="yamnet", false_alarms=0.2)
