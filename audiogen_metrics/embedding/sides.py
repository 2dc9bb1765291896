"""The two sets of a run, as a score and a report need them: features by recipe, and what became of the clips."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audiogen_metrics.audio.files import AudioFolder, printable
from audiogen_metrics.audio.preflight import set_warnings
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.embedding.extraction import EmbeddingSet, Extraction, ExtractionOptions, extract_each
from audiogen_metrics.embedding.foreign import ForeignStatistics
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.embedding.lanes import Alteration
from audiogen_metrics.embedding.reference import ReferenceStatistics
from audiogen_metrics.embedding.sets import ClipFailure
from audiogen_metrics.embedding.similarity import with_similarity
from audiogen_metrics.errors import DataError, remedies
from audiogen_metrics.results import InputSummary

if TYPE_CHECKING:
    from audiogen_metrics.audio.preparation import Preprocessing
    from audiogen_metrics.metrics.recipe import Recipe
    from audiogen_metrics.prompts import Captions


LENGTHS_APART = 1.2
"""Ratio of mean lengths above which a warning is due. Scenes of 8 s against others of 10 s change an FD by about as
much as another draw of scenes does; those of 7 s change it by half."""


@dataclass(frozen=True)
class FolderSide:
    """A folder of audio with its features, by recipe.

    Parameters
    ----------
    name
        ``gen`` or ``ref``.
    folder
        The files.
    sets
        Features by recipe.
    extractions
        One per preprocessing.
    window_seconds
        Shortest clip that reaches every backbone without padding.
    captions
        What the clips should sound like, for metrics that ask.
    cut
        How many of these a network does not read to their end, by its name.
    """

    name: str
    folder: AudioFolder
    sets: Mapping[Recipe, EmbeddingSet]
    extractions: tuple[Extraction, ...]
    window_seconds: float
    captions: Captions | None = None
    cut: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def extract(
        cls,
        name: str,
        folder: AudioFolder,
        recipes: Sequence[Recipe],
        backbones: Mapping[str, Backbone],
        options: ExtractionOptions,
        alteration: Alteration | None = None,
        captions: Captions | None = None,
    ) -> FolderSide:
        """Run each backbone once per preprocessing; each file is decoded once for all.

        Recipes that ask what clips should sound like get the similarity of clips to their ``captions``, where there are
        any.
        """
        groups: dict[Preprocessing, list[Recipe]] = defaultdict(list)
        for recipe in recipes:
            groups[recipe.preprocessing].append(recipe)
        needed = {
            preprocessing: [backbones[name] for name in dict.fromkeys(recipe.backbone for recipe in members)]
            for preprocessing, members in groups.items()
        }
        extractions = extract_each(folder, needed, options, alteration)
        sets = {
            recipe: extraction.sets[recipe.backbone]
            for extraction, members in zip(extractions, groups.values(), strict=True)
            for recipe in members
        }
        cut: dict[str, int] = {}
        if captions is not None:
            for recipe in (recipe for recipe in recipes if recipe.definition.prompted):
                sets[recipe], cut[recipe.backbone] = with_similarity(
                    sets[recipe], backbones[recipe.backbone], captions.by_clip, cache=options.cache
                )
        window = max(recipe.preprocessing.minimum_samples / recipe.preprocessing.sample_rate for recipe in recipes)
        return cls(name, folder, sets, tuple(extractions), window, captions, cut)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips that could be used."""
        return tuple(self.extractions[0].digests)

    @property
    def written(self) -> Mapping[str, str]:
        """Clip ids as the files' names spell them, by clip id."""
        return self.folder.written

    @property
    def losses(self) -> dict[str, str]:
        """Why clips are not in the score, or not in all scores, by clip id."""
        left_out = [failure for embedded in self.sets.values() for failure in embedded.left_out]
        return {failure.clip_id: failure.reason for failure in (*left_out, *self.extractions[0].failures)}

    def features(self, recipe: Recipe) -> EmbeddingSet:
        """Return the features for a recipe."""
        return self.sets[recipe]

    def require_all(self) -> None:
        """Raise DataError unless every file could be used."""
        if self.folder.lost:
            raise DataError(
                f"links lead nowhere: {_some(self.folder.lost)}",
                where=self.folder.root,
                fix="Repair or remove them, or run without strict",
            )
        failures = self.extractions[0].failures
        if failures:
            named = "; ".join(f"{failure.clip_id}: {failure.reason}" for failure in failures[:5])
            raise DataError(
                f"{len(failures)} of {len(self.folder.clips)} files cannot be scored ({named})",
                where=self.folder.root,
                fix="; ".join(
                    ["Repair or remove them, or run without strict", *remedies(each.fix for each in failures)]
                ),
            )

    def summary(self) -> InputSummary:
        """Return what was found, used and skipped."""
        first = self.extractions[0]
        listing = "\n".join(f"{digest} {clip_id}" for clip_id, digest in first.digests.items())
        return InputSummary(
            path=printable(self.folder.root),
            found=len(self.folder.clips),
            scored=len(first.digests),
            ignored=self.folder.ignored,
            seconds=sum(fact.seconds for fact in first.facts.values()),
            digest=hashlib.sha256(listing.encode()).hexdigest(),
            skipped=tuple(_describe(failure) for failure in first.failures),
            left_out={
                recipe.backbone: tuple(_describe(failure) for failure in embedded.left_out)
                for recipe, embedded in self.sets.items()
                if embedded.left_out
            },
            files=first.digests,
        )

    def warnings(self) -> list[str]:
        """Return what to know about the files before their scores are believed."""
        first = self.extractions[0]
        found = [f"{self.name}: skipped {printable(failure.path)}: {failure.reason}" for failure in first.failures]
        found += [f"{self.name}: {line}" for line in remedies(failure.fix for failure in first.failures)]
        if self.folder.lost:
            found.append(f"{self.name}: {len(self.folder.lost)} links lead nowhere: {_some(self.folder.lost)}")
        facts = {extraction.preprocessing: extraction.facts for extraction in self.extractions}
        found += set_warnings(self.name, facts, first.digests, self.window_seconds, self.folder)
        if self.captions is not None:
            found += self.captions.warnings(self.name, self.folder.clip_ids)
        found += [
            f"prompts: {count} of {self.name} are longer than {backbone} reads, which takes their beginning"
            for backbone, count in self.cut.items()
            if count
        ]
        for backbone, left_out in self.summary().left_out.items():
            found.append(f"{self.name}: {backbone} left out {len(left_out)} clips: {left_out[0]['reason']}")
        return found

    def problems(self) -> list[str]:
        """Return what went wrong with the cache or with memory, which changes no score."""
        return [*dict.fromkeys(problem for extraction in self.extractions for problem in extraction.problems)]


@dataclass(frozen=True)
class StatisticsSide:
    """A reference set that is known by statistics, this library's or others', checked against this run's recipes.

    Parameters
    ----------
    statistics
        What the file holds.
    protocol
        Name of the protocol of this run.
    settings
        By backbone name, the settings of this run.
    """

    statistics: ReferenceStatistics | ForeignStatistics
    protocol: str
    settings: Mapping[str, Mapping[str, str | int]]
    name: str = "ref"

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips that the statistics were made of."""
        return self.statistics.clip_ids

    @property
    def written(self) -> Mapping[str, str]:
        """Clip ids as the file spells them, by clip id."""
        return {clip_id: clip_id for clip_id in self.statistics.clip_ids}

    @property
    def losses(self) -> dict[str, str]:
        """Why clips are not in the statistics, or not in all of them, by clip id."""
        summary = self.statistics.summary
        left_out = [entry for entries in summary.left_out.values() for entry in entries]
        return {entry["clip"]: entry["reason"] for entry in (*left_out, *summary.skipped)}

    def features(self, recipe: Recipe) -> GivenFeatures:
        """Return the features for a recipe; DataError if they were made in another way."""
        return self.statistics.select(recipe, self.protocol, self.settings[recipe.backbone])

    def require_width(self, gen: FolderSide) -> None:
        """Raise DataError where others' statistics are of another width than the rows of the generated clips."""
        if isinstance(self.statistics, ForeignStatistics):
            for recipe, embedded in gen.sets.items():
                if recipe.definition.needs == "moments" and len(embedded):
                    output = recipe.definition.output
                    self.statistics.require_width(recipe, embedded.rows(output).shape[-1])

    def require_all(self) -> None:
        """Raise DataError if files were skipped when the statistics were made."""
        skipped = self.statistics.summary.skipped
        if skipped:
            raise DataError(
                f"{len(skipped)} files were skipped when these statistics were made ({skipped[0]['reason']})",
                where=self.statistics.path,
                fix="Repair them and build the statistics again, or run without strict",
            )

    def summary(self) -> InputSummary:
        """Return what was found, used and skipped when the statistics were made."""
        return self.statistics.summary

    def warnings(self) -> list[str]:
        """Return what was to know about the files when the statistics were made."""
        return list(self.statistics.warnings)

    def problems(self) -> list[str]:
        """Return in what this machine differs from the one that made the statistics."""
        return self.statistics.machine_differences(self.settings.values())


@dataclass(frozen=True)
class GivenSide:
    """A reference set that is known by ready features of its clips, or statistics of them.

    Parameters
    ----------
    given
        The features, for every recipe.
    """

    given: GivenFeatures
    name: str = "ref"

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips."""
        return self.given.clip_ids

    @property
    def written(self) -> Mapping[str, str]:
        """The ids, by clip id."""
        return {clip_id: clip_id for clip_id in self.given.clip_ids}

    @property
    def losses(self) -> dict[str, str]:
        """Nothing is known of clips that are missing."""
        return {}

    def features(self, _recipe: Recipe) -> GivenFeatures:
        """Return the features."""
        return self.given

    def require_all(self) -> None:
        """Raise nothing: no file was skipped."""

    def summary(self) -> InputSummary:
        """Return the number of clips; nothing else is known."""
        count = len(self.given) if self.given.counted else None
        digest = hashlib.sha256("\n".join(self.given.clip_ids).encode()).hexdigest()
        return InputSummary("ready features", count, count, 0, 0.0, digest)

    def warnings(self) -> list[str]:
        """Return nothing: there are no files."""
        return []

    def problems(self) -> list[str]:
        """Return nothing: nothing was computed."""
        return []


EmbeddedSide = FolderSide | StatisticsSide | GivenSide


def between(first: FolderSide, second: EmbeddedSide) -> list[str]:
    """Return what to know of two sets together before they are compared."""
    summaries = first.summary(), second.summary()
    found = shared_content(first.name, summaries[0].files, second.name, summaries[1].files)
    return found + _length_gap(first, second, *(summary.seconds / (summary.scored or 1) for summary in summaries))


def mixed_forms(first: EmbeddedSide, second: EmbeddedSide) -> list[str]:
    """Return a note if clips pair although their names are written in different Unicode forms."""
    spelt, other = first.written, second.written
    mixed = [clip for clip, name in spelt.items() if other.get(clip, name) != name]
    if not mixed:
        return []
    return [
        f"{len(mixed)} clip ids are written in different Unicode forms in {first.name} and {second.name} and are "
        f"paired by NFC: {_some(mixed)}"
    ]


def shared_content(
    first: str, first_files: Mapping[str, str], second: str, second_files: Mapping[str, str], what: str = "bytes"
) -> list[str]:
    """Return a warning if clips of two sets have the same content.

    Parameters
    ----------
    first, second
        What the sets are called.
    first_files, second_files
        Hash of the content by clip id.
    what
        What was hashed.
    """
    elsewhere = {digest: clip for clip, digest in sorted(second_files.items(), reverse=True)}
    same = [clip for clip, digest in first_files.items() if second_files.get(clip) == digest]
    moved = [
        f"{first} {clip!r} is {second} {elsewhere[digest]!r}"
        for clip, digest in first_files.items()
        if digest in elsewhere and second_files.get(clip) != digest
    ]
    count = len(same) + len(moved)
    if not count:
        return []
    if len(same) == len(first_files) == len(second_files):
        return [f"{first} and {second} are the same set: all {count} clips have the same ids and {what}"]
    share = f"all {count}" if count == len(first_files) else f"{count} of {len(first_files)}"
    parts = [f"{len(same)} under the same id ({_some(same)})"] * bool(same)
    parts += [f"{len(moved)} under another id ({_some(moved)})"] * bool(moved)
    return [
        f"{first}: {share} clips are in {second} with the same {what}: {', '.join(parts)}"
        + ("; copies in another encoding would not be noticed" if what == "bytes" else "")
    ]


def _length_gap(first: FolderSide, second: EmbeddedSide, *seconds: float) -> list[str]:
    """Return a warning if the mean lengths of two sets, ``seconds``, are far apart as far as a backbone hears them."""
    if not all(seconds):
        return []
    for preprocessing in {recipe.preprocessing for recipe in first.sets}:
        most = preprocessing.maximum_samples / preprocessing.sample_rate or math.inf
        heard = [min(most, length) for length in seconds]
        if max(heard) > LENGTHS_APART * min(heard):
            return [
                f"{first.name} clips last {seconds[0]:.3g} s on average, {second.name} clips {seconds[1]:.3g} s: the "
                "scores measure that too, since windows per clip and what an embedding holds differ"
            ]
    return []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _describe(failure: ClipFailure) -> dict[str, str]:
    described = {"clip": failure.clip_id, "path": printable(failure.path), "reason": failure.reason}
    return {**described, "fix": failure.remedy} if failure.fix else described
