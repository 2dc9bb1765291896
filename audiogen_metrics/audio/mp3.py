"""MPEG audio streams as their frame headers tell, to check what the decoder made of them.

Only needed for files without a length header (Xing, Info, VBRI): for these libsndfile estimates the length from the
first frame's bit rate, and stops there.
"""

from __future__ import annotations

from dataclasses import dataclass

LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
LENGTH_TAG_RANGE = 200
"""A length header begins within this many bytes of the first frame."""

# kbit/s by bitrate index 1 to 14, for layers I, II, III of MPEG 1, then of MPEG 2 and 2.5 (ISO 11172-3, 13818-3).
_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44_100, 48_000, 32_000)


@dataclass(frozen=True)
class Stream:
    """What the frame headers of a file say.

    Parameters
    ----------
    samples
        Samples a channel in all whole frames, in a row from the first.
    has_length
        Whether the file has a length header.
    is_cut
        Whether the file ends within a frame.
    """

    samples: int
    has_length: bool
    is_cut: bool


def walk(content: bytes) -> Stream:
    """Follow the frames from the first to the end of the file, or to whatever is no frame."""
    position = _after_id3(content)
    while position < len(content) and _frame(content, position) is None:
        position += 1
    first, samples = position, 0
    while (frame := _frame(content, position)) is not None:
        length, count = frame
        if position + length > len(content):
            break
        position, samples = position + length, samples + count
    head = content[first : first + LENGTH_TAG_RANGE]
    return Stream(samples, any(tag in head for tag in LENGTH_TAGS), frame is not None)


def _after_id3(content: bytes) -> int:
    """Return where an ID3v2 tag at the beginning ends; its size is in four bytes of seven bits."""
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 127
    return 10 + size


def _frame(content: bytes, position: int) -> tuple[int, int] | None:
    """Return bytes and samples of the frame at ``position``, or None if none begins there."""
    header = content[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer_bits = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version_bits == 1 or layer_bits == 0 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    version, layer = (1 if version_bits == 3 else 2), 4 - layer_bits
    sample_rate = _SAMPLE_RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version_bits]
    bits = 1000 * _RATES[version, layer][bitrate_index - 1]
    if layer == 1:
        return 4 * (12 * bits // sample_rate + padding), 384
    samples = 576 if layer == 3 and version == 2 else 1152
    return samples // 8 * bits // sample_rate + padding, samples
