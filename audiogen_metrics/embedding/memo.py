"""Remember the hashes of files, so that a second run need not read them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from pathlib import Path

from audiogen_metrics.writing import write_atomically

RACY_NS = 2_000_000_000
"""A file changed within this time before it was hashed may change again with the same time stamp."""

Identity = tuple[int, int, int, int]


def digest_of(content: bytes) -> str:
    """Return the content hash under which a clip is cached."""
    return hashlib.blake2b(content, digest_size=20).hexdigest()


class HashMemo:
    """Map the files of one folder to their content hashes while size, times and inode stay the same.

    Parameters
    ----------
    folder
        Where memos are kept.
    root
        The folder of audio that this memo is about.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        name = hashlib.blake2b(os.fsencode(root.absolute()), digest_size=16).hexdigest()
        self._file = folder / f"{name}.json"
        self._known = self._read()
        self.seen: dict[str, tuple[Identity, str]] = {}

    def recall(self, path: Path) -> str | None:
        """Return the file's content hash if the file is as it was; None if it must be read."""
        key = str(path.absolute())
        entry = self._known.get(key)
        if entry is None or entry[0] != _identity(path):
            return None
        self.seen[key] = entry
        return entry[1]

    def remember(self, path: Path, identity: Identity, digest: str) -> None:
        """Note a hash together with the identity that the file had before it was read."""
        changed = max(identity[1], identity[2])
        if time.time_ns() - changed > RACY_NS and identity == _identity(path):
            self.seen[str(path.absolute())] = (identity, digest)

    def save(self) -> None:
        """Write what was seen in this run. Raises OSError where the folder cannot be written."""
        if self.seen != self._known:
            write_atomically(self._file, json.dumps({"version": 1, "files": self.seen}).encode())

    def _read(self) -> dict[str, tuple[Identity, str]]:
        # A memo only spares reading: one that is missing or damaged is rebuilt, and costs time, not numbers.
        try:
            files = json.loads(self._file.read_bytes())["files"]
            return {str(key): (_four(identity), str(digest)) for key, (identity, digest) in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return {}


def identity_of(path: Path) -> Identity:
    """Return size, modification time, change time (ns) and inode of a file; OSError for what is none.

    Reading a pipe would wait for ever.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _identity(path: Path) -> Identity | None:
    try:
        return identity_of(path)
    except OSError:
        return None


def _four(values: list[int]) -> Identity:
    size, modified, changed, inode = (int(value) for value in values)
    return size, modified, changed, inode
