"""The paper's tables as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audiogen_metrics.benchmark.published import PAPER_METRICS
from audiogen_metrics.benchmark.records import WORDS
from audiogen_metrics.report.labels import labels_of
from audiogen_metrics.report.latex import Column, Table, breakable, choose, interval, number, places, tex

COLUMNS, PARTS = ("step", "n", *PAPER_METRICS), ("std", "best", "paper", "difference", "ci95")
"""What a table may show, and what may stand beside or below its scores."""

DEFAULT: tuple[str, ...] = ("step", *PAPER_METRICS, "paper")

_LEGEND = {
    "best": "After the word best: the best of each score by itself, and its step.",
    "paper": "In parentheses: as published in arXiv 2303.03857.",
    "difference": "With a sign: ours less the published number.",
    "ci95": r"In brackets: 95\,\% intervals.",
}


def chosen_columns(given: str | Iterable[str]) -> list[str]:
    """Return chosen columns by name.

    Raises
    ------
    UsageError
        An unknown name, or columns without any score.
    """
    names = choose(given, COLUMNS, PARTS)
    choose(given, PAPER_METRICS, (*COLUMNS, *PARTS))
    return names


def to_latex(
    records: Sequence[Mapping[str, Any]], caption: str, notes: Sequence[str], columns: Sequence[str] | None = None
) -> str:
    """Return the rows of a table, as `benchmark.records.rows` gives them, with the published numbers below ours."""
    several = len({record["system"] for record in records}) > 1
    words = [name for name in WORDS if name in records[0]]
    found = [_words(name, records) for name in words if name != "system" or several]
    if "step (k)" in records[0]:
        theirs = [_below("({})", record.get("paper's step (k)"), "g") for record in records]
        cells = [_below("{}", record["step (k)"], "g") or "--" for record in records]
        found.append(Column("step", "step (k)", cells, below={"paper": theirs}))
    found.append(Column("n", "$n$", [str(record["n"] or "--") for record in records]))
    found += [_score(metric, records) for metric in PAPER_METRICS]
    used = {name for column in found for name, texts in {**column.beside, **column.below}.items() if any(texts)}
    used |= {column.name for column in found}
    legend = {name: text for name, text in _LEGEND.items() if name in used}
    shown = [name for name in columns or DEFAULT if name in used]
    return Table(found, breakable(f"{caption} {_clips(records)}"), legend, notes=notes).render(shown)


def _clips(records: Sequence[Mapping[str, Any]]) -> str:
    """Return how many clips each dataset was scored on."""
    counts: dict[str, dict[str, None]] = {}
    for record in records:
        counts.setdefault(record["dataset"], {})[str(record["n"] or "none")] = None
    return f"Clips: {', '.join(f'{title} ' + ' or '.join(each) for title, each in counts.items())}."


def _words(name: str, records: Sequence[Mapping[str, Any]]) -> Column:
    """Return a column of text; of the datasets each once, where its rows begin."""
    values = [str(record[name] or "") for record in records]
    once = name == "dataset"
    cells = ["" if once and place and values[place - 1] == text else text for place, text in enumerate(values)]
    return Column(name, name, [*map(breakable, cells)], "l", stays=True)


def _score(metric: str, records: Sequence[Mapping[str, Any]]) -> Column:
    name = metric.upper()
    ends = [_ends(record.get(f"{name} 95 %")) for record in records]
    values = [record[name] for record in records]
    spreads = [record.get(f"{name} ±") for record in records]
    decimals = places(values)
    return Column(
        metric,
        tex(labels_of([metric])[metric]),
        [number(value, decimals) for value in values],
        beside={"std": [_below(r" $\pm$ {}", each, f".{decimals}f") for each in spreads]},
        below={
            "best": [_best(record, name, decimals) for record in records],
            "paper": [_below("({})", record.get(f"{name} paper"), ".2f") for record in records],
            "difference": [_below("{}", record.get(f"{name} difference"), f"+.{decimals}f") for record in records],
            "ci95": [interval(pair, decimals) for pair in ends],
        },
    )


def _best(record: Mapping[str, Any], name: str, decimals: int) -> str:
    value, step = record.get(f"{name} best"), record.get(f"{name} best step (k)")
    return "" if value is None else f"best {number(value, decimals)} at {step:g}\\,k"


def _below(form: str, value: float | None, how: str) -> str:
    return "" if value is None else form.format(f"{value:{how}}".replace("-", "$-$").replace("+", "$+$"))


def _ends(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, high = map(float, text.split(" to "))
    return low, high
