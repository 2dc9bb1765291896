"""Cached features, addressed by the content of the audio and everything that shapes the numbers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.backbones.base import Output
from audiogen_metrics.embedding.index import ShardIndex
from audiogen_metrics.settings import cache_dir, cache_trouble
from audiogen_metrics.writing import write_atomically

SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 30.0
"""A shard is written when it holds this much data, or this much time of work: what a killed process can lose."""

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


class EmbeddingCache:
    """Features of clips by one backbone under one preprocessing, in append-only shards.

    Each writer adds shards under names of its own, whole by atomic rename; there is no lock, and an index is only a
    hint, so any number of processes may share the folder, also over NFS. A shard that does not match its checksum is
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
        self.folder: Path = embeddings_folder() / f"{re.sub(r'[^a-zA-Z0-9_.-]+', '_', name)}-{identity}"
        self.problems: list[str] = []
        self._pending: dict[str, CachedClip] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._digests: dict[Path, Sequence[str]] = {}
        index = ShardIndex(self.folder)
        for shard in self._listed():
            try:
                self._digests[shard] = index.digests(shard)
            except UNREADABLE as error:
                self._note(shard, f"cache shard {shard.name} is unreadable and not used ({error})")
        index.save()
        self._shard_of = self._places()

    def __contains__(self, digest: str) -> bool:
        return digest in self._pending or digest in self._shard_of

    def get(self, digests: Iterable[str]) -> dict[str, CachedClip]:
        """Return the cached clips among ``digests``; what is returned does not keep the rest of a shard in memory."""
        return {digest: clip for shard in self.by_shard(digests) for digest, clip in shard.items()}

    def by_shard(self, digests: Iterable[str]) -> Iterator[dict[str, CachedClip]]:
        """Yield the cached clips among ``digests``, those of one shard at a time, each shard read once.

        A damaged shard is never read again; clips that are in no other one are missing from the result and from then on
        from the cache.
        """
        missing = list(digests)
        while missing:
            wanted: dict[Path, list[str]] = defaultdict(list)
            pending = {}
            for digest in missing:
                if digest in self._pending:
                    pending[digest] = self._pending[digest]
                elif digest in self._shard_of:
                    wanted[self._shard_of[digest]].append(digest)
            missing = []
            yield pending
            for shard, members in wanted.items():
                try:
                    clips = read_shard(shard, members)
                except UNREADABLE as error:
                    self._note(shard, f"cache shard {shard.name} is damaged; its clips are computed again ({error})")
                    del self._digests[shard]
                    self._shard_of = self._places()
                    missing += members
                    continue
                yield clips

    def put(self, digest: str, clip: CachedClip) -> None:
        """Add one clip; written with its shard, or in one of its own where it is larger than a shard."""
        if digest in self:
            return
        size = sum(tensor.nbytes for tensor in clip.features.values())
        if self._pending_bytes + size > SHARD_BYTES:
            self.flush()
        if not self._pending:
            self._pending_since = time.monotonic()
        self._pending[digest] = clip
        self._pending_bytes += size
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
            self._digests[shard] = list(self._pending)
            self._shard_of.update(dict.fromkeys(self._pending, shard))
        except OSError as error:
            self._note(None, cache_trouble(error))
        self._pending = {}
        self._pending_bytes = 0

    def _listed(self) -> list[Path]:
        try:
            return shards(self.folder)
        except OSError as error:
            self._note(None, cache_trouble(error))
        return []

    def _places(self) -> dict[str, Path]:
        """Return where each clip lies: in the first of the shards that have it."""
        places: dict[str, Path] = {}
        for shard, digests in reversed(self._digests.items()):
            places.update(dict.fromkeys(digests, shard))
        return places

    def _note(self, shard: Path | None, problem: str) -> None:
        problem = cache_trouble(PermissionError()) if shard is not None and is_denied(shard) else problem
        if problem not in self.problems:
            self.problems.append(problem)


def shards(folder: Path) -> list[Path]:
    """Return the shards of a space, or of all spaces when given the folder above; sorted.

    Raises
    ------
    OSError
        A folder that cannot be listed, or whatever lies in its place.
    """
    return sorted(path for path in files_below(folder) if path.suffix == ".safetensors")


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, which may be missing; OSError for folders that cannot be listed."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # another process pruned it
            raise error

    for directory, _, names in os.walk(folder, onerror=fail):
        yield from (Path(directory, name) for name in names)


def is_denied(file: Path) -> bool:
    """Tell whether permissions keep this user from reading a file; safetensors calls such a file missing."""
    try:
        file.open("rb").close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def read_shard(shard: Path, wanted: Sequence[str] | None = None) -> dict[str, CachedClip]:
    """Return the clips of a shard by content hash: all of them, or only those ``wanted``, of which it has all.

    The whole shard is verified. The rows that are returned are copied out of it, together, so that they do not keep
    the rest in memory, nor depend on a file that another process may remove.

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
    places = {digest: index for index, digest in enumerate(digests)}
    chosen = [places[digest] for digest in (places if wanted is None else wanted)]
    columns: dict[str, tuple[torch.Tensor, ...]] = {}
    counts = tensors.pop("window_counts", None)
    for name, tensor in tensors.items():
        if name == "windows" and counts is not None:
            parts = tensor.split(counts.tolist())
            columns[name] = torch.cat([parts[index] for index in chosen]).split(counts[chosen].tolist())
        else:
            columns[name] = tensor[chosen].unbind()
    return {
        digests[index]: CachedClip(
            {cast("Output", name): column[row] for name, column in columns.items()}, ClipFacts(**facts[index])
        )
        for row, index in enumerate(chosen)
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
        checksum.update(tensors[name].contiguous().numpy().reshape(-1).view("uint8").data)
    return checksum.hexdigest()
