"""Ogg: every damaged page named, every link of a chain read."""

from __future__ import annotations

import io
import random
import struct
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.audio import ogg
from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.errors import AudioFileError

RNG = np.random.default_rng(0)
NOISE = 0.1 * RNG.standard_normal(80_000)
OTHER = 0.1 * RNG.standard_normal(48_000)
CODECS = ["VORBIS", "OPUS"]


def encoded(samples: np.ndarray, codec: str, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="OGG", subtype=codec)
    return file.getvalue()


def read(content: bytes) -> np.ndarray:
    return decode(Path("clip.ogg"), content).samples


def checksum(page: bytes) -> int:
    """The CRC-32 of RFC 3533, bit by bit: polynomial 0x04c11db7, no reflection, checksum field taken as zero."""
    value = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
            value &= 0xFFFFFFFF
    return value


@dataclass
class Page:
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes
    body: bytes

    def bytes(self) -> bytes:
        head = struct.pack("<4sBBqII", b"OggS", 0, self.flags, self.granule, self.serial, self.sequence)
        page = head + bytes(4) + bytes([len(self.lacing)]) + self.lacing + self.body
        return page[:22] + struct.pack("<I", checksum(page)) + page[26:]


def pages(content: bytes) -> list[Page]:
    found, position = [], 0
    while position < len(content):
        _, _, flags, granule, serial, sequence, _, segments = struct.unpack_from("<4sBBqIIIB", content, position)
        lacing = content[position + 27 : position + 27 + segments]
        position += 27 + segments
        found.append(Page(flags, granule, serial, sequence, lacing, content[position : position + sum(lacing)]))
        position += sum(lacing)
    return found


def joined(found: list[Page]) -> bytes:
    return b"".join(page.bytes() for page in found)


@pytest.mark.parametrize("codec", CODECS)
def test_every_flipped_bit_is_found(codec: str) -> None:
    content = encoded(NOISE, codec)
    assert joined(pages(content)) == content
    chance = random.Random(0)
    named = "damaged: page|truncated|pages are missing|cannot be decoded|no page"
    for _ in range(200):
        changed = bytearray(content)
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        with pytest.raises(AudioFileError, match=named):
            read(bytes(changed))


def test_the_damaged_page_is_named() -> None:
    content = bytearray(encoded(NOISE, "VORBIS"))
    content[len(joined(pages(content)[:5])) + 500] ^= 1
    with pytest.raises(AudioFileError, match=r"clip\.ogg: the file is damaged: page 6 fails its checksum.*ffmpeg -i"):
        read(bytes(content))


@pytest.mark.parametrize("codec", CODECS)
def test_a_missing_page_is_found(codec: str) -> None:
    found = pages(encoded(NOISE, codec))
    for missing in range(1, len(found) - 1):
        with pytest.raises(AudioFileError, match=f"pages are missing before page {missing + 1}"):
            read(joined(found[:missing] + found[missing + 1 :]))


@pytest.mark.parametrize("codec", CODECS)
def test_links_are_read_one_after_the_other(codec: str) -> None:
    first, second = encoded(NOISE, codec), encoded(OTHER, codec)
    expected = np.concatenate([read(first), read(second), read(first)])
    assert len(expected) == 2 * len(NOISE) + len(OTHER)
    np.testing.assert_array_equal(read(first + second + first), expected)
    np.testing.assert_array_equal(read(first + b"no page" + second + first), expected)


def test_a_chain_of_two_codecs() -> None:
    first, second = encoded(NOISE, "VORBIS"), encoded(OTHER, "OPUS")
    np.testing.assert_array_equal(read(first + second), np.concatenate([read(first), read(second)]))


def test_links_of_one_and_two_channels() -> None:
    """As in 18 recordings of Debian's klettres-data, mono with a stereo second of silence behind it."""
    mono, stereo = encoded(NOISE, "VORBIS"), encoded(np.stack([OTHER, -OTHER], 1), "VORBIS")
    whole = read(mono + stereo)
    np.testing.assert_array_equal(whole[: len(NOISE)], read(mono)[:, [0, 0]])
    np.testing.assert_array_equal(whole[len(NOISE) :], read(stereo))


def test_links_of_different_rates_are_named() -> None:
    chain = encoded(NOISE, "VORBIS") + encoded(OTHER, "VORBIS", 24_000)
    with pytest.raises(AudioFileError, match=r"1 × 16000 Hz, 1 × 24000 Hz.*Convert each .* ffmpeg"):
        read(chain)


def test_damage_in_a_later_link_is_found() -> None:
    first, second = encoded(NOISE, "VORBIS"), encoded(OTHER, "VORBIS")
    with pytest.raises(AudioFileError, match="truncated"):
        read(first + second[:-50])
    with pytest.raises(AudioFileError, match="fails its checksum"):
        read(first[:-50] + second)
    # The beginning of the second file is lost, with its capture pattern.
    serial = pages(first)[0].serial
    for renamed, state in ((serial, "has ended"), (serial ^ 1, "never began")):
        second = joined([replace(page, serial=renamed) for page in pages(second)])
        with pytest.raises(AudioFileError, match=f"of a stream that {state}"):
            read(first + b"x" * 10 + second[10:])


def without_end(content: bytes) -> bytes:
    found = pages(content)
    found[-1].flags &= ~4
    return joined(found)


def test_a_stream_without_its_end_flag_is_whole() -> None:
    """As some Vorbis encoders write it: the samples are all there. (Opus without it is refused by libsndfile.)"""
    content = without_end(encoded(NOISE, "VORBIS"))
    for behind in (b"", bytes(100), b"TAG" + bytes(125)):
        assert len(read(content + behind)) == len(NOISE)
    # Were it no page for its lost capture pattern only, the flag would be missing just so.
    with pytest.raises(AudioFileError, match="something else follows its last page"):
        read(content + content[-300:])


def test_tags_around_the_pages() -> None:
    content = encoded(NOISE, "VORBIS")
    np.testing.assert_array_equal(read(b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + content + b"junk"), read(content))


def test_streams_side_by_side() -> None:
    """A soundtrack is read without its video; of several soundtracks none is taken in silence."""
    sound = pages(encoded(NOISE, "VORBIS"))
    video = [replace(page, serial=1, body=b"\x80theora"[: len(page.body)].ljust(len(page.body))) for page in sound]
    both = [page for pair in zip(video, sound, strict=True) for page in pair]
    np.testing.assert_array_equal(read(joined(both)), read(joined(sound)))
    with pytest.raises(AudioFileError, match=r"no stream of sound \(Theora video\)"):
        read(joined(video))
    other = [replace(page, serial=1) for page in pages(encoded(OTHER, "OPUS"))]
    with pytest.raises(AudioFileError, match=r"2 streams of sound \(Vorbis, Opus\)\. Take one.* ffmpeg"):
        read(joined([sound[0], other[0], *sound[1:], *other[1:]]))


def test_pages_behind_the_end_of_their_stream_are_named() -> None:
    found = pages(encoded(NOISE, "VORBIS"))
    found[-2].flags |= 4
    with pytest.raises(AudioFileError, match="of a stream that has ended"):
        read(joined(found))


def test_checksums_are_fast() -> None:
    content = encoded(NOISE, "VORBIS") * 400
    start = time.perf_counter()
    assert len(ogg.links(Path("clip.ogg"), content)) == 400
    assert len(content) > 10_000_000
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("size", [4000, 65_025])
def test_flac_in_ogg(size: int) -> None:
    """libsndfile is built without it where soundfile brings its own."""
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16_000, format="FLAC", subtype="PCM_16")
    native = file.getvalue()
    bodies = [b"\x7fFLAC\1\0\0\1" + native[:42]]
    bodies += [native[start : start + size] for start in range(42, len(native), size)]
    found = [
        Page(2 * (not place) | 4 * (body is bodies[-1]), 0, 7, place, bytes([255]) * (len(body) // 255), body)
        for place, body in enumerate(bodies)
    ]
    found = [replace(page, lacing=(page.lacing + bytes([len(page.body) % 255]))[:255]) for page in found]
    content = joined(found)
    np.testing.assert_array_equal(read(content), decode(Path("clip.flac"), native).samples)
    np.testing.assert_array_equal(read(content + encoded(OTHER, "VORBIS"))[: len(NOISE)], read(content))
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    with pytest.raises(AudioFileError, match="fails its checksum"):
        read(bytes(damaged))
    found[-2].body = found[-2].body[:-9] + b"otherwise"
    with pytest.raises(AudioFileError, match=r"cannot be decoded|MD5"):
        read(joined(found))
