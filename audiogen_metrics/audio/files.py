"""Find the audio files of a set."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from audiogen_metrics.audio import signatures
from audiogen_metrics.errors import AudioFileError, DataError, option
from audiogen_metrics.options import as_path, at_home
from audiogen_metrics.registry import unknown_name

if TYPE_CHECKING:
    from audiogen_metrics.audio.decoding import Audio

__all__ = ["AudioFile", "AudioFolder", "scan"]


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


DECODABLE = _suffixes("wav wave flac ogg oga ogv opus mp1 mp2 mp3 mpa mpga aif aiff aifc au snd caf w64 rf64 voc sph")
"""Suffixes of files that libsndfile decodes."""

UNDECODABLE = _suffixes(
    "m4a m4b m4p m4r mp4 m4v f4a f4v 3gp 3g2 mov qt aac adts loas webm weba mka mkv wma wmv avi flv mpg mpeg vob m2ts "
    "mxf rm ra amr awb ape wv ac3 eac3 ec3 mlp thd tta tak shn mpc spx dsf dff oma aa3 qoa"
)
"""Suffixes of audio and video that libsndfile does not decode. These are bad files, and never ignored as non-audio."""

AMBIGUOUS = frozenset([".ts", ".mts", ".dts", ".asf"])
"""Suffixes of sound that are also those of source code or other text: such a file counts if it begins as sound does."""

AUDIO = DECODABLE | UNDECODABLE | AMBIGUOUS

SHARDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Suffixes of archives that stand for a folder."""

MAX_REPEATED = 1_000_000
"""Largest number of files and folders that links may list again, since links into each other multiply without end."""


@dataclass(frozen=True, order=True)
class Member:
    """A file within an uncompressed archive; calling it returns the file's bytes.

    Parameters
    ----------
    archive
        The archive.
    start, size
        Where the file's bytes begin in it, and how many there are.
    """

    archive: Path
    start: int
    size: int

    def __call__(self) -> bytes:
        """Return the bytes; raises OSError, and AudioFileError where the archive ends before them."""
        with self.archive.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.size)
        if len(content) < self.size:
            missing = self.size - len(content)
            raise AudioFileError(f"the archive ends {missing} bytes too early", self.archive, "Write it again")
        return content


@dataclass(frozen=True, order=True)
class AudioFile:
    """One clip: its id (POSIX path below the set's folder, without suffix, in Unicode's form NFC) and its file."""

    clip_id: str
    path: Path

    @property
    def is_file(self) -> bool:
        """Whether ``path`` can be opened; otherwise it only says where the clip lies."""
        return True

    @property
    def member(self) -> Member | None:
        """Its place in an archive, if it can be read there."""
        return None

    def fetch(self) -> bytes | Audio:
        """Return the bytes of the file, or the samples of a clip that was given as samples.

        Raises
        ------
        OSError
            It cannot be read.
        AudioFileError
            It is not a clip.
        """
        return self.path.read_bytes()

    def spelt(self, root: Path) -> str:
        """Return the clip id as the file's name spells it, which differs if the name is not in NFC."""
        return _spelt(self.path, root)


@dataclass(frozen=True)
class AudioFolder:
    """The clips of a folder.

    Parameters
    ----------
    root
        The folder.
    clips
        Sorted by clip id.
    ignored
        Number of files that are not audio, or have another suffix than asked for.
    lost
        Links that lead nowhere and may have stood for folders of clips, each with the reason.
    """

    root: Path
    clips: tuple[AudioFile, ...]
    ignored: int
    lost: tuple[str, ...] = ()

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips, sorted."""
        return tuple(clip.clip_id for clip in self.clips)

    @property
    def written(self) -> dict[str, str]:
        """Clip ids as the files' names spell them, by clip id; they differ if a name is not in NFC."""
        return {clip.clip_id: clip.spelt(self.root) for clip in self.clips}


ClipSet: TypeAlias = "str | Path | Iterable[Any]"
"""A set of clips: a folder or tar shard, or the clips themselves; see `audiogen_metrics.score`."""


def open_clips(
    given: ClipSet, suffixes: str | Iterable[str] = (), *, sample_rate: int | None = None, name: str = "gen"
) -> AudioFolder:
    """Return a set of clips, however it is given.

    Parameters
    ----------
    given
        A folder, or any other set of clips that `audiogen_metrics.score` takes.
    suffixes
        As in `scan`; for tar shards, too.
    sample_rate
        Rate in Hz of arrays without their own rate.
    name
        Name of the set in errors.

    Raises
    ------
    DataError, UsageError
        As `scan`; also for something that is not a clip, or two clips with one id.
    """
    if isinstance(given, (str, os.PathLike)) and not is_shard(given):
        return scan(given, suffixes)
    from audiogen_metrics.audio.given import collect  # numpy is not needed for folders

    return collect(given, suffixes, sample_rate, name)


def is_shard(given: object) -> bool:
    """Tell whether the argument is the path of an archive that stands for a folder."""
    text = os.fsdecode(given) if isinstance(given, (str, os.PathLike)) else ""
    return text.lower().endswith(SHARDS) and not at_home(text).is_dir()


def scan(folder: str | Path, suffixes: str | Iterable[str] = ()) -> AudioFolder:
    """Return the audio files below ``folder``, sub-folders and links to folders included.

    Hidden files and files without an audio suffix are counted, not returned. Files are not decoded here, so bad files
    show later. A folder that several links lead to is listed below each of them; a link to a folder that contains it is
    not followed.

    Parameters
    ----------
    folder
        The folder.
    suffixes
        Take files with these suffixes only, such as ``".flac"``; the others are counted. Empty takes all audio.

    Raises
    ------
    DataError
        It is not a folder, is unreadable, has no audio, or has two files with one clip id (``a.wav`` and ``a.mp3``).
    UsageError
        A suffix is not one of audio, or ``folder`` is not a path.
    """
    wanted = frozenset(parse_suffixes(suffixes))
    root = as_path(folder)
    if not root.is_dir():
        what = "a file, where a folder belongs" if root.exists() else "folder does not exist"
        raise DataError(what, where=root, fix="Pass a folder of audio files")
    clips: dict[str, AudioFile] = {}
    others: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    ignored = 0
    lost: list[str] = []
    for path in _walk(root):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            ignored += 1
        elif suffix not in AUDIO or (suffix in AMBIGUOUS and not _begins_as_sound(path)):
            ignored += 1
            passed[suffix] += 1
            # Links to folders rarely have a suffix.
            if not suffix and path.is_symlink() and (reason := _dead_end(path)):
                lost.append(f"{printable(path.relative_to(root))} ({reason})")
        elif wanted and suffix not in wanted:
            others[suffix] += 1
        else:
            clip_id = canonical_id(_spelt(path, root))
            if clip_id in clips:
                raise _two_files(clip_id, clips[clip_id].path, path, root)
            clips[clip_id] = AudioFile(clip_id, path)
    if not clips and others:
        raise DataError(
            f"no file has the suffix {' or '.join(sorted(wanted))}",
            where=root,
            fix="There are " + ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items())),
        )
    if not clips:
        named = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in passed.most_common(3))
        raise DataError(
            f"no audio files ({ignored} other files{': ' * bool(named)}{named})",
            where=root,
            fix="Expected .wav, .flac, .ogg, .opus or .mp3",
        )
    return AudioFolder(root, tuple(sorted(clips.values())), ignored + others.total(), tuple(lost))


def parse_suffixes(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return suffixes in lower case and with their dot, each once; UsageError for one that is not of audio.

    Examples
    --------
    >>> parse_suffixes(["FLAC,.wav", "flac"])
    ('.flac', '.wav')
    """
    parts = [part.strip() for text in ([given] if isinstance(given, str) else given) for part in text.split(",")]
    found = tuple(dict.fromkeys("." + part.lower().removeprefix(".") for part in parts if part))
    for suffix in found:
        if suffix not in AUDIO:
            raise unknown_name("audio suffix", suffix, sorted(AUDIO))
    return found


def canonical_id(name: str) -> str:
    """Return a clip id in Unicode's form NFC, since some systems write é as e and an accent (macOS: NFD)."""
    return unicodedata.normalize("NFC", name)


def printable(path: str | Path) -> str:
    r"""Return a path as text that can be written anywhere: bytes that are not UTF-8 become ``\udcff``."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _spelt(path: Path, root: Path) -> str:
    return printable(path.relative_to(root).with_suffix("").as_posix())


def _two_files(clip_id: str, first: Path, second: Path, root: Path) -> DataError:
    """Return the error of two files that would be one clip."""
    names = [printable(path.relative_to(root).as_posix()) for path in (first, second)]
    if _spelt(first, root) != _spelt(second, root):
        return DataError(
            f"two files have the clip id {clip_id!r}: {names[0]!a} and {names[1]!a} differ in their Unicode form",
            where=root,
            fix="Rename one of them, or keep one: clips pair by the composed form, NFC",
        )
    found = {first.suffix.lower(), second.suffix.lower()}
    choices = sorted(found & DECODABLE) or sorted(found)
    named = " or ".join(option("suffixes", each) for each in choices)
    choice = f", or choose: {named}" if len(found) > 1 else ""
    return DataError(
        f"two files have the clip id {clip_id!r}: {names[0]} and {names[1]}",
        where=root,
        fix=f"Keep one of them{choice}",
    )


def _begins_as_sound(path: Path) -> bool:
    if not path.is_file():
        return False  # reading a pipe would wait
    try:
        with path.open("rb") as file:
            kind = signatures.identify(file.read(signatures.HEAD))
    except OSError:
        return True  # to be reported
    return kind is not None and kind.is_sound


def _dead_end(link: Path) -> str | None:
    """Return why a link leads nowhere, None if it leads somewhere."""
    try:
        link.stat()
    except OSError as error:
        return error.strerror
    return None


def _walk(root: Path) -> Iterator[Path]:
    """Yield every file below ``root``, folder by folder; links are followed, but not to a folder that contains them."""
    seen: set[tuple[int, int]] = set()
    repeated = 0
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = folder.stat()
            own = (status.st_dev, status.st_ino)
            if own in above:
                continue
            with os.scandir(folder) as entries:
                found = sorted((entry.name, is_folder(entry)) for entry in entries)
        except OSError as error:
            raise DataError(f"cannot list the folder ({error.strerror})", where=folder) from error
        if own in seen:
            repeated += 1 + len(found)
            if repeated > MAX_REPEATED:
                raise DataError(
                    f"links list more than {MAX_REPEATED} files and folders a second time",
                    where=root,
                    fix="Remove links to folders that hold links to each other",
                )
        seen.add(own)
        yield from (folder / name for name, is_inner in found if not is_inner)
        inner = [folder / name for name, is_inner in found if is_inner and not name.startswith(".")]
        waiting += [(path, above | {own}) for path in reversed(inner)]


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry of a folder is a folder, or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
