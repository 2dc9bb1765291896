"""Scores as pure functions of embeddings and logits, in float64. No files, networks or global state."""

from audiogen_metrics.functional.divergence import KLDivergence, kl_divergence
from audiogen_metrics.functional.frechet import FrechetDistance, frechet_distance
from audiogen_metrics.functional.inception import InceptionScore, inception_score
from audiogen_metrics.functional.statistics import GaussianStatistics

__all__ = [
    "FrechetDistance",
    "GaussianStatistics",
    "InceptionScore",
    "KLDivergence",
    "frechet_distance",
    "inception_score",
    "kl_divergence",
]
