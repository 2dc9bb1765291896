"""Curves as figures, for the screen and for print; the only place that knows matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.errors import UsageError
from audiogen_metrics.report.latex import including
from audiogen_metrics.writing import write_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".svg", ".png")
"""What a figure can be written as, by suffix."""

PAGE, COLUMN = 7.16, 3.5
"""Width of the text and of one column of a two-column page, in inches."""

IN_A_ROW = 4
"""Panels beside each other in print, as in the figures of arXiv 2303.03857."""

# Lines differ in dash, marker and grey value as well as in colour. The lists have lengths without a common divisor, so
# that many lines can be told apart before all of it comes again.
_COLOURS = ("#1a1a1a", "#0b5394", "#b8405e", "#d9782d", "#2f9a8a")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

_DARK = {
    "#1a1a1a": "#e6e9ec",
    "#0b5394": "#6ca9e8",
    "#b8405e": "#ec7f9b",
    "#d9782d": "#f2a65e",
    "#2f9a8a": "#5fcbb8",
    "#000000": "#c3cbd3",
    "#ffffff": "#14181c",
}
"""What colours become where the reader's screen is dark: those of lines, of axes, and of hollow markers."""

_SETTINGS = {
    "svg.hashsalt": "audiogen-metrics",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names may have any characters
}

_METADATA: dict[str, dict[str, Any]] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
"""Nothing that differs from run to run."""


@dataclass(frozen=True)
class Curve:
    """One line with its band; ``low`` and ``high`` equal ``middle`` in a line without one. ``style`` counts from 0."""

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


def draw_for_print(
    panels: Sequence[Panel], folder: Path, name: str, caption: str, notes: Sequence[str] = ()
) -> list[Path]:
    """Draw panels in rows of four as a page of a paper prints them, and return the files.

    ``NAME.pdf``, ``.svg`` and ``.png`` are as wide as the text of a two-column page, ``NAME-column.pdf`` as one column;
    ``NAME.tex`` includes one of them, with the caption.
    """
    rows = in_rows(panels)
    widths = {f"{name}{suffix}": PAGE for suffix in FORMATS} | {f"{name}-column.pdf": COLUMN}
    for file, width in widths.items():
        draw(rows, folder / file, width=width)
    write_result(folder / f"{name}.tex", including(name, caption, notes).encode())
    return [folder / file for file in (*widths, f"{name}.tex")]


def in_rows(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Return panels in rows of four."""
    return [panels[start : start + IN_A_ROW] for start in range(0, len(panels), IN_A_ROW)]


def draw(rows: Sequence[Sequence[Panel]], path: Path, *, title: str = "", width: float | None = None) -> None:
    """Draw panels in rows and write them to ``path``; its suffix is the format. Equal panels give equal files.

    Parameters
    ----------
    rows
        Panels beside each other, and such rows below each other.
    path
        A ``.pdf``, which embeds its fonts as TrueType, ``.svg`` or ``.png``.
    title
        Above all panels.
    width
        In inches, for print; None makes panels as large as a screen has room for.

    Raises
    ------
    UsageError
        A file that cannot be written, or another format.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"{suffix or 'no suffix'} is not a format of figures", path, f"Use {', '.join(FORMATS)}")
    write_result(path, drawn(rows, suffix, title=title, width=width))


def drawn(rows: Sequence[Sequence[Panel]], suffix: str, *, title: str = "", width: float | None = None) -> bytes:
    """Return panels in rows as the bytes of a file with this suffix; see `draw`."""
    import matplotlib as mpl

    file = io.BytesIO()
    text = 9.0 if width is None else 7.0 if width / max(map(len, rows)) > 1.5 else 5.5
    settings: Any = {"font.size": text, "axes.titlesize": text, "legend.fontsize": text, **_SETTINGS}
    if width is not None:
        settings |= {"figure.constrained_layout.w_pad": 0.02, "figure.constrained_layout.h_pad": 0.02}
    with mpl.rc_context(settings):
        figure = _figure(rows, title, width, text)
        dpi = 150 if width is None else 300
        figure.savefig(file, format=suffix[1:], dpi=dpi, metadata=_METADATA.get(suffix))
    return in_both_modes(file.getvalue()) if suffix == ".svg" else file.getvalue()


def in_both_modes(svg: bytes) -> bytes:
    """Return an SVG file of matplotlib that has light lines and no ground on a dark screen.

    It stays as it is on a light one, in print, and in programs that know nothing of a screen's mode.
    """
    rules = [
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in _DARK.items()
        for part in ("fill", "stroke")
    ]
    rules += [f"text{{fill:{_DARK['#000000']}}}", '[id^="patch_"]>[style="fill: #ffffff"]{fill:none!important}']
    style = f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    return svg.replace(b"</defs>", style.encode() + b"\n </defs>", 1)


def _figure(rows: Sequence[Sequence[Panel]], title: str, width: float | None, text: float) -> Figure:
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    names = dict.fromkeys(curve.label for panels in rows for panel in panels for curve in panel.curves)
    across = _beside_each_other(names, (width or 3.1 * columns) * 72 / text)
    if width is None:
        size = (3.1 * columns, 2.7 * len(rows) + 0.6)
    else:
        lines = 4 * len(rows) + 1.6 * math.ceil(len(names) / across) + 2
        size = (width, max(0.15 * width, 0.65) * len(rows) + lines * text / 72)
    figure = Figure(size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    handles: dict[str, Any] = {}
    shared = {panel.x_label for panels in rows for panel in panels}
    for line, panels in zip(axes, rows, strict=True):
        for place, panel in zip(line, panels, strict=False):
            handles |= _panel(place, panel, text)
            place.locator_params(axis="x", nbins=2 if size[0] / columns < 1 else 4, steps=[1, 2, 5, 10])
            place.set_xlabel("" if len(shared) == 1 else panel.x_label)
        for place in line[len(panels) :]:
            place.set_visible(False)
    if len(shared) == 1:
        figure.supxlabel(shared.pop(), fontsize=text)
    if len(names) > 1:
        spaces = {"handlelength": 3.2, "handletextpad": 0.5, "columnspacing": 1.3, "borderaxespad": 0.0}
        chosen = [handles[name] for name in names]
        figure.legend(chosen, [*names], loc="outside upper center", ncols=across, frameon=False, **spaces)
    if title:
        figure.suptitle(title, fontsize=text + 1)
    return figure


def _beside_each_other(names: Iterable[str], room: float) -> int:
    """Return how many names of a legend stand in a row of ``room`` ems, so that the rows are about as long."""
    lengths = [*map(len, names)]
    fitting = max(1, min(len(lengths), math.floor(room / (0.6 * max(lengths, default=0) + 5))))
    return math.ceil(len(lengths) / math.ceil(len(lengths) / fitting)) if lengths else 1


def _panel(axes: Axes, panel: Panel, text: float) -> dict[str, Any]:
    labels, scale = {}, text / 9
    widths: dict[str, Any] = {"markersize": 3.4 * scale, "linewidth": 1.2 * scale, "markeredgewidth": 0.7 * scale}
    for curve in panel.curves:
        style = style_of(curve.style, len(curve.x))
        (labels[curve.label],) = axes.plot(curve.x, curve.middle, **widths, **style)
        axes.fill_between(curve.x, curve.low, curve.high, color=style["color"], alpha=0.18, linewidth=0)
    axes.set(title=panel.title, ylabel=panel.y_label)
    low, high = axes.get_ylim()
    if high - low < panel.minimum_span:
        middle = (low + high) / 2
        axes.set_ylim(middle - panel.minimum_span / 2, middle + panel.minimum_span / 2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.8 * scale)
    axes.tick_params(width=0.8 * scale, length=3 * scale, pad=2.5 * scale)
    axes.locator_params(axis="y", nbins=5)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.margins(x=0.02)
    return labels


def style_of(number: int, points: int = 1) -> dict[str, Any]:
    """Return how the line of this number is drawn; of many points about eight have a marker."""
    colour = _COLOURS[number % len(_COLOURS)]
    every = max(1, math.ceil(points / 8))
    return {
        "color": colour,
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markerfacecolor": "white" if number % 2 else colour,
        "markevery": (number % every, every),
    }
