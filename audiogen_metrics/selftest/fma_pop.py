"""FAD to fadtk's statistics of FMA-Pop, only for the published value."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.embedding.foreign import open_foreign
from audiogen_metrics.errors import DataError, option
from audiogen_metrics.options import as_path
from audiogen_metrics.selftest.answers import FMA_POP, FMA_POP_SHA256

if TYPE_CHECKING:
    from audiogen_metrics.functional import GaussianStatistics
    from audiogen_metrics.metrics.definition import FeatureSource
    from audiogen_metrics.metrics.recipe import Recipe


def open_fma_pop(path: str | Path | None = None) -> GaussianStatistics | None:
    """Return the statistics of VGGish in fadtk's file, ``(128,)`` and ``(128, 128)``.

    Parameters
    ----------
    path
        The file. None takes the file of an installed fadtk, without importing fadtk, and returns None without one.

    Raises
    ------
    DataError
        The file is missing, or is not that of fadtk 1.1.0, to which the published value belongs.
    """
    if path is None:
        return next(map(_read, filter(_is_fma_pop, _installed())), None)
    file = as_path(path, option("fma_pop", "FILE"))
    if not file.is_file():
        raise DataError("there is no such file", where=path)
    if not _is_fma_pop(file):
        raise DataError(
            "is not the statistics file of fadtk 1.1.0, which the published value is about",
            where=path,
            fix=f"Its SHA-256 begins with {FMA_POP_SHA256[:16]}",
        )
    return _read(file)


def _installed() -> list[Path]:
    spec = importlib.util.find_spec("fadtk")
    return [Path(place) / "stats" / FMA_POP for place in (spec and spec.submodule_search_locations) or ()]


def _is_fma_pop(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == FMA_POP_SHA256


def _read(file: Path) -> GaussianStatistics:
    found = open_foreign(f"{file}::vggish")
    assert found is not None, file
    return found.gaussian("vggish")


def distance_to_fma_pop(gen: FeatureSource, recipe: Recipe, ref: GaussianStatistics) -> float:
    """Return the Fréchet distance of the generated clips to the statistics."""
    from audiogen_metrics.functional import frechet_distance

    return frechet_distance(gen.statistics(recipe.definition.output), ref).value
