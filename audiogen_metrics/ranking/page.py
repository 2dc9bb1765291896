"""The page of several systems: one table, intervals beside each other, verdicts on pairs, clips to hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from audiogen_metrics.ranking.tables import cell_html, remarks_of, rule, warnings_of
from audiogen_metrics.report import drawings
from audiogen_metrics.report.document import document, listed, table
from audiogen_metrics.report.html import (
    AUDIO_BYTES,
    PLAYED_SECONDS,
    REPEAT,
    clip_filter,
    clip_lists,
    provenance_of,
    size_of,
)
from audiogen_metrics.report.reading import chances, title_of
from audiogen_metrics.report.scores import names_of, together

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.ranking.result import PairDifference, Ranking

CLIPS_SHOWN = 10
"""Worst and best clips of each system."""


def page(found: Ranking, evaluations: Sequence[Evaluation]) -> str:
    """Return the page as text.

    Parameters
    ----------
    found
        The result.
    evaluations
        What stands behind its reports, in their order.
    """
    first = found.first
    lead = "; ".join(f"<b>{escape(label)}</b>: {size_of(report.gen)}" for label, report in found.reports.items())
    against = "" if first.ref is None else f". All against {size_of(first.ref)}"
    clips, not_shown = _clips(found, evaluations)
    sets = {label: report.gen for label, report in found.reports.items()}
    sets |= {} if first.ref is None else {"the reference": first.ref}
    sections = (
        ("scores", "Scores", _scores(found)),
        ("intervals", "Intervals beside each other", _intervals(found)),
        ("pairs", "Which systems differ", _pairs(found)),
        ("remarks", "What limits these numbers", listed(remarks_of(found))),
        ("clips", "Clips", clips),
        ("not-shown", "Not shown", listed(not_shown)),
        ("provenance", "Provenance", provenance_of(sets, first.backbones, first.versions) + REPEAT),
        ("cite", "Cite", listed(map(str, first.citations()))),
    )
    title = f"{len(found.reports)} systems" + ("" if first.ref is None else " against one reference")
    lead += f"{against}. Protocol <b>{escape(first.protocol)}</b>, on {escape(first.device)}."
    notes = ([first.caveat] if first.caveat else []) + warnings_of(found)
    return document(title, lead, notes, sections, verdict=_verdict(found))


def _verdict(found: Ranking) -> str:
    """Return which system is ahead of all others beyond chance, and by which scores nobody is."""
    names = names_of(found.score_ids)
    others = "the other" if len(found.reports) == 2 else "all others"
    by_winner: dict[str, list[str]] = {}
    for score_id in dict.fromkeys(each.id for each in found.differences if each.has_verdict):
        wins = Counter(each.better for each in found.differences if each.id == score_id)
        winner = next((label for label in found.reports if wins[label] == len(found.reports) - 1), "No system")
        by_winner.setdefault(winner, []).append(names[score_id])
    said = [f"{who} is better than {others} beyond chance by {together(by)}." for who, by in by_winner.items()]
    return " ".join(said) or "Nothing here says which of the systems differ beyond chance."


def _scores(found: Ranking) -> str:
    scores = [next(iter(found.scores(score_id).values())) for score_id in found.score_ids]
    header = ("system", "n", *(f"{score.id} {'↑' if score.higher_is_better else '↓'}" for score in scores))
    rows = [
        (
            escape(label),
            str(report.gen.scored),
            *(cell_html(found, score_id, label) for score_id in found.score_ids),
        )
        for label, report in found.reports.items()
    ]
    text = table("Every score of every system", header, rows, ("number", *["number"] * len(scores)))
    names = "; ".join(f"<code>{escape(score.id)}</code>: {escape(title_of(score))}" for score in scores)
    text += f"<p>{names}. ↓: lower is better, ↑: higher is better. The best value is bold."
    if any(score.ci95 is not None for score in scores):
        text += " Brackets are 95 % intervals of the expected score at this n, over clips."
    if any("chance_p" in score.details for score in scores):
        text += " p is the chance of a score at least this bad if the system and the reference were one distribution."
    if any(found.groups.values()):
        text += f" {escape(rule(found))}"
    return text + "</p>"


def _intervals(found: Ranking) -> str:
    figures = ""
    for score_id in found.score_ids:
        scores = {label: score for label, score in found.scores(score_id).items() if score.value is not None}
        if not any(score.ci95 for score in scores.values()):
            continue
        rows = [(label, score.value, score.ci95) for label, score in scores.items() if score.value is not None]
        first = next(iter(scores.values()))
        better = "higher" if first.higher_is_better else "lower"
        describe = f"{score_id}: values of {len(rows)} systems with 95 % intervals; the numbers are in the table above."
        figures += (
            f"<figure>{drawings.intervals(rows, describe)}<figcaption>{escape(title_of(first))} "
            f"(<code>{escape(score_id)}</code>), {better} is better.</figcaption></figure>"
        )
    if not figures:
        return ""
    return (
        f'<div class="columns">{figures}</div><p>Two intervals that overlap do not say that two systems cannot be told '
        "apart: systems share prompts and the reference. The differences below do.</p>"
    )


def _pairs(found: Ranking) -> str:
    if not found.differences:
        return ""
    header = ("score", "A", "B", "value A", "value B", "n", "A − B", "interval of A − B", "level", "p", "verdict")
    kinds = ("", "", "number", "number", "number", "number", "", "number", "number", "words")
    return table("Each pair of systems in each score", header, map(_pair, found.differences), kinds) + (
        "<p>p is corrected for the number of pairs, and so is the level of the interval. A system is better if p is "
        "below 0.05 <em>and</em> the interval does not hold 0, the dashed mark in the drawing. n is the number of "
        f"clips of each system that are compared.{chances(len(found.score_ids))}</p>"
    )


def _pair(each: PairDifference) -> tuple[str, ...]:
    bounds = "–"
    if each.interval is not None and each.difference is not None:
        bounds = "{:+.3g} to {:+.3g}".format(*each.interval) + drawings.interval(each.difference, *each.interval)
    verdict = escape(each.verdict)
    return (
        f"<code>{escape(each.id)}</code>",
        escape(each.system_a),
        escape(each.system_b),
        "–" if each.a is None else f"{each.a:.4g}",
        "–" if each.b is None else f"{each.b:.4g}",
        f"{each.n}" if each.n else "–",
        "–" if each.difference is None else f"{each.difference:+.3g}",
        bounds,
        "–" if each.level is None else f"{100 * each.level:.4g} %",
        "–" if each.p_adjusted is None else f"{each.p_adjusted:.2g}",
        f"<b>{verdict}</b>" if each.better is not None else verdict,
    )


def _clips(found: Ranking, evaluations: Sequence[Evaluation]) -> tuple[str, list[str]]:
    """Return the clips of all systems to hear, and what cannot be shown of which."""
    from audiogen_metrics.report.diagnosis import diagnose
    from audiogen_metrics.report.media import Album

    album, lists, notes = Album(AUDIO_BYTES, PLAYED_SECONDS), "", []
    for label, evaluation in zip(found.reports, evaluations, strict=True):
        diagnosis = diagnose(evaluation, CLIPS_SHOWN)
        own = clip_lists(diagnosis, album, "h4")
        lists += f"<h3>{escape(label)}</h3>{own}" if own else ""
        notes += [f"{label}: {note}" for note in diagnosis.notes]
    return (clip_filter(album) + lists if lists else ""), notes
