"""One backbone's part of an extraction: clips that wait for a batch, its cache, its features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
import torch

from audiogen_metrics import distributed
from audiogen_metrics.audio.decoding import DECODER_VERSION, Audio
from audiogen_metrics.audio.files import AudioFile
from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.audio.resampling import RESAMPLING_VERSION
from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.embedding.cache import CachedClip, ClipFeatures, EmbeddingCache
from audiogen_metrics.embedding.passes import Arriving, Passes, too_long
from audiogen_metrics.embedding.rows import Rows
from audiogen_metrics.embedding.sets import ClipFailure, EmbeddingSet
from audiogen_metrics.errors import NumericsError
from audiogen_metrics.run_options import EmbeddingOptions

MAX_WAITING_SAMPLES = 2**26
"""Bound on the samples that wait for clips of their length (256 MB)."""


@dataclass(frozen=True)
class ExtractionOptions:
    """How embeddings are computed; none of it changes what they are (beyond 1e-5 by batch shape).

    Parameters
    ----------
    batch_size, workers, cache, verify, progress
        As in `audiogen_metrics.score`.
    distributed
        All processes of the process group call together, each embeds its share, and the first one gets all.
    """

    batch_size: int = 16
    workers: int | None = None
    cache: bool = True
    verify: bool = False
    progress: bool = False
    distributed: bool = False

    @classmethod
    def of(cls, given: EmbeddingOptions, *, distributed: bool = False) -> ExtractionOptions:
        """Return those of a run's options that are about embeddings."""
        return cls(
            given["batch_size"], given["workers"], given["cache"], given["verify"], given["progress"], distributed
        )


class Alteration(Protocol):
    """Something that is done to each clip between decoding and preparation, the same whenever it is done."""

    @property
    def space(self) -> Mapping[str, object]:
        """Everything besides the clip that shapes the result, for the cache."""

    def key(self, clip_id: str, digest: str) -> str:
        """Return what the altered clip is cached under: its own content, and its id where that matters."""

    def __call__(self, clip_id: str, audio: Audio, preprocessing: Preprocessing) -> Audio:
        """Return the altered clip; AudioFileError if this clip cannot be altered."""


@dataclass
class _Waiting:
    clip: AudioFile
    key: str
    waveform: torch.Tensor
    facts: ClipFacts


@dataclass
class Lane:
    """One backbone's share of a run: buckets of equal length, its cache, its rows and which clip has which."""

    backbone: Backbone
    preprocessing: Preprocessing
    options: ExtractionOptions
    alteration: Alteration | None = None
    rows: Rows = field(default_factory=Rows)
    places: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, ClipFailure] = field(default_factory=dict)
    buckets: dict[int, list[_Waiting]] = field(default_factory=lambda: defaultdict(list))
    waiting: int = 0
    waiting_samples: int = 0
    first: dict[str, str] = field(default_factory=dict)
    twins: dict[str, tuple[AudioFile, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        space: dict[str, object] = {
            "decoder": DECODER_VERSION,
            "resampling": RESAMPLING_VERSION,
            "preprocessing": asdict(self.preprocessing),
            "backbone": self.backbone.settings,
        }
        if self.alteration is not None:
            space["alteration"] = self.alteration.space
        self.cache = EmbeddingCache(space, self.backbone.name) if self.options.cache else None
        self.passes = Passes(self.backbone, self.options.batch_size)
        self.flying: tuple[Sequence[_Waiting], Arriving[Output]] | None = None

    def __contains__(self, key: str) -> bool:
        return self.cache is not None and key in self.cache

    def knows(self, clip_id: str) -> bool:
        """Tell whether the clip has been dealt with."""
        return clip_id in self.places or clip_id in self.left_out

    @property
    def problems(self) -> list[str]:
        return self.passes.shortages + (self.cache.problems if self.cache is not None else [])

    def add(self, clip: AudioFile, key: str, waveform: torch.Tensor, facts: ClipFacts) -> None:
        """Queue a clip, and run its bucket once it is full."""
        if key in self or self.knows(clip.clip_id):
            return
        if len(waveform) < self.backbone.minimum_samples:
            shortest = self.backbone.minimum_samples / self.backbone.sample_rate
            reason = f"shorter than the {shortest:g} s that {self.backbone.name} needs, and the protocol does not pad"
            self.leave_out(clip, reason)
            return
        if key in self.first:
            # Embedded once: the same clip elsewhere in a batch, or in another one, may differ in its last bits.
            self.twins[clip.clip_id] = (clip, self.first[key])
            return
        self.first[key] = clip.clip_id
        # A copy, so that a view does not keep the untrimmed waveform alive.
        waveform = waveform[: self.backbone.usable_samples(len(waveform))].clone()
        length = len(waveform)
        self.buckets[length].append(_Waiting(clip, key, waveform, facts))
        self.waiting += 1
        self.waiting_samples += length
        if len(self.buckets[length]) >= self.passes.largest_batch(length):
            self.run(length)
        while self.waiting_samples > MAX_WAITING_SAMPLES:
            self.run(max(self.buckets, key=lambda length: length * len(self.buckets[length])))

    def run_all(self) -> Iterator[None]:
        """Embed what is left, bucket by bucket, and give clips of equal content the same features."""
        for length in sorted(self.buckets):
            self.run(length)
            yield
        self.land()
        for clip, first in self.twins.values():
            if first in self.places:
                self.places[clip.clip_id] = self.places[first]
            else:
                self.leave_out(clip, self.left_out[first].reason)

    def leave_out(self, clip: AudioFile, reason: str) -> None:
        """Note that this backbone cannot take a clip."""
        self.left_out[clip.clip_id] = ClipFailure(clip.clip_id, clip.path, reason)

    def run(self, length: int) -> None:
        """Embed one bucket, as one batch if the device has the memory.

        CUDA works on the last batch while the next one is decoded; its features are taken once that one has started.
        """
        members = self.buckets.pop(length)
        self.waiting_samples -= length * len(members)
        for places, arriving in self.passes.over([member.waveform for member in members]):
            part = members[places.start : places.stop]
            if arriving is None:
                self.waiting -= 1
                self.leave_out(part[0].clip, too_long(self.backbone))
                continue
            self.land()
            self.flying = part, arriving
            if arriving.is_here:
                self.land()

    def land(self) -> None:
        """Keep and cache the features of the batch that was started last."""
        if self.flying is None:
            return
        (members, arriving), self.flying = self.flying, None
        outputs, landed = arriving.take(), []
        for index, member in enumerate(members):
            features: ClipFeatures = {name: tensor[index].clone() for name, tensor in outputs.items()}
            if not all(bool(tensor.isfinite().all()) for tensor in features.values()):
                raise NumericsError(f"{self.backbone.name} gave NaN or infinity", where=member.clip.path)
            landed.append(features)
            if self.cache is not None:
                self.cache.put(member.key, CachedClip(features, member.facts))
        self.places |= {member.clip.clip_id: place for place, member in enumerate(members, len(self.rows))}
        self.rows.add(landed)
        self.waiting -= len(members)

    def recall(self, wanted: Mapping[str, str]) -> dict[str, ClipFacts]:
        """Take the wanted clips (clip id to key) from the cache, as far as they are there and not computed.

        Returns what was seen of them when they were decoded.
        """
        asking: dict[str, list[str]] = defaultdict(list)
        for clip_id, key in wanted.items():
            if not self.knows(clip_id):
                asking[key].append(clip_id)
        facts: dict[str, ClipFacts] = {}
        for shard in () if self.cache is None else self.cache.by_shard(asking):
            for place, (key, clip) in enumerate(shard.items(), len(self.rows)):
                self.places |= dict.fromkeys(asking[key], place)
                facts |= dict.fromkeys(asking[key], clip.facts)
            self.rows.add(clip.features for clip in shard.values())
        return facts

    def hand_over(self, first: bool) -> None:
        """Bring the rows of all processes to the first one."""
        for places, rows in distributed.gather(({}, Rows()) if first else (self.places, self.rows)):
            self.places |= {clip_id: len(self.rows) + place for clip_id, place in places.items()}
            self.rows.extend(rows)
        if not first:
            self.places, self.rows = {}, Rows()
        self.first, self.twins = {}, {}

    def close(self) -> None:
        """Write what is worth keeping, of the batch in flight, too."""
        try:
            self.land()
        finally:
            if self.cache is not None:
                self.cache.flush()

    def result(self, order: Sequence[str]) -> EmbeddingSet:
        """Return the clips in an order, with those that were left out."""
        kept = [clip_id for clip_id in order if clip_id in self.places]
        rows = self.rows.arranged(np.array([self.places[clip_id] for clip_id in kept], dtype=np.int64))
        left_out = tuple(self.left_out[clip_id] for clip_id in sorted(self.left_out))
        return EmbeddingSet.of_rows(kept, rows, np.arange(len(rows)), left_out)
