"""Odd names, odd audio, and files that change under the reader: a right answer or a clear reason, never a crash."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audiogen_metrics import ScoreReport, score
from audiogen_metrics.audio import decoding
from audiogen_metrics.audio.decoding import MAX_LEVEL, decode
from audiogen_metrics.audio.files import canonical_id, scan
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding import extraction
from audiogen_metrics.errors import AudioFileError
from audiogen_metrics.report.html import score_html
from tests.conftest import write_tone

NAMES = [
    "with space",
    "-rf",
    "--format",
    "two\nlines",
    "tab\tand\x1b[31mcolour",
    "quote'\"`$(x);&|",
    "Größe 音 🎵",
    "e\u0301 decomposed",  # its clip id is composed
    "%s {} \\n",
    "<script>alert(1)<",
    ".dots..",
    "x" * 200,
]


@pytest.fixture
def named(tmp_path: Path) -> Any:
    """The same clips under awkward names in both folders, which have awkward names too."""
    folders = tmp_path / "-gen \n<b>", tmp_path / "ref ü"
    for place, name in enumerate(NAMES):
        for folder in folders:
            write_tone(folder / "tone.wav", seconds=0.3 + place / 100)
            (folder / "tone.wav").rename(folder / f"{name.lstrip('.')}.wav")
    return folders


@pytest.mark.slow
def test_names(named: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through table, JSON, Markdown, LaTeX, page and back."""
    for format_ in ("table", "json", "csv", "markdown", "latex"):
        page = tmp_path / "page.html"
        options = ["--protocol", "yamnet", "--format", format_, "--html", str(page), "-o", str(tmp_path / "out")]
        assert main(["score", *options, "--", *map(str, named)]) == 0
        capsys.readouterr()
    score(*named, protocol="yamnet").to_json(tmp_path / "report.json")
    report = ScoreReport.load(tmp_path / "report.json")
    assert set(report.gen.files) == {canonical_id(name.lstrip(".")) for name in NAMES}
    assert report.pairing["paired"] == len(NAMES)
    text = page.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are no text")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8: scored, and shown as escapes wherever they are written."""
    gen = tmp_path / "gen\udcff"
    for folder in (tmp_path / "gen", tmp_path / "ref"):
        write_tone(folder / "plain.wav", seconds=0.4)
        shutil.copy(folder / "plain.wav", folder / "caf\udce9.wav")
        (folder / "bad\udce9.wav").write_bytes(b"no audio")
    (tmp_path / "gen").rename(gen)
    report = score_html(gen, tmp_path / "ref", tmp_path / "page.html", protocol="yamnet")
    assert set(report.gen.files) == {"caf\\udce9", "plain"}
    assert report.gen.skipped[0]["clip"] == "bad\\udce9"
    report.to_json(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["inputs"]["gen"]["path"].endswith("udcff")
    assert "caf\\udce9" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert score(gen, tmp_path / "ref", protocol="yamnet") == report


def test_symlink_loops_and_dangling_links(tmp_path: Path) -> None:
    write_tone(tmp_path / "a" / "b" / "tone.wav")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "x.wav").symlink_to(tmp_path / "a" / "y.wav")
    (tmp_path / "a" / "y.wav").symlink_to(tmp_path / "a" / "x.wav")
    (tmp_path / "a" / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    assert [clip.clip_id for clip in scan(tmp_path / "a").clips] == ["b/tone", "gone", "x", "y"]
    report = score(tmp_path / "a", tmp_path / "a", protocol="yamnet", metrics=["kl"])
    assert report.gen.scored == 1
    reasons = {entry["clip"]: entry["reason"] for entry in report.gen.skipped}
    assert reasons["gone"] == "cannot be read (No such file or directory)"
    assert "symbolic links" in reasons["x"]


def test_a_pipe_and_a_folder_with_the_suffix_of_audio(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever."""
    write_tone(tmp_path / "tone.wav")
    (tmp_path / "folder.wav").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    report = score(tmp_path, tmp_path, protocol="yamnet", metrics=["kl"])
    assert report.gen.scored == 1
    assert {entry["clip"]: entry["reason"] for entry in report.gen.skipped} == {
        "pipe": "cannot be read (it is not a regular file)"
    }


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.full(1, 0.5), 16_000),
        (np.random.default_rng(0).normal(0, 0.1, 192_000), 192_000),
        (np.random.default_rng(0).normal(0, 0.1, (16_000, 8)), 16_000),
        (np.random.default_rng(0).normal(0, 0.1, 4_000), 4_000),
        (np.zeros(8_000), 16_000),
        (np.random.default_rng(0).normal(0, 1e4, 16_000), 16_000),
        (np.random.default_rng(0).normal(0, 1e-30, 16_000), 16_000),
        (np.full(16_000, MAX_LEVEL), 16_000),
    ],
    ids=["one sample", "192 kHz", "8 channels", "4 kHz", "silence", "loud", "faint", "the loudest"],
)
def test_odd_audio_is_scored(tmp_path: Path, samples: np.ndarray, rate: int) -> None:
    soundfile.write(tmp_path / "odd.wav", samples, rate, subtype="FLOAT")
    write_tone(tmp_path / "tone.wav")
    report = score_html(tmp_path, tmp_path, tmp_path / "page.html", protocol="yamnet", metrics=["fd", "fad", "kl"])
    assert report.gen.scored == 2
    assert all(np.isfinite(each.value) for each in report.scores.values())


@pytest.mark.parametrize(
    ("samples", "subtype", "reason"),
    [
        (np.full(100, np.nan), "FLOAT", "NaN or infinite"),
        (np.full(100, np.inf), "DOUBLE", "NaN or infinite"),
        (np.full(100, 1e300), "DOUBLE", "NaN or infinite"),
        (np.full(100, 3e38), "FLOAT", "beyond 1e+10 times full scale"),
        (np.zeros(0), "PCM_16", "no samples"),
    ],
)
def test_what_is_no_sound_is_skipped_with_its_reason(
    tmp_path: Path, samples: np.ndarray, subtype: str, reason: str
) -> None:
    soundfile.write(tmp_path / "bad.wav", samples, 16_000, subtype=subtype)
    write_tone(tmp_path / "tone.wav")
    report = score(tmp_path, tmp_path, protocol="yamnet", metrics=["kl"])
    assert report.gen.scored == 1
    assert reason in report.gen.skipped[0]["reason"]


def header(seconds: int, rate: int = 48_000, channels: int = 2) -> bytes:
    """The beginning of a 64-bit RIFF file of 16-bit samples."""
    size = seconds * rate * channels * 2
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    lengths = struct.pack("<QQQI", size + 72, size, seconds * rate, 0)
    chunks = b"ds64" + struct.pack("<I", 28) + lengths + b"fmt " + struct.pack("<I", 16) + form
    return b"RF64\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "reason"), [(2, "more than 536870912 samples"), (24, "larger than 4294967296 bytes")]
)
def test_a_recording_of_a_day(tmp_path: Path, hours: float, reason: str) -> None:
    """Refused by its size or header, before it fills the memory; a hole in the file stands for the samples."""
    with (tmp_path / "day.wav").open("wb") as file:
        file.write(header(hours * 3600))
        file.truncate(hours * 3600 * 48_000 * 4)
    write_tone(tmp_path / "tone.wav")
    tracemalloc.start()
    report = score(tmp_path, tmp_path, protocol="yamnet", metrics=["kl"], workers=0, cache=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.gen.scored == 1
    assert reason in report.gen.skipped[0]["reason"]
    assert "cut it into clips" in report.gen.skipped[0]["reason"]
    assert peak < (1.5e9 if hours == 2 else 1e8)


def test_a_decompression_bomb_stops_at_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FLAC of a few kilobytes that holds 40 times as much silence as may be decoded, and says so or not."""
    monkeypatch.setattr(decoding, "MAX_SAMPLES", 2**18)
    monkeypatch.setattr(decoding, "BLOCK_FRAMES", 2**16)
    soundfile.write(tmp_path / "bomb.flac", np.zeros(2**18 * 40, np.int16), 16_000)
    content = bytearray((tmp_path / "bomb.flac").read_bytes())
    assert len(content) < 60_000
    with pytest.raises(AudioFileError, match="more than 536870912 samples"):
        decode(tmp_path / "bomb.flac", bytes(content))
    content[21] &= 0xF0  # bits of the stream's length, which the format allows to be unknown
    content[22:26] = bytes(4)
    with pytest.raises(AudioFileError, match="more than 536870912 samples"):
        decode(tmp_path / "bomb.flac", bytes(content))


def test_a_clock_that_goes_backwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files from the future and a clock set back cost a second reading, not a wrong score."""
    write_tone(tmp_path / "tone.wav")
    write_tone(tmp_path / "other.wav")
    os.utime(tmp_path / "tone.wav", ns=(2**62, 2**62))
    first = score(tmp_path, tmp_path, protocol="yamnet", workers=0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert score(tmp_path, tmp_path, protocol="yamnet", workers=0).scores == first.scores
    other = write_tone(tmp_path.parent / "new.wav", seconds=2)
    soundfile.write(tmp_path / "tone.wav", other, 16_000)
    changed = score(tmp_path, tmp_path, protocol="yamnet", workers=0)
    assert changed.gen.files["tone"] != first.gen.files["tone"]
    assert changed.gen.files["other"] == first.gen.files["other"]


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features are those of the bytes that were hashed, and the next run sees the new file."""
    write_tone(tmp_path / "tone.wav")
    write_tone(tmp_path / "steady.wav")
    first = score(tmp_path, tmp_path, protocol="yamnet", workers=0)
    other = write_tone(tmp_path.parent / "elsewhere" / "other.wav", seconds=2)
    shutil.rmtree(os.environ["AGM_CACHE_DIR"])
    real = extraction.digest_of

    def change(content: bytes) -> str:
        soundfile.write(tmp_path / "tone.wav", other, 16_000)
        return real(content)

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "digest_of", change)
        gen = score(tmp_path, tmp_path.parent / "elsewhere", protocol="yamnet", workers=0).gen
    assert gen.files["tone"] in (first.gen.files["tone"], real((tmp_path / "tone.wav").read_bytes()))
    again = score(tmp_path, tmp_path, protocol="yamnet", workers=0)
    assert again.gen.files["tone"] == real((tmp_path / "tone.wav").read_bytes()) != first.gen.files["tone"]
    assert again.scores == score(tmp_path, tmp_path, protocol="yamnet", cache=False, workers=0).scores


def test_a_file_that_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the listing and the reading, and between the scores and the page."""
    for name in "abc":
        write_tone(tmp_path / "gen" / f"{name}.wav")
        write_tone(tmp_path / "ref" / f"{name}.wav")
    real = extraction.identity_of

    def vanish(path: Path) -> object:
        (tmp_path / "gen" / "b.wav").unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(extraction, "identity_of", vanish)
    monkeypatch.setattr("audiogen_metrics.report.media.decoded", lambda *_: (tmp_path / "gone").read_bytes())
    report = score_html(tmp_path / "gen", tmp_path / "ref", tmp_path / "page.html", protocol="yamnet", workers=0)
    assert [entry["clip"] for entry in report.gen.skipped] == ["b"]
    assert "cannot be read (No such file or directory)" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_ten_thousand_files(tmp_path: Path) -> None:
    """One recording under ten thousand names: listed, paired and hashed in seconds, embedded once."""
    tone = tmp_path / "tone.wav"
    write_tone(tone, seconds=0.1)
    for folder in ("gen", "ref"):
        (tmp_path / folder).mkdir()
        for place in range(10_000):
            os.link(tone, tmp_path / folder / f"{place}.wav")
    report = score(tmp_path / "gen", tmp_path / "ref", protocol="yamnet", metrics=["kl"])
    assert report["kl_yamnet"].details["pairs"] == 10_000
