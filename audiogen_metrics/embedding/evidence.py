"""The former place of `audiogen_metrics.evaluation.Evaluation`, for imports written before version 0.2."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "Evidence":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("audiogen_metrics.evaluation").Evaluation
