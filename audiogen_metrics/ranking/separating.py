"""Which of several systems differ beyond chance in one score: verdicts that hold for all pairs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.matching import SIGNIFICANT, Bounds, MatchedSystems, better, unseparated
from audiogen_metrics.ranking.result import PairDifference

FEWEST_PERMUTATIONS = 199
"""As between two systems."""

PERMUTATIONS_A_PAIR = 100
"""The least p is then a fifth of what the strictest comparison asks."""


def permutations_for(pairs: int) -> int:
    """Return how many permutations a comparison of so many pairs makes by default."""
    return max(FEWEST_PERMUTATIONS, PERMUTATIONS_A_PAIR * pairs - 1)


def too_few(permutations: int, pairs: int) -> bool:
    """Tell whether so many permutations cannot find a difference, whatever it is."""
    return permutations > 0 and pairs / (1 + permutations) >= SIGNIFICANT


def separate(matches: Sequence[MatchedSystems | PairDifference], permutations: int, seed: int) -> list[PairDifference]:
    """Return every pair's difference in one score, with a verdict that is right for all pairs together in 95 %.

    By Holm's step-down: a pair is separated if both its p and its interval say so at 0.05 / pairs; then the others are
    asked at 0.05 / pairs that are left, until none is separated. The larger of a pair's p and the level that its
    interval would just allow is a valid p; that is what the steps look at.

    Parameters
    ----------
    matches
        Every pair; those that cannot be compared as they are to be returned.
    permutations, seed
        Of the test; 0 takes p from the width of the interval.
    """
    found = [match if isinstance(match, PairDifference) else _known(match, permutations, seed) for match in matches]
    open_, left = {place for place, each in enumerate(found) if not each.verdict}, len(found)
    largest = 0.0  # corrected p of the pairs that are separated: Holm's grows from step to step
    while open_:
        level, alone = 1 - SIGNIFICANT / left, {}
        for place in sorted(open_):
            match = matches[place]
            assert isinstance(match, MatchedSystems)
            try:
                alone[place] = match.bounds(level)
            except InsufficientDataError as reason:
                found[place] = replace(
                    found[place], verdict=f"none: {reason.what}; p alone does not say which is better"
                )
        open_ &= alone.keys()
        decided = {place: _decided(found[place], bounds, left, largest) for place, bounds in alone.items()}
        separated = {place for place in open_ if decided[place].better is not None}
        for place in separated or open_:
            found[place] = decided[place]
        if not separated:
            break
        largest = max(decided[place].p_adjusted or 0.0 for place in separated)
        open_, left = open_ - separated, left - len(separated)
    return found


def _known(match: MatchedSystems, permutations: int, seed: int) -> PairDifference:
    """Return what is known without an interval; with a verdict where there can be no other."""
    recipe, first, (a, b) = match.recipe, match.rivals[0], match.values()
    found = PairDifference(
        id=recipe.score_id,
        metric=recipe.metric,
        backbone=recipe.backbone,
        higher_is_better=recipe.definition.higher_is_better,
        system_a=match.names[0],
        system_b=match.names[1],
        a=a,
        b=b,
        difference=a - b,
        n=len(first.a.gen),
        paired=first.paired,
        subsamples=len(match.rivals),
    )
    if match.lengths:
        return replace(found, verdict=f"none: {match.lengths}")
    if match.equal:
        return replace(found, p=1.0, p_adjusted=1.0, verdict="equal")
    if not permutations:
        return found
    p, made = match.permutation(permutations, seed)
    return replace(found, p=p, permutations=made)


def _decided(found: PairDifference, bounds: Bounds, pairs: int, least: float) -> PairDifference:
    """Return a difference with its interval and verdict, as one of so many pairs that are left.

    Its corrected p is ``least`` or more.
    """
    assert found.difference is not None
    p = bounds.p(found.difference) if found.p is None else found.p
    adjusted = max(least, min(1.0, p * pairs))
    winner = None
    if adjusted < SIGNIFICANT and bounds.apart:
        winner = (found.system_a, found.system_b)[better(found.difference, found.higher_is_better)]
    return replace(
        found,
        standard_error=bounds.standard_error,
        interval=(bounds.low, bounds.high),
        level=bounds.level,
        p=p,
        p_adjusted=adjusted,
        detectable=bounds.detectable,
        better=winner,
        verdict=unseparated(bounds) if winner is None else f"{winner} better, p = {adjusted:.2g} among {pairs} pairs",
    )


def letters(names: Sequence[str], apart: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return a compact letter display: two systems share a letter unless they are ``apart``.

    Parameters
    ----------
    names
        The systems, best first: it gets the letter a.
    apart
        The pairs that differ.

    Examples
    --------
    >>> letters(["x", "y", "z"], [("x", "z")])
    {'x': 'a', 'y': 'ab', 'z': 'b'}
    """
    # Insert and absorb: each pair that differs splits the groups that hold both; a group inside another one goes.
    groups = [frozenset(names)]
    for one, other in apart:
        split = [part for group in groups for part in _split(group, one, other)]
        groups = [group for group in dict.fromkeys(split) if not any(group < larger for larger in split)]
    groups.sort(key=lambda group: [place for place, name in enumerate(names) if name in group])
    return {name: "".join(_letter(place) for place, group in enumerate(groups) if name in group) for name in names}


def _split(group: frozenset[str], one: str, other: str) -> Iterator[frozenset[str]]:
    if {one, other} <= group:
        yield group - {other}
        yield group - {one}
    else:
        yield group


def _letter(place: int) -> str:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return alphabet[place] if place < len(alphabet) else f"({place + 1})"
