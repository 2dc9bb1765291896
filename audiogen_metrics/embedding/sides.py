"""The two sets of a run, as a score and a report need them: features by recipe, and what became of the clips."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audiogen_metrics.audio.files import AudioFolder, printable
from audiogen_metrics.audio.preflight import set_warnings
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.embedding.extraction import (
    Alteration,
    ClipFailure,
    EmbeddingSet,
    Extraction,
    ExtractionOptions,
    extract_each,
)
from audiogen_metrics.embedding.reference import GivenFeatures, ReferenceStatistics
from audiogen_metrics.errors import DataError
from audiogen_metrics.results import InputSummary

if TYPE_CHECKING:
    from audiogen_metrics.audio.preparation import Preprocessing
    from audiogen_metrics.protocols import Recipe


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
    """

    name: str
    folder: AudioFolder
    sets: Mapping[Recipe, EmbeddingSet]
    extractions: tuple[Extraction, ...]
    window_seconds: float

    @classmethod
    def extract(
        cls,
        name: str,
        folder: AudioFolder,
        recipes: Sequence[Recipe],
        backbones: Mapping[str, Backbone],
        options: ExtractionOptions,
        alteration: Alteration | None = None,
    ) -> FolderSide:
        """Run each backbone once per preprocessing; each file is decoded once for all."""
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
        window = max(
            max(recipe.preprocessing.minimum_samples, backbones[recipe.backbone].minimum_samples)
            / recipe.preprocessing.sample_rate
            for recipe in recipes
        )
        return cls(name, folder, sets, tuple(extractions), window)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips that could be used."""
        return tuple(self.extractions[0].digests)

    def features(self, recipe: Recipe) -> EmbeddingSet:
        """Return the features for a recipe."""
        return self.sets[recipe]

    def require_all(self) -> None:
        """Raise DataError unless every file could be used."""
        failures = self.extractions[0].failures
        if failures:
            named = "; ".join(f"{failure.clip_id}: {failure.reason}" for failure in failures[:5])
            raise DataError(
                f"{len(failures)} of {len(self.folder.clips)} files cannot be scored ({named})",
                where=self.folder.root,
                fix="Repair or remove them, or run without strict",
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
        facts = {extraction.preprocessing: extraction.facts for extraction in self.extractions}
        found += set_warnings(self.name, facts, first.digests, self.window_seconds, self.folder)
        for backbone, left_out in self.summary().left_out.items():
            found.append(f"{self.name}: {backbone} left out {len(left_out)} clips: {left_out[0]['reason']}")
        return found

    def problems(self) -> list[str]:
        """Return what went wrong with the cache or with memory, which changes no score."""
        return [*dict.fromkeys(problem for extraction in self.extractions for problem in extraction.problems)]


@dataclass(frozen=True)
class StatisticsSide:
    """A reference set that is known by a statistics file, checked against the recipes of this run.

    Parameters
    ----------
    statistics
        The file.
    protocol
        Name of the protocol of this run.
    settings
        By backbone name, the settings of this run.
    """

    statistics: ReferenceStatistics
    protocol: str
    settings: Mapping[str, Mapping[str, str | int]]

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips that the statistics were made of."""
        return self.statistics.clip_ids

    def features(self, recipe: Recipe) -> GivenFeatures:
        """Return the features for a recipe; DataError if they were made in another way."""
        return self.statistics.select(recipe, self.protocol, self.settings[recipe.backbone])

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


Side = FolderSide | StatisticsSide


def _describe(failure: ClipFailure) -> dict[str, str]:
    return {"clip": failure.clip_id, "path": printable(failure.path), "reason": failure.reason}
