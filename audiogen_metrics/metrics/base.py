"""The former place of `audiogen_metrics.objects.base`, for imports written before version 0.2."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("audiogen_metrics.objects.base"), name)
