"""Tables, figures and a page from the results of a benchmark, ours beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from audiogen_metrics import __version__
from audiogen_metrics.benchmark.latex import to_latex
from audiogen_metrics.benchmark.plans import ARTEFACTS, Artefact, Plan
from audiogen_metrics.benchmark.published import UNKNOWN, tables
from audiogen_metrics.benchmark.records import WORDS, remarks, remarks_of, rows, title_of, verdict
from audiogen_metrics.benchmark.running import Result
from audiogen_metrics.records import read
from audiogen_metrics.rendering import records_to_csv, records_to_markdown
from audiogen_metrics.report.document import Section, document, drawing, listed, table
from audiogen_metrics.report.plots import Panel, draw_for_print
from audiogen_metrics.report.training import panels_over_steps
from audiogen_metrics.studies.files import caption_of, panels_by_score
from audiogen_metrics.studies.page import verdict as study_verdict
from audiogen_metrics.studies.result import Study
from audiogen_metrics.writing import json_text, write_result, written


def write(plan: Plan, results: Sequence[Result], folder: Path, columns: Sequence[str] | None = None) -> list[Path]:
    """Write every table as Markdown, LaTeX, CSV and JSON, every figure as PDF, SVG, PNG and LaTeX, and index.html.

    Results may be of some of the cells only: the tables then say which are missing. ``columns`` chooses what the LaTeX
    tables show, see `audiogen_metrics.benchmark.latex.chosen_columns`.

    Returns
    -------
    list of Path
        The files, index.html first.
    """
    sections: list[Section] = []
    files: list[Path] = []
    for artefact in plan.artefacts:
        mine = [result for result in results if artefact in result.cell.artefacts]
        own = remarks_of(artefact, plan, results)
        if artefact in ("table1", "table2"):
            records = rows(artefact, plan, results)
            notes = [*remarks(plan, mine), *own]
            made = _write_table(artefact, plan, mine, records, notes, folder, columns) if records else []
            shown = _html_table(records, ARTEFACTS[artefact]) if records else ""
        else:
            drawn = _figures(artefact, plan, mine, [*remarks(plan, mine), *own], folder)
            made = [path for paths in drawn.values() for path in paths]
            shown = "".join(_picture(paths, caption) for caption, paths in drawn.items())
        files += made
        sections.append(_section(artefact, own, shown))
    page = folder / "index.html"
    written(_page(sections, plan, results), page)
    return [page, *files]


def _write_table(
    artefact: Artefact,
    plan: Plan,
    results: Sequence[Result],
    records: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
    folder: Path,
    columns: Sequence[str] | None,
) -> list[Path]:
    title = ARTEFACTS[artefact]
    first = [f"{title.partition(': ')[2]}; {_made_with(plan)}", *remarks(plan, results)]
    content = {
        "title": title,
        "audiogen_metrics": __version__,
        "remarks": notes,
        "unknown_in_the_paper": list(UNKNOWN),
        "settings": plan.settings.shared(),
        "splits": {name: split.rule for name, split in plan.splits.items()},
        "published": tables()["source"],
        "rows": records,
        "cells": [_contributed(result) for result in results],
    }
    texts = {
        "json": json_text(content, default=list),
        "csv": records_to_csv(records),
        "md": _markdown(title, records, notes, plan),
        "tex": to_latex(records, _sentences(first), notes, columns),
    }
    for suffix, text in texts.items():
        write_result(folder / f"{artefact}.{suffix}", text.encode())
    return [folder / f"{artefact}.{suffix}" for suffix in texts]


def _contributed(result: Result) -> dict[str, Any]:
    """Return all that is known of a row: what made it, by digests and versions, and its scores in full."""
    cell = result.cell
    return {
        "name": cell.name,
        **{name: getattr(cell, name) for name in ("kind", "dataset", "system", "condition", "pretrained")},
        "settings": cell.settings,
        "versions": result.versions,
        "step": result.step,
        **{name: result.details[name] for name in ("last_step", "chosen_on", "each_best") if name in result.details},
        "scores": result.scores,
    }


def _figures(
    artefact: Artefact, plan: Plan, mine: Sequence[Result], notes: Sequence[str], folder: Path
) -> dict[str, list[Path]]:
    """Draw a figure as a page of a paper prints it, Figure 1 for each dataset, and return its files by caption."""
    panels: dict[str, tuple[str, list[Panel]]] = {}
    if artefact == "figure1":
        for result in mine:
            study = read(Study, result.details["study"])
            caption = caption_of(study, title_of(result.cell.dataset))
            panels[f"figure1-{result.cell.dataset}"] = (caption, panels_by_score(study, "fraction"))
    else:
        histories = {
            f"{'pre-trained' if result.cell.pretrained else 'scratch'}, {result.cell.condition}": history
            for result in mine
            if (history := result.details.get("history"))
        }
        clips = {title_of(result.cell.dataset): len(plan.evaluation(result.cell.dataset)) for result in mine}
        sets = ", ".join(f"{title} ({count} evaluation clips)" for title, count in clips.items())
        caption = f"Scores of AudioLDM on {sets} over the steps of the training; {_made_with(plan)}"
        panels["figure2"] = (caption, panels_over_steps(histories))
    found = {}
    for name, (caption, drawn) in panels.items():
        if drawn:
            said = _sentences([caption, *remarks(plan, mine)])
            found[said] = draw_for_print(drawn, folder, name, said, notes)
    return found


def _made_with(plan: Plan) -> str:
    return f"model {plan.settings.model}, protocol {plan.settings.protocol}"


def _sentences(texts: Sequence[str]) -> str:
    return " ".join(f"{text[:1].upper()}{text[1:].rstrip('.')}." for text in texts)


def _markdown(title: str, records: Sequence[Mapping[str, Any]], notes: Sequence[str], plan: Plan) -> str:
    lines = [f"# {title}", "", *(f"- **{note}**" for note in notes), ""]
    lines += [records_to_markdown([_shown(record) for record in records])]
    lines += [
        _sentences([f"{_made_with(plan)}; published numbers from {tables()['source']}"]),
        "",
        "Not said in the paper: " + "; ".join(UNKNOWN) + ".",
    ]
    return "\n".join(lines) + "\n"


def _page(sections: Sequence[Section], plan: Plan, results: Sequence[Result]) -> str:
    settings = escape(json_text(plan.settings.shared(), default=list))
    lead = f"audiogen-metrics {__version__}; model <b>{escape(plan.settings.model)}</b>; "
    lead += f"protocol <b>{escape(plan.settings.protocol)}</b>."
    rest = (
        ("unknown", "What the paper does not say", listed(UNKNOWN)),
        ("splits", "Evaluation clips", listed(f"{title_of(name)}: {each.rule}" for name, each in plan.splits.items())),
        ("settings", "Settings", f"<pre>{settings}</pre>"),
    )
    said = [verdict(plan, results)]
    for result in results:
        if result.cell.kind == "study":
            said.append(f"{title_of(result.cell.dataset)}: {study_verdict(read(Study, result.details['study']))}")
    title, notes = "Benchmark of arXiv 2303.03857", remarks(plan, results)
    return document(title, lead, notes, (*sections, *rest), "", " ".join(filter(None, said)))


def _section(artefact: Artefact, notes: Sequence[str], shown: str) -> Section:
    """Return a table or figure below what to know before reading it."""
    warned = f'<div class="warn">{listed(notes)}</div>' if notes else ""
    return artefact, ARTEFACTS[artefact], f"{warned}{shown or '<p>No cell is done.</p>'}"


def _html_table(records: Sequence[Mapping[str, Any]], title: str) -> str:
    header = [*records[0]]
    rows = [[escape(_cell(name, record[name])) for name in header] for record in records]
    kinds = ["" if name in WORDS else "number" for name in header[1:]]
    return table(f"Our scores beside the paper's, {title.partition(':')[0]}", header, rows, kinds)


def _picture(files: Sequence[Path], caption: str) -> str:
    """Return a figure with its caption, as HTML."""
    (path,) = [file for file in files if file.suffix == ".svg"]
    return drawing(f"Drawing {path.stem}", path.read_bytes(), "The curves that the caption is about", caption)


def _shown(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: _cell(name, value) for name, value in record.items()}


def _cell(column: str, value: object) -> str:
    if value is None:
        return "–"
    if column.endswith(" paper"):
        return f"{value:.2f}"  # as printed
    return f"{value:.4g}" if isinstance(value, float) else str(value)
