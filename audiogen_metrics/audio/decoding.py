"""Decode one file, or say precisely why it cannot be decoded."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import soundfile

from audiogen_metrics.audio import mp3, ogg, tags
from audiogen_metrics.audio.files import UNDECODABLE, AudioFile
from audiogen_metrics.audio.signatures import names_content
from audiogen_metrics.audio.unfinished import completed
from audiogen_metrics.errors import AudioFileError

__all__ = ["Audio", "decode"]

DECODER_VERSION = f"libsndfile-{soundfile.__libsndfile_version__}-3"
"""Part of every cache key: another decoder, or another way to use it, may give other samples."""

BLOCK_FRAMES = 2**20
"""Frames read at a time, so that memory depends on the data and not on a header's claim."""

MAX_SAMPLES = 2**29
"""Largest number of samples of a file, over all channels (2 GB): a kilobyte of FLAC can hold a day of silence."""

MAX_BYTES = 2**32
"""Largest size of a file in bytes, since files are read whole: those of `MAX_SAMPLES` in float64."""

TOO_LONG = f"more than {MAX_SAMPLES} samples: cut it into clips"

LOWEST_RATE = 1000
"""Sample rates below it are mistakes, such as kHz for Hz, which would make hours out of seconds."""

MAX_LEVEL = 1e10
"""Samples beyond this many times full scale are not audio, and their power would overflow; 32-bit integers fit."""

UNKNOWN_FRAMES = 2**62
"""libsndfile gives its largest number for a FLAC stream that was written to a pipe."""

_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+|0x[0-9A-Fa-f]+) \(should be (\d+)\)", re.MULTILINE)
_PLACEHOLDERS = (range(0x7F00_0000, 0x7F00_0100), range(0x7FFF_E000, 0x8000_0100), range(0xFFFE_0000, 2**64))
"""Sizes that SoX, arecord, ffmpeg and others leave in the header when they write to a pipe; such a file is whole."""
_KNOWN_EXCESS = 16
"""Bytes by which some writers overstate the size of a whole file."""

_FLOATS = {"FLOAT", "DOUBLE"}
_EXACT = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24"}
"""Subtypes whose integers float32 holds exactly; libsndfile rounds lossy subtypes to 16 bits, each in another way."""

# How a file begins, its kind, and where the first file ends for kinds that say so.
_BEGINNINGS = {
    "WAV": re.compile(rb"(?:RIFF|RIFX|RF64).{4}WAVE", re.DOTALL),
    "AIFF": re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL),
    "FLAC": re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    "CAF": re.compile(rb"caff\x00\x01\x00\x00desc"),
    "W64": re.compile(rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"),
    "AU": re.compile(rb"\.snd\x00\x00\x00[\x18-\xff].{4}\x00\x00\x00[\x01-\x1b]", re.DOTALL),
}

# The format chunk of W64: its tag, the extensible tag, and the tag of the codec inside that.
_W64_FORMAT = re.compile(rb"fmt \xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a.{8}(\xfe\xff).{22}(..)", re.DOTALL)

_GSM_BLOCK, _GSM_SAMPLES = 65, 320
"""Bytes and samples of a block of GSM in WAV."""

_WRITE_AGAIN = "Write it again, or convert it: ffmpeg -i IN OUT.flac"


@dataclass(frozen=True)
class Audio:
    """Decoded samples, ``(time, channels)`` float32 with full scale ±1, and their rate in Hz.

    ``integers`` are the 16-bit integers of libsndfile, if `decode` was asked for them and they do not follow from the
    floats.
    """

    samples: npt.NDArray[np.float32]
    sample_rate: int
    integers: npt.NDArray[np.int16] | None = None


def digest_of_samples(audio: Audio) -> str:
    """Return the content hash of a clip that was given as samples: of the samples, their layout and rate."""
    digest = hashlib.blake2b(digest_size=20)
    digest.update(f"samples {audio.samples.dtype.str} {audio.samples.shape} {audio.sample_rate} Hz\n".encode())
    digest.update(np.ascontiguousarray(audio.samples).data)
    return digest.hexdigest()


@names_content
def decode(path: Path, content: bytes, *, integers: bool = False) -> Audio:
    """Decode the bytes of an audio file: WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF and similar formats.

    Ogg and MP3 files that were joined are decoded one after the other, each as it would be alone.

    Parameters
    ----------
    path
        Path of the file, for errors.
    content
        Bytes of the file.
    integers
        Decode lossy files, and files of more than 24 bits, a second time, to 16-bit integers.

    Raises
    ------
    AudioFileError
        Empty, not audio, in a format that libsndfile does not decode, truncated, damaged, joined from files that do
        not fit together, without samples, of an impossible sample rate, or with NaN or infinite samples.
    """
    if not content:
        raise AudioFileError("the file is empty", path, "Write or download it again")
    parts: list[Audio] = []
    for piece, frames in _pieces(path, content):
        room = MAX_SAMPLES - sum(part.samples.size for part in parts)
        parts.append(_decode(path, piece, frames, room, integers=integers))
    audio = _joined(path, parts)
    if audio.sample_rate < LOWEST_RATE:
        what = f"its header says {audio.sample_rate} Hz, which is not a rate of sound (kHz for Hz?)"
        raise AudioFileError(what, path, "Write it again with its rate in Hz")
    require_sound(audio.samples, path, "the file")
    return audio


def require_sound(samples: npt.NDArray[np.float32], path: Path, what: str) -> None:
    """Raise AudioFileError for samples that cannot be sound; ``what`` names their owner."""
    if samples.size == 0:
        raise AudioFileError(f"{what} has no samples", path)
    extremes = np.array([samples.min(), samples.max()])  # NaN passes through both
    if not np.isfinite(extremes).all():
        raise AudioFileError(f"{what} has NaN or infinite samples", path)
    if np.abs(extremes).max() > MAX_LEVEL:
        raise AudioFileError(f"{what} has samples beyond {MAX_LEVEL:g} times full scale", path)


def decoded(clip: AudioFile, *, integers: bool = False) -> Audio:
    """Return the samples of a clip, wherever it lies.

    Parameters
    ----------
    clip
        The clip.
    integers
        As in `decode`.

    Raises
    ------
    OSError
        It cannot be read.
    AudioFileError
        As in `decode`.
    """
    content = clip.fetch()
    return content if isinstance(content, Audio) else decode(clip.path, content, integers=integers)


def claimed_samples(content: bytes) -> int:
    """Return how many samples the bytes of an audio file claim to hold over all channels, at most `MAX_SAMPLES`.

    Nothing is decoded for it. It is a guess for files that were joined and for MP3 without a length, and 0 for other
    files than audio.
    """
    try:
        with _Stream(_Content(content)) as file:
            return min(int(file.frames * file.channels), MAX_SAMPLES)
    except soundfile.LibsndfileError:
        return 0


def _joined(path: Path, parts: list[Audio]) -> Audio:
    """Return the parts one after the other; a part of one channel is the same in each channel of the others."""
    if len(parts) == 1:
        return parts[0]
    channels = max(part.samples.shape[1] for part in parts)
    if len({part.sample_rate for part in parts}) > 1 or {part.samples.shape[1] for part in parts} - {1, channels}:
        held = ", ".join(f"{part.samples.shape[1]} × {part.sample_rate} Hz" for part in parts[:4])
        what = f"joined from {len(parts)} files of different rates or channels ({held})"
        raise AudioFileError(
            what, path, "Convert each to one rate and layout before joining: ffmpeg -i IN -ar RATE OUT"
        )
    samples = np.concatenate([np.broadcast_to(part.samples, (len(part.samples), channels)) for part in parts])
    integers = [part.integers for part in parts if part.integers is not None]
    whole = np.concatenate([np.broadcast_to(each, (len(each), channels)) for each in integers]) if integers else None
    return Audio(samples, parts[0].sample_rate, whole)


def _pieces(path: Path, content: bytes) -> list[tuple[bytes, mp3.Part | None]]:
    """Return the files from which a file was joined, with the frames of each that is MP3."""
    start = tags.after_id3(content, 0)
    if content.startswith(ogg.CAPTURE, start):
        return [(link, None) for link in ogg.links(path, content)]
    if mp3.begins(content) or (path.suffix.lower() in mp3.SUFFIXES and not _is_recognised(content)):
        parts = mp3.parts(path, content)
        if len(parts) == 1 and parts[0].has_length:
            return [(content[parts[0].start :], parts[0])]
        if parts:
            return [(mp3.bytes_of(content, part), part) for part in parts]
    for kind, beginning in _BEGINNINGS.items():
        if not beginning.match(content, start):
            continue
        content = content[start:]
        if second := beginning.search(content, _end(kind, content)):
            what = f"another {kind} file begins at byte {second.start()}"
            raise AudioFileError(what, path, "Join sounds with an audio tool: ffmpeg -i 'concat:A|B' OUT.flac")
        return [(_with_codec(completed(content)), None)]
    return [(content, None)]


def _with_codec(content: bytes) -> bytes:
    """Return a W64 file whose format names its codec directly; libsndfile takes the extensible format for integers."""
    form = _W64_FORMAT.search(content) if content.startswith(b"riff") else None
    if form is None:
        return content
    return content[: form.start(1)] + form[2] + content[form.end(1) :]


def _end(kind: str, content: bytes) -> int:
    """Return where a file ends by its own header, or where another one may begin at the earliest."""
    end = 12
    if kind == "WAV" and content[:4] != b"RF64":
        end = 8 + int.from_bytes(content[4:8], "big" if content[:4] == b"RIFX" else "little")
    elif kind == "AIFF":
        end = 8 + int.from_bytes(content[4:8], "big")
    elif kind == "W64":
        end = int.from_bytes(content[16:24], "little")
    return end if 12 <= end <= len(content) else 12


def _decode(path: Path, content: bytes, frames: mp3.Part | None, room: int, *, integers: bool) -> Audio:
    """Decode a file that was not joined from others; ``room`` bounds its samples over all channels."""
    try:
        with _Stream(_Content(content)) as file:
            declared, report = file.frames, file.extra_info
            if frames is not None and frames.samples * file.channels > room:
                raise ValueError(TOO_LONG)
            samples = file.read_all("float32", room)
            sample_rate, container, subtype = int(file.samplerate), file.format, file.subtype
        rounded = None
        if integers and subtype not in _FLOATS and (subtype not in _EXACT or container == "OGG"):
            with _Stream(_Content(content)) as file:
                file.rewind()
                rounded = file.read_all("int16", room)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        foreign = path.suffix.lower() in UNDECODABLE
        fix = "Convert it first: ffmpeg -i IN OUT.flac" if foreign else "Is it audio, and complete?"
        if reason == TOO_LONG:
            raise AudioFileError(reason, path) from error
        raise AudioFileError(f"cannot be decoded ({reason})", path, fix) from error
    if container in ("WAV", "WAVEX") and subtype == "MPEG_LAYER_III":
        sound = _sound_of_wav(content)
        parts = mp3.parts(path, sound)
        frames = parts[0] if len(parts) == 1 else None
        if frames is not None and not frames.has_length:
            return _decode(path, mp3.bytes_of(sound, frames), frames, room, integers=integers)
    problem = _incompleteness(len(content), container, report, declared, len(samples), frames)
    if container in ("WAV", "WAVEX") and subtype == "GSM610":
        # libsndfile reads the byte that pads an odd number of blocks as one more block.
        whole = len(_sound_of_wav(content)) // _GSM_BLOCK * _GSM_SAMPLES
        samples, rounded = samples[:whole], None if rounded is None else rounded[:whole]
    if container == "FLAC" and problem is None and _differs_from_md5(content, samples):
        problem = "the file is damaged: its samples fail the encoder's checksum (MD5)"
    if problem:
        raise AudioFileError(problem, path, _WRITE_AGAIN)
    return Audio(samples, sample_rate, rounded)


def _sound_of_wav(content: bytes) -> bytes:
    """Return what the data chunk of a WAV file holds."""
    chunk, size = 12, 0
    while chunk + 8 <= len(content):
        size = int.from_bytes(content[chunk + 4 : chunk + 8], "little")
        if content.startswith(b"data", chunk):
            break
        chunk += 8 + size + size % 2
    return content[chunk + 8 : chunk + 8 + size]


def _is_recognised(content: bytes) -> bool:
    try:
        _Stream(_Content(content)).close()
    except soundfile.LibsndfileError:
        return False
    return True


class _Content(io.BytesIO):
    """The bytes of a file. If a damaged header sends the reader to before the start, it does not move."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # it has no types
    """A file that is read from its beginning to its end, whatever length its header claims."""

    def seekable(self) -> bool:
        """Return False: otherwise each read is cut to the claimed length and followed by a seek, which may fail."""
        return False

    def rewind(self) -> None:
        """Seek to the beginning as `soundfile.read` does; some integers of MP3 then differ by one."""
        if super().seekable():
            self.seek(0)

    def read_all(self, dtype: str, room: int) -> npt.NDArray[Any]:
        """Return all samples, ``(time, channels)``; ValueError for too many, before reading if the header says so."""
        # The length of MP3 may be an estimate. Beyond the end of other files, tags and joined files would be read.
        is_estimate = self.format == "MP3"
        if not is_estimate and room < self.frames * self.channels < UNKNOWN_FRAMES:
            raise ValueError(TOO_LONG)
        length = 2**63 if is_estimate else self.frames
        samples: npt.NDArray[Any] = np.empty((0, self.channels), dtype)
        while len(block := self._read_block(length - len(samples), dtype)):
            if samples.size + block.size > room:
                raise ValueError(TOO_LONG)
            # Keeping all blocks and joining them at the end would take the memory twice.
            samples.resize((len(samples) + len(block), self.channels), refcheck=False)
            samples[-len(block) :] = block
        return samples

    def _read_block(self, left: int, dtype: str) -> npt.NDArray[Any]:
        return cast("npt.NDArray[Any]", self.read(min(left, BLOCK_FRAMES), dtype=dtype, always_2d=True))


def _incompleteness(
    size: int, container: str, report: str, declared: int, decoded: int, frames: mp3.Part | None
) -> str | None:
    """Return how a file falls short of what its headers say; libsndfile decodes most such files without a word."""
    truncated = "the file is truncated"
    if frames is not None and not frames.has_length:
        return "MP3 without a length header, decoded in part only" if decoded < frames.samples else None
    if decoded < declared < UNKNOWN_FRAMES and (frames is not None or container != "MP3"):
        return truncated
    chunk = _SHORT_CHUNK.search(report)
    return truncated if chunk is not None and _is_short(int(chunk[1], 0), int(chunk[2]), size) else None


def _is_short(claimed: int, found: int, size: int) -> bool:
    """Tell whether a chunk is cut: its header claims more bytes than a file of this size has.

    A header that was never completed, or has the size of the file (or of all but eight bytes) instead, does not count.
    """
    is_written = not any(claimed in placeholders for placeholders in _PLACEHOLDERS)
    return claimed > found and is_written and claimed - found != _KNOWN_EXCESS and claimed not in (size, size - 8)


def _differs_from_md5(content: bytes, samples: npt.NDArray[np.float32]) -> bool:
    """Compare the samples of a FLAC file with the MD5 in its header (RFC 9639, section 8.2), if it has one."""
    place = content.find(b"fLaC") + 8
    depth = ((content[place + 12] & 1) << 4 | content[place + 13] >> 4) + 1
    stored = content[place + 18 : place + 34]
    if not any(stored):
        return False
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, len(samples), BLOCK_FRAMES):
        # At most 24 bits, which float32 holds exactly.
        whole = samples[start : start + BLOCK_FRAMES] * np.float32(2 ** (depth - 1))
        if depth <= 16:
            digest.update(whole.astype("i1" if depth <= 8 else "<i2").tobytes())
        else:
            digest.update(whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    return digest.digest() != stored
