"""A report in words: its table, what stands beside each score, and its notes."""

from __future__ import annotations

import textwrap
from html import escape
from typing import TYPE_CHECKING

from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    from audiogen_metrics.results import Score, ScoreReport

TABLE_WIDTH = 100
"""Columns of a terminal that the table fits into: what does not fit beside a score stands below it."""

SIGNIFICANT = 0.05
"""Largest p at which two sets are said to differ."""

EXACT = "reference taken as exact"
"""What must stand beside an interval without the reference's own sampling."""

UNCOUNTED = "n of the reference is not known"
"""What must stand beside a score against statistics that do not say how many clips are behind them."""


def text_of(report: ScoreReport) -> str:
    """Return a report as text for a terminal."""
    lines = [f"protocol {report.protocol} on {report.device}"]
    for name, summary in report.inputs().items():
        lines.append(f"{name}  {summary.path}: {summary.share}{summary.length}")
    if report.ref is None:
        lines.append("ref  none: only what looks at gen alone is computed")
    rows = [tuple(map(escaped, row)) for row in rows_of(report)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines.append("")
    fits = sum(widths) + 2 * (len(widths) - 1) <= TABLE_WIDTH
    for *cells, remark in rows:
        shown = [*cells, remark] if fits else cells
        lines.append("  ".join(map(str.ljust, shown, widths)).rstrip())
        if not fits:
            lines += textwrap.wrap(remark, TABLE_WIDTH, initial_indent="    ", subsequent_indent="    ")
    notes = notes_of(report)
    return "\n".join(map(escaped, [*lines, "", *notes] if notes else lines))


def rows_of(report: ScoreReport) -> list[tuple[str, ...]]:
    """Return the table of scores as text for people, its header first."""
    return [("score", "value", "n gen", "n ref", "better", "backbone", ""), *map(_row, report.scores.values())]


def notes_of(report: ScoreReport) -> list[str]:
    """Return what must be read beside the scores."""
    caveat = [f"note: {report.caveat}."] if report.caveat else []
    if any(score.ci95 is not None for score in report.scores.values()):
        exact = [score.id for score in report.scores.values() if score.ci95_ref == "exact"]
        caveat.append(
            "note: brackets are 95 % intervals of the expected score at this n, over clips"
            + f"; {EXACT} for {', '.join(exact)}: its own sampling is not in them" * bool(exact)
            + "."
        )
    if any("chance_p" in score.details for score in report.scores.values()):
        caveat.append(
            "note: p is the chance of a score at least this bad if gen and ref were one distribution, by dealing "
            "out their clips anew."
        )
    return caveat + [f"warning: {warning}" for warning in report.warnings]


def fragment_of(report: ScoreReport) -> str:
    """Return the report as an HTML fragment; notebooks show it instead of the text."""
    header, *rows = rows_of(report)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes_of(report))
    sets = "<br>".join(
        f"{name}: {escape(summary.path)}, {summary.share}{summary.length}" for name, summary in report.inputs().items()
    )
    return (
        f"<p>protocol <b>{escape(report.protocol)}</b> on {escape(report.device)}<br>{sets}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" + f"<ul>{listed}</ul>" * bool(listed)
    )


def _row(score: Score) -> tuple[str, ...]:
    value = "null" if score.value is None else f"{score.value:.4g}"
    if score.std is not None:
        value += f" ± {score.std:.2g}"
    if score.ci95 is not None:
        value += " [{:.4g}, {:.4g}]".format(*score.ci95)
    better = "higher" if score.higher_is_better else "lower"
    return score.id, value, str(score.n_gen), n_ref_of(score), better, score.backbone, score.reason or _remark(score)


def n_ref_of(score: Score, none: str = "-") -> str:
    """Return the clips of the reference as text: ``?`` where they are not known, ``none`` where it plays no part."""
    if score.n_ref is None:
        return "?" if UNCOUNTED in score.remarks else none
    return str(score.n_ref)


def _remark(score: Score) -> str:
    """Return what belongs beside the number for people."""
    parts = [_counts(score)]
    parts += chance_of(score)
    if "extrapolated" in score.details:
        low, high = (score.details.get(f"extrapolated_{end}") for end in ("low", "high"))
        bounds = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
        parts.append(f"n → ∞: {score.details['extrapolated']:.4g}{bounds} (R² {score.details['extrapolation_r2']:.3f})")
    if score.ci95_ref == "exact":
        parts.append(EXACT)
    return "; ".join(filter(None, [*parts, *score.remarks]))


def chance_of(score: Score) -> list[str]:
    """Return what chance alone gives, in words; nothing where it is not known."""
    details = score.details
    if "chance_p" not in details:
        return []
    found = [f"p = {details['chance_p']:.2g}"]
    if "halves_n" not in details and details["chance_p"] <= SIGNIFICANT:
        return found  # the mean of the deals says nothing of sets that differ
    if "halves_n" not in details:
        return [*found, f"by chance alone {details['chance_expected']:.4g} expected"]
    ours, theirs, clips = details["halves_gen"], details["halves_ref"], details["halves_n"]
    # A set that varies less than the reference can lie nearer to its half than the other half does: that says nothing.
    if (ours > theirs) == score.higher_is_better:
        return found
    return [*found, f"at n = {clips} gen scores {ours:.4g} against ref, and ref {theirs:.4g} against itself"]


def _counts(score: Score) -> str:
    details = score.details
    if "splits" in details:
        return f"{details['splits']} splits (± over splits)"
    if "pairs" in details:
        return f"{details['pairs']} pairs of {score.n_gen} clips"
    if details.get("rows_gen", score.n_gen) != score.n_gen:
        ref = f" and {details['rows_ref']}" if "rows_ref" in details else ""
        return f"{details['rows_gen']}{ref} windows"
    return ""
