"""Score several systems against one reference, each set embedded once, and compare every pair of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import cache, partial
from itertools import combinations, count
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from audiogen_metrics import distributed as processes
from audiogen_metrics.audio.files import AudioFolder, ClipSet, printable
from audiogen_metrics.declaring import part_of, takes
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.evaluation.matching import MatchedSystems, abreast, matched
from audiogen_metrics.evaluation.opening import open_gen, open_ref
from audiogen_metrics.evaluation.run import check_names, score_named
from audiogen_metrics.options import as_path
from audiogen_metrics.ranking.result import PairDifference, Ranking
from audiogen_metrics.ranking.separating import letters, permutations_for, separate, too_few
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.run_options import RankingOptions, SystemOptions
from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    from audiogen_metrics.embedding.sides import FolderSide
    from audiogen_metrics.evaluation.opening import Known
    from audiogen_metrics.metrics.recipe import Recipe


@takes(RankingOptions)
def score_systems(
    systems: Iterable[str | Path] | Mapping[str, ClipSet],
    ref: ClipSet | None = None,
    *,
    observe: Callable[[Evaluation], None] | None = None,
    **options: Unpack[RankingOptions],
) -> Ranking:
    """Score several systems against one reference, and say which of them differ beyond chance.

    Every pair is compared as `audiogen_metrics.compare` compares two: at equal n, on the clips that both have.
    One is better only if a permutation test says so *and* the interval of the difference does not hold 0, both at a
    level that is corrected for the number of pairs (Holm): one wrong verdict among all pairs of a score comes in at
    most 5 % of cases. Several scores are several chances, and are not corrected for. With ``ci=False`` there are
    neither intervals nor p nor groups.

    Parameters
    ----------
    systems
        Folders of generated audio; with labels where they are a mapping, whose values may be whatever
        `audiogen_metrics.score` takes. Without, a label is the shortest end of the path that tells a folder from the
        others.
    ref
        As in `audiogen_metrics.score`.
    observe
        Called with each system's `Evaluation`, in order.

    Returns
    -------
    Ranking
        Reports by label, differences of all pairs, groups.

    Raises
    ------
    UsageError
        Fewer than two systems, labels that cannot be told apart, an unknown option; and whatever
        `audiogen_metrics.score` raises.

    Examples
    --------
    >>> from audiogen_metrics.ranking import score_systems
    >>> found = score_systems({"ours": "a", "theirs": "b"}, "reference", protocol="yamnet")  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    >>> found.to_html("page.html")  # doctest: +SKIP
    """
    check_names(options, RankingOptions)
    given = RankingOptions(**options)
    permutations, run = given["permutations"], part_of(SystemOptions, given)
    if permutations is not None and not given["ci"]:
        raise UsageError(
            "they tell systems apart, which is left out with the intervals",
            where="permutations",
            fix="Leave out permutations or ci=False",
        )
    named = _named(systems)
    seen: list[Evaluation] = []
    reports = {}

    @cache
    def opened() -> tuple[dict[str, AudioFolder], Known | None]:
        return {label: open_gen(gen, run) for label, gen in named.items()}, open_ref(ref, run)

    def sets_of(label: str) -> tuple[AudioFolder, Known | None]:
        folders, reference = opened()  # all of them, so that a mistake in the last one shows before any is scored
        return folders[label], reference

    for label, gen in named.items():
        # Other processes of a distributed run do not have what the first one has seen, and all must embed alike.
        beside = () if given["distributed"] else tuple(seen)
        sets = partial(sets_of, label)
        by_name = run["metrics"] is not None
        reports[label] = score_named(gen, ref, by_name=by_name, observe=seen.append, beside=beside, sets=sets, **run)
    if observe is not None:
        for evaluation in seen:
            observe(evaluation)

    def compared() -> Ranking:
        if not given["ci"]:
            return Ranking(reports, warnings=_of_pairs(_sides(reports, seen)))
        return rank(reports, seen, permutations)

    found = processes.from_first(compared) if given["distributed"] else compared()
    return replace(found, _evaluations=tuple(seen))


def _named(systems: Iterable[str | Path] | Mapping[str, ClipSet]) -> dict[str, ClipSet]:
    """Return the systems by label; UsageError for fewer than two, or where one could not tell which is which."""
    if isinstance(systems, Set):
        raise UsageError("a set has no order", where="systems", fix="Pass a list, or a mapping from labels to folders")
    given = systems if isinstance(systems, Mapping) else [] if isinstance(systems, (str, os.PathLike)) else [*systems]
    if len(given) < 2:
        raise UsageError("two systems or more are compared", fix="Pass a list of folders; score() takes one")
    if not isinstance(given, Mapping):
        return dict(zip(labels(given), given, strict=True))
    shown: dict[str, str] = {}
    for label, folder in given.items():
        printed = escaped(label).strip()
        if not isinstance(label, str) or not printed:
            raise UsageError(f"{label!r} is not a label", where="systems", fix="Use text that can be read")
        if printed in shown:
            other = shown[printed]
            raise UsageError(f"{label!r} and {other!r} print as one label", where="systems", fix="Rename one")
        shown[printed] = label
        if isinstance(folder, (str, os.PathLike)):
            as_path(folder, f"systems[{label!r}]")
    return {**given}


def rank(reports: Mapping[str, ScoreReport], evaluations: Sequence[Evaluation], permutations: int | None) -> Ranking:
    """Return the systems with the differences of all pairs, and the groups that follow.

    Parameters
    ----------
    reports, evaluations
        Of the systems, in one order.
    permutations
        As in `score_systems`.
    """
    sides = _sides(reports, evaluations)
    first = evaluations[0]
    pairs = [*combinations(sides, 2)]
    made = permutations_for(len(pairs)) if permutations is None else permutations
    prompts: dict[str, str] = {}
    for each in evaluations:
        prompts |= each.asked.prompts or {}
    warnings = [*_of_pairs(sides)]
    if too_few(made, len(pairs)):
        warnings.append(
            f"{made} permutations: p cannot be below 0.05 / {len(pairs)}, which {len(pairs)} pairs of systems need, "
            f"so that no verdict is possible; use {20 * len(pairs)} or more"
        )
    differences: list[PairDifference] = []
    groups = {}
    for recipe in first.listed:
        matches: list[MatchedSystems | PairDifference] = []
        for a, b in pairs:
            matches.append(_match(recipe, sides[a], sides[b], reports, evaluations, prompts))
        warnings += [note for match in matches if isinstance(match, MatchedSystems) for note in match.notes]
        found = separate(matches, made, first.asked.seed)
        differences += found
        groups[recipe.score_id] = _groups(recipe, reports, found)
    return Ranking(reports, tuple(differences), groups, tuple(dict.fromkeys(warnings)), made)


def _sides(labels: Iterable[str], evaluations: Sequence[Evaluation]) -> dict[str, FolderSide]:
    return {label: replace(each.gen, name=label) for label, each in zip(labels, evaluations, strict=True)}


def _of_pairs(sides: Mapping[str, FolderSide]) -> tuple[str, ...]:
    """Return what to know of the systems two by two, such as that two of them are one set."""
    return tuple(warning for a, b in combinations(sides.values(), 2) for warning in abreast(a, b))


def _match(
    recipe: Recipe,
    a: FolderSide,
    b: FolderSide,
    reports: Mapping[str, ScoreReport],
    evaluations: Sequence[Evaluation],
    prompts: Mapping[str, str],
) -> MatchedSystems | PairDifference:
    """Return two systems cut to equal size, or why they cannot be compared."""
    order = [*reports]
    one, other = (evaluations[order.index(side.name)] for side in (a, b))
    kind = recipe.definition
    none = PairDifference(
        recipe.score_id, recipe.metric, recipe.backbone, kind.higher_is_better, a.name, b.name, verdict="none: "
    )
    scores = [reports[side.name].scores[recipe.score_id] for side in (a, b)]
    lacking = next((score for score in scores if score.value is None), None)
    if lacking is not None:
        name = (a, b)[scores.index(lacking)].name
        return replace(none, verdict=f"none: {name} has no value: {lacking.reason}")
    ref = None if "ref" not in kind.sides else one.ref
    if ref is not None and other.ref is not None and ref.clip_ids != other.ref.clip_ids:
        return replace(none, verdict="none: the limit leaves other clips of the reference to each")
    try:
        match = matched(recipe, a, b, ref, prompts or None, one.asked.seed, one.asked.pairing != "none")
        match.values()
        _ = match.rivals[0].pool
    except InsufficientDataError as reason:
        return replace(none, verdict=f"none: {reason.what}")
    return match


def _groups(recipe: Recipe, reports: Mapping[str, ScoreReport], found: Sequence[PairDifference]) -> dict[str, str]:
    """Return the letters of the systems on which there is a verdict."""
    judged = {name for each in found if each.has_verdict for name in (each.system_a, each.system_b)}
    values = {label: report.scores[recipe.score_id].value for label, report in reports.items()}
    known = {label: value for label, value in values.items() if value is not None and label in judged}
    ranked = sorted(known, key=known.__getitem__, reverse=recipe.definition.higher_is_better)
    return letters(ranked, [(each.system_a, each.system_b) for each in found if each.better is not None])


def labels(paths: Sequence[str | Path]) -> list[str]:
    """Return for each path its shortest end that tells it from the others; the same path twice gets numbers.

    Examples
    --------
    >>> labels(["runs/1/out", "runs/2/out", "base"])
    ['1/out', '2/out', 'base']
    >>> labels(["a", "b", "./a"])
    ['a', 'b', 'a (2)']
    """
    # A link keeps the name that it was given by.
    parts = [Path(os.path.abspath(as_path(path))).parts for path in paths]  # noqa: PTH100
    found = []
    for own in parts:
        others = [other for other in parts if other != own]
        depth = next(depth for depth in count(1) if all(other[-depth:] != own[-depth:] for other in others))
        end = printable(Path(*own[-depth:]))
        numbered = (f"{end} ({number})" for number in count(2))
        found.append(end if end not in found else next(each for each in numbered if each not in found))
    return found
