"""The state of one of a metric's two sets, as lists of tensors that merge by concatenation."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from audiogen_metrics.audio.files import canonical_id
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.file_hashes import digest_of
from audiogen_metrics.functional.statistics import GaussianStatistics, fold, with_ones

HELD_CLIPS = 16
"""First clips of each process that streaming keeps unfolded. ``DistributedSampler`` repeats clips from the beginnings
of its shares to make these equally long; the repeats can then be found and counted once."""

SAME_CLIP = 1e-3
"""Largest difference, relative to the largest feature, between two passes over one clip."""


@dataclass
class Clips:
    """Rows of some clips, one after the other.

    Parameters
    ----------
    rows
        ``(rows, d)``, float64.
    counts
        ``(clips,)``, int64: rows of each clip.
    ids
        Clip ids; an empty string for a clip without id.
    left_out
        Ids of clips that are left out, since they cannot be scored; an empty string for a clip without id.
    """

    rows: torch.Tensor
    counts: torch.Tensor
    ids: list[str]
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, blocks: Sequence[torch.Tensor | None], ids: list[str]) -> Clips:
        """Return clips with these rows ``(rows, d)``, float32 or float64; a clip without any has None."""
        known = [block for block in blocks if block is not None]
        rows = torch.cat(known).double() if known else torch.zeros(0, 0, dtype=torch.float64, device="cpu")
        counts = [0 if block is None else len(block) for block in blocks]
        return cls(rows, torch.tensor(counts, dtype=torch.int64, device="cpu"), ids)

    def leave_out(self, places: Collection[int]) -> Clips:
        """Return the clips without those at these places."""
        if not places:
            return self
        kept = self.take([place for place in range(len(self.ids)) if place not in places])
        return replace(kept, left_out=self.left_out + [self.ids[place] for place in sorted(places)])

    def take(self, places: Sequence[int]) -> Clips:
        """Return the clips at these places, in this order."""
        blocks = self.rows.split(self.counts.tolist())
        rows = torch.cat([blocks[place] for place in places]) if places else self.rows[:0]
        return Clips(rows, self.counts[list(places)], [self.ids[place] for place in places])


class Folded(NamedTuple):
    """Folded rows, the number of rows that they stand for, and the ids of their clips."""

    rows: torch.Tensor
    stands_for: int
    ids: list[str]


def encode_ids(ids: Sequence[str]) -> torch.Tensor:
    """Return clip ids as one uint8 tensor ``(bytes,)``: UTF-8, each closed by a zero byte.

    Only tensors travel between processes. This form is exact, needs no common width, keeps the order of the ids and
    joins by concatenation.
    """
    content = b"".join(clip_id.encode() + b"\0" for clip_id in ids)
    return (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if content
        else torch.zeros(0, dtype=torch.uint8, device="cpu")
    )


def decode_ids(encoded: torch.Tensor) -> list[str]:
    """Return the clip ids of `encode_ids`.

    Examples
    --------
    >>> decode_ids(torch.cat([encode_ids(["dog/1", "öl"]), encode_ids([""])]))
    ['dog/1', 'öl', '']
    """
    return encoded.cpu().numpy().tobytes().decode().split("\0")[:-1]


def check_ids(ids: Sequence[str] | str | None, clips: int, what: str) -> list[str]:
    """Return one id per clip; empty strings if ids are not given.

    Raises
    ------
    UsageError
        Ids are not text, or their number is not that of the clips.
    """
    if ids is None:
        return [""] * clips
    listed = [ids] if isinstance(ids, str) else list(ids)
    if not all(isinstance(clip_id, str) and clip_id and "\0" not in clip_id for clip_id in listed):
        raise UsageError("ids must be non-empty strings", fix="Pass ids=[str(index) for index in …]")
    if len(listed) != clips:
        raise UsageError(f"{len(listed)} ids for {clips} {what}", fix="Pass one id per clip; update gen and ref apart")
    return [canonical_id(clip_id) for clip_id in listed]


def unique(clips: Clips, known: Sequence[str] = ()) -> Clips:
    """Return the clips without repeats of an id, sorted by id, and without those whose id is known already.

    Clips without ids are returned as they are.

    Raises
    ------
    DataError
        Only some clips have ids, or two different clips have one id.
    """
    if not any(clips.ids) and not any(known):
        return clips
    first = _first_places(clips, known)
    return clips.take([first[clip_id] for clip_id in sorted(set(first) - set(known))])


def fold_clips(clips: Clips, folded: Folded) -> tuple[Clips, Folded]:
    """Return the first clips as they are, and the others folded together with what was folded before."""
    if any(clips.ids) or any(folded.ids):
        known = set(folded.ids)
        first = _first_places(clips, folded.ids)
        clips = clips.take([place for clip_id, place in first.items() if clip_id not in known])
    held = clips.take(range(min(HELD_CLIPS, len(clips.ids))))
    others = clips.take(range(len(held.ids), len(clips.ids)))
    rows = fold(torch.cat([folded.rows, with_ones(others.rows)]))
    return held, Folded(rows, folded.stands_for + len(others.rows), folded.ids + others.ids)


def summarise(clips: Clips, folded: Folded, output_is_logits: bool) -> GivenFeatures | None:
    """Return what scores need to know of all clips; None for an empty set.

    Raises
    ------
    DataError
        As in `unique`; also if two processes folded the same clip.
    """
    if len(set(folded.ids)) < len(folded.ids) and any(folded.ids):
        repeated = next(clip_id for clip_id in folded.ids if folded.ids.count(clip_id) > 1)
        raise DataError(
            f"clip {repeated!r} was streamed by two processes and cannot be taken out again",
            fix="Give each process clips of its own, or construct the metric with streaming=False",
        )
    clips = unique(clips, folded.ids)
    if not clips.ids and not folded.ids:
        return None
    size = len(clips.ids) + len(folded.ids)
    ids = (*folded.ids, *clips.ids)
    named = all(ids)
    ids = tuple(sorted(ids)) if named else tuple(f"{place:09d}" for place in range(size))
    if output_is_logits:
        return GivenFeatures(ids, class_logits=clips.rows, named=named)
    if not folded.ids:
        gaussian = GaussianStatistics.from_embeddings(clips.rows)
        counts = tuple(clips.counts.tolist())
        return GivenFeatures(ids, gaussian, embeddings=clips.rows, named=named, row_counts=counts)
    rows = torch.cat([folded.rows, with_ones(clips.rows)])
    gaussian = GaussianStatistics.from_folded(rows, folded.stands_for + len(clips.rows))
    return GivenFeatures(ids, gaussian, named=named)


def refuse_repeats(clips: Clips, shares: Sequence[int]) -> None:
    """Raise DataError if clips without ids were given to several processes; one content on several is a warning.

    Parameters
    ----------
    clips
        Clips of all processes, one after the other.
    shares
        Number of clips of each process.
    """
    processes = [process for process, share in enumerate(shares) for _ in range(share)]
    holders: dict[str, set[int]] = defaultdict(set)
    for process, block in zip(processes, clips.rows.cpu().split(clips.counts.tolist()), strict=True):
        if len(block):
            holders[digest_of(block.contiguous().numpy().tobytes())].add(process)
    repeated = sum(len(held) > 1 for held in holders.values())
    if repeated > 1:
        raise DataError(
            f"{repeated} clips without ids are on several processes with equal content, and would count more than once",
            fix="Pass ids to every update, or give each process clips of its own: metrics gather by themselves, so "
            "with accelerate pass the batch itself, not gather_for_metrics(batch)",
        )
    if repeated:
        warnings.warn(
            "a clip without id is on several processes with equal content and counts more than once, unless it is one "
            "(silence, say); pass ids",
            stacklevel=2,
        )


def _first_places(clips: Clips, known: Sequence[str]) -> dict[str, int]:
    """Return where each id comes first; DataError if ids are missing or two different clips have one."""
    if not all(clips.ids) or not all(known):
        raise DataError("some clips have ids and some have none", fix="Pass ids in every update, or in none")
    blocks = clips.rows.split(clips.counts.tolist())
    first: dict[str, int] = {}
    for place, clip_id in enumerate(clips.ids):
        if not _same(blocks[first.setdefault(clip_id, place)], blocks[place]):
            raise DataError(f"two different clips have the id {clip_id!r}", fix="Give each clip its own id")
    return first


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first is second or first.numel() == second.numel() == 0:
        return True
    return first.shape == second.shape and bool((first - second).abs().max() <= SAME_CLIP * first.abs().max())
