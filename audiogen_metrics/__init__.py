"""FD, FAD, IS and KL for audio generators: exact, cached, and honest about what was scored.

Importing this package imports nothing heavy: torch and the rest come when a name is first used.
"""

from __future__ import annotations

import importlib

# Type checkers know this name; importing typing would take longer than all the rest of an import of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from audiogen_metrics.evaluation import score
    from audiogen_metrics.objects import FAD, FD, IS, KAD, KID, KL, MetricSuite
    from audiogen_metrics.results import Score, ScoreReport

__all__ = ["FAD", "FD", "IS", "KAD", "KID", "KL", "MetricSuite", "Score", "ScoreReport", "__version__", "score"]

_HOME = {
    "FAD": "audiogen_metrics.objects",
    "FD": "audiogen_metrics.objects",
    "IS": "audiogen_metrics.objects",
    "KAD": "audiogen_metrics.objects",
    "KID": "audiogen_metrics.objects",
    "KL": "audiogen_metrics.objects",
    "MetricSuite": "audiogen_metrics.objects",
    "Score": "audiogen_metrics.results",
    "ScoreReport": "audiogen_metrics.results",
    "score": "audiogen_metrics.evaluation",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("audiogen-metrics")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
