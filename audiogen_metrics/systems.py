"""The former place of `audiogen_metrics.evaluation.compare`, for imports written before version 0.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.lazy import moved

if TYPE_CHECKING:
    from audiogen_metrics.evaluation.compare import *  # noqa: F403
else:  # a checker that saw this would take any name
    __getattr__ = moved(__name__, "audiogen_metrics.evaluation.compare", {"Difference": "ScoreDifference"})
