"""From dose-response curves to a verdict: does a metric hear this damage?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

MINIMUM_CHANGE = 0.05
"""Smallest change that counts, as a share of the metric's scale on this set."""

MINIMUM_EFFECT = 2.0
"""Smallest change that counts, in standard deviations from repeat to repeat."""

Answer = Literal["responds", "flat", "wrong direction"]


@dataclass(frozen=True)
class Verdict:
    """What one metric made of one probe.

    Parameters
    ----------
    answer
        ``flat`` if the change at the highest dose is below 5 % of the metric's scale or two standard deviations
        from repeat to repeat, or if the confidence interval of the rank correlation contains 0; else whether the
        metric gets worse (``responds``) or better (``wrong direction``) with the dose.
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
        ``change`` over the standard deviation from repeat to repeat; None where repeats do not differ.
    """

    answer: Answer
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
    >>> verdict = judge({0.0: [0.0, 0.0], 0.5: [4.0, 5.0], 1.0: [9.0, 9.0]}, 10.0, higher_is_better=False)
    >>> verdict.answer, verdict.spearman, verdict.change
    ('responds', 1.0, 9.0)
    """
    doses = sorted(curves)
    scores = np.array([curves[dose] for dose in doses], dtype=float)
    badness = -scores if higher_is_better else scores
    correlations = np.array([_spearman(doses, badness[:, repeat]) for repeat in range(badness.shape[1])])
    change = float(scores[-1].mean() - scores[0].mean())
    relative = float(badness[-1].mean() - badness[0].mean()) / scale
    spread = math.sqrt(float(scores.var(axis=1, ddof=1).mean())) if scores.shape[1] > 1 else 0.0
    effect = change / spread if spread > 0 else None
    ci95 = _interval(correlations)
    low, high = ci95 or (float(correlations.mean()),) * 2
    flat = abs(relative) < MINIMUM_CHANGE or (effect is not None and abs(effect) < MINIMUM_EFFECT) or low <= 0 <= high
    answer: Answer = "flat" if flat else "responds" if relative > 0 else "wrong direction"
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
