"""A study as files: JSON, CSV, Markdown, and figures in the shape of the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from audiogen_metrics.options import as_path
from audiogen_metrics.rendering import markdown, records_to_csv, records_to_markdown
from audiogen_metrics.report.labels import in_papers_order, labels_of
from audiogen_metrics.report.plots import Curve, Panel, draw, draw_for_print
from audiogen_metrics.studies.result import Axis, Study
from audiogen_metrics.studies.study import CONTROL
from audiogen_metrics.studies.verdicts import MINIMUM_CHANGE
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import written

__all__ = ["write_study"]

ANSWERS = {
    "responds": "responds",
    "flat": "flat",
    "wrong direction": "**wrong direction**",
    "comes and goes": "**comes and goes**",
    "no verdict": "no verdict: repeats do not differ",
}

DOSES: Mapping[Axis, str] = {"fraction": "share of clips corrupted", "severity": "severity"}
"""What each axis is called in words."""

NO_VERDICT = (
    "No verdict: no score differs from repeat to repeat, so nothing says what chance would do. Study shares between 0 "
    "and 1, or draw the corruption anew (agm study --redraw-parameters), with 2 or more repeats."
)


def write_study(study: Study, folder: str | Path) -> list[Path]:
    """Write every form of a study into ``folder`` and return the files.

    ``study.html`` is the page; ``study.json`` is everything; ``points.csv`` and ``verdicts.csv`` are its tables;
    ``study.md`` has the verdicts for people; ``fraction.pdf``, ``.svg``, ``.png`` and ``fraction-column.pdf`` (and
    ``severity``) are the curves as a paper prints them, with ``fraction.tex``; ``fraction-probes.svg`` and ``.png``
    have each of them by itself, for a screen.

    Raises
    ------
    UsageError
        A folder that cannot be written.
    """
    folder = as_path(folder)
    texts = {
        "study.json": study.to_json(),
        "points.csv": records_to_csv([asdict(point) for point in study.points]),
        "verdicts.csv": study.to_csv(),
        "study.md": to_markdown(study),
        "study.html": study.to_html(),
    }
    for name, text in texts.items():
        written(text, folder / name)
    files = [folder / name for name in texts]
    notes = [*filter(None, [study.caveat]), *study.warnings]
    axes: tuple[Axis, ...] = ("fraction", "severity")
    for axis in axes:
        if any(point.axis == axis for point in study.points):
            files += draw_for_print(panels_by_score(study, axis), folder, axis, caption_of(study), notes)
            for suffix in (".png", ".svg"):
                files.append(folder / f"{axis}-probes{suffix}")
                draw(panels(study, axis), files[-1], title=_title(study))
    return files


def summary(study: Study) -> str:
    """Return the verdicts as a table of metrics by probes, for a terminal."""
    scores = list(dict.fromkeys(finding.score for finding in study.findings))
    lines = [_title(study), "", f"{'probe':<18}" + "".join(f"{score:>24}" for score in scores)]
    for axis in dict.fromkeys(finding.axis for finding in study.findings):
        lines.append(f"by {axis}:")
        for probe in study.probes:
            verdicts = [study.finding(probe, score, axis) for score in scores]
            cells = [f"{verdict.answer} {verdict.relative_change:+.0%}" for verdict in verdicts]
            lines.append(f"  {probe:<16}" + "".join(f"{cell:>24}" for cell in cells))
    lines += ["", "Percentages: change at the highest dose, of the metric's scale on this set; + is worse."]
    if any(finding.verdict.answer == "no verdict" for finding in study.findings):
        lines.append(NO_VERDICT)
    lines += [f"not run: {probe}: {reason}" for probe, reason in study.not_run.items()]
    lines += [f"note: {study.caveat}."] if study.caveat else []
    return "\n".join(map(escaped, lines + [f"warning: {warning}" for warning in study.warnings]))


def to_markdown(study: Study) -> str:
    """Return the verdicts with their numbers, as GitHub's Markdown."""
    rows = []
    for finding in study.findings:
        verdict = finding.verdict
        interval = f" [{verdict.ci95[0]:.2f}, {verdict.ci95[1]:.2f}]" if verdict.ci95 else ""
        rows.append(
            {
                "probe": finding.probe,
                "score": finding.score,
                "axis": finding.axis,
                "verdict": ANSWERS[verdict.answer],
                "Spearman [95 %]": f"{verdict.spearman:.2f}{interval}",
                "change": verdict.change,
                "of scale": f"{verdict.relative_change:+.1%}",
                "effect size": "–" if verdict.effect_size is None else f"{verdict.effect_size:.1f}",
                "clips": study.probes[finding.probe].clips,
            }
        )
    notes = [NO_VERDICT] * any(finding.verdict.answer == "no verdict" for finding in study.findings)
    notes += [f"not run: {probe}: {reason}" for probe, reason in study.not_run.items()]
    notes += [f"{study.caveat}."] if study.caveat else []
    notes += study.warnings
    listed = "\n" * bool(notes) + "".join(f"- {markdown(note)}\n" for note in notes)
    return f"{_title(study)}\n\n{records_to_markdown(rows)}{listed}"


def caption_of(study: Study, name: str | None = None) -> str:
    """Return what must stand below the curves of `panels_by_score`: on which set, by which protocol, how often."""
    text = f"Scores of damaged recordings against the same recordings as they were: {name or study.ref.path}, "
    text += f"{_title(study)}. Lines are means of the repeats; bands span the lowest and the highest."
    if CONTROL in study.probes:
        text += f" {CONTROL.capitalize()} is the control, which goes through the mel-spectrogram without any damage."
    if any(run.clips != study.ref.scored for run in study.probes.values()):
        own = ", ".join(
            f"{probe} ({run.clips})" for probe, run in study.probes.items() if run.clips != study.ref.scored
        )
        text += f" On fewer clips, or on sequences of them, with scores of their own: {own}."
    return text


def panels_by_score(study: Study, axis: Axis) -> list[Panel]:
    """Return a panel per metric, in its own units, with a curve per probe: the paper's Figure 1."""
    labels, found = _labels(study), []
    for score, label in labels.items():
        curves = [_curve(study, (probe, score, axis), probe, style) for style, probe in enumerate(study.probes)]
        scale = max(study.finding(probe, score, axis).scale for probe in study.probes)
        found.append(Panel(label, DOSES[axis], "", curves, 2 * MINIMUM_CHANGE * scale))
    return found


def panels(study: Study, axis: Axis) -> list[list[Panel]]:
    """Return a panel per probe: normalised in the first row, then one row per metric in its own units."""
    labels = _labels(study)

    def panel(probe: str, score: str, style: int) -> Panel:
        curve = _curve(study, (probe, score, axis), labels[score], style)
        span = 2 * MINIMUM_CHANGE * study.finding(probe, score, axis).scale
        return Panel(probe, DOSES[axis], labels[score], [curve], span)

    def normalised(probe: str) -> Panel:
        curves = [
            _curve(study, (probe, score, axis), label, style, normalised=True)
            for style, (score, label) in enumerate(labels.items())
        ]
        return Panel(probe, DOSES[axis], "change / scale (+ worse)", curves, 2 * MINIMUM_CHANGE)

    rows = [[panel(probe, score, style) for probe in study.probes] for style, score in enumerate(labels)]
    return [list(map(normalised, study.probes)), *rows]


def _labels(study: Study) -> dict[str, str]:
    return labels_of(in_papers_order(finding.score for finding in study.findings))


def _curve(study: Study, what: tuple[str, str, Axis], label: str, style: int, *, normalised: bool = False) -> Curve:
    curve = study.curve(*what)
    doses = sorted(curve)
    values = np.array([curve[dose] for dose in doses])
    if normalised:
        verdict = study.finding(*what)
        worse = -1 if verdict.change * verdict.relative_change < 0 else 1
        values = worse * (values - values[0].mean()) / verdict.scale
    return Curve(label, style, doses, list(values.mean(1)), list(values.min(1)), list(values.max(1)))


def _title(study: Study) -> str:
    repeats = f"{study.repeats} repeat{'s' * (study.repeats > 1)}"
    return f"protocol {study.protocol}, {study.ref.scored} clips, {repeats}, seed {study.seed}"
