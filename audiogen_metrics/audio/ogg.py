"""Read Ogg files page by page and link by link, and check every checksum and page number (RFC 3533).

libsndfile decodes only the first link, skips pages that fail their checksum, and takes the rest for the whole.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from audiogen_metrics.audio import tags
from audiogen_metrics.errors import AudioFileError

CAPTURE = b"OggS"

_HEADER = struct.Struct("<4sBBqIIIB")
_CHECKSUM = 22
"""Place of the checksum in a page; it is computed with zeros there."""
_BEGIN, _END = 2, 4
"""Flags of the first and of the last page of a stream."""

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# First bytes of a stream, and what it holds.
_SOUNDS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC", b"Speex   ": "Speex"}
_OTHERS = {
    b"fishead\0": "Skeleton",
    b"\x80theora": "Theora video",
    b"BBCD\0": "Dirac video",
    b"OVP80": "VP8 video",
    b"\x80kate": "Kate subtitles",
}

_FIX = "Write it again, or convert it: ffmpeg -i IN OUT.flac"


@dataclass
class _Stream:
    """Pages of one serial number between its beginning and its end.

    ``sequence`` is the number that its next page must have.
    """

    content: str
    sequence: int
    pages: list[bytes] = field(default_factory=list)
    has_ended: bool = False


@dataclass
class _Link:
    """Streams that begin together, by serial number."""

    streams: dict[int, _Stream] = field(default_factory=dict)

    def sound(self, path: Path) -> _Stream:
        """Return the only stream of the link that is sound."""
        sounds = [stream for stream in self.streams.values() if stream.content in _SOUNDS.values()]
        if len(sounds) != 1:
            held = ", ".join(stream.content for stream in self.streams.values())
            count = f"{len(sounds)} streams of sound" if sounds else "no stream of sound"
            raise AudioFileError(
                f"the Ogg file has {count} ({held})", path, "Take one of them: ffmpeg -i IN -map 0:a:0 OUT.flac"
            )
        return sounds[0]


def links(path: Path, content: bytes) -> list[bytes]:
    """Return each link of a chained file as a separate file, which has only the pages of its sound; FLAC without pages.

    Raises
    ------
    AudioFileError
        A page is damaged, missing or cut, or the file does not hold one stream of sound at a time.
    """
    chain: list[_Link] = []
    begins, number, behind, position = False, 0, 0, content.find(CAPTURE)
    while position >= 0:
        number += 1
        page = _page(content, position)
        if page is None:
            raise AudioFileError("the file is truncated", path, _FIX)
        if not _is_sound(page):
            raise AudioFileError(f"the file is damaged: page {number} fails its checksum", path, _FIX)
        _, _, flags, _, serial, sequence, _, segments = _HEADER.unpack_from(page)
        if flags & _BEGIN:
            if not begins:
                _check_end(path, chain, content[behind:position])
                chain.append(_Link())
            chain[-1].streams[serial] = _Stream(_name(page[27 + segments :]), sequence)
        begins = bool(flags & _BEGIN)
        stream = chain[-1].streams.get(serial) if chain else None
        if stream is None or stream.has_ended:
            state = "has ended" if stream else "never began"
            raise AudioFileError(f"the file is damaged: page {number} is of a stream that {state}", path, _FIX)
        if sequence != stream.sequence:
            raise AudioFileError(f"the file is damaged: pages are missing before page {number}", path, _FIX)
        stream.pages.append(page)
        stream.sequence = (sequence + 1) % 2**32
        stream.has_ended = bool(flags & _END)
        behind = position + len(page)
        position = content.find(CAPTURE, behind)
    _check_end(path, chain, content[behind:])
    sounds = [link.sound(path) for link in chain]
    return [_bare_flac(stream) if stream.content == "FLAC" else b"".join(stream.pages) for stream in sounds]


def _bare_flac(stream: _Stream) -> bytes:
    """Return FLAC without its pages, since libsndfile is often built without Ogg in its FLAC (RFC 9639, section 10.1).

    The pages hold the file itself, after nine bytes that name and count the headers.
    """
    return b"".join(page[27 + page[26] :] for page in stream.pages)[9:]


def _page(content: bytes, position: int) -> bytes | None:
    """Return the page at ``position``, as long as its own header says; None if the file ends within it."""
    segments = content[position + 26] if position + 27 <= len(content) else 0
    end = position + 27 + segments + sum(content[position + 27 : position + 27 + segments])
    return content[position:end] if position + 27 + segments <= end <= len(content) else None


def _is_sound(page: bytes) -> bool:
    """Tell whether a page matches its checksum: CRC-32 of zlib's polynomial, with each byte's bits reversed."""
    mirrored = page.translate(_MIRRORED)
    # zlib inverts the register before and after; Ogg does neither.
    found = 2**32 - 1
    for part in (mirrored[:_CHECKSUM], bytes(4), mirrored[_CHECKSUM + 4 :]):
        found = zlib.crc32(part, found)
    return found ^ 2**32 - 1 == int.from_bytes(mirrored[_CHECKSUM : _CHECKSUM + 4], "big")


def _name(packet: bytes) -> str:
    """Return what a stream holds, as the beginning of its first packet tells."""
    return next((name for magic, name in (_SOUNDS | _OTHERS).items() if packet.startswith(magic)), "unknown")


def _check_end(path: Path, chain: list[_Link], junk: bytes) -> None:
    """Raise AudioFileError if the last link is cut; only the flag of the end may be missing, as in some good files."""
    for stream in chain[-1].streams.values() if chain else ():
        if not stream.has_ended and tags.skip(junk, 0) < len(junk):
            raise AudioFileError("the file is damaged: something else follows its last page", path, _FIX)
