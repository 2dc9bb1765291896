"""Scores as pure functions of embeddings and logits, in float64, without files, networks or global state."""

from audiogen_metrics.functional.divergence import KLDivergence, kl_divergence
from audiogen_metrics.functional.frechet import FrechetDistance, frechet_distance
from audiogen_metrics.functional.inception import InceptionScore, inception_score
from audiogen_metrics.functional.kernel import KernelDistance, kernel_audio_distance, kernel_distance
from audiogen_metrics.functional.manifold import Manifold, manifold
from audiogen_metrics.functional.statistics import GaussianStatistics

__all__ = [
    "FrechetDistance",
    "GaussianStatistics",
    "InceptionScore",
    "KLDivergence",
    "KernelDistance",
    "Manifold",
    "frechet_distance",
    "inception_score",
    "kernel_audio_distance",
    "kernel_distance",
    "kl_divergence",
    "manifold",
]
