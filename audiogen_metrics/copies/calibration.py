"""How alike is too alike: a threshold from real clips that were not trained on, and what it promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audiogen_metrics.errors import InsufficientDataError, UsageError, option

FALSE_ALARMS = 0.01
"""Default rate, if there are enough held-out clips."""

FEWEST = 9
"""Fewest held-out clips for a threshold by default, which one in ten real clips passes; with fewer, name a rate."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """The similarity above which a clip is called a copy, and how often a real clip is above it by chance.

    Attributes
    ----------
    similarity
        A generated clip is called a copy if it is more alike to its nearest training clip than this.
    false_alarms
        Largest chance that a real clip which is exchangeable with the held-out ones is called a copy, on average over
        draws of the held-out clips. It holds for any distribution of similarities.
    upper
        The same for these held-out clips: with 95 % confidence, no more than this share of real clips is called copies.
    held_out
        Number of held-out clips.
    clips, flagged
        Number of generated clips that could be compared, and of those above the threshold.
    expected
        Number above the threshold to expect if all were real clips that were not trained on.
    p
        Chance of at least as many above the threshold if all were real clips that were not trained on.
    nearest
        The held-out clips that are most alike to a training clip, the most alike first: clip, training clip,
        similarity. If the two are one recording, the threshold is higher than it need be.
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

    One more real clip is equally likely to have each rank among n held-out clips. It lies above the k-th of the n with
    a chance of at most ``(n + 1 - k) / (n + 1)``, and of exactly that if all similarities differ.

    Raises
    ------
    InsufficientDataError
        Real clips pass even the greatest similarity more often.

    Examples
    --------
    >>> rank_of(99, 0.01), rank_of(500, 0.01), rank_of(40, 0.05)
    (99, 496, 39)
    """
    rank = math.ceil((held_out + 1) * (1 - rate) - 1e-9)
    if rank > held_out:
        least = math.ceil(1e4 / (held_out + 1)) / 1e4
        raise InsufficientDataError(
            f"{held_out} held-out clips cannot show a rate of {rate:g} false alarms, but at best 1 in {held_out + 1}",
            fix=f"Use at least {math.ceil(1 / rate - 1e-9) - 1} held-out clips"
            + f", or {option('false_alarms', f'{least:g}')}" * (held_out > 0),
        )
    return max(1, rank)


def rate_for(held_out: int, asked: float | None) -> float:
    """Return the rate that was asked for; by default 1 %, or the lowest rate that so few held-out clips can show.

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
    """Return the p value: the chance that a real clip is as alike to its nearest training clip.

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
