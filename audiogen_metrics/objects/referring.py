"""The reference of a metric object, which comes from the constructor or from ``update``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiogen_metrics import distributed
from audiogen_metrics.embedding.foreign import ForeignStatistics
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.embedding.reference import ReferenceStatistics
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array
from audiogen_metrics.metrics.definition import FeatureSource, Side
from audiogen_metrics.objects.state import Folded, summarise
from audiogen_metrics.objects.taking import Taking
from audiogen_metrics.results import InputSummary

if TYPE_CHECKING:
    from audiogen_metrics.audio.files import AudioFolder

Reference = str | Path | Array | Mapping[str, Array] | GaussianStatistics


class Referring(Taking):
    """A metric whose reference may be given once, as a folder, statistics or rows; it then survives ``reset``."""

    protocol: str
    trust_reference: bool
    _ref: AudioFolder | ReferenceStatistics | ForeignStatistics | GivenFeatures | None
    _ref_path: str | Path | None
    _embedded: FeatureSource | None

    @property
    def reference_path(self) -> str | Path | None:
        """The folder or statistics file with which this metric was made."""
        return self._ref_path

    def _check_reference(self, settings: Mapping[str, Any]) -> None:
        if isinstance(self._ref, ReferenceStatistics | ForeignStatistics):
            self._ref.select(self.recipe, self.protocol, settings)
            for difference in self._ref.machine_differences([settings]):
                warnings.warn(difference, stacklevel=3)

    def _check_sets(self, gen: FeatureSource, ref: FeatureSource | None) -> None:
        """Raise DataError if pairs are needed and the sets cannot be paired by order of arrival."""
        named = [getattr(source, "named", True) for source in (gen, ref)]
        if self.definition.needs != "pairs" or ref is None or all(named):
            return
        if any(named):
            without, with_ids = ("ref", "gen") if named[0] else ("gen", "ref")
            raise DataError(
                f"{without} clips have no ids, and {with_ids} clips have: they cannot be paired",
                fix="Pass ids to every update, equal for the two clips of a pair",
            )
        self._require_equal(len(gen), len(ref))

    def _open(self, ref: Reference) -> AudioFolder | ReferenceStatistics | ForeignStatistics | GivenFeatures:
        """Check a reference as far as this is cheap, so that a mistake shows at once."""
        from audiogen_metrics.evaluation.opening import open_reference

        if isinstance(ref, (str, Path)):
            opened = open_reference(ref, trust_reference=self.trust_reference)
            if isinstance(opened, ReferenceStatistics | ForeignStatistics):
                opened.select(self.recipe, self.protocol)
                opened.require(self.recipe)
            if isinstance(opened, ForeignStatistics):
                for warning in opened.warnings:
                    warnings.warn(warning, stacklevel=4)
            return opened
        if isinstance(ref, GaussianStatistics):
            if self.definition.needs != "moments":
                raise UsageError(
                    f"{self.score_id} needs {self._output}, not statistics", fix=f"Pass the reference's {self._output}"
                )
            return GivenFeatures((), gaussian=ref, size=ref.count, counted=ref.count is not None)
        ids = list(ref) if isinstance(ref, Mapping) else None
        rows = _stacked(ref, self._output) if isinstance(ref, Mapping) else ref
        clips, bad = self._own_rows("ref", rows, ids)
        clips = clips.leave_out(bad)
        empty = Folded(clips.rows.new_zeros(0, 1 + clips.rows.shape[1]), 0, [])
        given = summarise(clips, empty, self._output == "logits")
        if given is None:
            raise InsufficientDataError("the reference is empty", fix="Pass at least two rows")
        return given

    def _reference(self) -> FeatureSource | None:
        """Return the features of the reference, which are computed once for a folder."""
        from audiogen_metrics.audio.files import AudioFolder

        if isinstance(self._ref, AudioFolder):
            several = self._is_synced and self._processes > 1 and self.process_group is None
            if self._embedded is None or (several and self._unprepared):
                self._embedded = self._embed(self._ref, together=several)
            return self._embedded
        if isinstance(self._ref, ReferenceStatistics | ForeignStatistics):
            settings = None if self._runner is None else self._runner.backbone.settings
            return self._ref.select(self.recipe, self.protocol, settings)
        return self._collect("ref") if self._ref is None else self._ref

    @property
    def _prepared(self) -> bool:
        from audiogen_metrics.audio.files import AudioFolder

        return self._embedded is not None or not isinstance(self._ref, AudioFolder)

    def _embed(self, folder: AudioFolder, *, together: bool) -> FeatureSource:
        """Return the features of the reference's clips; if together, each process embeds a share and gets all."""
        from audiogen_metrics.embedding.extraction import ExtractionOptions

        options = ExtractionOptions(self.batch_size or 16, progress=sys.stderr.isatty(), distributed=together)
        backbones = {self.recipe.backbone: self.runner.backbone}
        embedded = FolderSide.extract("ref", folder, [self.recipe], backbones, options)
        if distributed.rank() == 0:
            warn_of_skipped({"ref": embedded.summary()})
        features = embedded.features(self.recipe)
        return distributed.from_first(lambda: features) if together else features

    def _required(self, side: Side, source: FeatureSource | None) -> FeatureSource:
        left_out = self._left_out(side) if source is None else 0
        if left_out:
            raise InsufficientDataError(
                f"all {left_out} {side} clips were left out, since they cannot be scored", where=self.score_id
            )
        if source is None:
            otherwise = ", or pass ref to the constructor" if side == "ref" else ""
            raise InsufficientDataError(
                f"there are no {side} clips", where=self.score_id, fix=f"Call update({side}=…) first{otherwise}"
            )
        return source


def _stacked(ref: Mapping[str, Array], output: str) -> Array:
    """Return the rows of a reference given by id as one array; DataError if their widths differ."""
    try:
        return np.stack([np.asarray(row) for row in ref.values()]) if ref else np.empty((0, 1))
    except ValueError as error:
        raise DataError(
            f"the values of the reference are not {output} of equal width",
            where="ref",
            fix=f"Pass a row of {output} for each id, or a folder of audio; update(ref=…) takes waveforms",
        ) from error


def warn_of_skipped(inputs: Mapping[str, InputSummary]) -> None:
    """Warn of files that could not be scored."""
    for name, summary in inputs.items():
        if summary.skipped:
            named = "; ".join(f"{clip['clip']}: {clip['reason']}" for clip in summary.skipped[:3])
            warnings.warn(f"{name}: skipped {len(summary.skipped)} of {summary.found} files ({named})", stacklevel=3)
