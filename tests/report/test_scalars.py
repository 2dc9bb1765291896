"""A report as flat numbers for loggers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from audiogen_metrics import score
from audiogen_metrics.errors import UsageError
from audiogen_metrics.report.tables import to_av_benchmark
from audiogen_metrics.results import InputSummary, Score, ScoreReport

SUMMARY = InputSummary("gen", 4, 4, 0, 20.0, "00")


def report_of(*scores: Score, protocol: str = "audioldm") -> ScoreReport:
    return ScoreReport({each.id: each for each in scores}, protocol, SUMMARY, SUMMARY)


FD = Score("fd_panns", "fd", "panns", 24.5, False, 4, 4)
IS = Score("is_panns", "is", "panns", 2, True, 4, None, std=0.5, ci95=(1, 3), details={"chance_p": 0.25, "splits": 2})
GONE = Score("kl_panns", "kl", "panns", None, False, 4, 4, ci95=(1.0, 2.0), reason="no pairs")


def test_names_and_order() -> None:
    found = report_of(FD, GONE, IS).scalars()
    assert found == {
        "fd_panns": 24.5, "is_panns": 2.0, "is_panns_std": 0.5, "is_panns_ci95_low": 1.0, "is_panns_ci95_high": 3.0,
        "is_panns_p": 0.25,
    }  # fmt: skip
    assert [*found] == [name for name in found if name.startswith("fd")] + [name for name in found if "is_" in name]
    assert {type(value) for value in found.values()} == {float}
    assert [*report_of(FD).scalars("eval/")] == ["eval/fd_panns"]
    assert report_of(GONE).scalars() == {}


def test_those_of_a_run_are_the_columns_of_csv(small: tuple[Path, Path]) -> None:
    report = score(*small, protocol="yamnet", device="cpu")
    header, *rows = (line.split(",") for line in report.to_csv().splitlines())
    expected = {}
    for row in rows:
        cells = dict(zip(header, row, strict=False))
        for column, ending in (("value", ""), ("std", "_std"), ("ci95_low", "_ci95_low"), ("ci95_high", "_ci95_high")):
            if cells[column]:
                expected[f"{cells['score']}{ending}"] = float(cells[column])
    found = report.scalars()
    assert {name: value for name, value in found.items() if not name.endswith("_p")} == expected
    assert {name for name in found if name.endswith("_p")} == {"fd_yamnet_p", "fad_yamnet_p"}
    assert ScoreReport.from_dict(json.loads(report.to_json()), "here").scalars() == found


def test_names_of_av_benchmark() -> None:
    passt = Score("fd_passt", "fd", "passt", None, False, 4, 4, reason="no weights")
    report = report_of(FD, IS, passt, protocol="av-benchmark")
    found = report.scalars("eval/", names="av-benchmark")
    assert found == {"eval/FD-PANN": 24.5, "eval/ISC-PANNS-mean": 2.0, "eval/ISC-PANNS-std": 0.5}
    theirs = json.loads(to_av_benchmark(report))
    assert theirs == {name.removeprefix("eval/"): value for name, value in found.items()} | {"FD-PASST": None}
    with pytest.raises(UsageError, match="audioldm is not av-benchmark's recipe"):
        report_of(FD).scalars(names="av-benchmark")


def test_mistakes() -> None:
    with pytest.raises(UsageError, match=r"unknown names 'av_benchmark'\. Use score-ids or av-benchmark"):
        report_of(FD).scalars(names="av_benchmark")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="prefix: None is not text"):
        report_of(FD).scalars(None)  # type: ignore[arg-type]
    other = replace(FD, id="is_panns_std", backbone="panns_std")
    for scores in ((IS, other), (other, IS)):
        with pytest.raises(UsageError, match="is_panns_std is the id of a score and what belongs to another"):
            report_of(*scores).scalars()
