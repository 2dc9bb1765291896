"""Checks that a backbone or a metric of one's own keeps what this library relies on."""

from audiogen_metrics.testing.backbones import check_backbone
from audiogen_metrics.testing.metrics import check_metric

__all__ = ["check_backbone", "check_metric"]
