"""Cached features, addressed by the content of the audio and everything that shapes the numbers."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.backbones.base import Output
from audiogen_metrics.errors import UsageError
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import write_atomically

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 30.0
"""A shard is written when it holds this much data, or this much time of work: what a killed process can lose."""

SECONDS_PER_DAY = 86_400

DESCRIPTION = "space.json"

UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError, OverflowError, RuntimeError)
"""What reading a file of whatever content may raise; torch's complaints about shapes are RuntimeErrors."""

ClipFeatures = dict[Output, torch.Tensor]
"""Outputs for one clip, float32: embeddings ``(d,)``, windows ``(windows, d)``, logits ``(classes,)``."""


@dataclass(frozen=True)
class CachedClip:
    """Features of a clip, with what was seen when it was decoded."""

    features: ClipFeatures
    facts: ClipFacts


def embeddings_folder() -> Path:
    """Return the folder of all cached features."""
    return cache_dir() / "embeddings"


def unwritable(error: OSError) -> str:
    """Return the warning about a cache that cannot be written: one text for all of its parts, to be said once."""
    return (
        f"the cache in {cache_dir()} cannot be written ({error.strerror}); nothing is kept. "
        "Set AGM_CACHE_DIR to another folder"
    )


class EmbeddingCache:
    """Features of clips by one backbone under one preprocessing, in append-only shards.

    Each writer adds shards under names of its own, whole by atomic rename; there is no index and no lock, so
    any number of processes may share the folder, also over NFS. A shard that does not match its checksum is
    left alone and its clips are computed again. Trouble with the cache never stops a run: it is noted in
    `problems`.

    Parameters
    ----------
    space
        Everything besides the audio that shapes the numbers: decoder, preprocessing, backbone settings.
    name
        Readable prefix of the folder's name, usually the backbone's name.
    """

    def __init__(self, space: Mapping[str, object], name: str) -> None:
        self._space = json.dumps(space, sort_keys=True, indent=1)
        identity = hashlib.sha256(self._space.encode()).hexdigest()[:24]
        self.folder = embeddings_folder() / f"{name}-{identity}"
        self.problems: list[str] = []
        self._pending: dict[str, CachedClip] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._shard_of: dict[str, Path] = {}
        for shard in shards(self.folder):
            try:
                self._shard_of |= dict.fromkeys(read_shard_digests(shard), shard)
            except UNREADABLE as error:
                self._note(f"cache shard {shard.name} is unreadable and not used ({error})")

    def __contains__(self, digest: str) -> bool:
        return digest in self._pending or digest in self._shard_of

    def get(self, digests: Iterable[str]) -> dict[str, CachedClip]:
        """Return the cached clips among ``digests``, reading each shard once.

        Clips of a damaged shard are missing from the result and from then on from the cache.
        """
        found = {}
        wanted: dict[Path, list[str]] = defaultdict(list)
        for digest in digests:
            if digest in self._pending:
                found[digest] = self._pending[digest]
            elif digest in self._shard_of:
                wanted[self._shard_of[digest]].append(digest)
        for shard, members in wanted.items():
            try:
                clips = read_shard(shard)
            except UNREADABLE as error:
                self._note(f"cache shard {shard.name} is damaged; its clips are computed again ({error})")
                self._shard_of = {digest: path for digest, path in self._shard_of.items() if path != shard}
                continue
            found |= {digest: clips[digest] for digest in members}
        return found

    def put(self, digest: str, clip: CachedClip) -> None:
        """Add one clip; written with its shard."""
        if digest in self:
            return
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending[digest] = clip
        self._pending_bytes += sum(tensor.nbytes for tensor in clip.features.values())
        if self._pending_bytes >= SHARD_BYTES or time.monotonic() - self._pending_since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the open shard."""
        if not self._pending:
            return
        shard = self.folder / f"{uuid.uuid4().hex}.safetensors"
        try:
            if not (self.folder / DESCRIPTION).exists():
                write_atomically(self.folder / DESCRIPTION, self._space.encode())
            write_atomically(shard, _serialise(self._pending))
            self._shard_of |= dict.fromkeys(self._pending, shard)
        except OSError as error:
            self._note(unwritable(error))
        self._pending = {}
        self._pending_bytes = 0

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def shards(folder: Path) -> list[Path]:
    """Return the shards of a space, or of all spaces when given the folder above; sorted."""
    try:
        return sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    except OSError:  # a path that is too long, or below a folder that cannot be entered; writing says so
        return []


def read_shard_digests(shard: Path) -> list[str]:
    """Return the content hashes of a shard's clips, from its header alone."""
    with safe_open(shard, framework="pt") as file:
        metadata = file.metadata() or {}
    digests = json.loads(metadata["digests"])
    return [str(digest) for digest in digests]


def read_shard(shard: Path) -> dict[str, CachedClip]:
    """Return the clips of a shard by content hash.

    Raises
    ------
    ValueError
        The content does not match the checksum.
    """
    with safe_open(shard, framework="pt") as file:
        metadata = file.metadata() or {}
    tensors = load_file(shard)
    if metadata["checksum"] != checksum_of(tensors, metadata["digests"], metadata["facts"]):
        raise ValueError("checksum mismatch")
    digests, facts = json.loads(metadata["digests"]), json.loads(metadata["facts"])
    columns: dict[str, tuple[torch.Tensor, ...]] = {}
    counts = tensors.pop("window_counts", None)
    for name, tensor in tensors.items():
        columns[name] = tensor.split(counts.tolist()) if name == "windows" and counts is not None else tensor.unbind()
    return {
        digest: CachedClip(
            {cast("Output", name): column[index] for name, column in columns.items()}, ClipFacts(**facts[index])
        )
        for index, digest in enumerate(digests)
    }


def _serialise(clips: Mapping[str, CachedClip]) -> bytes:
    """Return one shard: the clips' rows stacked, so that its header stays small."""
    features = [clip.features for clip in clips.values()]
    tensors = {}
    for name in features[0]:
        join = torch.cat if name == "windows" else torch.stack
        tensors[str(name)] = join([clip[name] for clip in features])
    if "windows" in tensors:
        tensors["window_counts"] = torch.tensor(
            [len(clip["windows"]) for clip in features], dtype=torch.int64, device="cpu"
        )
    digests = json.dumps(list(clips))
    facts = json.dumps([asdict(clip.facts) for clip in clips.values()])
    metadata = {"digests": digests, "facts": facts, "checksum": checksum_of(tensors, digests, facts)}
    return save(tensors, metadata)


def checksum_of(tensors: Mapping[str, torch.Tensor], *texts: str) -> str:
    """Return a hash over named tensors and texts: what detects a damaged file."""
    checksum = hashlib.blake2b("".join(f"{text}\n" for text in texts).encode(), digest_size=20)
    for name in sorted(tensors):
        checksum.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        checksum.update(tensors[name].contiguous().numpy().tobytes())
    return checksum.hexdigest()


def summarise(folder: Path) -> list[dict[str, str | int]]:
    """Return name, clips, shards and bytes of each space below the folder of all cached features."""
    spaces = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [
        {
            "name": space.name,
            "clips": len({digest for shard in shards(space) for digest in read_shard_digests(shard)}),
            "shards": len(shards(space)),
            "bytes": sum(shard.stat().st_size for shard in shards(space)),
        }
        for space in spaces
    ]


@dataclass(frozen=True)
class Pruned:
    """What `prune` removed, or would remove: number of files and their bytes."""

    files: int
    size: int


def prune(folder: Path, older_than_days: float, everything: bool = False, dry_run: bool = False) -> Pruned:
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
    """
    if older_than_days < 1 and not everything:
        raise UsageError(
            f"shards of {older_than_days:g} days may be in use", fix="Use at least one day, or --all when nothing runs"
        )
    limit = time.time() - older_than_days * SECONDS_PER_DAY
    leftovers = [path for path in folder.rglob(".*.tmp") if path.is_file()] if folder.is_dir() else []
    files = size = 0
    for path in shards(folder) + leftovers:
        try:
            status = path.stat()
            if everything or status.st_mtime < limit:
                if not dry_run:
                    path.unlink()
                files, size = files + 1, size + status.st_size
        except FileNotFoundError:  # another process pruned it
            continue
    if not dry_run:
        _remove_empty(folder)
    return Pruned(files, size)


def _remove_empty(folder: Path) -> None:
    for space in folder.iterdir() if folder.is_dir() else ():
        if space.is_dir() and {path.name for path in space.iterdir()} <= {DESCRIPTION}:
            (space / DESCRIPTION).unlink(missing_ok=True)
            with suppress(OSError):  # a writer has just come back
                space.rmdir()


def damaged_shards(folder: Path) -> dict[Path, str]:
    """Read every shard below ``folder`` and return those that do not match their checksum, with the reason."""
    damaged = {}
    for shard in shards(folder):
        try:
            read_shard(shard)
        except FileNotFoundError:
            continue
        except UNREADABLE as error:
            damaged[shard] = str(error)
    return damaged
