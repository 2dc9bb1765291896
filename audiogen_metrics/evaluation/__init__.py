"""Score sets of audio: folders to embeddings to numbers to a report."""

from audiogen_metrics.evaluation.evaluation import Evaluation, compute, scored
from audiogen_metrics.evaluation.networks import (
    added,
    check_weights_names,
    create_backbones,
    find_networks,
    require_output,
    require_weights,
)
from audiogen_metrics.evaluation.one_set import embed_folder, reference_statistics
from audiogen_metrics.evaluation.opening import open_reference
from audiogen_metrics.evaluation.run import evaluate, score
from audiogen_metrics.evaluation.versions import tool_versions

__all__ = [
    "Evaluation",
    "added",
    "check_weights_names",
    "compute",
    "create_backbones",
    "embed_folder",
    "evaluate",
    "find_networks",
    "open_reference",
    "reference_statistics",
    "require_output",
    "require_weights",
    "score",
    "scored",
    "tool_versions",
]
