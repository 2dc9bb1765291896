"""Names of networks' ratings, in a file without torch so that metrics can use them without importing it."""

from __future__ import annotations

AESTHETICS = ("CE", "CU", "PC", "PQ")
"""Audiobox Aesthetics' axes in the order of its columns: content enjoyment and usefulness, production complexity and
quality."""
