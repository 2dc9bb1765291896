"""What lies in the cache folder, what of it is damaged, and how old shards go."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from audiogen_metrics.embedding.cache import DESCRIPTION, UNREADABLE, files_below, is_denied, read_shard, shards
from audiogen_metrics.embedding.index import INDEX, read_shard_digests
from audiogen_metrics.errors import UsageError, spoken
from audiogen_metrics.text import byte_size
from audiogen_metrics.writing import is_temporary

SECONDS_PER_DAY = 86_400


class SpaceSummary(TypedDict):
    """What one space holds; ``damaged`` are the shards whose header cannot be read, with the reason."""

    name: str
    clips: int
    shards: int
    bytes: int
    damaged: dict[str, str]


def summarise(folder: Path) -> list[SpaceSummary]:
    """Return what each space below the folder of all cached features holds; its bytes are those of all its files.

    Raises
    ------
    OSError
        A folder that cannot be listed.
    """
    return [_summary(space) for space in _spaces(folder)]


def _spaces(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _summary(space: Path) -> SpaceSummary:
    clips, damaged, found = set[str](), {}, shards(space)
    for shard in found:
        try:
            clips.update(read_shard_digests(shard))
        except UNREADABLE as error:
            damaged[shard.name] = "Permission denied" if is_denied(shard) else str(error)
    size = sum(file.lstat().st_size for file in files_below(space))
    return {"name": space.name, "clips": len(clips), "shards": len(found), "bytes": size, "damaged": damaged}


@dataclass(frozen=True)
class Amount:
    """Some files: their number and bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.files + other.files, self.size + other.size)

    def __str__(self) -> str:
        return f"{self.files} file{'s' * (self.files != 1)}, {byte_size(self.size)}"


KINDS: dict[str, tuple[str, ...]] = {
    "embeddings": ("embeddings",),
    "file hashes": ("memo", "weights/digests"),
    "converted weights": ("weights/converted",),
    "downloaded weights": ("weights",),
    "random draws": ("chance",),
    "latents": ("latents",),
    "models": ("models",),
    "other": ("",),
}
"""What lies in the cache folder, by the folders below it; the first that fits counts."""


def usage(root: Path) -> dict[str, Amount]:
    """Return how much of each kind lies below the cache folder; together it is all that lies there.

    A file with several names counts once, a link as itself.

    Raises
    ------
    OSError
        A folder that cannot be listed.
    """
    amounts, seen = dict.fromkeys(KINDS, Amount()), set()
    for file in files_below(root):
        status = file.lstat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            place = file.relative_to(root)
            kind = next(kind for kind, folders in KINDS.items() if any(map(place.is_relative_to, folders)))
            amounts[kind] += Amount(1, status.st_size)
    return amounts


def prune(folder: Path, older_than_days: float, everything: bool = False, dry_run: bool = False) -> Amount:
    """Remove shards that were written long ago, what killed writers left behind, and spaces without shards.

    Parameters
    ----------
    folder
        The folder of all cached features.
    older_than_days
        Age in days; at least one, since a younger shard may be in use.
    everything
        Remove shards of any age.
    dry_run
        Count only.

    Raises
    ------
    UsageError
        Less than a day.
    OSError
        A folder that cannot be listed, or a file that cannot be removed.
    """
    if older_than_days < 1 and not everything:
        raise UsageError(
            f"shards of {older_than_days:g} days may be in use",
            fix=f"Use at least one day, or {spoken('everything=True', '--all')} when nothing runs",
        )
    limit = math.inf if everything else time.time() - older_than_days * SECONDS_PER_DAY
    removed = Amount()
    for space in _spaces(folder):
        files = set(files_below(space))
        old = {
            file for file in files if (file.suffix == ".safetensors" or is_temporary(file)) and _modified(file) < limit
        }
        empty = files - old <= {space / DESCRIPTION, space / INDEX}
        for file in old | (files if empty else set()):
            with suppress(FileNotFoundError):  # another process pruned it
                removed += Amount(1, file.lstat().st_size)
                if not dry_run:
                    file.unlink()
        if empty and not dry_run:
            with suppress(OSError):  # a writer has just come back
                space.rmdir()
    return removed


def _modified(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except FileNotFoundError:
        return -math.inf


def damaged_shards(folder: Path) -> dict[Path, str]:
    """Read every shard below ``folder`` and return those that cannot be used, with the reason."""
    damaged = {}
    for shard in shards(folder):
        try:
            read_shard(shard)
        except UNREADABLE as error:
            if is_denied(shard):
                damaged[shard] = "Permission denied"
            elif not isinstance(error, FileNotFoundError):  # another process pruned it
                damaged[shard] = str(error)
    return damaged
