"""FD, FAD, IS, KL, KID and KAD as torchmetrics: for training loops, several processes, notebooks."""

from audiogen_metrics.metrics.base import AudioMetric
from audiogen_metrics.metrics.frechet import FAD, FD
from audiogen_metrics.metrics.kernel import KAD, KID
from audiogen_metrics.metrics.logits import IS, KL
from audiogen_metrics.metrics.suite import MetricSuite

__all__ = ["FAD", "FD", "IS", "KAD", "KID", "KL", "AudioMetric", "MetricSuite"]
