"""Score sets of audio: folders to embeddings to numbers to a report."""

from audiogen_metrics.evaluation.evaluation import Evaluation
from audiogen_metrics.evaluation.networks import create_backbones
from audiogen_metrics.evaluation.one_set import embed_folder, reference_statistics
from audiogen_metrics.evaluation.run import evaluate, score

__all__ = ["Evaluation", "create_backbones", "embed_folder", "evaluate", "reference_statistics", "score"]
