"""The scores of one set on a page: what they come to in a sentence, the numbers, and what each of them says."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from audiogen_metrics.report.document import table
from audiogen_metrics.report.labels import labels_of
from audiogen_metrics.report.reading import interval_of, reading, title_of, value_of
from audiogen_metrics.results import Score, ScoreReport
from audiogen_metrics.score_text import SIGNIFICANT, n_ref_of


def together(names: Sequence[str]) -> str:
    """Return names as a list within a sentence.

    Examples
    --------
    >>> together(["FD", "IS", "KL"])
    'FD, IS and KL'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def names_of(score_ids: Sequence[str]) -> dict[str, str]:
    """Return the short name of each score, without the arrow to its better side."""
    return {score_id: label.rstrip(" ↑↓") for score_id, label in labels_of(score_ids).items()}


def verdict(report: ScoreReport) -> str:
    """Return whether the generated clips differ from the reference beyond chance, and by which scores."""
    if report.ref is None:
        return "There is no reference: the scores describe the generated clips alone."
    names = names_of([*report.scores])
    chances = {score.id: score.details["chance_p"] for score in report.scores.values() if "chance_p" in score.details}
    if not chances:
        return "No score has a p, so nothing here says whether the two sets differ beyond chance."
    apart, alike = (
        [f"{names[score_id]} (p = {p:.2g})" for score_id, p in chances.items() if (p <= SIGNIFICANT) == beyond]
        for beyond in (True, False)
    )
    if not apart:
        return f"No difference from the reference beyond chance is found at this n by {together(alike)}."
    each = " Each score is tested at 5 % by itself." if len(chances) > 1 else ""
    said = f"The generated clips differ from the reference beyond chance by {together(apart)}"
    return (f"{said}; by {together(alike)} no such difference is found at this n." if alike else f"{said}.") + each


def scores_of(report: ScoreReport) -> str:
    """Return the table of all scores, what each says in words, and what Fréchet distances consist of, as HTML."""
    scores = list(report.scores.values())
    tested = any("chance_p" in score.details for score in scores)
    rows = [
        (
            f"{escape(title_of(score))}<br><code>{escape(score.id)}</code>",
            _value(score),
            escape(interval_of(score)),
            *(_chance(score) if tested else ()),
            f"{score.n_gen}" + (f" / {n_ref}" if (n_ref := n_ref_of(score, "")) else ""),
        )
        for score in scores
    ]
    header = ("score", "value", "95 % interval", *(("by chance alone", "p") if tested else ()), "n gen / ref")
    kinds = ("value", *["number"] * (len(header) - 2))
    text = table("Scores with the number of clips behind them", header, rows, kinds)
    said = "".join(
        f"<dt>{escape(title_of(score))} <code>{escape(score.id)}</code></dt><dd>{escape(reading(score))}</dd>"
        for score in scores
    )
    return f"{text}<dl>{said}</dl>{_frechet(scores)}"


def _value(score: Score) -> str:
    number, _, spread = value_of(score).partition(" ± ")
    return escape(number) + f"<small>± {escape(spread)}</small>" * bool(spread)


def _chance(score: Score) -> tuple[str, str]:
    """Return what two sets of one distribution would score, or of sets that differ the reference itself, and p."""
    details = score.details
    if "chance_p" not in details:
        return "–", "–"
    p, by_chance = details["chance_p"], "–"
    if p > SIGNIFICANT:
        by_chance = f"{details['chance_expected']:.4g}"
    # A set that varies less than the reference can lie nearer to its half than the other half does: that says nothing.
    elif "halves_n" in details and (details["halves_gen"] > details["halves_ref"]) != score.higher_is_better:
        by_chance = f"{details['halves_ref']:.4g}<small>ref against itself at n = {details['halves_n']}</small>"
    return by_chance, f"{p:.2g}"


def _frechet(scores: Sequence[Score]) -> str:
    rows = [
        (
            f"<code>{escape(score.id)}</code>",
            f"{score.value:.4g}",
            f"{score.details['mean_term']:.4g}",
            f"{score.details['covariance_term']:.4g}",
            " / ".join(
                str(int(rows)) if (rows := score.details.get(name)) else "?" for name in ("rows_gen", "rows_ref")
            ),
            f"{int(score.details['dimension'])}",
        )
        for score in scores
        if score.value is not None and "mean_term" in score.details
    ]
    if not rows:
        return ""
    header = ("score", "distance", "mean term", "covariance term", "rows gen / ref", "dimensions")
    caption = "The two terms of Fréchet distances: of the sets' means, and of their covariances"
    return table(caption, header, rows, ("number",) * 5)
