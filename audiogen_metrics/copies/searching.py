"""The nearest training clip of many clips, in one pass over a training set of any size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from audiogen_metrics.audio.decoding import decoded
from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.backbones.logmel import LogMel
from audiogen_metrics.copies.alignment import align, comparable
from audiogen_metrics.embedding.extraction import Extraction
from audiogen_metrics.errors import AudioFileError

SAME_AUDIO = 0.999
"""Least similarity of equal samples, which float32 leaves at 1 to five digits."""


NOT_FOUND = -2.0
"""Stands for a similarity if no training clip can be compared."""


@dataclass(frozen=True)
class Described:
    """Clips with what is needed to compare them.

    Parameters
    ----------
    clip_ids, files, digests, facts
        For each clip: id, file, hash of its bytes, and what was seen when it was decoded.
    contours
        ``(frames, contours)`` each; None for a clip that cannot be compared by them.
    vectors
        ``(clips, d)`` of unit length, zeros for a clip without one; None without embeddings.
    reasons
        By clip id and measure, why a clip cannot be compared.
    """

    clip_ids: tuple[str, ...]
    files: tuple[AudioFile, ...]
    digests: tuple[str, ...]
    facts: tuple[ClipFacts, ...]
    contours: tuple[torch.Tensor | None, ...]
    vectors: torch.Tensor | None
    reasons: Mapping[str, Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.clip_ids)


def describe(extractions: Sequence[Extraction], backbone: str | None) -> Described:
    """Return the clips of a block; if ``backbone`` is None, without embeddings."""
    first, sets = extractions[0], {name: found for each in extractions for name, found in each.sets.items()}
    by_id = {clip.clip_id: clip for clip in first.folder.clips}
    frames = {clip_id: features["windows"] for clip_id, features in sets[LogMel.name].features.items()}
    reasons: dict[str, dict[str, str]] = {}
    for clip_id, contours in frames.items():
        if why := comparable(contours):
            reasons[clip_id] = {"mel": why}
    vectors = None
    if backbone is not None:
        embedded = {clip_id: features["embeddings"] for clip_id, features in sets[backbone].features.items()}
        for failure in sets[backbone].left_out:
            reasons.setdefault(failure.clip_id, {})["embedding"] = failure.reason
        if embedded:
            nothing = torch.zeros_like(next(iter(embedded.values())))
            rows = torch.stack([embedded.get(clip_id, nothing) for clip_id in first.digests])
            vectors = torch.nn.functional.normalize(rows.double(), dim=1)
    return Described(
        clip_ids=tuple(first.digests),
        files=tuple(by_id[clip_id] for clip_id in first.digests),
        digests=tuple(first.digests.values()),
        facts=tuple(first.facts.values()),
        contours=tuple(None if "mel" in reasons.get(clip_id, {}) else frames[clip_id] for clip_id in first.digests),
        vectors=vectors,
        reasons=reasons,
    )


def joined(gen: Described, held_out: Described) -> Described:
    """Return two sets as one, the first set's clips first; clips of both may have one id."""
    return Described(
        clip_ids=gen.clip_ids + held_out.clip_ids,
        files=gen.files + held_out.files,
        digests=gen.digests + held_out.digests,
        facts=gen.facts + held_out.facts,
        contours=gen.contours + held_out.contours,
        vectors=_stacked(gen, held_out),
        reasons=gen.reasons,
    )


def _stacked(gen: Described, held_out: Described) -> torch.Tensor | None:
    known = [each.vectors for each in (gen, held_out) if each.vectors is not None]
    if not known:
        return None
    parts = [
        known[0].new_zeros(len(each), known[0].shape[1]) if each.vectors is None else each.vectors
        for each in (gen, held_out)
    ]
    return torch.cat(parts)


def cut(held_out: Described, gen: Described, seed: int) -> Described:
    """Return held-out clips, cut to the lengths of generated clips, the longest to the longest.

    Short clips are alike to something more often than long ones. The place of a cut is drawn.
    """
    lengths = sorted(len(clip) for clip in gen.contours if clip is not None)
    rng, contours = np.random.default_rng(seed), list(held_out.contours)
    known = [(len(clip), place) for place, clip in enumerate(contours) if clip is not None]
    for rank, (length, place) in enumerate(sorted(known)):
        wanted = lengths[rank * len(lengths) // len(known)] if lengths else length
        clip = contours[place]
        if clip is not None and wanted < length:
            start = int(rng.integers(length - wanted + 1))
            part = clip[start : start + wanted]
            contours[place] = None if comparable(part) else part
    return replace(held_out, contours=tuple(contours))


@dataclass
class Nearest:
    """The nearest training clip by one measure, clip by clip, so far."""

    similarity: list[float]
    clip_id: list[str]
    other: list[float | None]
    lag: list[int]
    overlap: list[int]

    @classmethod
    def none(cls, count: int) -> Nearest:
        """Return what is known before any training clip."""
        return cls([NOT_FOUND] * count, [""] * count, [None] * count, [0] * count, [0] * count)

    def update(
        self,
        asked: Described,
        block: Described,
        similarity: torch.Tensor,
        usable: torch.Tensor,
        other: torch.Tensor | None,
        lags: torch.Tensor | None = None,
    ) -> None:
        """Take over the clips of a block that are nearer.

        Parameters
        ----------
        asked
            The clips.
        similarity, other
            ``(clips, block)`` by this measure and by the other one, NaN for pairs that the other cannot compare.
        usable
            Which pairs this measure can compare.
        lags
            Lag of each pair, if the measure has one.
        """
        best = similarity.masked_fill(~usable, NOT_FOUND).max(dim=1)
        for row, (value, column) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            if value > self.similarity[row]:
                beside = None if other is None else float(other[row, column])
                self.similarity[row], self.clip_id[row] = value, block.clip_ids[column]
                self.other[row] = None if beside is None or math.isnan(beside) else beside
                clip, found = asked.contours[row], block.contours[column]
                if lags is not None and clip is not None and found is not None:
                    lag = self.lag[row] = int(lags[row, column])
                    self.overlap[row] = min(len(clip), len(found) - lag) - max(0, -lag)


@dataclass
class Search:
    """Clips whose nearest training clips are looked for.

    Parameters
    ----------
    asked
        The generated clips, followed by the held-out ones.
    generated
        Number of generated clips.
    held_out_is_train
        Whether held-out clips come from the training set; then they are not compared with themselves.
    """

    asked: Described
    generated: int
    held_out_is_train: bool
    identical: dict[int, tuple[Literal["bytes", "audio"], str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nearest = {kind: Nearest.none(len(self.asked)) for kind in ("mel", "embedding")}

    def compare(self, block: Described) -> None:
        """Compare all clips with a block of the training set."""
        if not len(block):
            return
        own = torch.zeros(len(self.asked), len(block), dtype=torch.bool, device="cpu")
        if self.held_out_is_train:
            columns = {clip_id: column for column, clip_id in enumerate(block.clip_ids)}
            for row in range(self.generated, len(self.asked)):
                if (column := columns.get(self.asked.clip_ids[row])) is not None:
                    own[row, column] = True
        mel, lags, heard = self._aligned(block)
        vectors, others = self.asked.vectors, block.vectors
        embedding = vectors @ others.T if vectors is not None and others is not None else None
        beside = None
        if embedding is not None and vectors is not None and others is not None:
            known = vectors.any(dim=1)[:, None] & others.any(dim=1)[None]
            self.nearest["embedding"].update(
                self.asked, block, embedding, known & ~own, mel.masked_fill(~heard, torch.nan)
            )
            beside = embedding.masked_fill(~known, torch.nan)
        self.nearest["mel"].update(self.asked, block, mel, heard & ~own, beside, lags)
        self._find_identical(block, own, mel, heard)

    def _aligned(self, block: Described) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return similarity and lag of every pair by mel, and which pairs can be compared."""
        rows, columns = (
            [place for place, clip in enumerate(each.contours) if clip is not None] for each in (self.asked, block)
        )
        shape = len(self.asked), len(block)
        similarity = torch.zeros(shape, dtype=torch.float32, device="cpu")
        lags = torch.zeros(shape, dtype=torch.int64, device="cpu")
        heard = torch.zeros(shape, dtype=torch.bool, device="cpu")
        gen, train = ([clip for clip in each.contours if clip is not None] for each in (self.asked, block))
        place = (
            torch.tensor(rows, dtype=torch.int64, device="cpu")[:, None],
            torch.tensor(columns, dtype=torch.int64, device="cpu")[None],
        )
        similarity[place], lags[place] = align(gen, train)
        heard[place] = True
        return similarity, lags, heard

    def _find_identical(self, block: Described, own: torch.Tensor, mel: torch.Tensor, heard: torch.Tensor) -> None:
        """Note which clips have the bytes, or decode to the samples, of a training clip."""
        by_digest, by_facts = dict[str, list[int]](), dict[ClipFacts, list[int]]()
        for column in range(len(block)):
            by_digest.setdefault(block.digests[column], []).append(column)
            by_facts.setdefault(block.facts[column], []).append(column)
        for row in range(len(self.asked)):
            found = self.identical.get(row)
            if found is not None and found[0] == "bytes":
                continue
            same = [column for column in by_digest.get(self.asked.digests[row], ()) if not own[row, column]]
            if same:
                self.identical[row] = "bytes", block.clip_ids[same[0]]
            elif found is None:
                # Equal samples have equal facts, and equal contours if any.
                near = ~heard[row] | (mel[row] > SAME_AUDIO)
                for column in by_facts.get(self.asked.facts[row], ()):
                    if near[column] and not own[row, column] and _same(self.asked.files[row], block.files[column]):
                        self.identical[row] = "audio", block.clip_ids[column]
                        break


def _same(one: AudioFile, other: AudioFile) -> bool:
    """Tell whether two files decode to the same samples at the same rate."""
    try:
        first, second = decoded(one), decoded(other)
    except (OSError, AudioFileError):  # gone, or changed since it was embedded
        return False
    return first.sample_rate == second.sample_rate and np.array_equal(first.samples, second.samples)
