"""Decoding: every format right, every broken file named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audio import mp3
from audiogen_metrics.audio.decoding import Audio, decode
from audiogen_metrics.audio.preflight import inspect
from audiogen_metrics.errors import AudioFileError

SAMPLES = (0.4 * np.sin(np.arange(48_000)[:, None] * np.array([0.05, 0.08]))).astype(np.float32)

# suffix, container, subtype, tolerance of the coding
FORMATS = [
    (".wav", "WAV", "PCM_U8", 1 / 128),
    (".wav", "WAV", "PCM_16", 1 / 2**15),
    (".wav", "WAV", "PCM_24", 1 / 2**23),
    (".wav", "WAV", "PCM_32", 1e-7),
    (".wav", "WAV", "FLOAT", 0),
    (".wav", "WAV", "DOUBLE", 0),
    (".flac", "FLAC", "PCM_16", 1 / 2**15),
    (".flac", "FLAC", "PCM_24", 1 / 2**23),
    (".ogg", "OGG", "VORBIS", 0.1),
    (".opus", "OGG", "OPUS", 0.1),
    (".mp3", "MP3", "MPEG_LAYER_III", 0.1),
    (".aiff", "AIFF", "PCM_16", 1 / 2**15),
]
IDS = [f"{container}-{subtype}" for _, container, subtype, _ in FORMATS]


def write(folder: Path, suffix: str, container: str, subtype: str, samples: object = SAMPLES) -> Path:
    path = folder / f"clip{suffix}"
    soundfile.write(path, samples, 48_000, format=container, subtype=subtype)
    return path


def read(path: Path) -> Audio:
    return decode(path, path.read_bytes())


@pytest.mark.parametrize(("suffix", "container", "subtype", "tolerance"), FORMATS, ids=IDS)
def test_decodes(tmp_path: Path, suffix: str, container: str, subtype: str, tolerance: float) -> None:
    audio = read(write(tmp_path, suffix, container, subtype))
    assert audio.sample_rate == 48_000
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == SAMPLES.shape
    # libsndfile's Opus encoder garbles the last few milliseconds, so the tail is not compared.
    assert np.abs(audio.samples - SAMPLES)[:43_000].max() <= tolerance


@pytest.mark.parametrize(("suffix", "container", "subtype"), [case[:3] for case in FORMATS], ids=IDS)
def test_truncated(tmp_path: Path, suffix: str, container: str, subtype: str) -> None:
    path = write(tmp_path, suffix, container, subtype)
    content = path.read_bytes()
    for share in (0.5, 0.9):
        with pytest.raises(AudioFileError, match=r"truncated|cannot be decoded"):
            decode(path, content[: int(len(content) * share)])


def test_an_ogg_stream_without_its_end_flag_is_whole(tmp_path: Path) -> None:
    """As some Vorbis encoders write it: the samples are all there. (Opus without it is refused by libsndfile.)"""
    path = write(tmp_path, ".ogg", "OGG", "VORBIS")
    content = bytearray(path.read_bytes())
    content[content.rfind(b"OggS") + 5] &= ~4
    checksum = content.rfind(b"OggS") + 22
    content[checksum : checksum + 4] = ogg_checksum(content[content.rfind(b"OggS") :])
    assert decode(path, bytes(content)).samples.shape == SAMPLES.shape


def ogg_checksum(page: bytearray) -> bytes:
    """The CRC-32 of RFC 3533: polynomial 0x04c11db7, no reflection, checksum field taken as zero."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
            value &= 0xFFFFFFFF
    return struct.pack("<I", value)


def test_a_stream_of_unknown_length_is_whole(tmp_path: Path) -> None:
    """What `ffmpeg -f wav -` writes: the largest sizes in the header."""
    content = bytearray(write(tmp_path, ".wav", "WAV", "PCM_16").read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = struct.pack("<I", 0xFFFFFFFF)
    assert decode(tmp_path / "clip.wav", bytes(content)).samples.shape == SAMPLES.shape


def test_a_flac_stream_of_unknown_length_is_whole(tmp_path: Path) -> None:
    """What `ffmpeg -f flac -` writes: no count of samples (36 bits) and no MD5 in the header."""
    content = bytearray(write(tmp_path, ".flac", "FLAC", "PCM_16").read_bytes())
    content[21] &= 0xF0
    content[22:42] = bytes(20)
    assert decode(tmp_path / "clip.flac", bytes(content)).samples.shape == SAMPLES.shape
    with pytest.raises(AudioFileError, match="cannot be decoded"):
        decode(tmp_path / "clip.flac", bytes(content[: len(content) // 2]))


def test_a_format_that_cannot_seek(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "gsm.wav", SAMPLES[:8000, 0], 8000, subtype="GSM610")
    assert read(tmp_path / "gsm.wav").samples.shape[0] == pytest.approx(8000, abs=320)


@pytest.mark.parametrize("level", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_mp3_frames_are_counted(tmp_path: Path, level: float, rate: int) -> None:
    path = tmp_path / "clip.mp3"
    soundfile.write(path, SAMPLES, rate, bitrate_mode="VARIABLE", compression_level=level)
    content = path.read_bytes()
    stream = mp3.walk(content)
    assert stream.has_length
    assert not stream.is_cut
    assert len(SAMPLES) <= stream.samples <= len(SAMPLES) + 5 * 1152
    tagged = b"ID3\x04\0\0\0\0\x02\x01" + bytes(257) + content + b"TAG" + bytes(125)
    assert mp3.walk(tagged) == stream
    assert mp3.walk(content[:-50]).is_cut
    assert mp3.walk(b"no frames here").samples == 0


def without_length(content: bytes) -> bytes:
    """Drop the first frame, which is the length header."""
    length, _ = mp3._frame(content, 0) or (0, 0)
    return content[length:]


def test_mp3_without_a_length_header(tmp_path: Path) -> None:
    """Constant bit rate decodes whole; variable may be cut by libsndfile's estimate, and must not be in silence."""
    quiet_then_loud = np.concatenate([0.001 * SAMPLES, np.random.default_rng(0).normal(0, 0.2, SAMPLES.shape)])
    path = tmp_path / "clip.mp3"
    soundfile.write(path, quiet_then_loud, 48_000, bitrate_mode="CONSTANT", compression_level=0.5)
    content = without_length(path.read_bytes())
    assert len(decode(path, content).samples) >= len(quiet_then_loud)
    with pytest.raises(AudioFileError, match="truncated"):
        decode(path, content[: int(0.7 * len(content)) + 1])
    soundfile.write(path, quiet_then_loud, 48_000, bitrate_mode="VARIABLE", compression_level=0.5)
    try:
        assert len(decode(path, without_length(path.read_bytes())).samples) >= len(quiet_then_loud)
    except AudioFileError as error:
        assert "decoded in part only" in str(error)  # noqa: PT017 (either is right, silence is not)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "the file is empty"),
        ("a.wav", b"this is no audio at all" * 100, "cannot be decoded"),
        ("a.mp3", b"<html>404 not found</html>", "cannot be decoded"),
        ("a.m4a", b"\0\0\0\x18ftypM4A ", r"cannot be decoded .*ffmpeg -i"),
    ],
)
def test_not_audio(name: str, content: bytes, message: str) -> None:
    with pytest.raises(AudioFileError, match=message) as caught:
        decode(Path(name), content)
    assert str(caught.value).startswith(f"{name}: ")


def test_no_samples(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="no samples"):
        read(write(tmp_path, ".wav", "WAV", "PCM_16", SAMPLES[:0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    samples = SAMPLES.copy()
    samples[100, 1] = value
    with pytest.raises(AudioFileError, match="NaN or infinite"):
        read(write(tmp_path, ".wav", "WAV", "FLOAT", samples))


def test_facts() -> None:
    facts = inspect(Audio(SAMPLES, 48_000))
    assert (facts.seconds, facts.sample_rate, facts.channels, facts.clipped) == (1.0, 48_000, 2, 0.0)
    assert facts.peak == pytest.approx(0.4, abs=1e-3)
    assert inspect(Audio((10 * SAMPLES).clip(-1, 1), 48_000)).clipped > 0.5
    assert inspect(Audio(SAMPLES[:1], 48_000)).clipped == 0
