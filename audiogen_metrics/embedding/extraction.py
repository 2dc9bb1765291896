"""Embed a set of clips: decode once for all backbones, in worker threads; batch by length; cache."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import NoReturn

import torch
from tqdm import tqdm

from audiogen_metrics import distributed
from audiogen_metrics.audio.decoding import MAX_BYTES, Audio, claimed_samples, decode, digest_of_samples
from audiogen_metrics.audio.files import AudioFile, AudioFolder
from audiogen_metrics.audio.preflight import ClipFacts, inspect
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.embedding.admission import Admission, load_ahead, thread_count
from audiogen_metrics.embedding.lanes import Alteration, ExtractionOptions, Lane
from audiogen_metrics.embedding.sets import ClipFailure, EmbeddingSet
from audiogen_metrics.embedding.shares import claimed_seconds, divide
from audiogen_metrics.errors import NO_MEMORY, AudioFileError, DataError, UsageError, is_out_of_memory
from audiogen_metrics.file_hashes import HashMemo, digest_of, identity_of, memo_folder
from audiogen_metrics.settings import require_lasting_cache, tell
from audiogen_metrics.text import escaped

__all__ = ["EmbeddingSet", "Extraction", "ExtractionOptions", "extract"]

DEFAULTS = ExtractionOptions()

MAX_LOADED_SAMPLES = 2**26
"""Bound on the samples, over all channels, of clips that are being decoded or wait until they are taken (256 MB); the
clip that is due next comes beside them, however large it is."""


RECALLED_SECONDS = 0.01
"""What a cached clip costs when clips are shared out, as seconds of audio that must be embedded."""


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
    options: ExtractionOptions = DEFAULTS,
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
    options: ExtractionOptions = DEFAULTS,
    alteration: Alteration | None = None,
) -> list[Extraction]:
    """Return what `extract` does for each preprocessing and its backbones; each file is decoded once for all.

    A clip that one preprocessing cannot take is a failure for all of them, so that they are about the same clips.
    """
    run = _ExtractionRun(folder, groups, options, alteration)
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
    options: ExtractionOptions = DEFAULTS,
    clips: int = 512,
) -> Iterator[list[Extraction]]:
    """Yield what `extract_each` returns, for so many clips at a time: a set of any size in the memory of one block.

    A block may have no usable clip; DataError, after the last one, if none of them has any.
    """
    failures: list[ClipFailure] = []
    for start in range(0, len(folder.clips), clips):
        run = _ExtractionRun(replace(folder, clips=folder.clips[start : start + clips]), groups, options, None)
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


class _ExtractionRun:
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
            preprocessing: [Lane(backbone, preprocessing, options, alteration) for backbone in backbones]
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
            for clip_id, facts in lane.recall(wanted).items():
                # Those of another preprocessing are mostly the same, and need not be kept twice.
                others = (known.get(clip_id) for known in self.facts.values())
                self.facts[lane.preprocessing].setdefault(clip_id, next((one for one in others if one == facts), facts))
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

    def result(self, preprocessing: Preprocessing, lanes: Sequence[Lane], order: Sequence[str]) -> Extraction:
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
