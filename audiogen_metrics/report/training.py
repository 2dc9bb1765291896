"""Scores over the steps of a training, as the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiogen_metrics.report.labels import in_papers_order, labels_of
from audiogen_metrics.report.plots import Curve, Panel

STEPS = "training steps (thousands)"


def panels_over_steps(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """Return a panel per score with a curve per training.

    Parameters
    ----------
    histories
        By label, the evaluations of a training: dictionaries with ``step`` and ``scores`` by id. One that has failed,
        or has no value of a score, leaves a gap.
    """
    given = [name for entries in histories.values() for entry in entries for name in entry.get("scores", {})]
    scores = in_papers_order(given)
    labels = labels_of(scores)
    panels = []
    for score in scores:
        curves = []
        for style, (label, entries) in enumerate(histories.items()):
            known = [entry for entry in entries if entry.get("scores", {}).get(score) is not None]
            values = [entry["scores"][score] for entry in known]
            if known:
                curves.append(Curve(label, style, [entry["step"] / 1000 for entry in known], values, values, values))
        if curves:
            panels.append(Panel(labels[score], STEPS, "", curves))
    return panels
