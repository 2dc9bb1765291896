"""Embed a set of clips: decode once for all backbones, in worker threads; batch by length; cache."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import NoReturn, Protocol

import torch
from tqdm import tqdm

from audiogen_metrics import distributed
from audiogen_metrics.audio.decoding import (
    DECODER_VERSION,
    MAX_BYTES,
    Audio,
    claimed_samples,
    decode,
    digest_of_samples,
)
from audiogen_metrics.audio.files import AudioFile, AudioFolder
from audiogen_metrics.audio.preflight import ClipFacts, inspect
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.audio.resampling import RESAMPLING_VERSION
from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.embedding.admission import Admission, load_ahead, thread_count
from audiogen_metrics.embedding.cache import CachedClip, ClipFeatures, EmbeddingCache
from audiogen_metrics.embedding.passes import Arriving, Passes, too_long
from audiogen_metrics.embedding.shares import claimed_seconds, divide
from audiogen_metrics.errors import (
    NO_MEMORY,
    AudioFileError,
    DataError,
    InsufficientDataError,
    NumericsError,
    UsageError,
    is_out_of_memory,
    with_names,
)
from audiogen_metrics.file_hashes import HashMemo, digest_of, identity_of, memo_folder
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.settings import require_lasting_cache, tell
from audiogen_metrics.text import escaped

MAX_WAITING_SAMPLES = 2**26
"""Bound on the samples that wait for clips of their length (256 MB)."""


@dataclass(frozen=True)
class ExtractionOptions:
    """How embeddings are computed; none of it changes what they are (beyond 1e-5 by batch shape).

    Parameters
    ----------
    batch_size
        Clips per forward pass, at most.
    workers
        Decoding threads; None takes one per core, at most 8.
    cache
        Read and write the cache.
    verify
        Hash every file again instead of trusting its size, times and inode.
    progress
        Show a progress bar on stderr.
    distributed
        All processes of the process group call together, each embeds its share, and the first one gets all.
    """

    batch_size: int = 16
    workers: int | None = None
    cache: bool = True
    verify: bool = False
    progress: bool = False
    distributed: bool = False


MAX_LOADED_SAMPLES = 2**26
"""Bound on the samples, over all channels, of clips that are being decoded or wait until they are taken (256 MB); the
clip that is due next comes beside them, however large it is."""


RECALLED_SECONDS = 0.01
"""What a cached clip costs when clips are shared out, as seconds of audio that must be embedded."""


class Alteration(Protocol):
    """Something that is done to each clip between decoding and preparation, the same whenever it is done."""

    @property
    def space(self) -> Mapping[str, object]:
        """Everything besides the clip that shapes the result, for the cache."""

    def key(self, clip_id: str, digest: str) -> str:
        """Return what the altered clip is cached under: its own content, and its id where that matters."""

    def __call__(self, clip_id: str, audio: Audio, preprocessing: Preprocessing) -> Audio:
        """Return the altered clip; AudioFileError if this clip cannot be altered."""


@dataclass(frozen=True)
class ClipFailure:
    """A clip that is not scored, why, and what would mend it, in which IN stands for the file."""

    clip_id: str
    path: Path
    reason: str
    fix: str = ""

    @property
    def remedy(self) -> str:
        """What would mend it, with this file in its commands."""
        return with_names(self.fix, self.path)


@dataclass(frozen=True)
class EmbeddingSet:
    """Features of a set of clips by one backbone, in the order of their clip ids."""

    features: dict[str, ClipFeatures]
    left_out: tuple[ClipFailure, ...] = ()
    _fitted: dict[Output, GaussianStatistics] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips, sorted."""
        return tuple(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, output: Output) -> torch.Tensor:
        """Return all rows of an output: ``(clips, d)``, or ``(windows of all clips, d)``."""
        columns = [clip[output] for clip in self.features.values()]
        if not columns:
            reason = f": {self.left_out[0].reason}" if self.left_out else ""
            raise InsufficientDataError(f"no clip is left{reason}", fix="Score longer clips")
        return torch.cat(columns) if output == "windows" else torch.stack(columns)

    def statistics(self, output: Output) -> GaussianStatistics:
        """Return mean and covariance of all rows of an output, fitted once."""
        if output not in self._fitted:
            self._fitted[output] = GaussianStatistics.from_embeddings(self.rows(output))
        return self._fitted[output]

    def counts(self, output: Output) -> list[int]:
        """Return how many rows of an output each clip has."""
        return [len(clip[output]) if output == "windows" else 1 for clip in self.features.values()]

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        """Return the logits of these clips, in this order; of all clips by default."""
        return self.select(self.clip_ids if clip_ids is None else clip_ids).rows("logits")

    def select(self, clip_ids: Iterable[str]) -> EmbeddingSet:
        """Return the set with these clips only, in this order."""
        return EmbeddingSet({clip_id: self.features[clip_id] for clip_id in clip_ids}, self.left_out)

    def mixed(self, other: EmbeddingSet, clip_ids: Iterable[str]) -> EmbeddingSet:
        """Return this set with these clips as they are in another set."""
        return EmbeddingSet(self.features | {clip_id: other.features[clip_id] for clip_id in clip_ids})


@dataclass(frozen=True)
class Extraction:
    """What became of a folder: its features by backbone name, and what was seen on the way."""

    folder: AudioFolder
    preprocessing: Preprocessing
    sets: dict[str, EmbeddingSet]
    facts: dict[str, ClipFacts]
    digests: dict[str, str]
    failures: tuple[ClipFailure, ...]
    from_cache: int
    problems: tuple[str, ...]


def extract(
    folder: AudioFolder,
    backbones: Sequence[Backbone],
    preprocessing: Preprocessing,
    options: ExtractionOptions = ExtractionOptions(),
    alteration: Alteration | None = None,
) -> Extraction:
    """Return the features of every clip by every backbone.

    The result does not depend on the order of the files, on workers or on the cache; batch shape changes it by
    less than 1e-5. Whatever was computed is in the cache also when the call is interrupted.

    Raises
    ------
    DataError
        No clip of the folder can be used; names the first reasons. Processes that have other files or settings.
    NumericsError
        A backbone gave NaN or infinity for a sound clip.
    LostProcessError
        Another process has gone.
    """
    return extract_each(folder, {preprocessing: backbones}, options, alteration)[0]


def extract_each(
    folder: AudioFolder,
    groups: Mapping[Preprocessing, Sequence[Backbone]],
    options: ExtractionOptions = ExtractionOptions(),
    alteration: Alteration | None = None,
) -> list[Extraction]:
    """Return what `extract` does for each preprocessing and its backbones; each file is decoded once for all.

    A clip that one preprocessing cannot take is a failure for all of them, so that they are about the same clips.
    """
    run = _Run(folder, groups, options, alteration)
    try:
        if options.distributed:
            run.process_together(folder.clips)
        else:
            run.process(folder.clips)
    finally:
        run.close()
    if not run.digests:
        raise _unusable(folder, run.failures.values())
    return run.results()


def extract_blocks(
    folder: AudioFolder,
    groups: Mapping[Preprocessing, Sequence[Backbone]],
    options: ExtractionOptions = ExtractionOptions(),
    clips: int = 512,
) -> Iterator[list[Extraction]]:
    """Yield what `extract_each` returns, for so many clips at a time: a set of any size in the memory of one block.

    A block may have no usable clip; DataError, after the last one, if none of them has any.
    """
    failures: list[ClipFailure] = []
    for start in range(0, len(folder.clips), clips):
        run = _Run(replace(folder, clips=folder.clips[start : start + clips]), groups, options, None)
        try:
            run.process(run.folder.clips)
        finally:
            run.close()
        failures += run.failures.values()
        yield run.results()
    if len(failures) == len(folder.clips):
        raise _unusable(folder, failures)


def _unusable(folder: AudioFolder, found: Iterable[ClipFailure]) -> DataError:
    """Return what is wrong where no clip of a folder can be used."""
    failures = sorted(found, key=lambda failure: failure.clip_id)
    reasons = "; ".join(f"{failure.path.name}: {failure.reason}" for failure in failures[:3])
    fixes = [*dict.fromkeys(failure.fix for failure in failures if failure.fix)]
    return DataError(
        f"none of {len(folder.clips)} audio files can be used ({reasons})",
        where=folder.root,
        fix="; ".join(fixes[:3]) or "Repair the files or pass another folder",
    )


@dataclass
class _Loaded:
    """One clip after decoding: a waveform for each preprocessing that needs it, or a failure."""

    clip: AudioFile
    digest: str = ""
    key: str = ""
    waveforms: Mapping[Preprocessing, torch.Tensor] = field(default_factory=dict)
    facts: Mapping[Preprocessing, ClipFacts] = field(default_factory=dict)
    failure: ClipFailure | None = None


def _failed(clip: AudioFile, reason: str, fix: str = "") -> _Loaded:
    return _Loaded(clip, failure=ClipFailure(clip.clip_id, clip.path, reason, fix))


class _Run:
    """State of one extraction."""

    def __init__(
        self,
        folder: AudioFolder,
        groups: Mapping[Preprocessing, Sequence[Backbone]],
        options: ExtractionOptions,
        alteration: Alteration | None,
    ) -> None:
        self.folder, self.options, self.alteration = folder, options, alteration
        self.memo = HashMemo(memo_folder(), folder.root) if options.cache else None
        self.groups = {
            preprocessing: [_Lane(backbone, preprocessing, options, alteration) for backbone in backbones]
            for preprocessing, backbones in groups.items()
        }
        self.lanes = [lane for lanes in self.groups.values() for lane in lanes]
        self.digests: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.facts: dict[Preprocessing, dict[str, ClipFacts]] = {preprocessing: {} for preprocessing in groups}
        self.failures: dict[str, ClipFailure] = {}
        self.problems: list[str] = []
        if options.cache:
            try:
                require_lasting_cache()
            except UsageError as error:
                self.problems.append(str(error))
        self.decoded: set[str] = set()

    def process(self, clips: Sequence[AudioFile]) -> None:
        """Compute or recall every clip; clips of damaged cache shards go round again."""
        while clips:
            with tqdm(
                total=len(clips),
                desc=escaped(self.folder.root),
                unit="clip",
                file=sys.stderr,
                disable=not self.options.progress,
            ) as bar:
                for taken, loaded in enumerate(self.load_all(clips), 1):
                    self.take(loaded)
                    self.show(bar, taken)
                for lane in self.lanes:
                    for _ in lane.run_all():
                        self.show(bar, len(clips))
            clips = self.recall(clips)

    def show(self, bar: tqdm[NoReturn], taken: int) -> None:
        """Show how many clips are done of those taken so far; one that waits for half of the backbones counts half."""
        waiting = sum(lane.waiting for lane in self.lanes) / max(1, len(self.lanes))
        bar.update(taken - math.ceil(waiting) - bar.n)

    def process_together(self, clips: Sequence[AudioFile]) -> None:
        """Compute or recall every clip, each process a share; the first one gets all features, all of them the rest."""
        seen = "\n".join(map(self.identity, clips))
        distributed.require_equal(digest_of(seen.encode()), f"the clips of {self.folder.root}")
        distributed.require_equal(" ".join(lane.backbone.fingerprint for lane in self.lanes), "their backbones")
        first = distributed.rank() == 0
        self.options = replace(self.options, progress=self.options.progress and first)
        for piece in self.share(clips):
            with distributed.together():
                self.process(piece)
            for lane in self.lanes:
                lane.hand_over(first)
        left_out = [lane.left_out for lane in self.lanes]
        hashes = {} if self.memo is None else self.memo.seen
        for share in distributed.all_gather((self.digests, self.facts, self.failures, self.decoded, left_out, hashes)):
            self.digests |= share[0]
            for preprocessing, facts in share[1].items():
                self.facts[preprocessing] |= facts
            self.failures |= share[2]
            self.decoded |= share[3]
            for lane, others in zip(self.lanes, share[4], strict=True):
                lane.left_out |= others
            hashes |= share[5]

    def share(self, clips: Sequence[AudioFile]) -> list[list[AudioFile]]:
        """Return what this process takes of the clips, in pieces: as many as each of the others has."""
        number, processes = distributed.rank(), distributed.count()
        with distributed.together(), ThreadPoolExecutor(max(1, thread_count(self.options.workers))) as threads:
            own = [*threads.map(self.cost, clips[number::processes])]
        costs = distributed.all_gather(own)
        every = [costs[place % processes][place // processes] for place in range(len(clips))]
        archives = [None if clip.member is None else clip.member.archive for clip in clips]
        pieces = divide(every, archives, processes, distributed.BLOCK)[number]
        return [[clips[place] for place in piece] for piece in pieces]

    def cost(self, clip: AudioFile) -> float:
        """Return the length of a clip in seconds; of one whose features are cached, what recalling them is worth."""
        if self.memo is not None and clip.is_file and not self.options.verify:
            with suppress(OSError):
                digest = self.memo.recall(clip.path)
                if digest is not None and self.cached(self.key(clip, digest)):
                    return RECALLED_SECONDS
        return claimed_seconds(clip)

    def load_all(self, clips: Sequence[AudioFile]) -> Iterator[_Loaded]:
        """Yield the clips in order, loaded ahead."""
        self.admission = Admission(MAX_LOADED_SAMPLES)
        name, batch = attrgetter("clip_id"), self.options.batch_size
        return load_ahead(clips, self.load, self.admission, name, workers=self.options.workers, batch=batch)

    def load(self, clip: AudioFile) -> _Loaded:
        """Read, hash and decode one clip, as far as its features are not cached."""
        try:
            if self.memo is not None and clip.is_file and not self.options.verify:
                digest = self.memo.recall(clip.path)
                if digest is not None and self.cached(key := self.key(clip, digest)):
                    return _Loaded(clip, digest, key)
            digest, content = self.read(clip)
        except OSError as error:
            return _failed(clip, f"cannot be read ({error.strerror})")
        except AudioFileError as error:
            return _failed(clip, error.what, error.fix or "")
        key = self.key(clip, digest)
        if self.cached(key):
            return _Loaded(clip, digest, key)
        try:
            if isinstance(content, Audio):
                self.admission.enter(clip.clip_id, content.samples.size)
                decoded = content
            else:
                self.admission.enter(clip.clip_id, claimed_samples(content))
                as_integers = any(preprocessing.sixteen_bit == "file" for preprocessing in self.groups)
                decoded = decode(clip.path, content, integers=as_integers)
            del content  # it may be larger than what was in it
            waveforms, facts = {}, {}
            for preprocessing, lanes in self.groups.items():
                if not all(key in lane for lane in lanes):
                    audio = decoded
                    if self.alteration is not None:
                        audio = self.alteration(clip.clip_id, decoded, preprocessing)
                    waveforms[preprocessing] = prepare(audio, preprocessing)
                    facts[preprocessing] = inspect(audio, waveforms[preprocessing], preprocessing)
            self.admission.settle(clip.clip_id, sum(map(len, waveforms.values())))
            return _Loaded(clip, digest, key, waveforms, facts)
        except AudioFileError as error:
            return _failed(clip, error.what, error.fix or "")
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return _failed(clip, NO_MEMORY)

    def identity(self, clip: AudioFile) -> str:
        """Return what tells a clip from others on all processes; one in memory may be another one on each."""
        if clip.is_file:
            return clip.clip_id
        if clip.member is not None:
            return f"{clip.clip_id} {clip.member.archive.name} {clip.member.start} {clip.member.size}"
        try:
            return f"{clip.clip_id} {self.read(clip)[0]}"
        except (OSError, AudioFileError):
            return f"{clip.clip_id} cannot be read"

    def read(self, clip: AudioFile) -> tuple[str, bytes | Audio]:
        """Return the content of a clip, and its hash; files' hashes are remembered."""
        if not clip.is_file:
            content = clip.fetch()
            return digest_of_samples(content) if isinstance(content, Audio) else digest_of(content), content
        identity = identity_of(clip.path)
        if identity[0] > MAX_BYTES:
            raise AudioFileError(f"larger than {MAX_BYTES} bytes: cut it into clips")
        content = clip.path.read_bytes()
        digest = digest_of(content)
        if self.memo is not None:
            self.memo.remember(clip.path, identity, digest)
        return digest, content

    def key(self, clip: AudioFile, digest: str) -> str:
        """Return what the features of a clip are cached under."""
        return digest if self.alteration is None else self.alteration.key(clip.clip_id, digest)

    def cached(self, key: str) -> bool:
        return all(key in lane for lane in self.lanes)

    def take(self, loaded: _Loaded) -> None:
        """Hand one loaded clip to the lanes that lack it."""
        clip = loaded.clip
        if loaded.failure is not None:
            self.digests.pop(clip.clip_id, None)
            self.failures[clip.clip_id] = loaded.failure
            return
        self.digests[clip.clip_id], self.keys[clip.clip_id] = loaded.digest, loaded.key
        if not loaded.waveforms:
            return
        self.decoded.add(clip.clip_id)
        for preprocessing, waveform in loaded.waveforms.items():
            self.facts[preprocessing][clip.clip_id] = loaded.facts[preprocessing]
            for lane in self.groups[preprocessing]:
                lane.add(clip, loaded.key, waveform, loaded.facts[preprocessing])

    def recall(self, clips: Sequence[AudioFile]) -> list[AudioFile]:
        """Fetch what the cache holds; return the clips that must be computed after all."""
        missing = set()
        for lane in self.lanes:
            wanted = {clip.clip_id: self.keys[clip.clip_id] for clip in clips if clip.clip_id in self.digests}
            for clip_id, cached in lane.recall(wanted).items():
                self.facts[lane.preprocessing].setdefault(clip_id, cached.facts)
            missing |= {clip_id for clip_id in wanted if not lane.knows(clip_id)}
        return [clip for clip in clips if clip.clip_id in missing]

    def close(self) -> None:
        """Write what is worth keeping, also after an error."""
        for lane in self.lanes:
            lane.close()
        if self.memo is not None and not (self.options.distributed and distributed.rank()):
            self.memo.save()
            self.problems += self.memo.problems
        for problem in self.problems + [problem for lane in self.lanes for problem in lane.problems]:
            tell(problem)

    def results(self) -> list[Extraction]:
        """Return one result for each preprocessing."""
        order = sorted(self.digests)
        return [self.result(preprocessing, lanes, order) for preprocessing, lanes in self.groups.items()]

    def result(self, preprocessing: Preprocessing, lanes: Sequence[_Lane], order: Sequence[str]) -> Extraction:
        return Extraction(
            folder=self.folder,
            preprocessing=preprocessing,
            sets={lane.backbone.name: lane.result(order) for lane in lanes},
            facts={clip_id: self.facts[preprocessing][clip_id] for clip_id in order},
            digests={clip_id: self.digests[clip_id] for clip_id in order},
            failures=tuple(self.failures[clip_id] for clip_id in sorted(self.failures)),
            from_cache=len(set(order) - self.decoded),
            problems=tuple(dict.fromkeys(self.problems + [problem for lane in lanes for problem in lane.problems])),
        )


@dataclass
class _Waiting:
    clip: AudioFile
    key: str
    waveform: torch.Tensor
    facts: ClipFacts


@dataclass
class _Lane:
    """One backbone's share of a run: buckets of equal length, its cache, its results."""

    backbone: Backbone
    preprocessing: Preprocessing
    options: ExtractionOptions
    alteration: Alteration | None = None
    features: dict[str, ClipFeatures] = field(default_factory=dict)
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
        return clip_id in self.features or clip_id in self.left_out

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
            if first in self.features:
                self.features[clip.clip_id] = self.features[first]
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
        outputs = arriving.take()
        for index, member in enumerate(members):
            features: ClipFeatures = {name: tensor[index].clone() for name, tensor in outputs.items()}
            if not all(bool(tensor.isfinite().all()) for tensor in features.values()):
                raise NumericsError(f"{self.backbone.name} gave NaN or infinity", where=member.clip.path)
            self.features[member.clip.clip_id] = features
            if self.cache is not None:
                self.cache.put(member.key, CachedClip(features, member.facts))
        self.waiting -= len(members)

    def recall(self, wanted: dict[str, str]) -> dict[str, CachedClip]:
        """Take the wanted clips (clip id to key) from the cache, as far as they are there and not computed."""
        if self.cache is None:
            return {}
        missing = {clip_id: key for clip_id, key in wanted.items() if not self.knows(clip_id)}
        cached = self.cache.get(set(missing.values()))
        found = {clip_id: cached[key] for clip_id, key in missing.items() if key in cached}
        self.features |= {clip_id: clip.features for clip_id, clip in found.items()}
        return found

    def hand_over(self, first: bool) -> None:
        """Bring the features of all processes to the first one."""
        for share in distributed.gather({} if first else self.features):
            self.features |= share
        if not first:
            self.features = {}
        self.first, self.twins = {}, {}

    def close(self) -> None:
        """Write what is worth keeping, of the batch in flight, too."""
        try:
            self.land()
        finally:
            if self.cache is not None:
                self.cache.flush()

    def result(self, order: Sequence[str]) -> EmbeddingSet:
        features = {clip_id: self.features[clip_id] for clip_id in order if clip_id in self.features}
        return EmbeddingSet(features, tuple(self.left_out[clip_id] for clip_id in sorted(self.left_out)))
