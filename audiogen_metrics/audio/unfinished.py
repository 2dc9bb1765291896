"""Complete headers that lack their sizes, because the writer was killed or wrote to a pipe.

The sound then goes to the end of the file, as in ffmpeg. libsndfile takes such a file for empty, or refuses it, or
reads what follows an empty sound as samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from audiogen_metrics.audio import tags

_UNKNOWN = 2**62
"""Sizes of 64 bits from here on are -1, or the largest number, which mean: up to the end."""

_RF64_SIZES = 20
"""Where RF64 has the sizes of the file and of the sound, for which their own chunks have no room."""


@dataclass(frozen=True)
class _Layout:
    """How a container is cut into chunks.

    Parameters
    ----------
    first
        Where the first chunk begins.
    name
        Form of a chunk's name.
    sound
        Name of the chunk with the samples, and the number of bytes before them in it.
    size
        Bytes of a chunk's size, whether it includes the header, and the multiple to which it is rounded up.
    total
        Place of the size of the whole file, and the bytes that it does not count; None if the container has no such
        size.
    """

    first: int
    name: re.Pattern[bytes]
    sound: tuple[bytes, int]
    size: tuple[int, bool, int]
    total: tuple[int, int] | None
    order: Literal["little", "big"] = "little"


_FOUR = re.compile(rb"[ -~]{4}")
_GUID = re.compile(rb"[ -~]{4}\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a")
_LAYOUTS = {
    b"RIFF": _Layout(12, _FOUR, (b"data", 0), (4, False, 2), (4, 8)),
    b"RF64": _Layout(12, _FOUR, (b"data", 0), (4, False, 2), (4, 8)),
    b"RIFX": _Layout(12, _FOUR, (b"data", 0), (4, False, 2), (4, 8), "big"),
    b"FORM": _Layout(12, _FOUR, (b"SSND", 8), (4, False, 2), (4, 8), "big"),
    b"caff": _Layout(8, _FOUR, (b"data", 4), (8, False, 1), None, "big"),
    b"riff": _Layout(40, _GUID, (b"data", 0), (8, True, 8), (16, 0)),
}


@dataclass(frozen=True)
class _Chunk:
    """Where a chunk and its content begin, and how many bytes of content its size claims."""

    start: int
    inside: int
    size: int


def completed(content: bytes) -> bytes:
    """Return a WAV, AIFF, CAF, W64 or AU file with its sizes filled in, if they were missing.

    The result ends with its sound. Chunks up to the end of the file, or tags, after a size of zero are not samples.
    """
    if content.startswith(b".snd"):
        return content if any(content[8:12]) else _put(content, 8, 4, 2**32 - 1, "big")
    layout = _LAYOUTS.get(content[:4])
    sound = None if layout is None else next(_chunks(content, layout, layout.first, layout.sound[0]), None)
    if layout is None or sound is None:
        return content
    size, is_rf64 = sound.size, content.startswith(b"RF64") and content.startswith(b"ds64", 12)
    if is_rf64 and size == 2**32 - 1:
        size = int.from_bytes(content[_RF64_SIZES + 8 : _RF64_SIZES + 16], "little")
    if layout.sound[1] < size < _UNKNOWN:
        return content
    behind = sound.inside + layout.sound[1]
    if size < _UNKNOWN and not _holds_samples(content, layout, behind):
        content = content[:behind]
    end = len(content)
    if is_rf64:
        content = _put(content, _RF64_SIZES, 8, end - 8, "little")
        content = _put(content, _RF64_SIZES + 8, 8, end - behind, "little")
        return _put(content, sound.inside - 4, 4, 2**32 - 1, "little")
    width, is_whole, _ = layout.size
    counted = end - (sound.start if is_whole else sound.inside)
    content = _put(content, sound.inside - width, width, counted, layout.order)
    if layout.total is None:
        return content
    return _put(content, layout.total[0], width, end - layout.total[1], layout.order)


def _put(content: bytes, place: int, width: int, number: int, order: Literal["little", "big"]) -> bytes:
    """Return the bytes with a number written at a place, or the largest that fits."""
    written = min(number, (1 << 8 * width) - 1).to_bytes(width, order)
    return content[:place] + written + content[place + width :]


def _chunks(content: bytes, layout: _Layout, position: int, name: bytes = b"") -> Iterator[_Chunk]:
    """Yield the chunks with this name from a position on, as long as they follow each other."""
    width, is_whole, step = layout.size
    # A damaged size may lead further than a position can be.
    while position < len(content) and (match := layout.name.match(content, position)):
        inside = match.end() + width
        size = max(0, int.from_bytes(content[match.end() : inside], layout.order) - is_whole * (inside - position))
        if inside > len(content):
            return
        if match[0].startswith(name):
            yield _Chunk(position, inside, size)
        position = inside + -(-size // step) * step


def _holds_samples(content: bytes, layout: _Layout, start: int) -> bool:
    """Tell whether samples follow the header of an empty sound: not chunks to the end, nor tags, nor the end."""
    last = start
    for chunk in _chunks(content, layout, start):
        last = chunk.inside + chunk.size
    is_chunks = start < last <= len(content) and not content[last:].lstrip(b"\0")
    return not is_chunks and (tags.skip(content, start) < len(content) or not content[start:].lstrip(b"\0"))
