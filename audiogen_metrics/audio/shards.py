"""Tar shards in WebDataset's form: the clips of an archive, read in place."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path, PurePosixPath
from typing import IO, cast

from audiogen_metrics.audio import signatures
from audiogen_metrics.audio.decoding import MAX_BYTES
from audiogen_metrics.audio.files import AMBIGUOUS, AUDIO, Member
from audiogen_metrics.audio.spool import Content, Spool
from audiogen_metrics.errors import AudioFileError, DataError
from audiogen_metrics.options import as_path

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_SHARDS = 100_000


def expanded(pattern: str) -> list[Path]:
    """Return the shards that a path such as ``"clips-{000..012}.tar"`` stands for.

    Examples
    --------
    >>> [path.name for path in expanded("clips-{08..10}.tar")]
    ['clips-08.tar', 'clips-09.tar', 'clips-10.tar']
    """
    if as_path(pattern).exists():
        return [as_path(pattern)]
    texts = _RANGE.split(pattern)
    ranges = [
        [f"{number:0{len(first)}}" for number in range(int(first), min(int(last), int(first) + MAX_SHARDS) + 1)]
        for first, last in zip(texts[1::3], texts[2::3], strict=True)
    ]
    found = []
    for numbers in product(*ranges):
        found.append(as_path("".join(map("".join, zip(texts[::3], [*numbers, ""], strict=True)))))
    if not found:
        raise DataError("the range is empty", where=pattern, fix="Write the smaller number first")
    return found


class Shard:
    """One archive: its audio members, and the number of other members.

    Parameters
    ----------
    path
        The archive. If it is not compressed, only the headers are read at first, and each clip when it is needed.
    suffixes
        Suffixes of the members to take; empty takes all audio.
    spool
        Keeps the members of a compressed archive, which cannot be read out of order.

    Raises
    ------
    DataError
        The archive is missing, damaged, or not a tar archive.
    """

    def __init__(self, path: Path, suffixes: frozenset[str], spool: Spool) -> None:
        self.path: Path = path
        self.suffixes: frozenset[str] = suffixes
        self.spool: Spool = spool
        self.ignored: int = 0
        if not path.is_file():
            raise DataError("there is no such archive", where=path, fix="Pass tar shards that are there")
        try:
            self.clips: list[tuple[str, Path, Content]] = [*self._members()]
        except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "it ends early"
            raise DataError(f"cannot be read as a tar archive ({reason})", where=path, fix="Write it again") from error

    def _members(self) -> Iterator[tuple[str, Path, Content]]:
        """Yield name without suffix, place and content of each audio member."""
        file, is_plain = _opened(self.path)
        with file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                place = PurePosixPath(*(part for part in PurePosixPath(member.name).parts if part not in ("/", "..")))
                if member.isdir() or any(part.startswith(".") for part in place.parts[:-1]):
                    continue
                content = self._content(archive, member, is_plain)
                if self._is_wanted(place, content):
                    yield place.with_suffix("").as_posix(), self.path / place, content
                else:
                    self.ignored += 1
            _require_end(file, archive.offset)

    def _is_wanted(self, place: PurePosixPath, content: Content) -> bool:
        suffix = place.suffix.lower()
        if place.name.startswith(".") or suffix not in (self.suffixes or AUDIO):
            return False
        if suffix not in AMBIGUOUS:
            return True
        try:
            head = content()
        except AudioFileError:
            return True  # to be reported
        kind = signatures.identify(head[: signatures.HEAD]) if isinstance(head, bytes) else None
        return kind is not None and kind.is_sound

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo, is_plain: bool) -> Content:
        """Return a function that reads a member; in a compressed archive, possible audio is read now."""
        if not member.isreg() or member.issparse():
            return _no_file
        if member.size > MAX_BYTES:
            return _too_large
        if is_plain:
            return Member(self.path, member.offset_data, member.size)
        if PurePosixPath(member.name).suffix.lower() not in AUDIO:
            return _no_file
        file = archive.extractfile(member)
        return self.spool.keep(b"" if file is None else file.read())


def _opened(path: Path) -> tuple[IO[bytes], bool]:
    """Return an archive as a file that is read without compression, and whether it is uncompressed on the disk."""
    with path.open("rb") as file:
        head = file.read(6)
    for begin, opened in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
        if head.startswith(begin):
            return cast("IO[bytes]", opened(path, "rb")), False
    return path.open("rb"), True


def _require_end(file: IO[bytes], end: int) -> None:
    """Raise ReadError unless an archive ends where its members do; tarfile takes anything else for the end."""
    file.seek(end)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end: it was cut")
    if any(block):
        raise tarfile.ReadError(f"what stands at byte {end} is not a member")
    while block := file.read(2**20):  # to the end, where compression has its checksum
        if any(block):
            raise tarfile.ReadError("something stands behind its end, such as another archive")


def _no_file() -> bytes:
    raise AudioFileError("it is not a regular file within the archive", fix="Put the file itself into the archive")


def _too_large() -> bytes:
    raise AudioFileError(f"larger than {MAX_BYTES} bytes: cut it into clips")
