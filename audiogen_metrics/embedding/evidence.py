"""The former place of `audiogen_metrics.evaluation.Evaluation`, for imports written before version 0.2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation as Evidence

__all__ = ["Evidence"]


if not TYPE_CHECKING:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        if name != "Evidence":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module("audiogen_metrics.evaluation").Evaluation
