"""Curves as figures; the only place that knows matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by dash, marker and grey value too: figures are printed.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#1b4965", "linestyle": "-", "marker": "o"},
    {"color": "#c1521b", "linestyle": "--", "marker": "s"},
    {"color": "#6a9a3d", "linestyle": "-.", "marker": "^"},
    {"color": "#9b7fb8", "linestyle": ":", "marker": "D"},
    {"color": "#3a3a3a", "linestyle": (0, (1, 1)), "marker": "v"},
)


@dataclass(frozen=True)
class Curve:
    """One line with its band; ``low`` and ``high`` equal ``middle`` where there is none. ``style`` counts from 0."""

    label: str
    style: int
    x: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One set of axes; its y axis spans at least ``minimum_span``, so that next to nothing looks like it."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    minimum_span: float = 0.0


def draw(rows: Sequence[Sequence[Panel]], path: Path, *, title: str = "") -> None:
    """Draw panels in rows and write them to ``path``; its suffix, such as ``.png`` or ``.svg``, is the format.

    Equal panels give equal files.

    Raises
    ------
    UsageError
        A file that cannot be written, or a format that matplotlib does not know.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    with mpl.rc_context({"svg.hashsalt": "audiogen-metrics", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(3.1 * columns, 2.7 * len(rows) + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(rows), columns, squeeze=False)
        labels: dict[str, Any] = {}
        for line, panels in zip(axes, rows, strict=True):
            for place, panel in zip(line, panels, strict=False):
                labels |= _panel(place, panel)
            for place in line[len(panels) :]:
                place.set_visible(False)
        figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=len(labels), frameon=False)
        if title:
            figure.suptitle(title, fontsize=10)
        try:
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise UsageError(f"cannot be written ({error.strerror})", where=path) from error


def _panel(axes: Axes, panel: Panel) -> dict[str, Any]:
    labels = {}
    for curve in panel.curves:
        style = _STYLES[curve.style % len(_STYLES)]
        (labels[curve.label],) = axes.plot(curve.x, curve.middle, markersize=3, linewidth=1.2, **style)
        axes.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.18, linewidth=0)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    low, high = axes.get_ylim()
    if high - low < panel.minimum_span:
        middle = (low + high) / 2
        axes.set_ylim(middle - panel.minimum_span / 2, middle + panel.minimum_span / 2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.margins(x=0.02)
    return labels
