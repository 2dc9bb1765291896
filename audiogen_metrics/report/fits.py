"""What scores would be at infinite n, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.errors import InsufficientDataError

if TYPE_CHECKING:
    from audiogen_metrics.evaluation.evaluation import Evaluation
    from audiogen_metrics.functional.extrapolation import Extrapolation


def draw_fits(evaluation: Evaluation, path: Path) -> None:
    """Draw every score that extrapolates over 1 / n, with its line; InsufficientDataError where no score does."""
    from audiogen_metrics.report.labels import labels_of
    from audiogen_metrics.report.plots import COLUMN, Curve, Panel, draw

    labels = labels_of(recipe.score_id for recipe in evaluation.recipes)
    panels = []
    lacking: InsufficientDataError | None = None
    for recipe in evaluation.recipes:
        if recipe.definition.extrapolates:
            try:
                fit = evaluation.measured(recipe).fit
            except InsufficientDataError as error:
                lacking = error
                continue
            x = [1 / size for size in fit.sizes]
            line = [fit.value, fit.value + fit.slope * x[-1]]
            points = Curve("subsets", 0, x, fit.distances, fit.distances, fit.distances)
            fitted = Curve("line", 1, [0, x[-1]], line, line, line)
            panels.append(Panel(title_of(fit), "1 / n", labels[recipe.score_id], [points, fitted]))
    if not panels:
        raise lacking or InsufficientDataError("there is no FD or FAD to extrapolate", where=path)
    draw([panels], path, width=COLUMN * len(panels) if path.suffix == ".pdf" else None)


def title_of(fit: Extrapolation) -> str:
    """Return the value with its interval, and whether the bias has been taken away."""
    low, high = fit.ci95
    title = f"{fit.value:.4g} [{low:.4g}, {high:.4g}] at infinite n, R² {fit.r_squared:.3f}"
    return title + "\npart of the bias only: score more clips" * fit.partial
