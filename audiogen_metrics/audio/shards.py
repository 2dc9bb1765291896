"""Tar shards in WebDataset's form: the clips of an archive, read where they lie."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath

from audiogen_metrics.audio import signatures
from audiogen_metrics.audio.decoding import MAX_BYTES
from audiogen_metrics.audio.files import AMBIGUOUS, AUDIO
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
    """One archive: its audio members, and how many others there are.

    Parameters
    ----------
    path
        The archive. Of one that is not compressed only the headers are read, and each clip when it is needed.
    suffixes
        Of the members to take; empty takes all audio.
    spool
        Where members of a compressed archive are kept, which cannot be read out of order.

    Raises
    ------
    DataError
        Missing, not a tar archive, or damaged.
    """

    def __init__(self, path: Path, suffixes: frozenset[str], spool: Spool) -> None:
        self.path, self.suffixes, self.spool = path, suffixes, spool
        self.ignored = 0
        if not path.is_file():
            raise DataError("there is no such archive", where=path, fix="Pass tar shards that are there")
        try:
            self.clips: list[tuple[str, Path, Content]] = [*self._members()]
        except (OSError, tarfile.TarError, EOFError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "it ends early"
            raise DataError(f"cannot be read as a tar archive ({reason})", where=path, fix="Write it again") from error

    def _members(self) -> Iterator[tuple[str, Path, Content]]:
        """Yield name without suffix, place and content of each audio member."""
        is_plain = _is_plain(self.path)
        with tarfile.open(self.path, "r:" if is_plain else "r|*") as archive:
            for member in archive:
                place = PurePosixPath(member.name.lstrip("/"))
                if member.isdir() or any(part.startswith(".") for part in place.parts[:-1]):
                    continue
                content = self._content(archive, member, is_plain)
                if not self._is_wanted(place, content):
                    self.ignored += 1
                    continue
                yield place.with_suffix("").as_posix(), self.path / place, content

    def _is_wanted(self, place: PurePosixPath, content: Content) -> bool:
        suffix = place.suffix.lower()
        if place.name.startswith(".") or suffix not in (self.suffixes or AUDIO):
            return False
        if suffix not in AMBIGUOUS:
            return True
        head = content()
        kind = signatures.identify(head[: signatures.HEAD]) if isinstance(head, bytes) else None
        return kind is not None and kind.is_sound

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo, is_plain: bool) -> Content:
        """Return what reads a member; of a compressed archive it is read now, if it may be audio."""
        if not member.isreg() or member.issparse():
            return _no_file
        if member.size > MAX_BYTES:
            return _too_large
        if is_plain:
            return partial(_part, self.path, member.offset_data, member.size)
        if PurePosixPath(member.name).suffix.lower() not in AUDIO:
            return _no_file
        file = archive.extractfile(member)
        return self.spool.keep(b"" if file is None else file.read())


def _is_plain(path: Path) -> bool:
    """Tell whether an archive is not compressed."""
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.ReadError:
        return False


def _part(path: Path, start: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(size)
    if len(content) < size:
        raise AudioFileError(f"the archive ends {size - len(content)} bytes too early", path, "Write it again")
    return content


def _no_file() -> bytes:
    raise AudioFileError("it is no regular file within the archive", fix="Put the file itself into the archive")


def _too_large() -> bytes:
    raise AudioFileError(f"larger than {MAX_BYTES} bytes: cut it into clips")
