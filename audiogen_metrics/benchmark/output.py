"""Tables, figures and a page from the results of a benchmark, ours beside the paper's."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiogen_metrics import __version__
from audiogen_metrics.benchmark.plans import ARTEFACTS, Artefact, Plan
from audiogen_metrics.benchmark.published import METRICS, UNKNOWN, published, tables
from audiogen_metrics.benchmark.running import Result
from audiogen_metrics.datasets import DATASETS as KNOWN
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.report.plots import Curve, Panel, draw
from audiogen_metrics.report.tables import records_to_csv, records_to_markdown
from audiogen_metrics.writing import write_atomically

_TITLES = {"esc50": "ESC-50", "urbansound8k": "UrbanSound8K", "audiocaps": "AudioCaps", "audioset": "AudioSet"}


def title_of(dataset: str) -> str:
    """Return what a dataset is called in tables."""
    return _TITLES.get(dataset) or KNOWN.get(dataset).title


def rows(artefact: Artefact, plan: Plan, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a table as records: each cell's scores, the published ones, and the differences.

    A difference is None where the paper has no number, or where the protocol is not the paper's.
    """
    comparable = plan.settings.protocol == "audioldm" and plan.settings.limit is None
    found = []
    for result in results:
        cell = result.cell
        if artefact not in cell.artefacts or cell.kind == "study":
            continue
        paper = published(artefact, cell.dataset, cell.condition, cell.pretrained) if cell.system == "audioldm" else {}
        row: dict[str, Any] = {"dataset": title_of(cell.dataset), "system": cell.system}
        if artefact == "table2":
            row["start"] = "pre-trained" if cell.pretrained else "scratch"
        row["condition"] = cell.condition or "–"
        if artefact == "table2":
            row["step (k)"] = None if result.step is None else result.step / 1000
            row["paper's step (k)"] = paper.get("steps_k")
        by_metric = {recipe.metric: recipe.score_id for recipe in get_protocol(plan.settings.protocol).recipes.values()}
        row["n"] = next((score.get("n_gen") for score in result.scores.values()), None)
        for metric in METRICS:
            score = result.scores.get(by_metric[metric], {})
            value, theirs = score.get("value"), paper.get(metric)
            row[metric.upper()] = value
            if metric == "is":
                row["IS ±"] = score.get("std")
            if score.get("ci95"):
                row[f"{metric.upper()} 95 %"] = "{:.4g} to {:.4g}".format(*score["ci95"])
            row[f"{metric.upper()} paper"] = theirs
            if value is None or theirs is None or not comparable:
                row[f"{metric.upper()} difference"] = None
            else:
                row[f"{metric.upper()} difference"] = value - theirs
        found.append(row)
    return found


def remarks(plan: Plan, results: Sequence[Result]) -> list[str]:
    """Return what to know before reading a number, the gravest first."""
    settings, found = plan.settings, []
    if "tiny-random" in settings.model:
        found.append("the model has random weights: these numbers mean nothing but that the machinery works")
    if settings.protocol != "audioldm":
        found.append(
            f"protocol {settings.protocol}: not comparable with the paper's numbers, which are shown for the form"
        )
    if settings.limit is not None:
        found.append(f"at most {settings.limit} clips of each dataset: not the benchmark, a part of it")
    found += list(plan.warnings)
    cells: dict[str, list[str]] = defaultdict(list)
    for result in results:
        for text in result.warnings:
            cells[text].append(f"{title_of(result.cell.dataset)} {result.cell.condition}".strip())
    return found + [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in cells.items()]


def write(plan: Plan, results: Sequence[Result], folder: Path) -> list[Path]:
    """Write every table as Markdown, LaTeX, CSV and JSON, every figure as SVG and PNG, and index.html.

    Returns
    -------
    list of Path
        The files, index.html first.
    """
    sections: list[str] = []
    files: list[Path] = []
    notes = remarks(plan, results)
    for artefact in plan.artefacts:
        title = ARTEFACTS[artefact]
        if artefact in ("table1", "table2"):
            records = rows(artefact, plan, results)
            if not records:
                continue
            content = {
                "title": title,
                "audiogen_metrics": __version__,
                "remarks": notes,
                "unknown_in_the_paper": list(UNKNOWN),
                "settings": plan.settings.shared(),
                "splits": {name: split.rule for name, split in plan.splits.items()},
                "published": tables()["source"],
                "rows": records,
            }
            texts = {
                "json": json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=list),
                "csv": records_to_csv(records),
                "md": _markdown(title, records, notes, plan),
                "tex": _latex(title, records, plan),
            }
            for suffix, text in texts.items():
                files.append(folder / f"{artefact}.{suffix}")
                write_atomically(files[-1], text.encode())
            sections.append(f"<h2>{html.escape(title)}</h2>{_html_table(records)}")
        else:
            drawings = _figures(artefact, results, folder)
            files += drawings
            images = "".join(_inline(path) for path in drawings if path.suffix == ".svg")
            sections.append(f"<h2>{html.escape(title)}</h2>{images}")
    page = folder / "index.html"
    write_atomically(page, _page(sections, notes, plan).encode())
    return [page, *files]


def _figures(artefact: Artefact, results: Sequence[Result], folder: Path) -> list[Path]:
    mine = [result for result in results if artefact in result.cell.artefacts]
    if artefact == "figure1":
        found = []
        for result in mine:
            source = folder / "cells" / result.cell.name / "study"
            for suffix in ("svg", "png"):
                target = folder / f"figure1-{result.cell.dataset}.{suffix}"
                write_atomically(target, (source / f"fraction.{suffix}").read_bytes())
                found.append(target)
        return found
    histories = [(result.cell, result.details["history"]) for result in mine if result.details.get("history")]
    if not histories:
        return []
    panels = []
    for score in histories[0][1][0]["scores"]:
        curves = []
        for style, (cell, entries) in enumerate(histories):
            known = [entry for entry in entries if entry["scores"][score] is not None]
            x, y = [entry["step"] for entry in known], [entry["scores"][score] for entry in known]
            name = f"{'pre-trained' if cell.pretrained else 'scratch'}, {cell.condition}"
            curves.append(Curve(name, style, x, y, y, y))
        panels.append(Panel(score, "step", score, curves))
    files = [folder / f"figure2.{suffix}" for suffix in ("svg", "png")]
    for file in files:
        draw([panels], file)
    return files


def _markdown(title: str, records: Sequence[Mapping[str, Any]], notes: Sequence[str], plan: Plan) -> str:
    lines = [f"# {title}", "", *(f"- **{note}**" for note in notes), ""]
    lines += [records_to_markdown([_shown(record) for record in records])]
    lines += [
        f"Model {plan.settings.model}, protocol {plan.settings.protocol}; published numbers from {tables()['source']}.",
        "",
        "Not said in the paper: " + "; ".join(UNKNOWN) + ".",
    ]
    return "\n".join(lines) + "\n"


def _latex(title: str, records: Sequence[Mapping[str, Any]], plan: Plan) -> str:
    kept = [name for name in records[0] if not name.endswith("difference")]
    head = " & ".join(_tex(name) for name in kept)
    body = " \\\\\n".join(" & ".join(_tex(_cell(name, record.get(name))) for name in kept) for record in records)
    return (
        "% Needs \\usepackage{booktabs}\n\\begin{table}\n\\centering\n"
        f"\\caption{{{_tex(title)}; model {_tex(plan.settings.model)}, protocol {_tex(plan.settings.protocol)}.}}\n"
        f"\\begin{{tabular}}{{{'l' * 3}{'r' * (len(kept) - 3)}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def _html_table(records: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in records[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(name, record.get(name)))}</td>" for name in records[0]) + "</tr>"
        for record in records
    )
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _page(sections: Sequence[str], notes: Sequence[str], plan: Plan) -> str:
    model = html.escape(plan.settings.model)
    warnings = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    unknown = "".join(f"<li>{html.escape(what)}</li>" for what in UNKNOWN)
    settings = html.escape(json.dumps(plan.settings.shared(), indent=2, ensure_ascii=False, default=list))
    splits = "".join(
        f"<li>{html.escape(title_of(name))}: {html.escape(s.rule)}</li>" for name, s in plan.splits.items()
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Benchmark of arXiv 2303.03857</title>
<style>{_STYLE}</style>
<main>
<h1>Benchmark of arXiv 2303.03857</h1>
<p>audiogen-metrics {__version__}; model {model}; protocol {html.escape(plan.settings.protocol)}.</p>
{f"<section class=warn><h2>Before reading a number</h2><ul>{warnings}</ul></section>" if warnings else ""}
{"".join(f"<section>{section}</section>" for section in sections)}
<section><h2>What the paper does not say</h2><ul>{unknown}</ul></section>
<section><h2>Evaluation clips</h2><ul>{splits}</ul></section>
<section><h2>Settings</h2><pre>{settings}</pre></section>
</main>
</html>
"""


_STYLE = """
:root{color-scheme:light dark;--line:#8885;--warn:#b3541e}
body{font:16px/1.5 system-ui,sans-serif;margin:0}
main{max-width:75rem;margin:auto;padding:1.5rem}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.35rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:nth-child(-n+3),td:nth-child(-n+3){text-align:left}
.warn{border-left:4px solid var(--warn);padding:.1rem 1rem}
.figure{background:#fff;overflow-x:auto}.figure svg{max-width:100%;height:auto}
pre{overflow-x:auto;font-size:.85rem}
"""


def _inline(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return f"<div class=figure>{text[text.index('<svg') :]}</div>"


def _shown(record: Mapping[str, Any]) -> dict[str, str]:
    return {name: _cell(name, value) for name, value in record.items()}


def _cell(column: str, value: object) -> str:
    if value is None:
        return "–"
    if column.endswith(" paper"):
        return f"{value:.2f}"  # as printed
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _tex(text: str) -> str:
    plain = {"%": "\\%", "_": "\\_", "&": "\\&", "#": "\\#", "–": "--", "±": "$\\pm$"}
    return "".join(plain.get(character, character) for character in text)
