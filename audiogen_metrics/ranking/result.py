"""The result: reports of several systems, what every pair differs in, and groups that cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.errors import UsageError
from audiogen_metrics.metrics import definition_of
from audiogen_metrics.rendering import Renderable
from audiogen_metrics.results import SCHEMA_VERSION, Score, ScoreReport
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation


@dataclass(frozen=True)
class PairDifference:
    """One score of two of several systems.

    Attributes
    ----------
    id, metric, backbone, higher_is_better
        The score, what it is computed by, and its direction.
    system_a, system_b
        The two systems, by their labels.
    a, b, difference
        Both values on ``n`` clips each, and ``a − b``; None where they cannot be computed.
    n
        Clips of each system: those that both have, or as many of the larger system as the smaller one has.
    paired
        Whether these are clips of the same ids.
    subsamples
        Random parts of the larger system that all numbers are means of; 1 where both are as large or paired.
    standard_error, interval, level
        Of the difference, over clips, and the level of the interval: 0.95 corrected for the number of pairs.
    p, p_adjusted
        Chance of a difference as large if the names of the systems meant nothing, and the same times the number of
        pairs that it was compared among, by Holm's rule: at least that of the pairs that were separated before it.
    permutations
        How many were made; fewer where p is far above 0.05.
    detectable
        The difference that this many clips would find with 80 % chance.
    better
        The better system, if ``p_adjusted`` is below 0.05 *and* the interval does not hold 0; else None.
    verdict
        In words: which system is better, that they are not separable, or why there is no verdict.
    """

    id: str
    metric: str
    backbone: str
    higher_is_better: bool
    system_a: str
    system_b: str
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    n: int = 0
    paired: bool = False
    subsamples: int = 1
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    permutations: int = 0
    detectable: float | None = None
    better: str | None = None
    verdict: str = ""

    @property
    def has_verdict(self) -> bool:
        """Whether the two systems could be compared."""
        return self.p_adjusted is not None


@dataclass(frozen=True)
class Ranking(Renderable):
    """Several systems against one reference.

    Attributes
    ----------
    reports
        By the systems' labels: what `audiogen_metrics.score` returns of each.
    differences
        Every pair of systems in every score; empty without intervals.
    groups
        By score id and label, letters: systems that share one are not separable. A system on which there is no verdict
        has none.
    warnings
        What to know before the systems are compared; those of each system are in its report.
    permutations
        How many were asked for, of each pair's test, which may make fewer; 0 where p comes from the interval's width.

    Examples
    --------
    >>> from audiogen_metrics.ranking import score_systems
    >>> found = score_systems(["a", "b", "c"], "reference", protocol="yamnet")  # doctest: +SKIP
    >>> found.reports["a"]["fd"].value, found.groups["fd_yamnet"]["a"]  # doctest: +SKIP
    (24.1, 'a')
    """

    reports: Mapping[str, ScoreReport]
    differences: tuple[PairDifference, ...] = ()
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    permutations: int = 0
    _evaluations: tuple[Evaluation, ...] = field(default=(), repr=False, compare=False)

    def __repr__(self) -> str:
        return f"Ranking(systems={[*self.reports]}, scores={[*self.score_ids]})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what only the page needs: networks and features do not travel between processes."""
        return {**self.__dict__, "_evaluations": ()}

    @property
    def first(self) -> ScoreReport:
        """The first report: what all have in common, such as the protocol and the reference, stands in it."""
        return next(iter(self.reports.values()))

    @property
    def score_ids(self) -> tuple[str, ...]:
        """Ids of the scores."""
        return tuple(self.first.scores)

    def scores(self, score_id: str) -> dict[str, Score]:
        """Return one score of all systems, by label."""
        return {label: report.scores[score_id] for label, report in self.reports.items()}

    def best(self, score_id: str) -> tuple[str, ...]:
        """Return who has the best value; nobody where values cannot be compared, as their n differs."""
        scores = {label: score for label, score in self.scores(score_id).items() if score.value is not None}
        if len(scores) < 2 or not self.comparable(score_id):
            return ()
        values = {label: score.value for label, score in scores.items() if score.value is not None}
        pick = max if next(iter(scores.values())).higher_is_better else min
        return tuple(label for label, value in values.items() if value == pick(values.values()))

    def comparable(self, score_id: str) -> bool:
        """Tell whether the values of a score may stand beside each other: it does not depend on n, or n is equal."""
        scores = [score for score in self.scores(score_id).values() if score.value is not None]
        kind = definition_of(scores[0].metric) if scores else None
        steady = kind is not None and (kind.unbiased or kind.needs == "pairs")
        return steady or len({score.n_gen for score in scores}) <= 1

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, ready for strict JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "systems": [*self.reports],
            "reports": [report.to_dict() for report in self.reports.values()],
            "differences": [asdict(difference) for difference in self.differences],
            "groups": {score_id: dict(groups) for score_id, groups in self.groups.items()},
            "warnings": [*self.warnings],
            "permutations": self.permutations,
        }

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per system and score, behind a header; numbers in full."""
        from audiogen_metrics.ranking.tables import to_csv

        return written(to_csv(self), path)

    def differences_to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per pair of systems and score, behind a header; numbers in full."""
        from audiogen_metrics.ranking.tables import differences_to_csv

        return written(differences_to_csv(self), path)

    def clips_to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per system and clip with the scores that are means over clips; `correlate` reads it.

        Raises
        ------
        UsageError
            No score is a mean over clips, or the result was made in another process, so that clips are not known.
        """
        from audiogen_metrics.report.tables import clips_to_csv

        return written(clips_to_csv(dict(zip(self.reports, self._known_evaluations, strict=True))), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the table with its notes, as GitHub's Markdown."""
        from audiogen_metrics.ranking.tables import to_markdown

        return written(to_markdown(self), path)

    def to_latex(self, path: str | Path | None = None, columns: str | Iterable[str] | None = None) -> str:
        """Return the table for a paper, with booktabs, and BibTeX entries as comments.

        ``columns`` chooses what it shows: n, score ids, group, ci95.
        """
        from audiogen_metrics.ranking.tables import to_latex

        return written(to_latex(self, columns), path)

    def to_html(self, path: str | Path | None = None) -> str:
        """Return one page with all systems: table, intervals, verdicts, warnings, and clips to hear.

        Raises
        ------
        UsageError
            The result was made in another process, so the clips are unknown here.
        """
        from audiogen_metrics.ranking.page import page

        return written(page(self, self._known_evaluations), path)

    @property
    def _known_evaluations(self) -> tuple[Evaluation, ...]:
        if not self._evaluations:
            raise UsageError("the clips behind this result are not known here", fix="Write it where it was made")
        return self._evaluations

    def __str__(self) -> str:
        from audiogen_metrics.ranking.tables import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        """Return the table as an HTML fragment; notebooks show it instead of the text."""
        from audiogen_metrics.ranking.tables import to_fragment

        return to_fragment(self)
