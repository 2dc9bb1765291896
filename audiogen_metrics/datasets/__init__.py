"""Datasets of the benchmark, and one's own: where their clips lie, what they are called, how they are split."""

from __future__ import annotations

from audiogen_metrics.datasets.base import DatasetInfo
from audiogen_metrics.registry import Registry

__all__ = ["DATASETS"]

DATASETS: Registry[DatasetInfo] = Registry("dataset", "audiogen_metrics.datasets")
"""Every dataset by name; other packages add theirs by an entry point."""

for _name in ("esc50", "urbansound8k", "audiocaps", "audioset"):
    DATASETS.add(_name, f"audiogen_metrics.datasets.{_name}:INFO")
