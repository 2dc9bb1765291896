"""Reference statistics: a reference set in one portable file, stamped with everything that shapes its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from audiogen_metrics.audio.files import canonical_id
from audiogen_metrics.embedding.cache import UNREADABLE, checksum_of
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.options import as_path
from audiogen_metrics.records import read
from audiogen_metrics.results import InputSummary
from audiogen_metrics.writing import write_result

if TYPE_CHECKING:
    from audiogen_metrics.metrics.definition import FeatureSource
    from audiogen_metrics.metrics.recipe import Recipe

__all__ = ["ReferenceStatistics"]

FORMAT = "audiogen-metrics reference statistics"
FORMAT_VERSION = 1
MAX_HEADER = 100_000_000
"""The largest header that safetensors reads."""

MACHINE_SETTINGS = frozenset({"device_type", "tf32", "cudnn", "products", "transformers"})
"""In these, file and run may differ: a device or an engine of products changes scores by 1e-5 relative, TF32 by 1.3e-3,
a version of transformers as a rule by less; all is said."""


@dataclass(frozen=True)
class _Record:
    """What the file says of one score."""

    clips: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    backbone: Mapping[str, Any]
    rows: int | None = None


@dataclass(frozen=True)
class _Content:
    """What the file says beside its tensors."""

    protocol: str
    summary: InputSummary
    warnings: tuple[str, ...]
    clips: tuple[str, ...]
    scores: Mapping[str, _Record]
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """A reference set without its audio: statistics and logits by score id, with their provenance.

    Parameters
    ----------
    protocol
        Name of the protocol.
    summary
        The folder they come from.
    warnings
        What was to know about its files.
    clip_ids
        All clips that were read.
    features
        By score id.
    stamps
        By score id, the recipe's ``preprocessing`` and the ``backbone`` settings.
    versions
        Of the tools that took part.
    path
        The file, if they come from one.

    Examples
    --------
    >>> from audiogen_metrics.evaluation import reference_statistics
    >>> built = reference_statistics("examples/reference", protocol="yamnet")  # doctest: +SKIP
    >>> built.save("reference.stats")  # doctest: +SKIP
    >>> ReferenceStatistics.load("reference.stats").summary.scored  # doctest: +SKIP
    40
    """

    protocol: str
    summary: InputSummary
    warnings: tuple[str, ...]
    clip_ids: tuple[str, ...]
    features: Mapping[str, GivenFeatures]
    stamps: Mapping[str, Mapping[str, Mapping[str, Any]]]
    versions: Mapping[str, str]
    path: Path | None = None

    @classmethod
    def collect(
        cls,
        protocol: str,
        summary: InputSummary,
        warnings: Sequence[str],
        clip_ids: Sequence[str],
        sources: Mapping[Recipe, FeatureSource],
        settings: Mapping[str, Mapping[str, str | int]],
        versions: Mapping[str, str],
    ) -> ReferenceStatistics:
        """Take what the recipes need from features: logits as they are, mean and covariance of other outputs."""
        features, stamps = {}, {}
        for recipe, source in sources.items():
            output = recipe.definition.output
            if output == "logits":
                given = GivenFeatures(source.clip_ids, class_logits=source.logits())
            else:
                given = GivenFeatures(source.clip_ids, gaussian=source.statistics(output))
            features[recipe.score_id] = given
            stamps[recipe.score_id] = {
                "preprocessing": asdict(recipe.preprocessing),
                "backbone": dict(settings[recipe.backbone]),
            }
        return cls(protocol, summary, tuple(warnings), tuple(clip_ids), features, stamps, versions)

    def select(self, recipe: Recipe, protocol: str, settings: Mapping[str, str | int] | None = None) -> GivenFeatures:
        """Return the features for a recipe, once it is sure that they were made the way the recipe says.

        Parameters
        ----------
        recipe, protocol
            What is to be computed.
        settings
            Settings of the backbone of the other set; None if its features were brought along ready-made.

        Raises
        ------
        DataError
            Another protocol, preprocessing, backbone, weights, precision or version of the numerics.
        """
        if protocol != self.protocol:
            raise self._mismatch("protocol", self.protocol, protocol)
        if recipe.score_id not in self.features:
            return GivenFeatures(self.clip_ids)
        stamp = self.stamps[recipe.score_id]
        self._compare("preprocessing", stamp["preprocessing"], asdict(recipe.preprocessing))
        if stamp["backbone"].get("name") != recipe.backbone:
            raise self._mismatch("backbone", stamp["backbone"].get("name"), recipe.backbone)
        if settings is not None:
            self._compare("backbone", stamp["backbone"], settings)
        return self.features[recipe.score_id]

    def check(
        self,
        recipes: Iterable[Recipe],
        protocol: str,
        settings: Mapping[str, Mapping[str, str | int]] | None = None,
    ) -> None:
        """Raise DataError as `select` does, for several recipes; ``settings`` by backbone name."""
        for recipe in recipes:
            self.select(recipe, protocol, settings[recipe.backbone] if settings is not None else None)

    def require(self, recipe: Recipe) -> None:
        """Raise InsufficientDataError unless the file holds what a recipe's metric needs of its reference.

        A file that knows nothing of the recipe's metric, or statistics where it needs each clip's own rows.
        """
        if "ref" not in recipe.definition.sides:
            return
        if not recipe.definition.fits_statistics():
            raise InsufficientDataError(
                f"{recipe.score_id} needs the reference's clips, not statistics of them",
                where=self.path,
                fix="Pass the folder of the reference",
            )
        if recipe.score_id not in self.features:
            raise InsufficientDataError(
                f"these statistics hold nothing for {recipe.score_id}, only for {', '.join(self.features)}",
                where=self.path,
                fix=f"Build them for {recipe.metric} too",
            )

    def machine_differences(self, settings: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return how the machine of the file differs from that of a run, whose backbones have these settings."""
        made = [stamp["backbone"] for stamp in self.stamps.values()]
        return machine_differences(made, list(settings), "ref: statistics were made", "this run is")

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all; its name needs no suffix.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        tensors: dict[str, torch.Tensor] = {}
        records: dict[str, dict[str, Any]] = {}
        for score_id, given in self.features.items():
            records[score_id] = {"clips": list(given.clip_ids), **self.stamps[score_id]}
            if given.class_logits is not None:
                tensors[f"{score_id}.logits"] = given.class_logits.cpu().clone(memory_format=torch.contiguous_format)
            if given.gaussian is not None:
                tensors[f"{score_id}.mean"] = given.gaussian.mean.cpu().clone()
                tensors[f"{score_id}.factor"] = given.gaussian.factor.cpu().clone(memory_format=torch.contiguous_format)
                records[score_id]["rows"] = given.gaussian.count
        content = json.dumps(
            {
                "protocol": self.protocol,
                "summary": asdict(self.summary),
                "warnings": list(self.warnings),
                "clips": list(self.clip_ids),
                "scores": records,
                "versions": dict(self.versions),
            }
        )
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "content": content,
            "checksum": checksum_of(tensors, content),
        }
        write_result(path, save(tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> ReferenceStatistics:
        """Read a file.

        Raises
        ------
        DataError
            Not reference statistics, of a newer format, or damaged.
        """
        path = as_path(path)
        metadata = _metadata(path)
        if metadata is None:
            raise DataError(
                "is a file, but not one of reference statistics",
                where=path,
                fix="Pass a folder of audio, others' statistics as .npz, or a file of: agm stats build FOLDER -o FILE",
            )
        if metadata.get("format_version") != str(FORMAT_VERSION):
            raise DataError(
                f"statistics of format {metadata.get('format_version')}, where this version reads {FORMAT_VERSION}",
                where=path,
                fix="Upgrade audiogen-metrics, or build the statistics again",
            )
        try:
            tensors = load_file(path)
            if metadata["checksum"] != checksum_of(tensors, metadata["content"]):
                raise ValueError("checksum mismatch")
            return cls._parse(read(_Content, json.loads(metadata["content"])), tensors, path)
        except (*UNREADABLE, RecursionError, DataError) as error:
            raise DataError(f"damaged statistics ({error})", where=path, fix="Build or copy them again") from error

    @classmethod
    def _parse(cls, content: _Content, tensors: Mapping[str, torch.Tensor], path: Path) -> ReferenceStatistics:
        features, stamps = {}, {}
        for score_id, record in content.scores.items():
            gaussian, logits = None, tensors.get(f"{score_id}.logits")
            if record.rows is not None:
                gaussian = GaussianStatistics(tensors[f"{score_id}.mean"], tensors[f"{score_id}.factor"], record.rows)
            if logits is not None and (
                logits.dtype != torch.float32
                or logits.shape[:-1] != (len(record.clips),)
                or not bool(logits.isfinite().all())
            ):
                raise ValueError(f"{score_id} has logits that are not those of its clips")
            features[score_id] = GivenFeatures(_canonical(record.clips), gaussian, logits)
            stamps[score_id] = {"preprocessing": record.preprocessing, "backbone": record.backbone}
        files = content.summary.files
        return cls(
            content.protocol,
            replace(content.summary, files=dict(zip(_canonical(files), files.values(), strict=True))),
            content.warnings,
            _canonical(content.clips),
            features,
            stamps,
            content.versions,
            path,
        )

    def _compare(self, what: str, made: Mapping[str, object], wanted: Mapping[str, object]) -> None:
        for key in sorted({*made, *wanted} - MACHINE_SETTINGS):
            if made.get(key) != wanted.get(key):
                raise self._mismatch(f"{what} {key}", made.get(key), wanted.get(key))

    def _mismatch(self, what: str, made: object, wanted: object) -> DataError:
        return DataError(
            f"these statistics were made with {what} {_short(made)}, and this run has {_short(wanted)}",
            where=self.path,
            fix="Build them again: agm stats build FOLDER --protocol NAME -o FILE",
        )


def _canonical(clip_ids: Iterable[str]) -> tuple[str, ...]:
    """Return clip ids in NFC; older versions wrote them as the files were named."""
    found = tuple(map(canonical_id, clip_ids))
    if len(set(found)) < len(found):
        raise ValueError("two clip ids differ in their Unicode form only")
    return found


def machine_differences(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], this: str, that: str
) -> list[str]:
    """Return what to know of features that were made on two machines, by the settings of their backbones.

    Parameters
    ----------
    first, second
        Settings of the backbones of each.
    this, that
        What is said of each: ``"ref: statistics were made"``, ``"this run is"``.
    """
    found = []
    devices = [", ".join(sorted({str(settings["device_type"]) for settings in side})) for side in (first, second)]
    if devices[0] != devices[1]:
        found.append(f"{this} on {devices[0]}, {that} on {devices[1]}: scores may differ by 1e-5 relative")
    # Networks that never choose an engine say nothing, nor does torch's own.
    engines = ["oneDNN" if any("products" in settings for settings in side) else "torch" for side in (first, second)]
    if devices[0] == devices[1] and engines[0] != engines[1]:
        found.append(f"{this} with products by {engines[0]}, {that} by {engines[1]}: scores may differ by 1e-5")
    rounded = ["with" if any(settings.get("tf32") for settings in side) else "without" for side in (first, second)]
    if rounded[0] != rounded[1]:
        found.append(f"{this} {rounded[0]} TF32, {that} {rounded[1]}: scores may differ by 1.3e-3 relative")
    versions = [
        {settings["transformers"] for settings in side if "transformers" in settings} for side in (first, second)
    ]
    if all(versions) and versions[0] != versions[1]:
        told = [", ".join(sorted(map(str, each))) for each in versions]
        found.append(
            f"{this} with transformers {told[0]}, {that} with {told[1]}: scores may differ in their last digits"
        )
    return found


def is_statistics(path: str | Path) -> bool:
    """Tell by its content whether a file holds reference statistics."""
    path = as_path(path)
    return path.is_file() and _metadata(path) is not None


def _metadata(path: Path) -> dict[str, str] | None:
    """Return the metadata of a statistics file; None if it is something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = cast("dict[str, str]", file.metadata() or {})
    except FileNotFoundError as error:
        raise DataError("does not exist", where=path, fix="Pass a folder of audio or a statistics file") from error
    except (OSError, SafetensorError) as error:
        if _announces_format(path):
            raise DataError(f"damaged statistics ({error})", where=path, fix="Build or copy them again") from error
        return None
    return metadata if metadata.get("format") == FORMAT else None


def _announces_format(path: Path) -> bool:
    """Tell whether a file that is not whole began as statistics."""
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            return FORMAT.encode() in file.read(min(header, MAX_HEADER))
    except OSError:
        return False


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text
