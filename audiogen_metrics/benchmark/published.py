"""What the paper printed."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources
from typing import Any

from audiogen_metrics.report.labels import PAPER_ORDER

PAPER_METRICS = PAPER_ORDER

UNKNOWN = (
    "which prompt a class label becomes",
    "how long the generated clips are",
    "how many candidates a clip is the best of",
    "guidance, steps and eta of the sampling",
    "which clips of ESC-50 and UrbanSound8K were drawn for the evaluation",
    "learning rate, batch size and average of the fine-tuning",
    "how long the trainings were, and at which steps they were scored",
    "which of the released checkpoints it was",
)
"""What the paper does not say, and every result here depends on."""


@cache
def tables() -> dict[str, Any]:
    """Return Tables I and II of arXiv 2303.03857v3; null where they are not legible in the copy at hand."""
    file = resources.files("audiogen_metrics.benchmark") / "data" / "published.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def published(table: str, dataset: str, condition: str, pretrained: bool | None = None) -> dict[str, float | None]:
    """Return the published scores of one cell by metric, and ``steps_k`` for Table II; empty where it has no such cell.

    Examples
    --------
    >>> published("table1", "audiocaps", "audio")["fad"]
    2.18
    >>> published("table2", "esc50", "text", pretrained=True)["steps_k"]
    80
    """
    rows = tables()[{"table1": "table_1", "table2": "table_2"}[table]]["rows"]
    for row in rows:
        if (row["dataset"], row["condition"], row.get("pretrained")) == (dataset, condition, pretrained):
            return {name: row[name] for name in (*PAPER_METRICS, "steps_k") if name in row}
    return {}


def schedule(dataset: str) -> dict[str, int]:
    """Return how a training of Table II spans the paper's: to its last best step, evaluated at each step it may be.

    The paper says at which step each of the four trainings of a dataset was best, not how long they were, nor how often
    they were evaluated. All four go on to the highest of these steps, and the scores are taken at multiples of the
    largest number that divides the best steps of all datasets.

    Parameters
    ----------
    dataset
        Its name.

    Returns
    -------
    dict
        ``steps`` and ``eval_every``, as `FineTuneConfig` takes them; empty for a dataset that Table II does not have.

    Examples
    --------
    >>> schedule("esc50")
    {'steps': 240000, 'eval_every': 10000}
    """
    rows = tables()["table_2"]["rows"]
    best = [row["steps_k"] for row in rows if row["dataset"] == dataset]
    every = math.gcd(*(row["steps_k"] for row in rows))
    return {"steps": 1000 * max(best), "eval_every": 1000 * every} if best else {}
