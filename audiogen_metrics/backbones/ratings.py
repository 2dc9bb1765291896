"""Names of the ratings that networks give, apart from torch so that metrics can name theirs without it."""

from __future__ import annotations

AESTHETICS = ("CE", "CU", "PC", "PQ")
"""Audiobox Aesthetics' axes in the order of its columns: content enjoyment and usefulness, production complexity and
quality."""
