"""From dose-response curves to a verdict: does a metric hear this damage?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

__all__ = ["Verdict"]

MINIMUM_CHANGE = 0.02
"""Smallest change that counts, as a share of the metric's scale on this set."""

LEVEL = 0.05
"""Chance that a metric of pure noise gets a verdict by its change at the highest dose."""

ROUNDING = 1e-9
"""Share of the scale up to which scores are equal."""

Response = Literal["responds", "flat", "wrong direction", "comes and goes", "no verdict"]


@dataclass(frozen=True)
class Verdict:
    """What one metric made of one probe.

    Parameters
    ----------
    answer
        ``responds`` if the metric gets worse with the dose, ``wrong direction`` if it gets better: the change at the
        highest dose is at least 2 % of the metric's scale and more than scores differ from repeat to repeat (a t-test
        at 5 %), and the confidence interval of the rank correlation does not contain 0. ``comes and goes`` if that is
        not so, but at a dose between the score differs that much from those at both ends, on the same side. Else
        ``flat``. ``no verdict`` where no score differs from repeat to repeat, so that nothing says what chance would
        do: a single repeat, or doses that every repeat damages alike. All scores equal is ``flat``.
    spearman
        Rank correlation of dose and badness, mean over repeats: 1 if every step makes the metric worse.
    ci95
        Its 95 % interval over repeats (Student's t, within [−1, 1]); None with a single repeat.
    change
        Mean score at the highest dose minus the score at dose 0, in the metric's own units.
    relative_change
        The same over `scale`, positive where the metric gets worse.
    scale
        How far the metric moves on this set when nothing is left to recognise; see `Study`.
    effect_size
        ``change`` over the standard deviation from repeat to repeat, at the doses where repeats differ; None where
        they do not differ at any dose.
    """

    answer: Response
    spearman: float
    ci95: tuple[float, float] | None
    change: float
    relative_change: float
    scale: float
    effect_size: float | None


def judge(curves: Mapping[float, Sequence[float]], scale: float, *, higher_is_better: bool) -> Verdict:
    """Return the verdict on one metric's scores by dose.

    Parameters
    ----------
    curves
        Dose to one score per repeat, in the order of the repeats; at least two doses, one of them 0.
    scale
        Change of the score that counts as everything, > 0.
    higher_is_better
        Direction of the metric.

    Examples
    --------
    >>> verdict = judge({0.0: [0.0, 0.0], 0.5: [4.4, 4.5], 1.0: [9.0, 9.0]}, 10.0, higher_is_better=False)
    >>> verdict.answer, verdict.spearman, verdict.change
    ('responds', 1.0, 9.0)
    >>> judge({0.0: [0.0], 1.0: [9.0]}, 10.0, higher_is_better=False).answer
    'no verdict'
    """
    doses = sorted(curves)
    scores = np.array([curves[dose] for dose in doses], dtype=float)
    badness = -scores if higher_is_better else scores
    repeats = badness.shape[1]
    correlations = np.array([_spearman(doses, badness[:, repeat]) for repeat in range(repeats)])
    ci95 = _interval(correlations)
    # A dose that damages every repeat alike is one draw, and says nothing of how draws differ.
    varies = np.ptp(badness, axis=1) > ROUNDING * scale
    spread = math.sqrt(float(badness[varies].var(axis=1, ddof=1).mean())) if varies.any() else 0.0
    change = float(scores[-1].mean() - scores[0].mean())
    relative = float(badness[-1].mean() - badness[0].mean()) / scale
    means, draws = badness.mean(axis=1), np.where(varies, repeats, 1)

    def beyond(first: int, second: int, level: float) -> float:
        """Return the difference between two doses; 0 where it is too small to count or within chance."""
        difference = float(means[first] - means[second])
        error = spread * math.sqrt(1 / draws[first] + 1 / draws[second])
        bound = float(stats.t.ppf(1 - level / 2, varies.sum() * (repeats - 1))) * error
        return difference if abs(difference) >= max(MINIMUM_CHANGE * scale, bound) else 0.0

    answer: Response = "flat"
    if varies.any():
        end = beyond(-1, 0, LEVEL)
        low, high = ci95 or (0.0, 0.0)
        between = range(1, len(doses) - 1)
        if end and not low <= 0 <= high:
            answer = "responds" if end > 0 else "wrong direction"
        elif any(beyond(k, 0, LEVEL / len(between)) * beyond(k, -1, LEVEL / len(between)) > 0 for k in between):
            answer = "comes and goes"
    elif repeats == 1 or np.ptp(badness) > ROUNDING * scale:
        answer = "no verdict"
    effect = change / spread if spread > 0 else None
    return Verdict(answer, float(correlations.mean()), ci95, change, relative, scale, effect)


def _spearman(doses: Sequence[float], values: np.ndarray) -> float:
    if np.ptp(values) == 0:
        return 0.0
    return float(stats.spearmanr(doses, values).statistic)


def _interval(correlations: np.ndarray) -> tuple[float, float] | None:
    if len(correlations) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(correlations) - 1) * stats.sem(correlations))
    mean = float(correlations.mean())
    return max(-1.0, mean - half), min(1.0, mean + half)
