"""Hashes of files, remembered so that a second run need not read them: audio's and weights'."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from audiogen_metrics.filesystems import RACY_NS, Volume
from audiogen_metrics.settings import cache_dir, cache_trouble
from audiogen_metrics.writing import write_atomically

F = TypeVar("F", bound=Callable[..., Any])

VERSION = 2
"""Of the file's layout; a memo of another one is not believed. Version 1 did not look at the file system."""

FileIdentity = tuple[int, int, int, int, int]
"""Size, modification time, change time (ns), inode and device of a file at one moment."""

Stamp = tuple[int, int, int, int, str]
"""The same in a memo, with the volume in place of the device, whose number another mount may have tomorrow."""


def digest_of(content: bytes) -> str:
    """Return the content hash under which a clip is cached."""
    return hashlib.blake2b(content, digest_size=20).hexdigest()


_anew: ContextVar[bool] = ContextVar("hashes_anew", default=False)


def hashing_as_asked(function: F) -> F:
    """Let a function that is called with ``verify=True`` hash files of weights again, as it does those of audio."""

    @wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        token = _anew.set(bool(options.get("verify", False)) or _anew.get())
        try:
            return function(*arguments, **options)
        finally:
            _anew.reset(token)

    return cast("F", called)  # editors complete what a type says is the function itself


def sha256_of(path: Path, *, memo: bool = True) -> str:
    """Return the SHA-256 of a file, hex.

    Hashing 300 MB takes about a second, so it is remembered in a `HashMemo` of this file.

    Parameters
    ----------
    path
        The file.
    memo
        False hashes in any case.

    Raises
    ------
    OSError
        It is not there, cannot be read, or is not a regular file.
    """
    known = HashMemo(cache_dir() / "weights" / "digests", path)
    remembered = known.recall(path) if memo and not _anew.get() else None
    if remembered is not None:
        return remembered
    identity = identity_of(path)
    settled = is_settled(identity)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if settled:
        known.remember(path, identity, digest)
        known.save()
    return digest


def is_settled(identity: FileIdentity) -> bool:
    """Tell whether a file that looks like this changed so long ago that its next change shows in its times."""
    return time.time_ns() - max(identity[1], identity[2]) > RACY_NS


class HashMemo:
    """Map files to their content hashes while volume, size, times and inode stay the same.

    Only files on volumes that stamp every change are remembered (`audiogen_metrics.filesystems`); others are read.
    Trouble never stops a run: it is noted in `problems`.

    Parameters
    ----------
    folder
        Where memos are kept.
    root
        What this memo is about: a folder of audio, or one file.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        name = hashlib.blake2b(os.fsencode(root.absolute()), digest_size=16).hexdigest()
        self._file = folder / f"{name}.json"
        self.problems: list[str] = []
        self._volumes: dict[int, Volume] = {}
        self._read_as = _identity(self._file)
        self._known = self._read()
        self.seen: dict[str, tuple[Stamp, str]] = {}

    def recall(self, path: Path) -> str | None:
        """Return the file's content hash if the file is as it was; None if it must be read."""
        key = str(path.absolute())
        entry = self._known.get(key)
        if entry is None or entry[0] != self._stamp(path, _identity(path)):
            return None
        self.seen[key] = entry
        return entry[1]

    def remember(self, path: Path, identity: FileIdentity, digest: str) -> None:
        """Note a hash together with the identity that the file had before it was read."""
        if not is_settled(identity) or identity != _identity(path):
            return
        stamp = self._stamp(path, identity)
        if stamp is not None:
            self.seen[str(path.absolute())] = (stamp, digest)

    def save(self) -> None:
        """Write what was seen in this run, beside what others know of files that are still there."""
        try:
            # Others may have written since. What they write from here on is lost, and its files are read again.
            known = self._known if _identity(self._file) == self._read_as else self._read()
            unseen = {key: entry for key, entry in known.items() if key not in self.seen}
            files = {key: unseen[key] for key in _existing(unseen)} | self.seen
            if files != known:
                write_atomically(self._file, json.dumps({"version": VERSION, "files": files}).encode())
        except OSError as error:
            self.problems.append(cache_trouble(error))

    def _stamp(self, path: Path, identity: FileIdentity | None) -> Stamp | None:
        if identity is None:
            return None
        size, modified, changed, inode, device = identity
        # Looked up once a run: another run may find another volume under the same number.
        if device not in self._volumes:
            self._volumes[device] = Volume.of(path)
        volume = self._volumes[device]
        return (size, modified, changed, inode, str(volume)) if volume.stamps(changed) else None

    def _read(self) -> dict[str, tuple[Stamp, str]]:
        # A memo only spares reading: one that is missing or damaged is rebuilt, and costs time, not numbers.
        try:
            content = json.loads(self._file.read_bytes())
            if content["version"] != VERSION:
                return {}
            return {str(key): (_checked(stamp), str(digest)) for key, (stamp, digest) in content["files"].items()}
        except PermissionError as error:
            self.problems.append(cache_trouble(error))
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return {}


def memo_folder() -> Path:
    """Return the folder of the memos of audio."""
    return cache_dir() / "memo"


def identity_of(path: Path) -> FileIdentity:
    """Return what a file looks like without reading it.

    Raises
    ------
    OSError
        It is not there, or is not a regular file: reading a pipe would wait for ever.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def _identity(path: Path) -> FileIdentity | None:
    try:
        return identity_of(path)
    except OSError:
        return None


def _checked(values: list[int | str]) -> Stamp:
    *numbers, volume = values
    size, modified, changed, inode = (int(number) for number in numbers)
    return size, modified, changed, inode, str(volume)


def _existing(paths: Iterable[str]) -> Iterator[str]:
    """Yield the files that are there, by one listing of each folder; those of a folder that cannot be listed, too."""
    listings: dict[str, set[str] | None] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listings:
            try:
                listings[folder] = set(os.listdir(folder))  # noqa: PTH208 (names, of which there may be 100,000)
            except (FileNotFoundError, NotADirectoryError):
                listings[folder] = set()
            except OSError:
                listings[folder] = None
        listing = listings[folder]
        if listing is None or name in listing:
            yield path
