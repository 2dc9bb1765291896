"""Tell what an undecodable file is, by its first bytes, and what makes audio of it.

Nothing is decoded here. It is used when decoding has failed, or if a suffix such as ``.ts`` says too little.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from audiogen_metrics.audio import tags
from audiogen_metrics.errors import AudioFileError

HEAD = 4096
"""Number of bytes from which a file is identified."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """What a file is, what to do with it, and whether it has sound."""

    name: str
    fix: str
    is_sound: bool


_CONVERT = "Convert it, and put the result in its place: ffmpeg -i IN -c:a pcm_f32le OUT.wav"
_CONVERT_FLAC = "Convert it with flac 1.4 or later, and put the result in its place: flac -d -o OUT.wav IN"
_FETCH = "Download it again; what it says may tell why that failed: head -c 300 IN"
_UNPACK = "Unpack it, and pass the folder of what is in it"
_FROM_ARRAY = "Write its samples as audio: in Python, soundfile.write(FILE, SAMPLES, RATE)"
_REPLACE = "Put the audio in its place, or remove it"
_MIDI = "It holds notes, no sound; play them: fluidsynth -F OUT.wav SOUNDFONT.sf2 IN"

# How files begin, in the order in which they are compared.
_SOUNDS = (
    (rb"\x00...ftyp(?:M4A|M4B|M4P|F4A)", "MPEG-4 audio (M4A: AAC or ALAC)"),
    (rb"\x00...ftyp3g", "3GP (MPEG-4)"),
    (rb"\x00...ftypqt  |[\x00-\x1f]...(?:moov|mdat|wide)", "QuickTime (MOV)"),
    (rb"\x00...ftyp", "MPEG-4 (MP4)"),
    (rb"\x1a\x45\xdf\xa3.{0,64}webm", "WebM"),
    (rb"\x1a\x45\xdf\xa3", "Matroska"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF (WMA or WMV)"),
    (rb"RIFF....AVI ", "AVI"),
    (rb"FLV\x01", "Flash video (FLV)"),
    (rb"\.RMF|\.ra\xfd", "RealAudio or RealVideo"),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "MXF"),
    (rb"\x00\x00\x01[\xba\xb3]", "MPEG video"),
    (rb"(?:G.{187}){3}|....G(?:.{191}G){2}", "an MPEG transport stream"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "AAC (ADTS)"),
    (rb"ADIF", "AAC (ADIF)"),
    (rb"\x56[\xe0-\xff]", "AAC (LATM)"),
    (rb"#!AMR", "AMR"),
    (rb"MAC .[\x0c-\x10]", "Monkey's Audio (APE)"),
    (rb"wvpk", "WavPack"),
    (rb"\x0b\x77...[\x58-\x87]", "E-AC-3"),
    (rb"\x0b\x77|\x77\x0b", "AC-3"),
    (rb"TTA[12]", "True Audio (TTA)"),
    (rb"DSD \x1c\x00|FRM8.{8}DSD ", "DSD (DSF or DFF)"),
    (rb"MPCK|MP\+", "Musepack"),
    (rb"ajkg", "Shorten"),
    (rb"tBaK", "TAK"),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\x00|\xff\x1f\x00\xe8", "DTS"),
    (rb"....\xf8\x72\x6f[\xba\xbb]", "TrueHD or MLP"),
    (rb"(?:ea3|EA3)[\x01-\x03]", "ATRAC (OMA)"),
    (rb"qoaf", "QOA"),
)
_OTHERS = (
    (rb"version https://git-lfs\.github\.com/", "a Git LFS pointer in place of the file", "Fetch it: git lfs pull"),
    (rb"[./git]*/annex/objects/", "a git-annex pointer in place of the file", "Fetch it: git annex get IN"),
    (rb"(?i:\s*<(?:!doctype\s+html|html|head|body|script|title))", "an HTML page", _FETCH),
    (rb"\s*<(?:\?xml|[A-Z]\w*(?:>|\s))", "XML, such as a server's error", _FETCH),
    (rb"\s*(?:\{\s*[\"}]|\[\s*[\[\]{\"])", "JSON, such as a server's error", _FETCH),
    (rb"#EXTM3U", "a playlist", "Pass the files that it names"),
    (rb"MThd|RIFF....RMID", "MIDI", _MIDI),
    (rb"\x93NUMPY", "a NumPy array (.npy)", _FROM_ARRAY),
    (rb"PK\x03\x04.{26}[^\x00]{0,200}?data\.pkl", "a checkpoint or tensors of PyTorch", _FROM_ARRAY),
    (rb"PK\x03\x04.{26}[^\x00]{0,200}?\.npy", "NumPy arrays (.npz)", _FROM_ARRAY),
    (rb"\x80(?:[\x02\x03][\]})(cX\x8a]|[\x04\x05]\x95)", "a Python pickle", _FROM_ARRAY),
    (rb"\x89HDF\r\n", "HDF5", _FROM_ARRAY),
    (rb".{3}\x00{5}\{\"", "arrays (.safetensors)", _FROM_ARRAY),
    (rb"PAR1|ARROW1", "a table (Parquet or Arrow)", _FROM_ARRAY),
    (rb"PK(?:\x03\x04|\x05\x06)", "a ZIP archive", _UNPACK),
    (rb"\x1f\x8b", "a gzip archive", _UNPACK),
    (rb"BZh[1-9]|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar", "an archive", _UNPACK),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II\*\x00|MM\x00\*", "an image", _REPLACE),
    (rb"%PDF", "a PDF", _REPLACE),
)
_ZEROS = Kind("nothing but zeros", "Write or download it again: that was interrupted", False)
_KINDS = [
    *((re.compile(pattern, re.DOTALL), Kind(name, _CONVERT, True)) for pattern, name in _SOUNDS),
    *((re.compile(pattern, re.DOTALL), Kind(name, fix, False)) for pattern, name, fix in _OTHERS),
]

_WAV = re.compile(rb"(RIFF|RIFX|RF64|BW64).{4}WAVE|riff\x2e\x91\xcf\x11", re.DOTALL)
_IN_WAV = {
    0x0050: "MPEG layer I or II",
    0x0022: "TrueSpeech",
    0x0042: "G.723",
    0x0045: "G.726",
    0x0064: "G.726",
    0x028F: "G.722",
    0x0069: "Xbox ADPCM",
    0x0083: "G.729",
    0x00FF: "AAC",
    0x0130: "ACELP",
    0x0160: "WMA",
    0x0161: "WMA",
    0x0162: "WMA Pro",
    0x0163: "WMA lossless",
    0x0270: "ATRAC3",
    0x1600: "AAC (ADTS)",
    0x1602: "AAC (LATM)",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x5346: "SWF ADPCM",
    0x566F: "Vorbis",
    0x674F: "Vorbis",
    0x6750: "Vorbis",
    0x6751: "Vorbis",
    0x676F: "Vorbis",
    0x6770: "Vorbis",
    0x6771: "Vorbis",
    0x704F: "Opus",
    0xA106: "AAC",
    0xF1AC: "FLAC",
}
"""Codecs in WAV by their tag (RFC 2361, and what ffmpeg writes)."""
_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
_DECODED_IN_WAV = {0x0002, 0x0006, 0x0007, 0x0011, 0x0014, 0x0031, 0x0038, 0x0040, 0x0055}
"""Further codecs that libsndfile decodes."""
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_GUID = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
"""Bytes after the tag in an identifier of extensible WAV that has a tag."""
_GUIDS = {
    bytes.fromhex("bfaa23e958cb7144a119fffa01e4ce62"): "ATRAC3plus",
    bytes.fromhex("2c806de046dbcf11b4d100805f6cbbea"): "AC-3",
    bytes.fromhex("af87fba7022dfb42a4d405cd93843bdd"): "E-AC-3",
}

_IN_AIFF = {b"MAC3": "MACE 3:1", b"MAC6": "MACE 6:1", b"QDMC": "QDesign", b"QDM2": "QDesign 2", b".mp3": "MP3"}
_IN_CAF = {b"aac ": "AAC", b"aach": "AAC", b"aacp": "AAC", b".mp3": "MP3", b"opus": "Opus", b"ac-3": "AC-3"}
_IN_OGG = {b"Speex   ": "Speex", b"\x7fFLAC": "FLAC in a form that libsndfile does not take", b"\x80theora": "video"}


def identify(content: bytes) -> Kind | None:
    """Return the kind of a file that libsndfile does not know, by its first bytes; None for audio and unknown files.

    Examples
    --------
    >>> identify(b"<!DOCTYPE html><title>404</title>").name
    'an HTML page'
    """
    head = _head(content).removeprefix(b"\xef\xbb\xbf")
    if content.count(0) == len(content) > 0:
        return _ZEROS
    for pattern, kind in _KINDS:
        if pattern.match(head):
            return kind
    text = _as_text(head)
    return Kind(f"text ({text!r})", _REPLACE, False) if text else None


def codec(content: bytes) -> Kind | None:
    """Return the codec of an audio file if libsndfile knows its container but not the codec."""
    head = _head(content)
    name = _codec(head)
    # ffmpeg before 6 turns FLAC of 32 bits into an empty file, and reports success.
    return None if name is None else Kind(name, _CONVERT_FLAC if head.startswith(b"fLaC") else _CONVERT, True)


def names_content(decode: F) -> F:
    """Make the error of a decoder of ``(path, content)`` say what the content is, if this is known."""

    @wraps(decode)
    def decoding(path: Path, content: bytes, **options: Any) -> Any:
        try:
            return decode(path, content, **options)
        except AudioFileError as error:
            kind = identify(content)
            if kind is None and error.what.startswith("cannot be decoded"):
                kind = codec(content)
            if kind is None:
                raise
            raise AudioFileError(f"cannot be decoded: it is {kind.name}", path, kind.fix) from error

    return cast("F", decoding)


def _head(content: bytes) -> bytes:
    """Return the beginning of a file, without ID3 tags, which programs also write before AAC and others."""
    start = tags.after_id3(content, 0)
    return content[start : start + HEAD]


def _as_text(head: bytes) -> str:
    """Return the first words of a text; empty for anything else."""
    try:
        text = head[:256].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 252:  # not just a character that was cut at the end
            return ""
        text = head[: error.start].decode("utf-8")
    words = " ".join(text.split())
    return words[:40] if words.isprintable() else ""


def _codec(content: bytes) -> str | None:
    if found := _WAV.match(content):
        return _codec_in_wav(content, found[1])
    if content.startswith(b"FORM") and content[8:12] == b"AIFC":
        place = content.find(b"COMM", 12)
        return _other(content[place + 26 : place + 30], "AIFF", _IN_AIFF)
    if content.startswith(b"caff"):
        return _other(content[28:32], "CAF", _IN_CAF)
    if content.startswith(b"fLaC") and len(content) > 21:
        bits = ((content[20] & 1) << 4 | content[21] >> 4) + 1
        return f"FLAC of {bits} bits, and libsndfile decodes up to 24" if bits > 24 else None
    if content.startswith(b"OggS"):
        return next((f"Ogg with {name}" for mark, name in _IN_OGG.items() if mark in content[:256]), None)
    return None


def _codec_in_wav(content: bytes, form: bytes | None) -> str | None:
    chunk = content.find(b"fmt ", 12)
    container, start = ("W64", chunk + 24) if form is None else ("WAV", chunk + 8)
    if chunk < 0 or len(content) < start + 40:
        return None
    tag, bits = struct.unpack_from(">H12xH" if form == b"RIFX" else "<H12xH", content, start)
    identifier = content[start + 24 : start + 40]
    if tag == _EXTENSIBLE and identifier[2:] == _GUID:
        tag = int.from_bytes(identifier[:2], "little")
    if tag in _BITS:
        kind = "floating-point numbers" if tag == _FLOAT else "integers"
        return None if bits in _BITS[tag] else f"{container} of {bits}-bit {kind}"
    if tag in _DECODED_IN_WAV:
        return None
    name = _GUIDS.get(identifier) if tag == _EXTENSIBLE else _IN_WAV.get(tag)
    return f"{container} with {name or f'a codec that libsndfile does not know (0x{tag:04x})'}"


def _other(mark: bytes, container: str, names: dict[bytes, str]) -> str | None:
    return f"{container} with {names[mark]}" if mark in names else None
