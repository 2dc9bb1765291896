"""Metrics as torchmetrics objects, for training loops, several processes and notebooks.

Every metric of the catalogue has a class here, named by its ``symbol``. Classes with their own examples are written
out; the others are derived when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.metrics import METRICS, catalogue
from audiogen_metrics.objects.base import AudioMetric
from audiogen_metrics.objects.embeddings import (
    FAD,
    FD,
    KAD,
    KID,
    Coverage,
    Density,
    EmbeddingMetric,
    Precision,
    Recall,
)
from audiogen_metrics.objects.logits import IS, KL, LogitMetric
from audiogen_metrics.objects.ratings import RatingMetric
from audiogen_metrics.objects.similarity import CLAPScore, SimilarityMetric
from audiogen_metrics.objects.suite import MetricSuite

if TYPE_CHECKING:
    from audiogen_metrics.metrics.definition import Metric

__all__ = [
    "FAD",
    "FD",
    "IS",
    "KAD",
    "KID",
    "KL",
    "AudioMetric",
    "CLAPScore",
    "Coverage",
    "Density",
    "MetricSuite",
    "Precision",
    "Recall",
    "object_of",
]

_WRITTEN = (FD, FAD, IS, KL, KID, KAD, Precision, Recall, Density, Coverage, CLAPScore)

_DERIVED: dict[str, type[AudioMetric]] = {}


def object_of(name: str) -> type[AudioMetric]:
    """Return the torchmetrics class of a metric by its name: ``object_of("precision")``.

    Raises
    ------
    UsageError
        The metric is unknown.

    Examples
    --------
    >>> object_of("recall")(protocol="yamnet").score_id
    'recall_yamnet'
    """
    definition = METRICS.get(name)
    written = (kind for kind in _WRITTEN if kind.metric_name == name)
    return next(written, None) or _derived(definition)


def _derived(definition: type[Metric]) -> type[AudioMetric]:
    """Return the class of a metric, always the same one; `__getattr__` finds it by its symbol, so it can be pickled."""
    if definition.name in _DERIVED:
        return _DERIVED[definition.name]
    bases: dict[str, type[AudioMetric]] = {
        "logits": LogitMetric,
        "ratings": RatingMetric,
        "similarity": SimilarityMetric,
    }
    base = bases.get(definition.output, EmbeddingMetric)
    direction = "Higher" if definition.higher_is_better else "Lower"
    content = {
        "__doc__": f"{definition.title}: {definition.reading.rstrip('?')}. {direction} is better.\n\n"
        "Takes the arguments of `AudioMetric`, and its own options.\n",
        "__module__": __name__,
        "metric_name": definition.name,
        "higher_is_better": definition.higher_is_better,
    }
    return _DERIVED.setdefault(definition.name, type(definition.symbol, (base,), content))


if not TYPE_CHECKING:  # with this, a checker would accept any name

    def __getattr__(name: str) -> type[AudioMetric]:
        for definition in catalogue().values():
            if definition.symbol == name:
                return _derived(definition)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
