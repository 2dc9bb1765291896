"""Decode one file, or say precisely why not."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import soundfile

from audiogen_metrics.audio import mp3
from audiogen_metrics.audio.files import UNDECODABLE
from audiogen_metrics.errors import AudioFileError

DECODER_VERSION = f"libsndfile-{soundfile.__libsndfile_version__}"
"""Part of every cache key: another decoder may give other samples."""

BLOCK_FRAMES = 2**20
"""Frames read at a time: memory follows the data, not a header's claim."""

MAX_SAMPLES = 2**29
"""Samples of a file at most, over all channels (2 GB): a kilobyte of FLAC can hold a day of silence."""

MAX_BYTES = 2**32
"""Bytes of a file at most, which is read whole: as many float64 samples."""

TOO_LONG = f"more than {MAX_SAMPLES} samples: cut it into clips"

MAX_LEVEL = 1e10
"""Samples beyond this many times full scale are no audio, and their power would overflow; 32-bit integers fit."""

UNKNOWN_FRAMES = 2**62
"""libsndfile gives its largest number for a FLAC stream that was written to a pipe."""

_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+|0x[0-9A-Fa-f]+) \(should be \d+\)", re.MULTILINE)
_STREAMED = 0xFFFF_FFFF - 2**16
"""Encoders that write to a pipe leave the largest chunk size in the header; such a file is whole."""


@dataclass(frozen=True)
class Audio:
    """Decoded samples, ``(time, channels)`` float32 with full scale ±1, and their rate in Hz."""

    samples: npt.NDArray[np.float32]
    sample_rate: int


def decode(path: Path, content: bytes) -> Audio:
    """Decode the bytes of an audio file: WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF and their kin.

    Raises
    ------
    AudioFileError
        Empty, not audio, in a format that libsndfile does not decode, truncated, without samples, or with NaN
        or infinite samples.
    """
    if not content:
        raise AudioFileError("the file is empty", path)
    try:
        with _Stream(_Content(content)) as file:
            declared, report = file.frames, file.extra_info
            samples = file.read_all()
            sample_rate, container = int(file.samplerate), file.format
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        foreign = path.suffix.lower() in UNDECODABLE
        fix = "Convert it first: ffmpeg -i IN OUT.flac" if foreign else "Is it audio, and complete?"
        if reason == TOO_LONG:
            raise AudioFileError(reason, path) from error
        raise AudioFileError(f"cannot be decoded ({reason})", path, fix) from error
    problem = _incompleteness(content, container, report, declared, len(samples))
    if problem:
        raise AudioFileError(problem, path, "Write it again, or convert it: ffmpeg -i IN OUT.flac")
    if samples.size == 0:
        raise AudioFileError("the file has no samples", path)
    if not np.isfinite(samples).all():
        raise AudioFileError("the file has NaN or infinite samples", path)
    if np.abs(samples).max() > MAX_LEVEL:
        raise AudioFileError(f"the file has samples beyond {MAX_LEVEL:g} times full scale", path)
    return Audio(samples, sample_rate)


class _Content(io.BytesIO):
    """The bytes of a file. Where a damaged header sends the reader before the start, it stays where it is."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A file that is read from its beginning to its end, whatever length its header claims."""

    def seekable(self) -> bool:
        """Say no: otherwise each read is cut to the claimed length and followed by a seek, which may fail."""
        return False

    def read_all(self) -> npt.NDArray[np.float32]:
        """Return all samples, ``(time, channels)``. ValueError for too many, unread where the header says how many."""
        if MAX_SAMPLES < self.frames * self.channels < UNKNOWN_FRAMES:
            raise ValueError(TOO_LONG)
        blocks = [self._read_block()]
        total = 0
        while len(blocks[-1]):
            total += blocks[-1].size
            if total > MAX_SAMPLES:
                raise ValueError(TOO_LONG)
            blocks.append(self._read_block())
        return np.concatenate(blocks)

    def _read_block(self) -> npt.NDArray[np.float32]:
        return cast("npt.NDArray[np.float32]", self.read(BLOCK_FRAMES, dtype="float32", always_2d=True))


def _incompleteness(content: bytes, container: str, report: str, declared: int, decoded: int) -> str | None:
    """Return how a file falls short of what its own headers say; libsndfile decodes most such files in silence."""
    truncated = "the file is truncated"
    if container == "MP3":
        stream = mp3.walk(content)
        if stream.has_length:
            return truncated if decoded < declared else None
        # The decoder's delay may cost a frame or two.
        short = decoded < stream.samples - 3 * 1152
        return truncated if stream.is_cut else "MP3 without a length header, decoded in part only" if short else None
    if decoded < declared < UNKNOWN_FRAMES:
        return truncated
    if container == "OGG":
        return None if _last_ogg_page_is_whole(content) else truncated
    chunk = _SHORT_CHUNK.search(report)
    return truncated if chunk is not None and int(chunk[1], 0) < _STREAMED else None


def _last_ogg_page_is_whole(content: bytes) -> bool:
    """Tell whether the last page is as long as its own header says (RFC 3533, section 6).

    The end-of-stream flag would say more, but some encoders never set it: it is missing in 548 of the 1836 sound
    recordings of Debian's klettres-data.
    """
    page = content[content.rfind(b"OggS") :]
    if len(page) < 27:
        return False
    segments = page[26]
    return len(page) >= 27 + segments + sum(page[27 : 27 + segments])
