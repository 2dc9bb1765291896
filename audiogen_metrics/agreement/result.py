"""The result: how well each metric agrees with people, and which of them agrees better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from audiogen_metrics.functional.correlation import Coefficient
from audiogen_metrics.rendering import Renderable
from audiogen_metrics.results import SCHEMA_VERSION
from audiogen_metrics.writing import written

Level = Literal["system", "clip", "clip_within_system"]


@dataclass(frozen=True)
class Correlation:
    """One coefficient of one metric with the ratings.

    Attributes
    ----------
    level
        ``system``: of systems' values and mean ratings. ``clip``: of clips, of all systems together.
        ``clip_within_system``: the mean over systems of the coefficient of each system's clips.
    metric, coefficient
        The metric, and ``spearman``, ``kendall`` (tau-b) or ``pearson``.
    agreement
        The coefficient, turned so that positive means agreement with people; None where it cannot be computed.
    raw
        The coefficient of the metric as it is: the negative of ``agreement`` where lower is better.
    higher_is_better
        The metric's direction.
    n, units
        Systems or clips, and how many of them are independent of each other: clips of one id, by several systems,
        are one unit.
    interval
        95 % interval of ``agreement``; where it is None, `reason` says why.
    p
        Chance of a coefficient as far from 0 if metric and ratings had nothing to do with each other, two-sided.
    reason
        Why something is missing.
    """

    level: Level
    metric: str
    coefficient: Coefficient
    agreement: float | None
    raw: float | None
    higher_is_better: bool
    n: int
    units: int
    interval: tuple[float, float] | None = None
    p: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class AgreementDifference:
    """Two metrics' agreement with the same ratings, on the systems or clips that have both.

    Attributes
    ----------
    level, coefficient, metric_a, metric_b
        As in `Correlation`.
    a, b, difference
        Both agreements, and ``a − b``.
    n, units
        As in `Correlation`.
    p, p_adjusted
        Chance of a difference as large if both agreed equally well, two-sided; and the same corrected by Holm's rule
        for the number of pairs of this level and coefficient.
    better
        The metric that agrees better, where ``p_adjusted`` is below 0.05.
    reason
        Why something is missing.
    """

    level: Level
    coefficient: Coefficient
    metric_a: str
    metric_b: str
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    n: int = 0
    units: int = 0
    p: float | None = None
    p_adjusted: float | None = None
    better: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Agreement(Renderable):
    """What `correlate` has found.

    Attributes
    ----------
    correlations, differences
        Coefficients, and differences of two metrics, on every level that the data have.
    ratings
        How many there are of ``ratings``, ``rated`` systems or clips, ``raters`` where they are named, ``systems`` and
        ``clips``.
    alone
        Names of systems and clips that are in one of the two inputs only: ``scores`` and ``ratings``.
    warnings
        What to know before the numbers are believed.
    seed
        Seed of the random orders behind p.

    Examples
    --------
    >>> from audiogen_metrics import correlate
    >>> found = correlate("scores.csv", "ratings.csv")  # doctest: +SKIP
    >>> found.get("fad_vggish", "spearman").agreement  # doctest: +SKIP
    0.83
    """

    correlations: tuple[Correlation, ...]
    differences: tuple[AgreementDifference, ...]
    ratings: Mapping[str, int | None]
    alone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seed: int = 0

    def get(self, metric: str, coefficient: Coefficient = "spearman", level: Level | None = None) -> Correlation:
        """Return one coefficient; without a level, of the first level that there is. KeyError if it is missing."""
        for found in self.correlations:
            if (found.metric, found.coefficient) == (metric, coefficient) and level in (None, found.level):
                return found
        raise KeyError(f"no {coefficient} of {metric}")

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that the data have, systems first."""
        return tuple(dict.fromkeys(found.level for found in self.correlations))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, ready for strict JSON."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per coefficient, behind a header; numbers in full."""
        from audiogen_metrics.agreement.tables import to_csv

        return written(to_csv(self.correlations), path)

    def differences_to_csv(self, path: str | Path | None = None) -> str:
        """Return a line per pair of metrics and coefficient, behind a header; numbers in full."""
        from audiogen_metrics.agreement.tables import to_csv

        return written(to_csv(self.differences, AgreementDifference), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Return the tables with their notes, as GitHub's Markdown."""
        from audiogen_metrics.agreement.tables import to_markdown

        return written(to_markdown(self), path)

    def to_latex(self, path: str | Path | None = None, columns: str | Iterable[str] | None = None) -> str:
        """Return one table for a paper, with booktabs.

        ``columns`` chooses what it shows: n, spearman, kendall, pearson, ci95.
        """
        from audiogen_metrics.agreement.tables import to_latex

        return written(to_latex(self, columns), path)

    def __str__(self) -> str:
        from audiogen_metrics.agreement.tables import to_text

        return to_text(self)
