"""Read MPEG audio frame by frame, to separate joined files and to find lost frames and changed bytes.

libsndfile skips whatever is not a frame, plays a damaged frame as noise, and stops where the first length header
(Xing, Info, VBRI) says. Without such a header it estimates the length from the first frame's bit rate, and stops there.
So a file of varying bit rates, or one cut out of a stream, is decoded to its end only with what `bytes_of` adds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audiogen_metrics.audio import tags
from audiogen_metrics.errors import AudioFileError

SUFFIXES = {".mp1", ".mp2", ".mp3", ".mpga"}

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

_MAX_TAG = 2**24
"""Bytes of a tag that `bytes_of` appends, several times if one is not enough."""
_SPARE = 2**14
"""Bytes by which the estimate must be too large."""

_LENGTH_HEADER = re.compile(rb"Xing|Info|VBRI")
_COUNT = {b"Xing": 8, b"Info": 8, b"VBRI": 14}
"""Where a length header has the number of frames after its own."""

_SYNC = re.compile(rb"\xff(?=[\xe2-\xff])")

# What LAME and ffmpeg append to a length header, counted from its beginning.
_ENCODER, _MUSIC_LENGTH, _MUSIC_CHECKSUM, _TAG_CHECKSUM = 120, 148, 152, 154
_LAME = (b"LAME3.9", b"LAME3.1")
_FFMPEG_RANGE = 190
"""Bytes of the first frame over which ffmpeg takes its checksum, whatever they mean; right for MPEG 1 in stereo."""
_GAIN_TAG = b"MP3GAIN_UNDO"
"""Tag of mp3gain, which changes the level in each frame but not the checksum."""

_FIX = "Write it again, or convert it: ffmpeg -i IN OUT.flac"


@dataclass(frozen=True)
class Part:
    """Frames in a row, as one encoder wrote them.

    Parameters
    ----------
    start, end
        Its first byte, and the byte after its last.
    samples
        Samples of a channel in its frames.
    has_length
        Whether it begins with a length header that counts the frames.
    room
        Bytes that its frames would take if all were as long as the longest.
    """

    start: int
    end: int
    samples: int
    has_length: bool
    room: int


class _Header(NamedTuple):
    """What the four bytes of a frame's header say; ``kind`` is the same in all frames of a stream."""

    length: int
    samples: int
    kind: tuple[int, int, int, bool]

    @property
    def side_info(self) -> int:
        """Bytes between the header and the main data of layer III."""
        version, _, _, is_mono = self.kind
        return (17 if is_mono else 32) if version == 1 else (9 if is_mono else 17)


@dataclass(frozen=True)
class _Frames:
    """Frames of one kind in a row: where each begins and the last one ends.

    ``tag`` is where the length header begins, and ``counted`` its number of frames after its own, 0 if it is missing.
    """

    frames: list[int]
    end: int
    header: _Header
    tag: int | None
    counted: int

    @property
    def is_complete(self) -> bool:
        """Whether the frames that the length header counts are all there."""
        return 0 < self.counted < len(self.frames)


def begins(content: bytes) -> bool:
    """Tell whether a file is MPEG audio for libsndfile: it begins with a frame, or with an ID3v2 tag and a frame."""
    return _header_at(content, tags.after_id3(content, 0)) is not None


def parts(path: Path, content: bytes) -> list[Part]:
    """Follow the frames of a file from the first to the last, through tags and from file to joined file.

    The result is empty for a file whose frames do not tell their length (free format). If the beginning shows that the
    sound was cut out of a stream, it may end within a frame, which is left out.

    Raises
    ------
    AudioFileError
        Bytes between or after the frames are neither frames nor tags, a file that was not cut out of a stream ends
        within a frame, or the checksum of an encoder differs.
    """
    marks = {match.start(): match[0] for match in _LENGTH_HEADER.finditer(content)}
    found: list[Part] = []
    first = _first_frame(path, content)
    # It was cut out of a stream, so nothing tells where it should end.
    is_cut = first is not None and (first[0] > tags.skip(content, 0) or _reaches_back(content, *first))
    while first is not None:
        runs = _split(path, content, _run(content, *first, marks))
        for run in runs:
            _check_frames(path, content, run)
            _check_whole(path, content, run)
            samples = (len(run.frames) - (run.tag is not None and not run.counted)) * run.header.samples
            longest = max(end - start for start, end in pairwise([*run.frames, run.end]))
            found.append(Part(run.frames[0], run.end, samples, run.counted > 0, len(run.frames) * longest))
        is_cut = is_cut and len(found) == 1 and runs[-1].tag is None
        first = _following(path, content, runs[-1], marks, is_cut=is_cut)
    return found


def bytes_of(content: bytes, part: Part) -> bytes:
    """Return the bytes of a part, followed by a tag if it has no length header; libsndfile skips the tag.

    The tag adds as many bytes as libsndfile needs to estimate a length that is at least that of the sound.
    """
    sound = content[part.start : part.end]
    if part.has_length:
        return sound
    missing = part.room - len(sound) + _SPARE
    sizes = [min(_MAX_TAG, missing - start) for start in range(0, missing, _MAX_TAG)]
    return sound + b"".join(tags.id3(size) for size in sizes)


def _first_frame(path: Path, content: bytes) -> tuple[int, _Header] | None:
    """Return the first frame, after whatever comes before it in a stream that was cut or saved."""
    start = tags.after_id3(content, 0)
    found, alone = _next_frame(content, start), _header_at(content, start)
    if found and found[0] > start and alone and alone.kind == found[1].kind:
        raise AudioFileError(_lost(start + alone.length), path, _FIX)
    return found


def _lost(position: int) -> str:
    return f"the file is damaged: no MPEG frame begins at byte {position}"


def _run(content: bytes, position: int, header: _Header, marks: dict[int, bytes]) -> _Frames:
    """Collect the frames from ``position`` on, up to the next length header or anything else than such a frame."""
    tag = _tag(position, header, marks)
    frames: list[int] = []
    following: _Header | None = header
    while following is not None and following.kind == header.kind and position + following.length <= len(content):
        if frames and _tag(position, header, marks) is not None:
            break
        frames.append(position)
        position += following.length
        following = _header_at(content, position)
    counted = 0
    if tag is not None:
        place = tag + _COUNT[marks[tag]]
        has_count = marks[tag] == b"VBRI" or int.from_bytes(content[tag + 4 : tag + 8], "big") & 1
        counted = int.from_bytes(content[place : place + 4], "big") if has_count else 0
    return _Frames(frames, position, header, tag, counted)


def _split(path: Path, content: bytes, run: _Frames) -> list[_Frames]:
    """Split a run where its length header ends it, if a file without such a header was joined there."""
    first = run.counted + 1
    if run.tag is None or run.counted == 0 or len(run.frames) <= first + 1:
        return [run]
    start = run.frames[first]
    if _reaches_back(content, start, run.header):
        what = f"its length header counts {run.counted} frames, and {len(run.frames) - 1} follow"
        raise AudioFileError(what, path, _FIX)
    return [
        replace(run, frames=run.frames[:first], end=start),
        replace(run, frames=run.frames[first:], tag=None, counted=0),
    ]


def _following(
    path: Path, content: bytes, run: _Frames, marks: dict[int, bytes], *, is_cut: bool
) -> tuple[int, _Header] | None:
    """Return the first frame of the part after a run, or None at the end of the file."""
    behind = tags.skip(content, run.end)
    if behind >= len(content):
        return None
    found = _next_frame(content, behind)
    if found is not None:
        begins_anew = _tag(*found, marks) is not None
        follows, is_padded = found[0] == behind, content[run.end] == 0
        if (follows and (begins_anew or not is_padded)) or (begins_anew and run.is_complete):
            return found
    elif run.is_complete or (is_cut and _is_begun(content, run.end)):
        return None
    elif _header_at(content, run.end) is not None:
        raise AudioFileError("the file is truncated", path, _FIX)
    raise AudioFileError(_lost(run.end), path, _FIX)


def _is_begun(content: bytes, position: int) -> bool:
    """Tell whether a frame begins here and the file ends within it or its header."""
    header = _header_at(content, position)
    if header is None:
        return content[position] == 0xFF and len(content) < position + 4
    return position + header.length > len(content)


def _next_frame(content: bytes, position: int) -> tuple[int, _Header] | None:
    """Return the first frame that is followed by another one of its kind, or by the end of the sound."""
    for match in _SYNC.finditer(content, position):
        start = match.start()
        header = _header_at(content, start)
        if header is not None:
            end = start + header.length
            following = _header_at(content, end)
            is_last = following is None and end <= len(content) <= tags.skip(content, end)
            if is_last or (following is not None and following.kind == header.kind):
                return start, header
    return None


def _check_whole(path: Path, content: bytes, run: _Frames) -> None:
    """Compare a run with LAME's and ffmpeg's checksums in the length header: of the sound, and of the header."""
    start = run.frames[0]
    tag = start + 4 + run.header.side_info if run.tag is None else run.tag
    length, checksum, own = (
        int.from_bytes(content[tag + place : tag + place + size], "big")
        for place, size in ((_MUSIC_LENGTH, 4), (_MUSIC_CHECKSUM, 2), (_TAG_CHECKSUM, 2))
    )
    is_counted = length == run.end - start
    is_known = is_counted or content.startswith(_LAME, tag + _ENCODER)
    # If the frame is shorter, ffmpeg's checksum covers bytes that are not in the file.
    if is_known and run.header.length >= _FFMPEG_RANGE:
        head = content[start : tag + _TAG_CHECKSUM]
        padded = (head + bytes(2) + content[tag + _TAG_CHECKSUM + 2 : tag + _FFMPEG_RANGE])[:_FFMPEG_RANGE]
        if run.tag is None or own not in (_checksum(head), _checksum(padded)):
            raise AudioFileError("the file is damaged: its length header fails the encoder's checksum", path, _FIX)
    sound = start + run.header.length
    if is_counted and checksum and _GAIN_TAG not in content and _checksum(content[sound : run.end]) != checksum:
        raise AudioFileError("the file is damaged: its sound fails the encoder's checksum", path, _FIX)


def _checksum(content: bytes) -> int:
    """Return the CRC-16 of polynomial 0x8005, the lowest bit first, from zero.

    The bytes are cut into lanes that are computed side by side. The register is linear over exclusive or, so what a
    lane of zeros makes of each bit joins the lanes.
    """
    lanes = isqrt(len(content) // 2) + 1
    length = -(-len(content) // (2 * lanes))
    # Zeros in front do not change a register of zero.
    padded = np.frombuffer(bytes(2 * lanes * length - len(content)) + content, "<u2").reshape(lanes, length)
    rows = np.concatenate([padded, np.zeros((16, length), np.uint16)]).T.astype(np.uint16, "C")
    registers = np.concatenate([np.zeros(lanes, np.uint16), 1 << np.arange(16, dtype=np.uint16)])
    for row in rows:
        registers = _TWO_BYTES[registers ^ row]
    powers = registers[lanes:].tolist()
    total = 0
    for register in registers[:lanes].tolist():
        moved = register
        for bit, power in enumerate(powers):
            moved ^= power if total >> bit & 1 else 0
        total = moved
    return total


def _check_frames(path: Path, content: bytes, run: _Frames) -> None:
    """Check the checksums of layer III frames that have one; if most fail, the encoder did not mean them."""
    start = 0 if run.tag is None else 1
    protected = np.array([frame for frame in run.frames[start:] if not content[frame + 1] & 1], np.int64)
    if run.header.kind[1] != 3 or not len(protected):
        return
    frames = np.frombuffer(content, np.uint8)
    registers = np.full(len(protected), 0xFFFF, np.uint16)
    for offset in (2, 3, *range(6, 6 + run.header.side_info)):
        registers = (registers << 8) ^ _HIGH_FIRST[(registers >> 8) ^ frames[protected + offset]]
    stored = frames[protected + 4].astype(np.uint16) << 8 | frames[protected + 5]
    wrong = protected[registers != stored]
    if 0 < len(wrong) <= len(protected) // 2:
        raise AudioFileError(f"the file is damaged: the frame at byte {wrong[0]} fails its checksum", path, _FIX)


def _reaches_back(content: bytes, position: int, header: _Header) -> bool:
    """Tell whether the sound of a layer III frame begins in the frames before it."""
    start = position + (4 if content[position + 1] & 1 else 6)
    mask = (0xFF, 0x80) if header.kind[0] == 1 else (0xFF, 0)
    return header.kind[1] == 3 and any(byte & bits for byte, bits in zip(content[start : start + 2], mask, strict=True))


def _tag(position: int, header: _Header, marks: dict[int, bytes]) -> int | None:
    """Return where the length header of the frame at ``position`` begins, or None; a checksum may move it."""
    behind = position + 4 + header.side_info
    if marks.get(position + 36) == b"VBRI":
        return position + 36
    return next((place for place in (behind, behind + 2) if marks.get(place) in (b"Xing", b"Info")), None)


def _header_at(content: bytes, position: int) -> _Header | None:
    """Return the header of the frame at ``position``, or None if no frame begins there."""
    return _header(content[position : position + 4])


@lru_cache(maxsize=4096)
def _header(header: bytes) -> _Header | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer_bits = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version_bits == 1 or layer_bits == 0 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    version, layer = (1 if version_bits == 3 else 2), 4 - layer_bits
    sample_rate = _SAMPLE_RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version_bits]
    kind = version, layer, sample_rate, header[3] >> 6 == 3
    bits = 1000 * _RATES[version, layer][bitrate_index - 1]
    if layer == 1:
        return _Header(4 * (12 * bits // sample_rate + padding), 384, kind)
    samples = 576 if layer == 3 and version == 2 else 1152
    return _Header(samples // 8 * bits // sample_rate + padding, samples, kind)


def _high_first() -> npt.NDArray[np.uint16]:
    """Return what each byte does to a register of CRC-16, polynomial 0x8005, the highest bit first."""
    values = np.arange(256) << 8
    for _ in range(8):
        values = (values << 1 ^ 0x8005 * (values >> 15)) & 0xFFFF
    return values.astype(np.uint16)


def _two_bytes() -> npt.NDArray[np.uint16]:
    """Return what each two bytes do to a register of CRC-16, polynomial 0x8005, the lowest bit first."""
    values = np.arange(2**16)
    for _ in range(16):
        values = values >> 1 ^ 0xA001 * (values & 1)
    return values.astype(np.uint16)


_HIGH_FIRST, _TWO_BYTES = _high_first(), _two_bytes()
