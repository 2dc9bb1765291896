"""Which clips lie in which shard: what the shards' headers say, kept together so that a warm run need not read each."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open

from audiogen_metrics.writing import write_atomically

INDEX = "index.jsonl"
"""One line of version and checksum, then one for each shard."""

VERSION = 1
"""Of the file's layout; an index of another one is not believed."""

WORTH_WRITING = 0.02
"""Seconds of reading headers from which on the index is written anew."""


class Indexed(NamedTuple):
    """A shard as it was when its header was read: size and modification time (ns), and its clips' content hashes."""

    size: int
    modified: int
    digests: Sequence[str]


class ShardIndex:
    """The content hashes of a space's shards, from its index as far as that is true, else from their headers.

    The index is a hint. The shards in the folder decide which there are, and each is looked up only if it has the size
    and time that it had when its header was read; a shard never changes once it has its name. Each process writes the
    index whole, by atomic rename, and without a lock: of two that write at once one is lost, which costs time alone, as
    does an index that is damaged, cannot be read, or cannot be written.

    Parameters
    ----------
    space
        The folder of one space.
    """

    def __init__(self, space: Path) -> None:
        self._file = space / INDEX
        self._known = _read(self._file)
        self._seen: dict[str, Indexed] = {}
        self._seconds = 0.0

    def digests(self, shard: Path) -> Sequence[str]:
        """Return the content hashes of a shard's clips; raises what reading an unreadable header raises."""
        status = shard.stat()
        found = self._known.get(shard.name)
        if found is None or (found.size, found.modified) != (status.st_size, status.st_mtime_ns):
            start = time.monotonic()
            found = Indexed(status.st_size, status.st_mtime_ns, read_shard_digests(shard))
            self._seconds += time.monotonic() - start
        self._seen[shard.name] = found
        return found.digests

    def save(self) -> None:
        """Write the index anew, where reading headers has taken long enough."""
        if self._seconds <= WORTH_WRITING:
            return
        lines = "".join(f"{json.dumps([name, *entry])}\n" for name, entry in self._seen.items()).encode()
        head = {"version": VERSION, "checksum": _checksum(lines)}
        with suppress(OSError):  # a cache that cannot be written says so where clips are lost by it
            write_atomically(self._file, f"{json.dumps(head)}\n".encode() + lines)


def read_shard_digests(shard: Path) -> list[str]:
    """Return the content hashes of a shard's clips, from its header alone."""
    with safe_open(shard, framework="pt") as file:
        metadata = file.metadata() or {}
    digests = json.loads(metadata["digests"])
    return [str(digest) for digest in digests]


def _read(file: Path) -> dict[str, Indexed]:
    """Return what an index says; nothing if it is missing, damaged or of another version, since it only spares time."""
    try:
        first, _, lines = file.read_bytes().partition(b"\n")
        if json.loads(first) != {"version": VERSION, "checksum": _checksum(lines)}:
            return {}
        return {name: Indexed(*entry) for name, *entry in map(json.loads, lines.splitlines())}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _checksum(lines: bytes) -> str:
    return hashlib.blake2b(lines, digest_size=20).hexdigest()
