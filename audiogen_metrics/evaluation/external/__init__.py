"""Features that other tools have written, scored by this library's statistics: old runs can be scored again."""

from audiogen_metrics.evaluation.external.reading import ImportedFeatures, read_features
from audiogen_metrics.evaluation.external.scoring import score_features

__all__ = ["ImportedFeatures", "read_features", "score_features"]
