"""The former place of `audiogen_metrics.objects.base`, for imports written before version 0.2."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen_metrics.objects.base import AudioMetric as AudioMetric


if not TYPE_CHECKING:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        return getattr(importlib.import_module("audiogen_metrics.objects.base"), name)
