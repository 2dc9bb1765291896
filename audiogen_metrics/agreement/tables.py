"""Agreement with people as text, CSV, Markdown and LaTeX."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from audiogen_metrics.agreement.result import Agreement, AgreementDifference, Correlation, Level
from audiogen_metrics.functional.correlation import COEFFICIENTS
from audiogen_metrics.rendering import markdown, records_to_csv
from audiogen_metrics.report.labels import labels_of
from audiogen_metrics.report.latex import Column, Table, breakable, interval, number, tex
from audiogen_metrics.score_text import TABLE_WIDTH
from audiogen_metrics.text import escaped

TITLES: dict[Level, str] = {
    "system": "systems",
    "clip": "clips",
    "clip_within_system": "clips within each system, mean over systems",
}


def to_csv(
    found: Sequence[Correlation | AgreementDifference], kind: type[Correlation | AgreementDifference] = Correlation
) -> str:
    """Return a line for each record; an interval takes two columns."""
    records: list[dict[str, Any]] = []
    for each in found:
        record = {field.name: getattr(each, field.name) for field in fields(kind)}
        records.append({})
        for name, value in record.items():
            ends = {"ci95_low": None, "ci95_high": None}
            if name == "interval" and value is not None:
                ends = {"ci95_low": value[0], "ci95_high": value[1]}
            records[-1] |= ends if name == "interval" else {name: value}
    if records:
        return records_to_csv(records)
    return ",".join(field.name for field in fields(kind)) + "\n"


def rows(found: Agreement, level: Level) -> list[list[str]]:
    """Return the table of one level as text, its header first."""
    result = [["metric", "better", "n", *COEFFICIENTS]]
    chosen = [each for each in found.correlations if each.level == level]
    for metric in dict.fromkeys(each.metric for each in chosen):
        own = [each for each in chosen if each.metric == metric]
        better = "higher" if own[0].higher_is_better else "lower"
        result.append([metric, better, str(own[0].n), *map(_cell, own)])
    return result


def _cell(found: Correlation) -> str:
    if found.agreement is None:
        return "null"
    interval = "" if found.interval is None else " [{:.2f}, {:.2f}]".format(*found.interval)
    p = "" if found.p is None else f" p = {found.p:.2g}"
    return f"{found.agreement:.3f}{interval}{p}"


def notes(found: Agreement) -> Iterator[str]:
    """Yield what must be read beside the numbers."""
    counts = found.ratings
    raters = f" by {counts['raters']} raters" if counts["raters"] else ""
    yield f"{counts['ratings']} ratings{raters} of {counts['rated']} systems or clips; their means are compared."
    yield "Positive means agreement with people: where lower is better, the sign of the coefficient is turned."
    if "system" in found.levels:
        yield (
            "Systems: intervals and p are about other systems like these; the error of each system's own value is not "
            "in them."
        )
    if "clip_within_system" in found.levels:
        yield (
            "Clips: intervals and p are about other clips of these systems, where clips of one id are one unit; "
            "they say nothing about other systems."
        )
    for level in found.levels:
        why: dict[str, list[str]] = {}
        for each in found.correlations:
            if each.level == level and each.reason:
                why.setdefault(each.reason, []).append(f"{each.coefficient} of {each.metric}")
        for reason, what in why.items():
            yield f"{TITLES[level]}, {', '.join(what)}: {reason}."


def verdicts(found: Agreement, level: Level) -> Iterator[str]:
    """Yield which metrics agree better than others on a level, and how many comparisons show no difference."""
    chosen = [each for each in found.differences if each.level == level]
    if not chosen:
        return
    for each in chosen:
        if each.better is not None:
            other = each.metric_b if each.better == each.metric_a else each.metric_a
            yield (
                f"{each.coefficient}: {each.better} agrees better than {other}, by {abs(each.difference or 0):.3f}, "
                f"p = {each.p_adjusted:.2g}"
            )
    tested = [each for each in chosen if each.p is not None]
    rest = [each for each in tested if each.better is None]
    if rest:
        yield f"no difference shown in {len(rest)} of {len(tested)} comparisons of two metrics"
    if len(tested) < len(chosen):
        yield f"{len(chosen) - len(tested)} comparisons of two metrics could not be tested"


def to_text(found: Agreement) -> str:
    """Return tables for people, and what must be read with them."""
    lines: list[str] = []
    for level in found.levels:
        table = [[escaped(cell) for cell in row] for row in rows(found, level)]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines += [TITLES[level], *("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)]
        lines += [*verdicts(found, level), ""]
    for note in [*notes(found), *(f"warning: {text}" for text in found.warnings)]:
        lines += textwrap.wrap(note, TABLE_WIDTH, subsequent_indent="    ")
    return "\n".join(map(escaped, lines))


def to_markdown(found: Agreement) -> str:
    """Return a table for each level and the notes."""
    text = ""
    for level in found.levels:
        header, *body = rows(found, level)
        table = [header, ["---"] * len(header), *([markdown(cell) for cell in row] for row in body)]
        text += f"**{TITLES[level]}**\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in table) + "\n"
        text += "".join(f"- {markdown(line)}\n" for line in verdicts(found, level)) + "\n"
    return text + "".join(f"- {markdown(line)}\n" for line in [*notes(found), *found.warnings])


def to_latex(found: Agreement, columns: str | Iterable[str] | None = None) -> str:
    """Return one table with a part for each level; notes as comments.

    ``columns`` chooses among n, spearman, kendall, pearson and ci95; None shows all.
    """
    labels = labels_of(each.metric for each in found.correlations)
    table: list[tuple[str, list[Correlation]]] = []
    for level in found.levels:
        chosen = [each for each in found.correlations if each.level == level]
        for metric in dict.fromkeys(each.metric for each in chosen):
            table.append((tex(TITLES[level]), [each for each in chosen if each.metric == metric]))
    coefficients = [
        Column(
            name,
            name.capitalize(),
            [number(row[place].agreement, 3) for _, row in table],
            below={"ci95": [interval(row[place].interval, 2) for _, row in table]},
        )
        for place, name in enumerate(COEFFICIENTS)
    ]
    return Table(
        [
            Column("metric", "metric", [_metric(row[0], labels) for _, row in table], "l", stays=True),
            Column("n", "$n$", [str(row[0].n) for _, row in table]),
            *coefficients,
        ],
        "Agreement with ratings: correlation, positive for agreement.",
        {"ci95": r"Brackets: 95\,\% intervals."},
        groups=[title for title, _ in table],
        notes=[*notes(found), *found.warnings],
    ).render(columns)


def _metric(found: Correlation, labels: Mapping[str, str]) -> str:
    """Return the label of a metric with the direction that was taken, which may have been said by hand."""
    return breakable(f"{labels[found.metric].rstrip(' ↑↓')} {'↑' if found.higher_is_better else '↓'}")
