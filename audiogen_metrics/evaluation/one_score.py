"""One score: a recipe on two sets, with its interval, its chance level and its value at infinite n."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from audiogen_metrics.errors import InsufficientDataError, speaking_flags
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.results import Score
from audiogen_metrics.score_text import UNCOUNTED

if TYPE_CHECKING:
    from audiogen_metrics.metrics.definition import FeatureSource
    from audiogen_metrics.metrics.recipe import Recipe


def blank(recipe: Recipe) -> Score:
    """Return the score of no clips, which has no value."""
    kind = recipe.definition
    n_ref = 0 if "ref" in kind.sides else None
    return Score(recipe.score_id, recipe.metric, recipe.backbone, None, kind.higher_is_better, 0, n_ref)


@speaking_flags(False)
def scored(recipe: Recipe, measured: Measured, *, ci: bool = False, extrapolate: bool = False) -> Score:
    """Return a recipe's score; without a value but with a reason where there is too little data.

    Parameters
    ----------
    recipe
        What is computed.
    measured
        Its metric on both sets.
    ci
        With the standard error, the 95 % interval of the expected score at this n, and what chance alone gives: p, and
        the score to expect if gen and ref were one distribution.
    extrapolate
        With the value at infinite n, for metrics that have one.

    Notes
    -----
    What was asked for and cannot be had is said in the score's remarks. Options are named as in Python, also by the
    command line: the words are kept in reports.
    """
    kind = recipe.definition
    empty = replace(blank(recipe), n_gen=len(measured.gen), n_ref=measured.n_ref)
    try:
        found = measured.measurement
    except InsufficientDataError as error:
        return replace(empty, reason=str(error))
    details, remarks = dict(found.details), [UNCOUNTED] * measured.uncounted
    lacking: dict[str, list[str]] = {}
    score = replace(empty, value=found.value, std=found.std)
    if ci:
        try:
            interval = measured.interval
            score = replace(score, ci95=(interval.low, interval.high), ci95_ref=interval.ref)
            details |= {"standard_error": interval.standard_error}
            remarks += [interval.remark] * bool(interval.remark)
        except InsufficientDataError as reason:
            lacking.setdefault(reason.what, []).append("no interval")
        if kind.tests_chance() and measured.draws != 0:
            try:
                details |= measured.chance.details()
            except InsufficientDataError as reason:
                lacking.setdefault(reason.what, []).append("no p")
    if extrapolate and kind.extrapolates:
        try:
            fit = measured.fit
            details |= {
                "extrapolated": fit.value,
                "extrapolation_slope": fit.slope,
                "extrapolation_r2": fit.r_squared,
                "extrapolated_low": fit.ci95[0],
                "extrapolated_high": fit.ci95[1],
            }
            remarks += ["part of the bias only is taken away at n → ∞"] * fit.partial
        except InsufficientDataError as reason:
            lacking.setdefault(reason.what, []).append("no value at infinite n")
    remarks += [f"{' and '.join(what)}: {reason}" for reason, what in lacking.items()]
    return replace(score, details=details, remarks=tuple(remarks))


def compute(
    recipe: Recipe,
    gen: FeatureSource,
    ref: FeatureSource | None,
    paired: bool = True,
    *,
    ci: bool = False,
    draws: int | None = None,
    extrapolate: bool = False,
    seed: int = 0,
) -> Score:
    """Return one score of two sets of features, as `scored` does.

    ``ref`` may be None for a metric that looks at the generated set only.
    """
    measured = Measured(recipe.definition, gen, ref, links=Links(paired), seed=seed, draws=draws)
    return scored(recipe, measured, ci=ci, extrapolate=extrapolate)


def score_warnings(recipe: Recipe, score: Score) -> list[str]:
    """Return what to know before a score is believed."""
    if score.value is None:
        return []
    return [f"{score.id}: {text}" for text in recipe.definition.warnings(score)]
