"""Scores in plain language."""

from __future__ import annotations

from audiogen_metrics.metrics import definition_of
from audiogen_metrics.results import Score
from audiogen_metrics.score_text import EXACT, chance_of


def title_of(score: Score) -> str:
    """Return the field's full name of a score's metric; its short name where the library does not know it."""
    kind = definition_of(score.metric)
    return score.metric if kind is None else kind.title


def in_sentence(title: str) -> str:
    """Return a title as it stands within a sentence.

    Examples
    --------
    >>> in_sentence("Production quality"), in_sentence("CLAP score")
    ('production quality', 'CLAP score')
    """
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def chances(scores: int) -> str:
    """Return what several scores of one comparison mean for its verdicts; nothing of one."""
    return f" {scores} scores are {scores} chances: do not pick the one that suits." if scores > 1 else ""


def value_of(score: Score) -> str:
    """Return the number for people, with what is known of its uncertainty; a dash for a score without one."""
    if score.value is None:
        return "–"
    text = f"{score.value:.4g}"
    if score.std is not None:
        text += f" ± {score.std:.2g} over {'splits' if 'splits' in score.details else 'clips'}"
    return text


def interval_of(score: Score) -> str:
    """Return the 95 % confidence interval for people."""
    if score.ci95 is None:
        return "–"
    return f"{score.ci95[0]:.4g} to {score.ci95[1]:.4g}" + f" ({EXACT})" * (score.ci95_ref == "exact")


def reading(score: Score) -> str:
    """Return what a score says, in a sentence or two.

    Examples
    --------
    >>> print(reading(Score("kl_yamnet", "kl", "yamnet", 0.02, False, 40, 40)))
    Lower is better, 0 is the least. On average the classes heard in a clip are nearly those of its reference.
    """
    if score.value is None:
        return f"Not computed: {score.reason}."
    kind = definition_of(score.metric)
    text = f"{'Higher' if score.higher_is_better else 'Lower'} is better."
    if kind is not None:
        text = kind().explain(score)
    said = "; ".join(chance_of(score))
    text += f" Chance: {said}." * bool(said)
    return " ".join([text, *(f"{remark[:1].upper()}{remark[1:]}." for remark in score.remarks)])
