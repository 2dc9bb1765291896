"""The rows of the paper's tables, and what to know before reading them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audiogen_metrics.benchmark.costs import papers_best_step
from audiogen_metrics.benchmark.plans import TABLES, Artefact, Cell, Plan
from audiogen_metrics.benchmark.published import PAPER_METRICS, published
from audiogen_metrics.benchmark.running import Result
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.protocols import get_protocol

WORDS = ("dataset", "system", "start", "condition")
"""Columns of text; all others hold numbers."""

_PARTS = ("", " ±", " 95 %", " best", " best step (k)", " paper", " difference")
"""What there is of a score, as the end of its column's name; all but the first are left out where no row has them."""


def title_of(dataset: str) -> str:
    """Return what a dataset is called in tables: its title without what follows a colon or comma."""
    return re.split("[:,]", DATASETS.get(dataset).title)[0]


def rows(artefact: Artefact, plan: Plan, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a table as records, all with the same columns: each cell's scores, the published ones, the differences.

    None stands where a cell has no such number. A difference is None where the paper has no number, or where the
    protocol is not the paper's. Spreads, intervals, published numbers and differences that no row has are not columns.
    """
    mine = [result for result in results if artefact in result.cell.artefacts and result.cell.kind != "study"]
    found = [_row(artefact, plan, result) for result in mine]
    columns = [*(found[0] if found else {})]  # every row has all of them
    kept = [name for name in columns if not _is_optional(name) or any(row[name] is not None for row in found)]
    return [{name: row[name] for name in kept} for row in found]


def _is_optional(column: str) -> bool:
    return column.endswith(_PARTS[1:]) or column.startswith("paper's")


def _row(artefact: Artefact, plan: Plan, result: Result) -> dict[str, Any]:
    cell, paper = result.cell, _paper(artefact, result.cell)
    row: dict[str, Any] = {"dataset": title_of(cell.dataset), "system": cell.system}
    if artefact == "table2":
        row["start"] = "pre-trained" if cell.pretrained else "scratch"
    row["condition"] = cell.condition or None
    if artefact == "table2":
        row["step (k)"] = None if result.step is None else result.step / 1000
        row["paper's step (k)"] = paper.get("steps_k")
    row["n"] = next((score.get("n_gen") for score in result.scores.values()), None)
    recipes = get_protocol(plan.settings.protocol).recipes
    comparable = not _apart(plan)
    for metric in PAPER_METRICS:
        name = recipes[metric].score_id if metric in recipes else ""
        own = result.details.get("each_best", {}).get(name, {})
        parts = _parts(result.scores.get(name, {}), own, paper.get(metric), comparable)
        row |= {f"{metric.upper()}{part}": value for part, value in zip(_PARTS, parts, strict=True)}
    return row


def _paper(artefact: Artefact, cell: Cell) -> Mapping[str, float | None]:
    """Return what the paper says of a cell; nothing of another system than its own."""
    return published(artefact, cell.dataset, cell.condition, cell.pretrained) if cell.system == "audioldm" else {}


def _apart(plan: Plan) -> str:
    """Return why no score may stand beside a published one; empty if they may."""
    if plan.settings.protocol != "audioldm":
        return f"the protocol is {plan.settings.protocol}"
    return "" if plan.settings.limit is None else "it took a part of the clips only"


def verdict(plan: Plan, results: Sequence[Result]) -> str:
    """Return what the scores of the tables come to beside the published ones, as far as their intervals say."""
    if not results:
        return "No cell is done."
    if _random(results):
        return "The numbers of the model only show that everything works: its weights are random."
    if not {*TABLES} & {*plan.artefacts}:
        return ""
    if _apart(plan):
        return f"Nothing here can be compared with the paper: {_apart(plan)}."
    beside = [*_beside_published(plan, results)]
    bounds = [(*score["ci95"], theirs) for score, theirs in beside if score.get("ci95")]
    if not bounds:
        return f"{len(beside)} scores stand beside published ones, without intervals that would say what chance does."
    within = sum(low <= theirs <= high for low, high, theirs in bounds)
    return (
        f"The published number lies within our 95 % interval for {within} of the {len(bounds)} scores that have both. "
        "How much the paper's own numbers vary is not known."
    )


def _beside_published(plan: Plan, results: Sequence[Result]) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Yield each score of the tables that has a value and stands beside a published one, with that."""
    recipes = get_protocol(plan.settings.protocol).recipes
    for artefact in TABLES:
        for result in results:
            if artefact in result.cell.artefacts:
                paper = _paper(artefact, result.cell)
                for metric in PAPER_METRICS:
                    score, theirs = result.scores.get(recipes[metric].score_id, {}), paper.get(metric)
                    if score.get("value") is not None and theirs is not None:
                        yield score, theirs


def _random(results: Sequence[Result]) -> bool:
    """Tell whether any of the models has random weights."""
    return any(result.cell.settings.get("model", {}).get("random_weights") for result in results)


def _parts(score: Mapping[str, Any], own: Mapping[str, Any], theirs: float | None, comparable: bool) -> tuple[Any, ...]:
    """Return what there is of a score, of its own best during the training, too, in the order of `_PARTS`."""
    value, interval = score.get("value"), score.get("ci95")
    difference = value - theirs if comparable and value is not None and theirs is not None else None
    range_ = "{:.4g} to {:.4g}".format(*interval) if interval else None
    best = own.get("value"), own["step"] / 1000 if own else None
    return value, score.get("std"), range_, *best, theirs, difference


def remarks(plan: Plan, results: Sequence[Result]) -> list[str]:
    """Return what to know before reading any number, the gravest first."""
    settings, found = plan.settings, []
    if _random(results):
        found.append("the model has random weights: these numbers mean nothing but that the machinery works")
    if settings.protocol != "audioldm":
        found.append(
            f"protocol {settings.protocol}: not comparable with the paper's numbers, which are shown for the form"
        )
    if settings.limit is not None:
        found.append(f"at most {settings.limit} clips of each dataset: not the benchmark, a part of it")
    versions = sorted({str(result.versions.get("audiogen-metrics")) for result in results})
    if len(versions) > 1:
        found.append(f"the cells were made by several versions of audiogen-metrics: {', '.join(versions)}")
    return found


def remarks_of(artefact: Artefact, plan: Plan, results: Sequence[Result]) -> list[str]:
    """Return what to know before reading a table or figure: what it lacks, and what was said of its clips and cells."""
    cells = [cell for cell in plan.cells if artefact in cell.artefacts]
    mine = [result for result in results if artefact in result.cell.artefacts]
    done = {result.cell.name for result in mine}
    lacking = [cell.title for cell in cells if cell.name not in done]
    found = [*plan.warnings.get(artefact, ())]
    if lacking:
        found[:0] = [f"{len(lacking)} of {len(cells)} cells are not done, and missing here: {', '.join(lacking)}"]
    short = [text for result in mine if (text := _short(result))]
    if short:
        found.append(f"ended before the step at which the paper's training was best: {', '.join(short)}")
    places: dict[str, list[str]] = defaultdict(list)
    for result in mine:
        for text in result.warnings:
            places[text].append(_place(result.cell))
    return found + [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in places.items()]


def _short(result: Result) -> str:
    """Return where a training has ended, and when the paper's was best; empty if it went on until then."""
    last, theirs = result.details.get("last_step"), papers_best_step(result.cell)
    if last is None or theirs is None or last >= theirs:
        return ""
    return f"{_place(result.cell)} at {last / 1000:g} k of {theirs / 1000:g} k"


def _place(cell: Cell) -> str:
    system = "" if cell.system == "audioldm" else cell.system
    start = {None: "", True: "pre-trained", False: "scratch"}[cell.pretrained]
    return " ".join(filter(None, (title_of(cell.dataset), system, start, cell.condition)))
