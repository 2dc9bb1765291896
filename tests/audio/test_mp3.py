"""MP3: joined files read whole, lost frames and changed bytes named."""

from __future__ import annotations

import io
import random
import struct
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audio import decoding, mp3, tags
from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.errors import AudioFileError

RNG = np.random.default_rng(0)
TIME = np.arange(32_000) / 16_000
FIRST = 0.2 * np.sin(2 * np.pi * 300 * TIME) + 0.05 * RNG.standard_normal(len(TIME))
SECOND = 0.2 * np.sin(2 * np.pi * 900 * TIME[:24_000]) + 0.05 * RNG.standard_normal(24_000)
STEREO = np.stack([FIRST, FIRST[::-1]], 1)
PATH = Path("clip.mp3")
ID3V1, ID3V2 = b"TAG" + bytes(125), b"ID3\x04\0\0\0\0\x02\x01" + bytes(257)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(8) + bytes(8)
LYRICS = b"LYRICSBEGINwords000005LYRICS200"


def encoded(samples: np.ndarray, mode: str = "CONSTANT", rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return file.getvalue()


def read(content: bytes) -> np.ndarray:
    return decode(PATH, content).samples


def frames(content: bytes) -> list[int]:
    """Where each frame of a file without tags begins, and the last one ends."""
    found = [0]
    while (header := mp3._header_at(content, found[-1])) is not None:
        found.append(found[-1] + header.length)
    return found


def without_length(content: bytes) -> bytes:
    """Drop the first frame, which is the length header."""
    return content[frames(content)[1] :]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("samples", [FIRST, STEREO], ids=["mono", "stereo"])
def test_frames_are_counted(samples: np.ndarray, mode: str, rate: int) -> None:
    content = encoded(samples, mode, rate)
    (part,) = mp3.parts(PATH, content)
    assert (part.start, part.end, part.has_length) == (0, len(content), True)
    assert len(samples) <= part.samples <= len(samples) + 5 * 1152
    (tagged,) = mp3.parts(PATH, ID3V2 + content + APE + LYRICS + ID3V1)
    assert (tagged.samples, tagged.start) == (part.samples, len(ID3V2))
    assert mp3.parts(PATH, b"no frames here") == []
    np.testing.assert_array_equal(read(ID3V2 + content + ID3V1), read(content))


def test_checksum_is_that_of_a_loop_over_bits() -> None:
    for length in (0, 1, 2, 255, 4321):
        content = random.Random(length).randbytes(length)
        value = 0
        for byte in content:
            value ^= byte
            for _ in range(8):
                value = value >> 1 ^ (0xA001 if value & 1 else 0)
        assert mp3._checksum(content) == value


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("between", [b"", ID3V1 + ID3V2, APE, LYRICS, bytes(300)])
def test_joined_files_are_read_one_after_the_other(mode: str, between: bytes) -> None:
    first, second = encoded(FIRST, mode), encoded(SECOND, mode)
    expected = np.concatenate([read(first), read(second), read(first)])
    assert len(expected) == 2 * len(FIRST) + len(SECOND)
    np.testing.assert_array_equal(read(first + between + second + between + first), expected)


def test_joined_files_of_which_one_has_no_length_header() -> None:
    first, second = encoded(FIRST), encoded(SECOND)
    bare = without_length(second)
    np.testing.assert_array_equal(read(first + bare), np.concatenate([read(first), read(bare)]))
    np.testing.assert_array_equal(read(bare + first), np.concatenate([read(bare), read(first)]))


def test_joined_mono_and_stereo() -> None:
    mono, stereo = encoded(FIRST), encoded(STEREO)
    np.testing.assert_array_equal(read(mono + stereo), np.concatenate([read(mono)[:, [0, 0]], read(stereo)]))


def test_joined_files_of_different_rates_are_named() -> None:
    with pytest.raises(AudioFileError, match=r"1 × 16000 Hz, 1 × 24000 Hz.*Convert each"):
        read(encoded(FIRST) + encoded(SECOND, rate=24_000))


def test_damage_in_a_joined_file_is_found() -> None:
    first, second = encoded(FIRST), encoded(SECOND)
    with pytest.raises(AudioFileError, match="damaged"):
        read(first[:-200] + second)
    with pytest.raises(AudioFileError, match="truncated"):
        read(first + second[:-200])


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize(("samples", "rate"), [(FIRST, 16_000), (STEREO, 44_100)], ids=["mono", "stereo"])
def test_every_changed_byte_is_found_by_the_encoders_checksum(mode: str, samples: np.ndarray, rate: int) -> None:
    content = encoded(samples, mode, rate)
    chance = random.Random(0)
    start = frames(content)[1]
    for _ in range(60):
        place = chance.randrange(start, len(content) - 64)
        zeroed = content[:place] + bytes(64) + content[place + 64 :]
        with pytest.raises(AudioFileError, match=r"damaged|truncated"):
            read(zeroed)
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        with pytest.raises(AudioFileError, match=r"damaged|truncated"):
            read(bytes(flipped))


@pytest.mark.parametrize(("samples", "rate"), [(FIRST, 16_000), (STEREO, 44_100)], ids=["mono", "stereo"])
def test_a_damaged_length_header_is_found(samples: np.ndarray, rate: int) -> None:
    """It would cost the trimming of both ends: by its own checksum, which ffmpeg takes of 190 bytes always."""
    content = encoded(samples, "CONSTANT", rate)
    tag = min(content.find(name) for name in (b"Xing", b"Info") if name in content)
    for place in (tag, tag + 8, tag + 141):
        with pytest.raises(AudioFileError, match=r"length header fails|no MPEG frame|truncated"):
            read(content[:place] + b"\x55" + content[place + 1 :])
    head = content[: tag + 154] + bytes(2) + content[tag + 156 :]
    theirs = mp3._checksum(head[:190]).to_bytes(2, "big")
    assert len(read(head[: tag + 154] + theirs + head[tag + 156 :])) == len(samples)


def test_a_lost_header_is_found_in_files_without_a_length_header() -> None:
    content = without_length(encoded(FIRST))
    places = frames(content)
    for place in (places[1], places[2], places[20] - 30, places[-3], places[-2]):
        with pytest.raises(AudioFileError, match="no MPEG frame begins at byte"):
            read(content[:place] + bytes(64) + content[place + 64 :])
    with pytest.raises(AudioFileError, match="no MPEG frame begins at byte"):
        read(content + b"neither frame nor tag")
    with pytest.raises(AudioFileError, match="truncated"):
        read(content[:-50])


def test_a_length_header_that_counts_too_few_frames_is_named() -> None:
    """Where the sound goes on in frames that the header does not count, no other file was joined."""
    content = bytearray(encoded(FIRST, "VARIABLE"))
    place = content.index(b"Xing") + 8
    content[place : place + 4] = (20).to_bytes(4, "big")
    with pytest.raises(AudioFileError, match="its length header counts 20 frames, and"):
        read(bytes(content))


def test_a_level_that_was_changed_and_noted_is_no_damage() -> None:
    """mp3gain changes every frame, not the checksum, and notes it in an APE tag."""
    content = bytearray(encoded(FIRST))
    content[len(content) // 2] ^= 1
    with pytest.raises(AudioFileError, match="fails the encoder's checksum"):
        read(bytes(content))
    assert len(read(bytes(content) + b"MP3GAIN_UNDO".join([APE[:32], b""]))) == len(FIRST)


def protected(content: bytes, *, honest: bool = True) -> bytes:
    """Give each frame the checksum of ISO 11172-3, section 2.4.3.1, in the place of its last two bytes."""
    places, found = frames(content), b""
    for start, end in pairwise(places):
        frame = bytearray(content[start : end - 2])
        frame[1] &= 0xFE
        value = 0xFFFF
        for byte in frame[2 : 4 + 9]:
            value ^= byte << 8
            for _ in range(8):
                value = (value << 1 ^ (0x8005 if value & 0x8000 else 0)) & 0xFFFF
        found += bytes(frame[:4]) + value.to_bytes(2, "big") + bytes(frame[4:])
        if not honest:
            found = found[: -len(frame) + 2] + b"\0\0" + found[-len(frame) + 4 :]
    return found


def test_checksums_of_frames_are_compared() -> None:
    """Header and side information only; frames whose encoder left no true checksum are not judged."""
    content = protected(without_length(encoded(FIRST)))
    assert len(read(content)) > len(FIRST)
    changed = bytearray(content)
    place = frames(content)[30]
    changed[place + 8] ^= 1
    with pytest.raises(AudioFileError, match=f"the frame at byte {place} fails its checksum"):
        read(bytes(changed))
    assert len(read(protected(without_length(encoded(FIRST)), honest=False))) > len(FIRST)


@pytest.mark.parametrize(
    "before",
    [
        bytes(1),
        bytes(1000),
        ID3V2 + bytes(300),
        ID3V1,
        APE,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"of a frame\xff",
        ID3V2[:5] + b"\x10" + ID3V2[6:],
    ],
    ids=["zero", "zeros", "ID3 and zeros", "ID3v1", "APE", "text", "a byte as a frame begins", "ID3 with a footer"],
)
def test_what_lies_before_the_first_frame_is_passed_over(before: bytes) -> None:
    content = encoded(FIRST)
    footer = b"3DI" + ID3V2[3:10] if before[5:6] == b"\x10" else b""
    np.testing.assert_array_equal(read(before + footer + content), read(content))


QUIET_THEN_LOUD = np.concatenate([0.001 * FIRST, RNG.normal(0, 0.2, FIRST.shape)])


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize(
    "samples",
    [QUIET_THEN_LOUD, QUIET_THEN_LOUD[::-1], np.stack([QUIET_THEN_LOUD, QUIET_THEN_LOUD[::-1]], 1)],
    ids=["quiet then loud", "loud then quiet", "stereo"],
)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_without_a_length_header(mode: str, samples: np.ndarray, rate: int) -> None:
    """libsndfile stops at a length that it estimates from the first frame's bit rate; each frame is decoded."""
    whole = encoded(samples, mode, rate)
    content = without_length(whole)
    found, trimmed = read(content), read(whole)
    (part,) = mp3.parts(PATH, content)
    assert len(found) == part.samples == (len(frames(content)) - 1) * (1152 if rate == 44_100 else 576)
    # The header has the encoder's delay, which is left out where it is there: at most 576 + 529 samples, and 1 more.
    delay = next(d for d in range(1107) if np.array_equal(found[d : d + 1000], trimmed[:1000]))
    np.testing.assert_array_equal(found[delay : delay + len(samples)], trimmed)
    integers = decode(PATH, content, integers=True).integers
    assert integers is not None
    np.testing.assert_array_equal(integers, np.rint(found * 32768).clip(-32768, 32767))
    with pytest.raises(AudioFileError, match="truncated"):
        read(content[: int(0.7 * len(content)) + 1])
    for tag in (ID3V1, APE + ID3V1, bytes(3000)):
        np.testing.assert_array_equal(read(content + tag), found)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_cut_out_of_a_stream(mode: str, rate: int) -> None:
    """It begins within a frame, with frames that need others before them, which are silent, and ends within one."""
    content = without_length(encoded(QUIET_THEN_LOUD, mode, rate))
    places, whole = frames(content), read(content)
    size = 1152 if rate == 44_100 else 576
    for start in (places[5], places[9] + 1, places[20] + 100):
        first = next(index for index, place in enumerate(places) if place >= start)
        for end in (len(content), places[-2] + 7, places[-3] + 2, places[-4] + 1, places[-2] - 1):
            last = max(index for index, place in enumerate(places) if place <= end)
            found = read(content[start:end])
            assert len(found) == (last - first) * size
            settled = 12 * size
            expected = whole[first * size : last * size][settled:]
            np.testing.assert_allclose(found[settled:], expected, rtol=0, atol=1e-6)
    with pytest.raises(AudioFileError, match="no MPEG frame begins"):
        read(content[places[5] : places[30]] + bytes(64) + content[places[30] + 64 :])


def test_a_length_header_that_was_never_filled_in() -> None:
    """What a killed ffmpeg leaves: it stands in front of the sound, and counts nothing."""
    content = encoded(QUIET_THEN_LOUD, "VARIABLE")
    second = frames(content)[1]
    place = content.index(b"Xing")
    for flags, count in ((15, 0), (0, 40)):
        header = content[: place + 4] + flags.to_bytes(4, "big") + count.to_bytes(4, "big")
        unfilled = header + bytes(second - len(header)) + content[second:]
        np.testing.assert_array_equal(read(unfilled), read(content[second:]))


def test_mp3_in_wav_without_a_length_header() -> None:
    body = without_length(encoded(QUIET_THEN_LOUD, "VARIABLE"))
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16_000, 4000, 1, 0, 12, 1, 2, 576, 1, 1393)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    content = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    np.testing.assert_array_equal(decode(Path("clip.wav"), content).samples, read(body))


def test_room_for_the_longest_frames_of_a_long_file() -> None:
    """Where one tag does not hold as much, more follow."""
    content = without_length(encoded(FIRST))
    part = mp3.parts(PATH, content)[0]
    wide = mp3.bytes_of(content, replace(part, room=3 * mp3._MAX_TAG))
    assert len(wide) > 3 * mp3._MAX_TAG
    assert tags.skip(wide, len(content)) == len(wide)


def test_only_what_is_there_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a length that is estimated from a short first frame, of long ones behind it."""
    content = without_length(encoded(QUIET_THEN_LOUD, "VARIABLE"))
    size = len(read(content))
    monkeypatch.setattr(decoding, "MAX_SAMPLES", size)
    assert len(read(content)) == size
    monkeypatch.setattr(decoding, "MAX_SAMPLES", size - 1)
    with pytest.raises(AudioFileError, match="cut it into clips"):
        read(content)
