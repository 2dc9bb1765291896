"""Tags that programs write before and after the sound (ID3, APE, Lyrics3), and padding with zeros."""

from __future__ import annotations

import re

_ZEROS = re.compile(rb"\0*")
_LYRICS = re.compile(rb"LYRICSBEGIN.{0,1000000}?LYRICS(?:200|END)", re.DOTALL)
_ID3V1 = {b"TAG+": 227, b"TAG": 128}


def skip(content: bytes, position: int) -> int:
    """Return the first place, from ``position`` on, that is neither a tag nor a zero."""
    while (end := _skip_one(content, position)) > position:
        position = end
    return position


def after_id3(content: bytes, position: int) -> int:
    """Return the end of an ID3v2 tag at ``position``, or ``position``; the size is in four bytes of seven bits."""
    head = content[position : position + 10]
    if head[:3] != b"ID3" or len(head) < 10:
        return position
    size = 0
    for byte in head[6:]:
        size = size << 7 | byte & 127
    has_footer = head[3] >= 4 and head[5] & 16
    return position + 10 + size + (10 if has_footer else 0)


def id3(size: int) -> bytes:
    """Return an empty ID3v2 tag of this many bytes and ten more."""
    return b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size)


def _skip_one(content: bytes, position: int) -> int:
    """Return the end of the tag or the zeros at ``position``, or ``position`` if something else is there."""
    head = content[position : position + 32]
    if head[:3] == b"ID3":
        return after_id3(content, position)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
        # The size includes a footer, but not the header.
        return position + size + (32 if flags >> 29 & 1 else 0)
    for magic, length in _ID3V1.items():
        if head.startswith(magic):
            return position + length
    lyrics = _LYRICS.match(content, position)
    zeros = _ZEROS.match(content, position)
    return lyrics.end() if lyrics else zeros.end() if zeros else position
