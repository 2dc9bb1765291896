"""The page of a study: what each metric hears in a sentence, the verdicts, the curves, and how to repeat it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from audiogen_metrics.citations import Citation, citations
from audiogen_metrics.report.document import document, drawing, listed, table
from audiogen_metrics.report.html import provenance_of, size_of
from audiogen_metrics.report.plots import PAGE, drawn, in_rows
from audiogen_metrics.report.scores import names_of, together
from audiogen_metrics.studies.files import DOSES, NO_VERDICT, caption_of, panels_by_score
from audiogen_metrics.studies.repeating import NOT_RECORDED, command_of, flat, recipes_of
from audiogen_metrics.studies.result import Axis, Study
from audiogen_metrics.studies.study import CONTROL
from audiogen_metrics.studies.verdicts import LEVEL, MINIMUM_CHANGE, Response

ALL_WELL = "No warnings: every file was scored."

CONTROLS = (CONTROL, "identity")
"""Probes that damage nothing: whatever moves under them is not heard damage."""

_RULE = (
    "<p>A score <em>responds</em> to a damage if it gets worse by at least "
    f"{100 * MINIMUM_CHANGE:g} % of its scale and beyond chance (a t-test at {100 * LEVEL:g} %), and the 95 % interval "
    "of the rank correlation of dose and score does not hold 0; in the <em>wrong direction</em> it gets better by as "
    "much. It <em>comes and goes</em> if it differs as much at a dose in between only, and is <em>flat</em> otherwise. "
    "The scale is how far the score moves on this set when nothing is left to recognise.</p>"
)


def study_page(study: Study) -> str:
    """Return the page as text."""
    notes = [*filter(None, [study.caveat]), *study.warnings]
    notes += [NO_VERDICT] * any(finding.verdict.answer == "no verdict" for finding in study.findings)
    name = Path(study.ref.path).name or study.ref.path
    sections = (
        ("verdicts", "Verdicts", "".join(_matrix(study, axis) for axis in _axes(study)) + _RULE),
        ("curves", "Curves", "".join(_curves(study, axis) for axis in _axes(study))),
        ("numbers", "Every verdict with its numbers", _numbers(study)),
        ("not-run", "Not run", listed(f"{probe}: {reason}" for probe, reason in study.not_run.items())),
        ("repeat", "How to repeat it", _repeat(study)),
        ("provenance", "Provenance", provenance_of({"ref": study.ref}, study.backbones, study.versions)),
        ("cite", "Cite", listed(map(str, _works(study)))),
    )
    lead = f"{size_of(study.ref)}, damaged and scored against itself. Protocol <b>{escape(study.protocol)}</b>."
    return document(f"Which damage is heard: {name}", lead, notes, sections, ALL_WELL, verdict(study))


def verdict(study: Study) -> str:
    """Return which scores respond to which damage, and what else their verdicts say."""
    axes = _axes(study)
    return " ".join(
        " ".join([f"By {DOSES[axis]}:"] * (len(axes) > 1) + [*_said(_by_answer(study, axis))]) for axis in axes
    )


def _by_answer(study: Study, axis: Axis) -> dict[str, dict[str, list[str]]]:
    """Return for each answer, by the name of each score, the probes that got it; every score in every answer."""
    names = names_of([*dict.fromkeys(finding.score for finding in study.findings)])
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: {name: [] for name in names.values()})
    for finding in study.findings:
        if finding.axis == axis:
            found[finding.verdict.answer][names[finding.score]].append(finding.probe)
    return found


def _said(answers: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """Return a sentence for each kind of answer, those on damages before those on the controls."""
    damages = {answer: _of(scores, controls=False) for answer, scores in answers.items()}
    heard = [
        f"{together(scores)} {'responds' if len(scores) == 1 else 'respond'} to {together(probes)}"
        for probes, scores in _alike(damages.get("responds", {}))
    ]
    decided = any(any(scores.values()) for answer, scores in damages.items() if answer != "no verdict")
    said = [f"{'; '.join(heard)}." if heard else "No score responds to any damage."] * decided
    for answer, (one, several) in _SENTENCES.items():
        for probes, scores in _alike(damages.get(answer, {})):
            said.append((one if len(scores) == 1 else several).format(together(scores), together(probes)))
    return [*said, *_about_controls(answers)] or ["There is no verdict: no score differs from repeat to repeat."]


_SENTENCES: Mapping[Response, tuple[str, str]] = {
    "flat": ("{0} is flat under {1}.", "{0} are flat under {1}."),
    "wrong direction": (
        "{0} gets better under {1}, the wrong direction.",
        "{0} get better under {1}, the wrong direction.",
    ),
    "comes and goes": ("{0} comes and goes under {1}.", "{0} come and go under {1}."),
    "no verdict": ("{0} has no verdict on {1}.", "{0} have no verdict on {1}."),
}
"""What is said of one score, and of several, with one answer to the same probes."""


def _about_controls(answers: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    """Yield what the controls say of the scores; nothing where none of them was studied, or has a verdict."""
    by_answer = {
        answer: {score: probes for score, probes in _of(scores, controls=True).items() if probes}
        for answer, scores in answers.items()
    }
    still = by_answer.pop("flat", {})
    unknown = by_answer.pop("no verdict", {})
    moved = dict.fromkeys(score for scores in by_answer.values() for score in scores)
    if moved:
        verb, them = ("is", "it") if len(moved) == 1 else ("are", "them")
        yield f"{together([*moved])} {verb} moved by the control, which damages nothing: do not rely on {them} here."
    elif still and not unknown:
        controls = dict.fromkeys(probe for probes in still.values() for probe in probes)
        yield f"All scores are flat under the control, {together([*controls])}."


def _of(scores: Mapping[str, list[str]], *, controls: bool) -> dict[str, list[str]]:
    """Return by score the probes that are controls, or those that are damages."""
    return {score: [probe for probe in probes if (probe in CONTROLS) == controls] for score, probes in scores.items()}


def _alike(scores: Mapping[str, Iterable[str]]) -> list[tuple[list[str], list[str]]]:
    """Return probes, each time with the scores that have just these; scores without probes are left out."""
    found: dict[tuple[str, ...], list[str]] = {}
    for score, probes in scores.items():
        found.setdefault(tuple(probes), []).append(score)
    return [([*probes], names) for probes, names in found.items() if probes]


def _axes(study: Study) -> list[Axis]:
    return [*dict.fromkeys(finding.axis for finding in study.findings)]


def _matrix(study: Study, axis: Axis) -> str:
    names = names_of([*dict.fromkeys(finding.score for finding in study.findings)])
    found = {probe: [study.finding(probe, score, axis) for score in names] for probe in study.probes}
    rows = [
        (escape(probe), *(f"{escape(each.answer)}<small>{each.relative_change:+.0%}</small>" for each in verdicts))
        for probe, verdicts in found.items()
    ]
    caption = f"By {DOSES[axis]}: the verdict, and the change at the highest dose as a share of the scale; + is worse"
    return table(caption, ("damage", *names.values()), rows, [""] * len(names))


def _curves(study: Study, axis: Axis) -> str:
    panels = panels_by_score(study, axis)
    svg = drawn(in_rows(panels), ".svg", width=PAGE)
    titles, probes = together([panel.title for panel in panels]), together([*study.probes])
    describe = f"{titles} over the {DOSES[axis]}, a curve for each of {probes}; the numbers are in the tables"
    return drawing(f"Curves by {DOSES[axis]}", svg, describe, caption_of(study))


def _numbers(study: Study) -> str:
    rows = [
        (
            escape(finding.probe),
            f"<code>{escape(finding.score)}</code>",
            "share" if finding.axis == "fraction" else "severity",
            escape(finding.verdict.answer),
            f"{finding.verdict.change:+.4g}",
            f"{finding.verdict.relative_change:+.1%}",
            f"{finding.verdict.spearman:.2f}",
            "–" if finding.verdict.ci95 is None else "{:.2f} to {:.2f}".format(*finding.verdict.ci95),
            "–" if finding.verdict.effect_size is None else f"{finding.verdict.effect_size:.1f}",
            str(study.probes[finding.probe].clips),
        )
        for finding in study.findings
    ]
    header = ("damage", "score", "by", "verdict", "change", "of scale", "correlation", "95 %", "effect size", "clips")
    text = table("Verdicts with their numbers", header, rows, ["", "", "", *["number"] * 6])
    return text + (
        "<p>The correlation is Spearman's, of dose and score: the mean over repeats, with its interval. At 1 each step "
        "makes the score worse. The effect size is the change in standard deviations from repeat to repeat.</p>"
    )


def _repeat(study: Study) -> str:
    command, text = command_of(study), ""
    if command is not None:
        text = (
            f"<pre>{escape(command)}</pre><p>Clips with the same digest, below, then give the same numbers. Add "
            f"{NOT_RECORDED} if they were given: a study does not hold these.</p>"
        )
    rows = [
        (escape(name), str(run.version), str(run.clips), escape(", ".join(map(" ".join, flat(run.settings)))))
        for name, run in study.probes.items()
    ]
    header = ("damage", "version", "clips", "settings")
    text += table("Probes with all of their settings", header, rows, ("number", "number", ""))
    left_out = [
        (escape(name), escape(clip), escape(reason))
        for name, run in study.probes.items()
        for clip, reason in run.left_out.items()
    ]
    if left_out:
        text += table("Clips that were left out", ("damage", "clip", "reason"), left_out, ("", ""))
    return text


def _works(study: Study) -> tuple[Citation, ...]:
    used = [(recipe.definition.citation, recipe.backbone) for recipe in recipes_of(study).values()]
    return citations(used, study.protocol, study.versions.get("audiogen-metrics", "unknown"))
