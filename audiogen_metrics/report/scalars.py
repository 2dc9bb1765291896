"""A report as flat numbers, for loggers."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from audiogen_metrics.errors import UsageError
from audiogen_metrics.report.tables import av_benchmark
from audiogen_metrics.results import Score, ScoreReport

Names: TypeAlias = Literal["score-ids", "av-benchmark"]
"""Score ids with the endings of the CSV's columns, or the names of av-benchmark's ``output_metrics.json``."""


def to_scalars(report: ScoreReport, prefix: str = "", names: Names = "score-ids") -> dict[str, float]:
    """Return what `ScoreReport.scalars` describes."""
    if names not in get_args(Names):
        raise UsageError(f"unknown names {names!r}", where="names", fix=f"Use {' or '.join(get_args(Names))}")
    if not isinstance(prefix, str):
        raise UsageError(f"{prefix!r} is not text", where="prefix", fix="Write it like 'eval/'")
    found: dict[str, float | None]
    found = av_benchmark(report) if names == "av-benchmark" else _by_id(report)
    return {f"{prefix}{name}": float(value) for name, value in found.items() if value is not None}


def _by_id(report: ScoreReport) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for score_id, score in report.scores.items():
        for ending, value in _numbers(score).items():
            name = f"{score_id}{ending}"
            if name in found or (ending and name in report.scores):
                raise UsageError(f"{name} is the id of a score and what belongs to another", fix="Rename its backbone")
            found[name] = value
    return found


def _numbers(score: Score) -> dict[str, float | None]:
    """Return the numbers of a score by what comes behind its id; none beside a value that is missing."""
    if score.value is None:
        return {}
    low, high = score.ci95 or (None, None)
    numbers = {"": score.value, "_std": score.std, "_ci95_low": low, "_ci95_high": high}
    return numbers | {"_p": score.details.get("chance_p")}
