"""How alike is too alike: a threshold from real clips that were not trained on, and what it promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audiogen_metrics.errors import InsufficientDataError, UsageError, option

FALSE_ALARMS = 0.01
"""By default, where there are held-out clips enough."""

FEWEST = 9
"""Held-out clips, with which a threshold is set that one in ten real clips passes; fewer need a rate by name."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """Above which similarity a clip is called a copy, and how often a real clip that was not copied lies there.

    Attributes
    ----------
    similarity
        A generated clip is called a copy if it is more alike to its nearest training clip than this.
    false_alarms
        Chance that a real clip which is exchangeable with the held-out ones is called a copy, at most: a statement
        about the average over draws of the held-out clips, exact without any assumption on the similarities.
    upper
        The same for these held-out clips: with 95 % confidence, no more than this share of real clips is called copies.
    held_out
        Held-out clips behind it.
    clips, flagged
        Generated clips that could be compared, and how many of them lie above the threshold.
    expected
        How many would, if all were real clips that were not trained on.
    p
        Chance of at least as many, if they were.
    nearest
        The held-out clips that are most alike to a training clip, the most alike first: clip, training clip,
        similarity. Where they are the same recording, the threshold is higher than it need be.
    """

    similarity: float
    false_alarms: float
    upper: float
    held_out: int
    clips: int
    flagged: int
    expected: float
    p: float
    nearest: tuple[tuple[str, str, float], ...] = ()


def checked_rate(false_alarms: float | None) -> float | None:
    """Return the rate of false alarms as it was given; UsageError unless it lies between 0 and 1."""
    if false_alarms is None:
        return None
    try:
        rate = float(false_alarms)
    except (TypeError, ValueError):
        rate = math.nan
    if isinstance(false_alarms, bool) or not 0 < rate < 1:
        raise UsageError(f"false_alarms={false_alarms}", fix="Use a number between 0 and 1, such as 0.01")
    return rate


def rank_of(held_out: int, rate: float) -> int:
    """Return which held-out similarity, counted from the least, is the threshold for a rate of false alarms.

    Of n held-out clips and one more real clip, each rank of the last one is equally likely. It lies above the k-th of
    the n with a chance of ``(n + 1 - k) / (n + 1)`` at most, equal where no two similarities are.

    Raises
    ------
    InsufficientDataError
        Even the greatest similarity is passed more often.

    Examples
    --------
    >>> rank_of(99, 0.01), rank_of(500, 0.01), rank_of(40, 0.05)
    (99, 496, 39)
    """
    rank = math.ceil((held_out + 1) * (1 - rate) - 1e-9)
    if rank > held_out:
        least = math.ceil(1e4 / (held_out + 1)) / 1e4
        raise InsufficientDataError(
            f"a rate of {rate:g} false alarms cannot be told from {held_out} held-out clips, but 1 in {held_out + 1}",
            fix=f"Use at least {math.ceil(1 / rate - 1e-9) - 1} held-out clips"
            + f", or {option('false_alarms', f'{least:g}')}" * (held_out > 0),
        )
    return max(1, rank)


def rate_for(held_out: int, asked: float | None) -> float:
    """Return the rate that was asked for; by default 1 %, or the least that so few held-out clips can tell.

    Raises
    ------
    InsufficientDataError
        There are fewer than nine of them, and no rate was asked for.
    """
    if asked is not None:
        return asked
    if held_out < FEWEST:
        raise InsufficientDataError(
            f"{held_out} held-out clips are too few for a threshold: one in {held_out + 1} real clips would pass it",
            fix=f"Use at least {FEWEST}"
            + f", or say which rate will do: {option('false_alarms', '0.5')}" * (held_out > 0),
        )
    return max(FALSE_ALARMS, 1 / (held_out + 1))


def chance(similarity: float, held_out: Sequence[float]) -> float:
    """Return the chance that a real clip is as alike to its nearest training clip: its p value.

    Examples
    --------
    >>> chance(0.9, [0.1, 0.5, 0.95])
    0.5
    """
    return (1 + sum(other >= similarity for other in held_out)) / (1 + len(held_out))


def calibrate(
    held_out: Sequence[tuple[str, str, float]], generated: Sequence[float], asked: float | None, shown: int = 5
) -> Threshold:
    """Return the threshold.

    Parameters
    ----------
    held_out
        Held-out clips, their nearest training clips, and how alike they are.
    generated
        How alike the generated clips are to their nearest training clips.
    asked
        Rate of false alarms; None for the default.
    shown
        How many of the most alike held-out clips to keep.

    Raises
    ------
    InsufficientDataError
        Too few held-out clips.
    """
    from scipy.stats import beta, betabinom

    n, m = len(held_out), len(generated)
    rank = rank_of(n, rate_for(n, asked))
    ordered = sorted(held_out, key=lambda pair: -pair[2])
    similarity, above = ordered[n - rank][2], n + 1 - rank
    flagged = sum(value > similarity for value in generated)
    return Threshold(
        similarity=similarity,
        false_alarms=above / (n + 1),
        upper=float(beta.ppf(CONFIDENCE, above, rank)),
        held_out=n,
        clips=m,
        flagged=flagged,
        expected=m * above / (n + 1),
        p=float(betabinom.sf(flagged - 1, m, above, rank)) if flagged else 1.0,
        nearest=tuple(ordered[:shown]),
    )
