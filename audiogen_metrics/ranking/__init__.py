"""Several systems in one table: every score of each, and which of them differ beyond chance."""

from audiogen_metrics.ranking.result import PairDifference, Ranking
from audiogen_metrics.ranking.running import score_systems

__all__ = ["PairDifference", "Ranking", "score_systems"]
