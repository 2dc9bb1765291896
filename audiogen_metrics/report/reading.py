"""Scores in plain language."""

from __future__ import annotations

from audiogen_metrics.protocols import METRICS
from audiogen_metrics.results import EXACT, Score


def title_of(score: Score) -> str:
    """Return the field's full name of a score's metric; its short name where the library does not know it."""
    metric = {str(name): metric for name, metric in METRICS.items()}.get(score.metric)
    return score.metric if metric is None else metric.title


def value_of(score: Score) -> str:
    """Return the number for people, with what is known of its uncertainty; a dash where there is none."""
    if score.value is None:
        return "–"
    text = f"{score.value:.4g}"
    if score.std is not None:
        text += f" ± {score.std:.2g} over splits"
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
    known = {"fd": _frechet, "fad": _frechet, "is": _inception, "kl": _divergence}
    text = f"{'Higher' if score.higher_is_better else 'Lower'} is better."
    if score.metric in known:
        text = known[score.metric](score, score.value)
    return " ".join([text, *(f"{remark[:1].upper()}{remark[1:]}." for remark in score.remarks)])


def _frechet(score: Score, value: float) -> str:
    text = "Lower is better, 0 is the least. "
    mean, covariance = score.details.get("mean_term"), score.details.get("covariance_term")
    if mean is not None and covariance is not None and value > 0:
        share = min(max(mean / value, 0.0), 1.0)
        where = "where the sets lie" if share >= 0.5 else "how they spread and which features go together"
        text += f"{max(share, 1 - share):.0%} of it is in {where}. "
    if "noise_floor" in score.details:
        floor, clips = score.details["noise_floor"], score.details["noise_floor_n"]
        text += f"The reference against itself, {clips} clips a side, scores {floor:.4g}. "
    rows = min(score.details.get("rows_gen", 0), score.details.get("rows_ref", 0))
    if rows < score.details.get("dimension", 0):
        text += "With fewer rows than dimensions, part of it is sampling error: compare it at equal n only."
    return text.strip()


def _inception(_score: Score, value: float) -> str:
    return (
        f"Higher is better, 1 is the least. As clear and varied as about {value:.3g} equally frequent classes, "
        "each heard with certainty. The reference plays no part."
    )


def _divergence(_score: Score, value: float) -> str:
    words = ((0.1, "nearly those"), (1.0, "close to those"), (3.0, "often not those"))
    degree = next((word for bound, word in words if value < bound), "mostly not those")
    return f"Lower is better, 0 is the least. On average the classes heard in a clip are {degree} of its reference."
