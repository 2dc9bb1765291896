"""One set by itself: embedded, or kept as reference statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, Unpack

from audiogen_metrics.audio.files import (
    AudioFolder,
    ClipSet,
    open_clips,
)
from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import UsageError
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.versions import tool_versions
from audiogen_metrics.file_hashes import hashing_as_asked
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.run_options import SetOptions

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.embedding.foreign import ForeignStatistics
    from audiogen_metrics.embedding.reference import ReferenceStatistics
    from audiogen_metrics.embedding.sides import FolderSide, GivenSide

    Known: TypeAlias = AudioFolder | ReferenceStatistics | ForeignStatistics | GivenSide


@takes(SetOptions)
def reference_statistics(folder: ClipSet, **options: Unpack[SetOptions]) -> ReferenceStatistics:
    """Return everything that scores need to know of a reference folder, ready to be saved as one file.

    Parameters
    ----------
    folder
        Folder of audio files, or what `score` takes in its place. IS looks at the generated set only, so it leaves
        nothing in the file.

    Raises
    ------
    DataError, MissingWeightsError, MissingDependencyError, UsageError
        As in `score`.

    Examples
    --------
    >>> from audiogen_metrics import score
    >>> from audiogen_metrics.evaluation import reference_statistics
    >>> reference_statistics("examples/reference", protocol="yamnet").save("ref.stats")  # doctest: +SKIP
    >>> report = score("examples/generated", "ref.stats", protocol="yamnet")  # doctest: +SKIP
    """
    from audiogen_metrics.embedding.reference import ReferenceStatistics

    given = SetOptions(**options)
    protocol = given["protocol"]
    recipes = get_protocol(protocol).select(given["metrics"], given["backbone"])
    heard = [recipe for recipe in recipes if "ref" in recipe.definition.sides]
    if not heard:
        raise UsageError(f"{recipes[0].definition.symbol} needs no reference", fix="Name other metrics too")
    needy = [recipe.metric for recipe in heard if not recipe.definition.fits_statistics()]
    if needy:
        raise UsageError(f"{needy[0]} needs the reference's clips, not statistics of them", fix="Leave it out")
    side, backbones = embed_folder(folder, name="ref", **given)
    return ReferenceStatistics.collect(
        protocol=protocol,
        summary=side.summary(),
        warnings=side.warnings(),
        clip_ids=side.clip_ids,
        sources={recipe: side.features(recipe) for recipe in heard if recipe.backbone in backbones},
        settings={name: backbone.settings for name, backbone in backbones.items()},
        versions=tool_versions(),
    )


@takes(SetOptions)
@hashing_as_asked
def embed_folder(
    folder: ClipSet, *, name: str = "set", **options: Unpack[SetOptions]
) -> tuple[FolderSide, Mapping[str, Backbone]]:
    """Return the features of one folder by recipe, and the backbones that gave them by name.

    Parameters
    ----------
    folder
        Folder of audio files, or what `score` takes in its place.
    name
        What warnings call it.

    Raises
    ------
    DataError, MissingWeightsError, MissingDependencyError, UsageError
        As in `score`.
    """
    given = SetOptions(**options)
    metrics = given["metrics"]
    recipes = get_protocol(given["protocol"]).select(metrics, given["backbone"])
    found = open_clips(folder, given["suffixes"], sample_rate=given["sample_rate"], name=name)
    found = replace(found, clips=found.clips[: given["limit"]])
    optional = added(recipes) if metrics is None else ()
    backbones = find_networks(recipes, given["device"], given["weights"], optional).backbones
    recipes = [recipe for recipe in recipes if recipe.backbone in backbones]

    from audiogen_metrics.embedding.extraction import ExtractionOptions
    from audiogen_metrics.embedding.sides import FolderSide

    side = FolderSide.extract(name, found, recipes, backbones, ExtractionOptions.of(given))
    if given["strict"]:
        side.require_all()
    return side, backbones
