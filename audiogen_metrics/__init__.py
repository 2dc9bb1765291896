"""FD, FAD, IS and KL for audio generators: exact, cached, and honest about what was scored.

Importing this package imports nothing heavy: torch and the rest come when a name is first used.
"""

from __future__ import annotations

from audiogen_metrics.lazy import handing_on

# Checkers know this name. Importing typing would take 10 ms, and completion does not follow a plain False.
TYPE_CHECKING = bool()  # noqa: UP018

if TYPE_CHECKING:
    from audiogen_metrics.agreement import Agreement, correlate
    from audiogen_metrics.backbones import from_callable
    from audiogen_metrics.copies import Copies, find_copies
    from audiogen_metrics.embedding.reference import ReferenceStatistics
    from audiogen_metrics.evaluation import reference_statistics, score
    from audiogen_metrics.evaluation.compare import compare
    from audiogen_metrics.evaluation.external import score_features
    from audiogen_metrics.evaluation.verify import verify, verify_systems
    from audiogen_metrics.objects import (
        FAD,
        FD,
        IS,
        KAD,
        KID,
        KL,
        AudioMetric,
        CLAPScore,
        Coverage,
        Density,
        MetricSuite,
        Precision,
        Recall,
    )
    from audiogen_metrics.ranking import Ranking, score_systems
    from audiogen_metrics.results import Score, ScoreReport

    __version__: str

__all__ = [
    "FAD",
    "FD",
    "IS",
    "KAD",
    "KID",
    "KL",
    "Agreement",
    "AudioMetric",
    "CLAPScore",
    "Copies",
    "Coverage",
    "Density",
    "MetricSuite",
    "Precision",
    "Ranking",
    "Recall",
    "ReferenceStatistics",
    "Score",
    "ScoreReport",
    "__version__",
    "compare",
    "correlate",
    "find_copies",
    "from_callable",
    "reference_statistics",
    "score",
    "score_features",
    "score_systems",
    "verify",
    "verify_systems",
]

_HOME = {
    "Agreement": "audiogen_metrics.agreement",
    "AudioMetric": "audiogen_metrics.objects",
    "CLAPScore": "audiogen_metrics.objects",
    "Copies": "audiogen_metrics.copies",
    "Coverage": "audiogen_metrics.objects",
    "Density": "audiogen_metrics.objects",
    "FAD": "audiogen_metrics.objects",
    "FD": "audiogen_metrics.objects",
    "IS": "audiogen_metrics.objects",
    "KAD": "audiogen_metrics.objects",
    "KID": "audiogen_metrics.objects",
    "KL": "audiogen_metrics.objects",
    "MetricSuite": "audiogen_metrics.objects",
    "Precision": "audiogen_metrics.objects",
    "Ranking": "audiogen_metrics.ranking",
    "Recall": "audiogen_metrics.objects",
    "ReferenceStatistics": "audiogen_metrics.embedding.reference",
    "Score": "audiogen_metrics.results",
    "ScoreReport": "audiogen_metrics.results",
    "compare": "audiogen_metrics.evaluation.compare",
    "correlate": "audiogen_metrics.agreement",
    "find_copies": "audiogen_metrics.copies",
    "from_callable": "audiogen_metrics.backbones",
    "reference_statistics": "audiogen_metrics.evaluation",
    "score": "audiogen_metrics.evaluation",
    "score_features": "audiogen_metrics.evaluation.external",
    "score_systems": "audiogen_metrics.ranking",
    "verify": "audiogen_metrics.evaluation.verify",
    "verify_systems": "audiogen_metrics.evaluation.verify",
}


if not TYPE_CHECKING:  # a checker that saw this would take any name
    _find = handing_on(__name__, _HOME)

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("audiogen-metrics")
        return _find(name)


def __dir__() -> list[str]:
    return sorted(__all__)
