"""Decoding: every format right, every broken file named."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audio import preflight
from audiogen_metrics.audio.decoding import Audio, claimed_samples, decode
from audiogen_metrics.audio.preflight import inspect
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.errors import AudioFileError
from tests.memory import LINUX_ONLY, printed

PATH = Path("clip")
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


def test_a_stream_of_unknown_length_is_whole(tmp_path: Path) -> None:
    """What `ffmpeg -f wav -` writes: the largest sizes in the header."""
    content = bytearray(write(tmp_path, ".wav", "WAV", "PCM_16").read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = struct.pack("<I", 0xFFFFFFFF)
    assert decode(tmp_path / "clip.wav", bytes(content)).samples.shape == SAMPLES.shape


OVERSTATED = [0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0x7FFF_FFFF - 36, 0xFFFF_FFFF - 44]


@pytest.mark.parametrize("size", OVERSTATED)
def test_sizes_that_writers_to_pipes_leave(tmp_path: Path, size: int) -> None:
    content = bytearray(write(tmp_path, ".wav", "WAV", "PCM_16").read_bytes())
    data = content.index(b"data")
    content[data + 4 : data + 8] = struct.pack("<I", size)
    content[4:8] = struct.pack("<I", (size + 36) & 0xFFFFFFFF)
    assert decode(tmp_path / "clip.wav", bytes(content)).samples.shape == SAMPLES.shape


@pytest.mark.parametrize("excess", [16, 36, 44])
def test_sizes_that_count_headers_too(tmp_path: Path, excess: int) -> None:
    """The size of the file, or of all but eight bytes, in the place of the data's; a cut of other sizes is found."""
    path = write(tmp_path, ".wav", "WAV", "PCM_16")
    whole, content = path.read_bytes(), bytearray(path.read_bytes())
    data = content.index(b"data")
    content[data + 4 : data + 8] = struct.pack("<I", len(whole) - 44 + excess)
    assert decode(path, bytes(content)).samples.shape == SAMPLES.shape
    for missing in (2, 4, 100, 1000):
        with pytest.raises(AudioFileError, match="truncated"):
            decode(path, whole[:-missing])


@pytest.mark.parametrize(("form", "sound"), [(0x7F00_0050, 0x7F00_0008), (0, 0)], ids=["SoX", "ffmpeg"])
def test_aiff_from_a_pipe(tmp_path: Path, form: int, sound: int) -> None:
    content = bytearray(write(tmp_path, ".aiff", "AIFF", "PCM_16").read_bytes())
    place = content.index(b"SSND")
    content[4:8], content[place + 4 : place + 8] = struct.pack(">I", form), struct.pack(">I", sound)
    assert decode(tmp_path / "clip.aiff", bytes(content)).samples.shape == SAMPLES.shape


def number(size: int, width: int, order: Literal["little", "big"]) -> bytes:
    return size.to_bytes(width, order, signed=size < 0)


# container, byte order, bytes of a size, sizes of the whole file and of an empty sound as writers leave them
UNFINISHED: list[tuple[str, Literal["little", "big"], int, int, int]] = [
    *(("WAV", "little", 4, form, 0) for form in (0, 8, 36, -1)),
    ("WAVEX", "little", 4, 0, 0),
    *(("AIFF", "big", 4, form, sound) for form in (0, -8, 46) for sound in (0, 8)),
    *(("W64", "little", 8, form, sound) for form in (0, -1) for sound in (0, 24, -1, 2**63 - 1)),
    *(("RF64", "little", 8, form, 0) for form in (0, -8)),
    *(("CAF", "big", 8, 0, sound) for sound in (-1, 0, 4)),
    *(("AU", "big", 4, 0, sound) for sound in (-1, 0)),
]


def unfinished(
    container: str, order: Literal["little", "big"], width: int, form: int, sound: int, samples: np.ndarray
) -> tuple[bytes, int]:
    """Return a file with these sizes in its header, and where its samples begin."""
    file = io.BytesIO()
    soundfile.write(file, samples, 48_000, format=container, subtype="PCM_16")
    content = file.getvalue()
    if container == "AU":
        return content[:8] + number(sound, width, order) + content[12:], int.from_bytes(content[4:8], "big")
    place = content.index(b"SSND" if container == "AIFF" else b"data\xf3" if container == "W64" else b"data")
    start = place + {"AIFF": 16, "W64": 24, "CAF": 16}.get(container, 8)
    if container == "RF64":
        return content[:20] + number(form, 8, order) + number(sound, 8, order) + bytes(8) + content[44:], start
    named = place + (16 if container == "W64" else 4)
    content = content[:named] + number(sound, width, order) + content[named + width :]
    if container == "CAF":
        return content, start
    total = 16 if container == "W64" else 4
    content = content[:total] + number(form, width, order) + content[total + width :]
    if container == "AIFF":
        content = content[:22] + bytes(4) + content[26:]
    return content, start


@pytest.mark.parametrize("case", UNFINISHED, ids=lambda case: f"{case[0]} {case[3]} {case[4]}")
def test_sizes_that_a_killed_writer_or_a_pipe_left_open(case: tuple[Any, ...]) -> None:
    """The sound goes on to the end of the file, as ffmpeg reads it; silence is sound, too."""
    whole = (SAMPLES * 32767).astype(np.int16)
    for samples in (whole, 0 * whole):
        content, start = unfinished(*case, samples)
        found = decode(PATH, content).samples
        np.testing.assert_array_equal(found, samples / np.float32(32768))
        assert len(decode(PATH, content[: start + 4004]).samples) == 1001
        as_a_chunk = b"data" + b"\x7f" * 4  # the first samples look like a name and a size beyond the file
        assert len(decode(PATH, content[:start] + as_a_chunk + content[start + 8 :]).samples) == len(samples)
    with pytest.raises(AudioFileError, match=r"^clip: another .* file begins at byte"):
        decode(PATH, content + content)


@pytest.mark.parametrize("case", UNFINISHED, ids=lambda case: f"{case[0]} {case[3]} {case[4]}")
def test_an_empty_sound_before_other_chunks_is_empty(case: tuple[Any, ...]) -> None:
    """Those are no samples, unless the size says that everything up to the end is sound."""
    container, order, width, _, sound = case
    content, start = unfinished(*case, SAMPLES)
    with pytest.raises(AudioFileError, match=r"^clip: the file has no samples"):
        decode(PATH, content[:start])
    if sound < 0 or sound == 2**63 - 1 or container == "AU":
        return
    names = [b"LIST", b"note"]
    held = [b"INFOISFT\x06\0\0\0audio\0", b"12345678"]
    if container == "W64":
        names = [name + b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a" for name in names]
        held = [b"x" * 24, b"x" * 8]
    width = 4 if container == "RF64" else width
    counted = 24 if container == "W64" else 0
    chunks = b"".join(n + number(len(h) + counted, width, order) + h for n, h in zip(names, held, strict=True))
    for behind in (chunks, chunks + bytes(3), b"TAG" + b"x" * 125):
        with pytest.raises(AudioFileError, match=r"^clip: the file has no samples"):
            decode(PATH, content[:start] + behind)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_writer_that_was_killed(tmp_path: Path, container: str, subtype: str) -> None:
    script = (
        "import os, soundfile; from tests.audio.test_decoding import SAMPLES;"
        f"file = soundfile.SoundFile({str(tmp_path / 'clip')!r}, 'w', 48_000, 2, {subtype!r}, None, {container!r});"
        "file.write(SAMPLES[:24_000]); file.write(SAMPLES[24_000:]); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    np.testing.assert_allclose(read(tmp_path / "clip").samples, SAMPLES, rtol=0, atol=2**-15)


@pytest.mark.parametrize(("suffix", "container"), [(".wav", "WAV"), (".aiff", "AIFF"), (".flac", "FLAC")])
def test_an_id3_tag_in_front(tmp_path: Path, suffix: str, container: str) -> None:
    path = write(tmp_path, suffix, container, "PCM_16")
    tagged = b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + path.read_bytes()
    np.testing.assert_array_equal(decode(path, tagged).samples, read(path).samples)


def test_mp3_in_wav(tmp_path: Path) -> None:
    """libsndfile estimates its length; a frame that is lost is found as in MP3."""
    path = write(tmp_path, ".mp3", "MP3", "MPEG_LAYER_III")
    body = path.read_bytes()
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 2, 48_000, 16_000, 1, 0, 12, 1, 2, 1, 1, 1393)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    content = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    assert decode(tmp_path / "clip.wav", content).samples.shape == SAMPLES.shape
    damaged = content[:-3000] + bytes(64) + content[-2936:]
    with pytest.raises(AudioFileError, match="damaged"):
        decode(tmp_path / "clip.wav", damaged)


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


@pytest.mark.parametrize(("suffix", "container"), [(".wav", "WAV"), (".aiff", "AIFF"), (".flac", "FLAC")])
def test_what_lies_behind_the_end_is_not_read(tmp_path: Path, suffix: str, container: str) -> None:
    path = write(tmp_path, suffix, container, "PCM_16")
    content = path.read_bytes()
    for behind in (bytes(64), b"TAG" + bytes(125), b"x" * 1000):
        np.testing.assert_array_equal(decode(path, content + behind).samples, read(path).samples)


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "FLAC", "CAF", "W64", "AU"])
def test_another_file_behind_the_end_is_named(tmp_path: Path, container: str) -> None:
    """libsndfile would read the first one only, or headers as sound."""
    content = write(tmp_path, ".audio", container, "PCM_16").read_bytes()
    with pytest.raises(AudioFileError, match=f"another .* file begins at byte {len(content)}.*ffmpeg"):
        decode(tmp_path / "joined", content + content)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_flac_samples_are_those_of_the_md5(tmp_path: Path, subtype: str) -> None:
    """A shorter count of samples in the header leaves every frame whole: only the MD5 tells."""
    path = write(tmp_path, ".flac", "FLAC", subtype)
    content = bytearray(path.read_bytes())
    assert decode(path, bytes(content)).samples.shape == SAMPLES.shape
    content[24] ^= 1
    with pytest.raises(AudioFileError, match=r"fail the encoder's checksum \(MD5\)"):
        decode(path, bytes(content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "the file is empty"),
        ("a.wav", b"this is no audio at all" * 100, "cannot be decoded"),
        ("a.mp3", b"<html>404 not found</html>", "cannot be decoded"),
        ("a.m4a", b"\0\0\0\x18ftypM4A ", r"cannot be decoded: it is MPEG-4.*ffmpeg -i a\.m4a"),
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


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("block", [1, 7, 1000, 7999, 8000])
def test_facts_do_not_depend_on_how_much_is_looked_at_together(
    monkeypatch: pytest.MonkeyPatch, channels: int, block: int
) -> None:
    """Also where a clip stays at full scale across the edge of a block."""
    rng = np.random.default_rng(channels)
    samples = (0.8 * rng.standard_normal((8000, channels))).clip(-1, 1).astype(np.float32)
    samples[900:1100] = 1
    audio, preprocessing = Audio(samples, 16_000), Preprocessing(16_000)
    waveform = prepare(audio, preprocessing)
    whole = inspect(audio, waveform, preprocessing)
    flat = (np.abs(samples[1:]) >= 0.99) & (samples[1:] == samples[:-1])
    assert (whole.clipped, whole.peak) == (pytest.approx(flat.mean(), rel=1e-12), 1.0)
    monkeypatch.setattr(preflight, "BLOCK", block)
    assert inspect(audio, waveform, preprocessing) == whole


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_files_claim_what_they_hold(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, SAMPLES, 48_000)
    held = read(path).samples.size
    assert claimed_samples(path.read_bytes()) == pytest.approx(held, abs=2 * 1152)
    assert claimed_samples(b"no audio") == claimed_samples(b"") == 0


MEMORY = """
    from audiogen_metrics.audio.decoding import decode
    from audiogen_metrics.audio.preflight import inspect
    from audiogen_metrics.audio.preparation import Preprocessing, prepare

    path, before = Path(sys.argv[1]), peak()
    audio = decode(path, path.read_bytes())
    decoded = peak()
    how = Preprocessing(audio.sample_rate, "mean")
    inspect(audio, prepare(audio, how), how)
    print(audio.samples.nbytes // 2**20, decoded - before, peak() - before)
"""


@pytest.mark.slow
@LINUX_ONLY
def test_a_long_clip_is_not_held_many_times(tmp_path: Path) -> None:
    """Half a gigabyte of samples in few bytes: it took twice that to decode, and nearly five times to look at."""
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16_000, 2) as file:
        for minute in range(68):
            file.write(np.full((16_000 * 60, 2), minute / 100))
    assert (tmp_path / "long.flac").stat().st_size < 2**20
    size, decoded, seen = printed(MEMORY, tmp_path / "long.flac")
    assert size == 498
    assert decoded < 1.2 * size
    assert seen < 2.4 * size


@pytest.mark.parametrize(("subtype", "code"), [("FLOAT", 3), ("DOUBLE", 3), ("PCM_24", 1), ("PCM_16", 1)])
def test_w64_of_the_extensible_format(tmp_path: Path, subtype: str, code: int) -> None:
    """What ffmpeg writes for more than 16 bits, two channels or 48 kHz: libsndfile reads its floats as integers."""
    content = write(tmp_path, ".w64", "W64", subtype).read_bytes()
    place = content.index(b"fmt \xf3")
    bits = int.from_bytes(content[place + 38 : place + 40], "little")
    guid = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
    form = b"\xfe\xff" + content[place + 26 : place + 40] + struct.pack("<HHI", 22, bits, 3) + guid
    behind = place + int.from_bytes(content[place + 16 : place + 24], "little")
    chunk = content[place : place + 16] + struct.pack("<Q", 24 + len(form)) + form
    extensible = content[:place] + chunk + content[behind:]
    extensible = extensible[:16] + struct.pack("<Q", len(extensible)) + extensible[24:]
    np.testing.assert_array_equal(decode(PATH, extensible).samples, decode(PATH, content).samples)


@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 25])
def test_gsm_of_any_number_of_blocks(tmp_path: Path, blocks: int) -> None:
    """libsndfile takes what pads an odd number of bytes for another block, of 320 samples."""
    path = tmp_path / "gsm.wav"
    soundfile.write(path, SAMPLES[: 320 * blocks, 0], 8000, subtype="GSM610")
    audio = decode(path, path.read_bytes(), integers=True)
    assert audio.samples.shape == (320 * blocks, 1)
    assert audio.integers is not None
    assert len(audio.integers) == 320 * blocks
