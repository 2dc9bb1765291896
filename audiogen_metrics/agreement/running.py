"""Join scores and ratings, and correlate them on every level that they have."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from audiogen_metrics.agreement.joining import LevelRows, join
from audiogen_metrics.agreement.reading import directions, read_ratings, read_scores
from audiogen_metrics.agreement.result import Agreement, AgreementDifference, Correlation
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.functional import correlation as formulas
from audiogen_metrics.functional.correlation import COEFFICIENTS, Coefficient, Numbers
from audiogen_metrics.options import whole
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.score_text import SIGNIFICANT

Sources = str | Path | Sequence[str | Path] | Mapping[str, str | Path]
"""A file, several, or a file by the name of its system."""


def correlate(
    scores: Sources,
    ratings: str | Path,
    *,
    metrics: Iterable[str] | None = None,
    rating: str = "rating",
    lower_is_better: Iterable[str] = (),
    seed: int = 0,
) -> Agreement:
    """Say how well metrics agree with people's ratings, of systems and of clips.

    Parameters
    ----------
    scores
        What ``agm score`` has written: a JSON report for each system, one of several systems, its CSV, or
        ``--per-clip``; the JSON of ``agm clap``; or tables (CSV, TSV, JSON lines) with the columns ``system``,
        ``clip_id`` or both and a column for each metric. A report without a name belongs to the system that its
        file is named after.
    ratings
        A table with the columns ``system``, ``clip_id`` or both, and ``rating``; several ratings of one clip are
        several rows, with or without a column ``rater``, and their mean counts.
    metrics
        Columns or score ids; None takes all.
    rating
        Name of the column of ratings.
    lower_is_better
        Metrics whose direction is not known here and that are better when they are lower. Scores of this library are
        known, by the report or by a column's name.
    seed
        Seed of the random orders behind p.

    Returns
    -------
    Agreement
        Positive values mean agreement, whatever the metric's direction.

    Raises
    ------
    DataError
        Files that cannot be read or hold something twice; no system or clip in both; InsufficientDataError where
        there are fewer than three.
    UsageError
        An unknown metric.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "scores.csv").write_text("system,fd\\na,30\\nb,20\\nc,25\\nd,10\\ne,12\\n")
    >>> _ = (folder / "ratings.csv").write_text("system,rating\\na,2\\nb,3\\nc,2.5\\nd,4.5\\ne,4\\n")
    >>> found = correlate(folder / "scores.csv", folder / "ratings.csv").get("fd", "spearman")
    >>> round(found.agreement, 6), round(found.raw, 6), found.n
    (1.0, -1.0, 5)
    """
    return correlate_files(
        _sources(scores), ratings, metrics=metrics, rating=rating, lower_is_better=lower_is_better, seed=seed
    )


def correlate_files(
    scores: Sequence[tuple[str | None, str | Path]],
    ratings: str | Path,
    *,
    metrics: Iterable[str] | None = None,
    rating: str = "rating",
    lower_is_better: Iterable[str] = (),
    seed: int = 0,
) -> Agreement:
    """Do what `correlate` does, for files of which some come with the name of their system."""
    seed = whole("seed", seed, 0)
    found, said = read_scores(scores), read_ratings(ratings, rating)
    higher = directions(found, [lower_is_better] if isinstance(lower_is_better, str) else lower_is_better)
    metrics = [metrics] if isinstance(metrics, str) else metrics
    chosen = [*found.metrics] if metrics is None else [*dict.fromkeys(metrics)]
    for name in chosen:
        if name not in found.metrics:
            raise unknown_name("metric", name, [*found.metrics])
    if not chosen:
        raise UsageError("no metrics chosen", fix=f"Choose from {', '.join(found.metrics)}")
    joined = join(found, said, chosen)
    correlations: list[Correlation] = []
    differences: list[AgreementDifference] = []
    for level in joined.levels(chosen):
        own = [metric for metric in chosen if level.values[metric]]
        for metric, kind in itertools.product(own, COEFFICIENTS):
            correlations.append(correlation_of(level, metric, kind, higher.get(metric, True), seed))
        for kind in COEFFICIENTS:
            pairs = itertools.combinations(own, 2)
            differences += _corrected([difference_of(level, kind, a, b, higher, seed) for a, b in pairs])
    if all(each.agreement is None for each in correlations):
        reason = next((each.reason for each in correlations), None) or "no system or clip is in both"
        raise InsufficientDataError(f"nothing can be correlated: {reason}", where=str(ratings), fix=joined.hint())
    unknown = [metric for metric in chosen if metric not in higher]
    warnings = [*found.warnings, *joined.warnings()]
    if unknown:
        warnings.append(f"direction not known, taken as higher is better: {', '.join(unknown)}")
    counts = {"ratings": said.count, "rated": len(said.of), "raters": said.raters}
    counts |= {"systems": len(joined.of_systems), "clips": len(joined.of_clips)}
    return Agreement(tuple(correlations), tuple(differences), counts, joined.alone, tuple(warnings), seed)


def _sources(scores: Sources) -> list[tuple[str | None, str | Path]]:
    if isinstance(scores, (str, Path)):
        return [(None, scores)]
    if isinstance(scores, Mapping):
        return [(str(name), path) for name, path in scores.items()]
    return [(None, path) for path in scores]


def correlation_of(level: LevelRows, metric: str, kind: Coefficient, higher: bool, seed: int) -> Correlation:
    """Return one coefficient of one metric, with what can be said of its uncertainty."""
    keys = level.keys(metric)
    x, y = level.columns(metric, keys, higher)
    keys, x, y = level.usable(keys, x, y)
    units = level.units(keys)
    count = len(set(units.tolist()))
    blank = Correlation(level.name, metric, kind, None, None, higher, len(keys), count)
    try:
        value = level.estimate(kind, x, y, keys)(np.ones(len(keys), dtype=bool))
    except InsufficientDataError as error:
        return replace(blank, reason=error.what)
    found = replace(blank, agreement=value, raw=value if higher else -value)
    try:
        _require_units(level, kind, count, x, y)
        # The order of a perfect correlation has a p too, though no spread to make an interval of.
        if level.independent and (count < formulas.FEW or abs(value) > 1 - 1e-9):
            found = replace(found, p=formulas.association_p(kind, x / np.abs(x).max(), y / np.abs(y).max(), seed))
        replicates = level.replicates(metric, kind, x, y, keys, seed)
        rows = len(keys) if level.independent else None
        found = replace(found, interval=formulas.interval(kind, value, replicates, rows))
    except InsufficientDataError as error:
        return replace(found, reason=error.what)
    if found.p is None:
        z, error_of_z = formulas.fisher(replicates), float(formulas.fisher(value))
        found = replace(found, p=formulas.student_p(error_of_z, formulas.standard_error(z), len(z)))
    return found


def _require_units(level: LevelRows, kind: Coefficient, units: int, *columns: Numbers) -> None:
    """Raise InsufficientDataError where nothing can be said beside the value."""
    least = formulas.FEWEST if level.independent else formulas.FEW
    if units < least:
        what = "systems" if level.name == "system" else "clips" if level.independent else "clip ids"
        raise InsufficientDataError(f"{units} {what}, and at least {least} are needed for an interval or a test")
    if kind == "pearson" and formulas.is_skewed(*columns):
        raise InsufficientDataError("a column has a long tail, for which Pearson's interval and tests do not hold")


def difference_of(
    level: LevelRows, kind: Coefficient, a: str, b: str, higher: Mapping[str, bool], seed: int
) -> AgreementDifference:
    """Return how much better one metric agrees than another, and whether that could be chance."""
    keys = level.keys(a, b)
    x_a, y = level.columns(a, keys, higher.get(a, True))
    x_b, _ = level.columns(b, keys, higher.get(b, True))
    keys, x_a, x_b, y = level.usable(keys, x_a, x_b, y)
    units = level.units(keys)
    count = len(set(units.tolist()))
    found = AgreementDifference(level.name, kind, a, b, n=len(keys), units=count)
    every = np.ones(len(keys), dtype=bool)
    try:
        values = [level.estimate(kind, x, y, keys)(every) for x in (x_a, x_b)]
        found = replace(found, a=values[0], b=values[1], difference=values[0] - values[1])
        _require_units(level, kind, count, x_a, x_b, y)
        if level.independent and count < formulas.FEW:
            return replace(found, p=formulas.swap_p(kind, x_a, x_b, y, seed))
        if max(map(abs, values)) > 1 - 1e-9:
            raise InsufficientDataError("a perfect correlation has no spread, so it cannot be tested")
        first, second = (
            formulas.fisher(level.replicates(metric, kind, x, y, keys, seed)) for metric, x in ((a, x_a), (b, x_b))
        )
        difference = float(formulas.fisher(values[0]) - formulas.fisher(values[1]))
        p = formulas.student_p(difference, formulas.standard_error(first - second), len(first))
        return replace(found, p=p)
    except InsufficientDataError as error:
        return replace(found, reason=error.what)


def _corrected(found: Sequence[AgreementDifference]) -> list[AgreementDifference]:
    """Return the pairs of one level and coefficient with p corrected for their number, and the better metric."""
    known = [each for each in found if each.p is not None]
    adjusted = iter(formulas.holm([each.p for each in known if each.p is not None]))
    result = []
    for each in found:
        if each.p is not None and each.difference is not None:
            p = next(adjusted)
            winner = each.metric_a if each.difference > 0 else each.metric_b
            result.append(replace(each, p_adjusted=p, better=winner if p < SIGNIFICANT else None))
        else:
            result.append(each)
    return result
