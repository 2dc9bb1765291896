"""Find the audio files of a set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audiogen_metrics.errors import DataError

DECODABLE = frozenset(
    [
        ".wav",
        ".wave",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
    ]
)
"""Suffixes of what libsndfile decodes."""

UNDECODABLE = frozenset([".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka", ".amr", ".ape", ".wv", ".ac3", ".tta"])
"""Suffixes of audio that libsndfile does not decode: reported as bad files, never passed over as non-audio."""


@dataclass(frozen=True, order=True)
class AudioFile:
    """One clip: its id (POSIX path below the set's folder, without suffix) and its file."""

    clip_id: str
    path: Path


@dataclass(frozen=True)
class AudioFolder:
    """The clips of a folder, sorted by clip id, and the number of files that are not audio."""

    root: Path
    clips: tuple[AudioFile, ...]
    ignored: int


def scan(folder: str | Path) -> AudioFolder:
    """Return the audio files below ``folder``, sub-folders and links to folders included.

    Hidden files and files without an audio suffix are counted, not returned. Whether a file can be decoded is
    found out when it is.

    Raises
    ------
    DataError
        Not a folder, unreadable, without audio, or with two files of one clip id (``a.wav`` beside ``a.mp3``).
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        state = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"folder {state}", where=root, fix="Pass a folder of audio files")
    clips: dict[str, AudioFile] = {}
    ignored = 0
    for path in _walk(root):
        suffix = path.suffix.lower()
        if path.name.startswith(".") or suffix not in DECODABLE | UNDECODABLE:
            ignored += 1
            continue
        clip_id = printable(path.relative_to(root).with_suffix("").as_posix())
        if clip_id in clips:
            raise DataError(
                f"two files have the clip id {clip_id!r}: {clips[clip_id].path.name} and {path.name}",
                where=root,
                fix="Keep one of them",
            )
        clips[clip_id] = AudioFile(clip_id, path)
    if not clips:
        raise DataError(
            f"no audio files ({ignored} other files)",
            where=root,
            fix="Expected .wav, .flac, .ogg, .opus or .mp3",
        )
    return AudioFolder(root, tuple(sorted(clips.values())), ignored)


def printable(path: str | Path) -> str:
    r"""Return a path as text that can be written anywhere: bytes that are no UTF-8 become ``\udcff``."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _walk(root: Path) -> Iterator[Path]:
    """Yield every file below ``root`` once, also where links make a loop."""

    def fail(error: OSError) -> None:
        raise DataError(f"cannot list the folder ({error.strerror})", where=error.filename) from error

    seen: set[tuple[int, int]] = set()
    for directory, subdirectories, names in os.walk(root, onerror=fail, followlinks=True):
        status = Path(directory).stat()
        if (status.st_dev, status.st_ino) in seen:
            subdirectories.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith("."))
        yield from (Path(directory, name) for name in names)
