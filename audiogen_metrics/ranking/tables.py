"""Several systems as text, CSV, Markdown, LaTeX and a fragment of HTML."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from audiogen_metrics.rendering import markdown
from audiogen_metrics.report import tables
from audiogen_metrics.report.labels import labels_of
from audiogen_metrics.report.latex import Column, Table, breakable, interval, number, places, tex
from audiogen_metrics.results import Score
from audiogen_metrics.score_text import EXACT, TABLE_WIDTH
from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    from audiogen_metrics.ranking.result import Ranking

GAP = "   "
"""Between the columns of two scores."""

_LETTER = re.compile(r"[a-z]|\(\d+\)")

Cells = tuple[str, str, str, str]
"""Value, interval, p and group of one score of one system."""


def to_text(found: Ranking) -> str:
    """Return one table, in as many blocks of scores as fit beside each other, and what must be read with it."""
    labels = [escaped(label) for label in found.reports]
    first = max(map(len, ["system", *labels]))
    parts = [_columns(found, score_id) for score_id in found.score_ids]
    blocks: list[list[list[str]]] = []
    for part in parts:
        used = first + sum(len(GAP) + len(each[0]) for each in blocks[-1]) if blocks else TABLE_WIDTH
        if used + len(GAP) + len(part[0]) > TABLE_WIDTH:
            blocks.append([])
        blocks[-1].append(part)
    lines = _head(found)
    for block in blocks:
        names = ["", "system", *labels]
        lines += [
            "",
            *(GAP.join(row).rstrip() for row in zip([name.ljust(first) for name in names], *block, strict=True)),
        ]
    lines.append("")
    for note in [*_legend(found), *remarks_of(found), *_warnings(found)]:
        lines += textwrap.wrap(note, TABLE_WIDTH, subsequent_indent="    ")
    return "\n".join(map(escaped, lines))


def _head(found: Ranking) -> list[str]:
    ref = found.first.ref
    lines = [f"protocol {found.first.protocol} on {found.first.device}"]
    for label, report in found.reports.items():
        gen = report.gen
        lines.append(f"{label}: {gen.path}, {gen.share}{gen.length}")
    if ref is None:
        return [*lines, "ref: none; only what looks at gen alone is computed"]
    return [*lines, f"ref: {ref.path}, {ref.share}{ref.length}"]


def _columns(found: Ranking, score_id: str) -> list[str]:
    """Return the lines of one score, all as wide: its id, its header, and a line per system."""
    rows = [("value", "95 % interval", "p", "group"), *(_cells(found, score_id, label) for label in found.reports)]
    used = [column for column in range(4) if any(row[column] for row in rows[1:])]
    widths = [max(len(row[column]) for row in rows) for column in used]
    lines = ["  ".join(row[column].ljust(width) for column, width in zip(used, widths, strict=True)) for row in rows]
    score = next(iter(found.scores(score_id).values()))
    title = f"{score_id} ({'higher' if score.higher_is_better else 'lower'} is better)"
    width = max(len(title), len(lines[0]))
    return [line.ljust(width) for line in [title, *lines]]


def _cells(found: Ranking, score_id: str, label: str) -> Cells:
    score = found.scores(score_id)[label]
    if score.value is None:
        return "null", "", "", ""
    value = f"{score.value:.4g}" + "*" * (label in found.best(score_id))
    interval = "" if score.ci95 is None else "[{:.4g}, {:.4g}]".format(*score.ci95)
    p = f"{score.details['chance_p']:.2g}" if "chance_p" in score.details else ""
    return value, interval, p, found.groups.get(score_id, {}).get(label, "")


def _legend(found: Ranking) -> Iterator[str]:
    """Yield what must be said beside the scores, and what the marks and columns mean."""
    if found.first.caveat:
        yield f"note: {found.first.caveat}."
    if any(found.best(score_id) for score_id in found.score_ids):
        yield "note: * is the best value."
    scores = [score for report in found.reports.values() for score in report.scores.values()]
    if any(score.ci95 is not None for score in scores):
        exact = dict.fromkeys(score.id for score in scores if score.ci95_ref == "exact")
        yield (
            "note: brackets are 95 % intervals of the expected score at this n, over clips"
            + f"; {EXACT} for {', '.join(exact)}" * bool(exact)
            + "."
        )
    if any("chance_p" in score.details for score in scores):
        yield "note: p is the chance of a score at least this bad if gen and ref were one distribution."
    if any(found.groups.values()):
        yield f"note: group: {rule(found)}"


def rule(found: Ranking) -> str:
    """Return what the groups mean, and by which rule, in whole sentences."""
    count = len(found.reports) * (len(found.reports) - 1) // 2
    how = ""
    if any(each.interval is not None for each in found.differences):
        asked = found.permutations
        how = f" (at most {asked} exchanges of clips)" if asked else " (from the width of the interval)"
    text = (
        "Systems that share a letter are not separable. Two systems without a common letter differ beyond chance: the "
        f"p of their difference{how} is below 0.05 and its 95 % interval does not hold 0"
    )
    text += f", both corrected for {count} pairs per score by Holm's rule." if count > 1 else "."
    if any(0 < len(groups) < len(found.reports) for groups in found.groups.values()):
        text += " A system without a letter could not be compared."
    return text + "".join(f" {sentence}" for sentence in _shared_without_verdict(found))


def _shared_without_verdict(found: Ranking) -> Iterator[str]:
    """Yield for each score which systems share a letter although nothing is known of their difference."""
    for score_id, groups in found.groups.items():
        pairs = [
            f"{each.system_a} and {each.system_b}"
            for each in found.differences
            if each.id == score_id
            and not each.has_verdict
            and {*_LETTER.findall(groups.get(each.system_a, ""))} & {*_LETTER.findall(groups.get(each.system_b, ""))}
        ]
        if pairs:
            yield f"In {score_id} there is no verdict on {'; '.join(pairs)}: that they share a letter says nothing."


def remarks_of(found: Ranking) -> Iterator[str]:
    """Yield why values, verdicts or a best value are missing; what holds for several systems is said once."""
    for score_id in found.score_ids:
        why: dict[str, list[str]] = {}
        for label, score in found.scores(score_id).items():
            for text in [score.reason] if score.reason else [*_extrapolated(score), *score.remarks]:
                why.setdefault(text, []).append(label)
        for text, who in why.items():
            yield f"{score_id}, {_names(who, found)}: {text}"
        none: dict[str, list[str]] = {}
        valued = {label for label, score in found.scores(score_id).items() if score.value is not None}
        for each in found.differences:
            if each.id == score_id and not each.has_verdict and {each.system_a, each.system_b} <= valued:
                none.setdefault(each.verdict.removeprefix("none: "), []).append(f"{each.system_a} and {each.system_b}")
        for text, who in none.items():
            everyone = len(who) == len(found.reports) * (len(found.reports) - 1) // 2
            yield f"{score_id}, no verdict on {'any pair' if everyone else '; '.join(who)}: {text}"
        if not found.comparable(score_id):
            yield (
                f"{score_id}: the value depends on the number of clips, which differs between systems, so that no best "
                "value is marked; pairs are compared at equal n"
            )


def _extrapolated(score: Score) -> Iterator[str]:
    details = score.details
    if "extrapolated" in details:
        yield f"n → ∞: {details['extrapolated']:.4g} (R² {details['extrapolation_r2']:.3f})"


def _names(who: Sequence[str], found: Ranking) -> str:
    return "all systems" if len(who) == len(found.reports) > 1 else ", ".join(who)


def _warnings(found: Ranking) -> Iterator[str]:
    yield from (f"warning: {text}" for text in warnings_of(found))


def warnings_of(found: Ranking) -> list[str]:
    """Return all warnings: what concerns all systems once, then of each system, then of pairs of them."""
    said = [[*report.warnings] for report in found.reports.values()]
    common = [text for text in dict.fromkeys(said[0]) if all(text in texts for texts in said[1:])]
    own = [
        f"{label}: {text}"
        for label, texts in zip(found.reports, said, strict=True)
        for text in texts
        if text not in common
    ]
    return [*common, *own, *found.warnings]


def to_csv(found: Ranking) -> str:
    """Return the columns of several reports, and the system's label, whether it is best, and its group."""
    header, *lines = csv.reader(io.StringIO(tables.to_csv(*found.reports.values())))
    rows = [(label, score_id) for label, report in found.reports.items() for score_id in report.scores]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*header, "system", "best", "group"])
    for line, (label, score_id) in zip(lines, rows, strict=True):
        best = "yes" if label in found.best(score_id) else ""
        writer.writerow([*line, label, best, found.groups.get(score_id, {}).get(label, "")])
    return file.getvalue()


def differences_to_csv(found: Ranking) -> str:
    """Return a line per pair of systems and score."""
    from audiogen_metrics.ranking.result import PairDifference

    names = [field.name for field in fields(PairDifference)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([part for name in names for part in (["low", "high"] if name == "interval" else [name])])
    for each in found.differences:
        values = [getattr(each, name) for name in names]
        ends = each.interval or (None, None)
        writer.writerow(
            [
                part
                for name, value in zip(names, values, strict=True)
                for part in (ends if name == "interval" else [value])
            ]
        )
    return file.getvalue()


def _arrow(score: Score) -> str:
    return "↑" if score.higher_is_better else "↓"


def _header(found: Ranking) -> list[Score]:
    return [next(iter(found.scores(score_id).values())) for score_id in found.score_ids]


def to_markdown(found: Ranking) -> str:
    """Return the table with a row per system, best values in bold, groups behind the values, and its notes."""
    rows = [["system", "n", *(f"{score.id} {_arrow(score)}" for score in _header(found))]]
    for label, report in found.reports.items():
        row = [markdown(label), str(report.gen.scored)]
        for score_id in found.score_ids:
            value, interval, p, group = _cells(found, score_id, label)
            bold = f"**{value[:-1]}**" if value.endswith("*") else value
            row.append(
                bold + f" <sup>{group}</sup>" * bool(group) + f" {interval}" * bool(interval) + f", p = {p}" * bool(p)
            )
        rows.append(row)
    header, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    notes = [note.replace("* is the best value", "bold is the best value") for note in _legend(found)]
    notes = [*notes, *remarks_of(found), *_warnings(found)]
    listed = "".join(f"- {markdown(line)}\n" for line in [*_head(found), *notes])
    return f"{header}|{'---|' * len(rows[0])}\n{''.join(body)}\n{listed}"


def to_latex(found: Ranking, columns: str | Iterable[str] | None = None) -> str:
    """Return a table with a row per system and its intervals below it, and BibTeX entries as comments.

    ``columns`` chooses among n, score ids, group and ci95; None shows all.
    """
    labels = labels_of(found.score_ids)
    legend = {"group": tex(rule(found)) if any(found.groups.values()) else ""}
    if any(score.ci95 is not None for each in found.reports.values() for score in each.scores.values()):
        legend["ci95"] = r"Brackets: 95\,\% intervals over clips."
        if any(score.ci95_ref == "exact" for each in found.reports.values() for score in each.scores.values()):
            legend["ci95"] += " The reference is taken as exact."
    return Table(
        [
            Column("system", "system", [breakable(label) for label in found.reports], "l", stays=True),
            Column("n", "$n$", [str(report.gen.scored) for report in found.reports.values()]),
            *(_latex_column(found, score_id, labels[score_id]) for score_id in found.score_ids),
        ],
        _caption(found),
        {name: text for name, text in legend.items() if text},
        notes=[
            *_head(found),
            *remarks_of(found),
            *_warnings(found),
            *(f"{label}: {score_id}" for score_id, label in labels.items()),
        ],
        works=found.first.citations(),
    ).render(columns)


def _latex_column(found: Ranking, score_id: str, label: str) -> Column:
    scores = found.scores(score_id)
    decimals = places([score.value for score in scores.values()])
    cells = [number(scores[label].value, decimals) for label in found.reports]
    best, groups = found.best(score_id), found.groups.get(score_id, {})
    return Column(
        score_id,
        tex(label),
        [rf"\textbf{{{cell}}}" if system in best else cell for system, cell in zip(found.reports, cells, strict=True)],
        beside={
            "group": [rf"\textsuperscript{{{groups[each]}}}" if groups.get(each) else "" for each in found.reports]
        },
        below={"ci95": [interval(scores[each].ci95, decimals) for each in found.reports]},
    )


def _caption(found: Ranking) -> str:
    report, keys = found.first, ",".join(work.key for work in found.first.citations())
    against = "" if report.ref is None else f" against {report.ref.clips.replace('clips', 'reference clips')}"
    text = f"Scores of $n$ clips of each system{against}, protocol {tex(report.protocol)}" + rf"~\cite{{{keys}}}."
    return text + " Bold: best value." * any(found.best(score_id) for score_id in found.score_ids)


def to_fragment(found: Ranking) -> str:
    """Return the table as HTML for a notebook."""
    from html import escape

    head = "".join(f"<th>{escape(score.id)} {_arrow(score)}</th>" for score in _header(found))
    body = ""
    for label, report in found.reports.items():
        cells = "".join(f"<td>{cell_html(found, score_id, label)}</td>" for score_id in found.score_ids)
        body += f"<tr><th>{escape(label)}</th><td>{report.gen.scored}</td>{cells}</tr>"
    notes = [note.replace("* is the best", "bold is the best") for note in _legend(found)]
    listed = "".join(f"<li>{escape(note)}</li>" for note in [*notes, *remarks_of(found), *_warnings(found)])
    sets = "<br>".join(map(escape, _head(found)))
    return (
        f"<p>{sets}</p><table><thead><tr><th>system</th><th>n</th>{head}</tr></thead><tbody>{body}</tbody></table>"
        + f"<ul>{listed}</ul>" * bool(listed)
    )


def cell_html(found: Ranking, score_id: str, label: str) -> str:
    """Return value, group, interval and p of one score of one system as HTML."""
    value, interval, p, group = _cells(found, score_id, label)
    shown = f"<b>{value[:-1]}</b>" if value.endswith("*") else value.replace("null", "–")
    below = ", ".join([interval] * bool(interval) + [f"p = {p}"] * bool(p))
    return shown + f"<sup>{group}</sup>" * bool(group) + f"<br><small>{below}</small>" * bool(below)
