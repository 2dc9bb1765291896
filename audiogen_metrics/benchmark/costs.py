"""How long a cell samples or trains, by arithmetic, and how long the paper's training was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiogen_metrics.audioldm.sampling import TRAINED_SECONDS
from audiogen_metrics.benchmark.plans import Cell, Plan
from audiogen_metrics.benchmark.published import published
from audiogen_metrics.benchmark.settings import training_config

if TYPE_CHECKING:
    from audiogen_metrics.audioldm.configuration import FineTuneConfig

STEP_MULTIPLY_ADDS: Mapping[str, float] = {
    "cvssp/audioldm": 51.7e9,
    "cvssp/audioldm-s-full-v2": 51.7e9,
    "cvssp/audioldm-m-full": 111.8e9,
    "cvssp/audioldm-l-full": 194.8e9,
}
"""One pass of the denoiser over 10.24 s, counted by benchmarks/audioldm_cost.py."""

DECODING_MULTIPLY_ADDS = 0.85e12
"""Of a clip of 10.24 s."""


def multiply_adds(cell: Cell, plan: Plan) -> float | None:
    """Return the arithmetic of a cell, without the scoring; None for a model whose cost is not known."""
    step = STEP_MULTIPLY_ADDS.get(plan.settings.model)
    if cell.kind in ("study", "folder"):
        return 0.0
    if step is None or cell.system != "audioldm":
        return None
    settings, seconds = plan.settings, plan.seconds(cell.dataset)
    clips = len(seconds)
    passes = 2 if settings.guidance != 1 else 1
    whole = settings.candidates * (passes * settings.steps * step + DECODING_MULTIPLY_ADDS)
    one = whole * sum(seconds.values()) / clips / TRAINED_SECONDS
    if cell.kind == "generate":
        return clips * one
    config = training_config(settings, cell.dataset)
    training = 3 * step * config.steps * config.batch_size * config.accumulation * config.seconds / TRAINED_SECONDS
    choosing = config.validation_clips(len(plan.training(cell.dataset)))
    made = evaluations(config) * (choosing or clips) + (clips if choosing else 0)
    return training + made * one


def evaluations(config: FineTuneConfig) -> int:
    """Return how often a training is evaluated: before its first step, at intervals, and after its last step."""
    return 1 + math.ceil(config.steps / config.eval_every)


def papers_best_step(cell: Cell) -> int | None:
    """Return the step at which the paper's training of Table II was best; None if it has no such training.

    Examples
    --------
    >>> papers_best_step(Cell(("table2",), "finetune", "urbansound8k", "audio", pretrained=True))
    20000
    """
    found = published("table2", cell.dataset, cell.condition, cell.pretrained).get("steps_k")
    return None if found is None else round(1000 * found)
