"""A report leaves as CSV, Markdown, LaTeX and a page, from the report itself."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from audiogen_metrics.report.tables import to_csv, to_latex, to_markdown
from audiogen_metrics.results import InputSummary, Score, ScoreReport

SET = InputSummary("generated & <more>", 40, 40, 0, 200.0, "00")


def report_with(**p: float) -> ScoreReport:
    scores = {
        f"{name}_yamnet": Score(f"{name}_yamnet", name, "yamnet", 2.5, False, 40, 40, ci95=(2.0, 3.0), details=details)
        for name, details in {
            "fd": {"chance_p": p["fd"], "chance_expected": 2.4} if "fd" in p else {},
            "kl": {},
        }.items()
    }
    return ScoreReport(scores, "yamnet", SET, SET, warnings=("kl: doubtful <i>",), versions={"audiogen-metrics": "1"})


@pytest.mark.parametrize(
    ("method", "function"), [("to_csv", to_csv), ("to_markdown", to_markdown), ("to_latex", to_latex)]
)
def test_methods_are_the_functions_and_write_files(method: str, function: Any, tmp_path: Path) -> None:
    report, path = report_with(fd=0.25), tmp_path / "new" / "scores"
    text = getattr(report, method)()
    assert text == function(report)
    assert getattr(report, method)(path) == text
    assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]


def test_csv_ends_with_p() -> None:
    header, *rows = csv.reader(io.StringIO(report_with(fd=0.25).to_csv()))
    assert header[-1] == "p"
    assert [row[-1] for row in rows] == ["0.25", ""]
    assert {len(row) for row in rows} == {len(header)}


def test_latex_has_a_column_of_p_where_one_is_known() -> None:
    lines = report_with(fd=0.25).to_latex().splitlines()
    (head,) = [line for line in lines if line.startswith("score &")]
    (fd,) = [line for line in lines if line.startswith("FD ")]
    (kl,) = [line for line in lines if line.startswith("KL ")]
    place = [cell.strip() for cell in head.split("&")].index("$p$")
    assert [row.removesuffix(r"\\").split("&")[place].strip() for row in (fd, kl)] == ["0.25", "--"]
    columns = next(line for line in lines if "begin{tabular}" in line).removesuffix("@{}}").partition("@{}")[2]
    assert len(columns) == head.count("&") + 1 == fd.count("&") + 1
    without = report_with().to_latex()
    assert "$p$" not in without
    assert r"\begin{tabular}{@{}lrrrr@{}}" in without


def test_page_holds_what_the_report_holds(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    report = report_with(fd=0.25)
    text = report.to_html(path)
    assert path.read_text(encoding="utf-8") == text == report.to_html()
    for content in (
        "2 to 3",
        "p = 0.25",
        "kl: doubtful &lt;i&gt;",
        "generated &amp; &lt;more&gt;",
        "Cite",
        "score_html",
    ):
        assert content in text, content
    assert "<i>" not in text
    for link in ("scores", "not-shown", "provenance", "cite"):
        assert f'<a href="#{link}">' in text
        assert f'id="{link}"' in text
    assert 'href="#map"' not in text
