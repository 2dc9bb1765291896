"""LaTeX tables: chosen columns, equal decimals, and widths that a page has; compiled where there is a TeX."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from audiogen_metrics import correlate
from audiogen_metrics.errors import UsageError
from audiogen_metrics.report.latex import Column, Table, breakable, choose, including, number, places, tex
from audiogen_metrics.report.plots import draw_for_print
from audiogen_metrics.report.tables import to_latex
from audiogen_metrics.results import InputSummary, Score, ScoreReport
from tests.report.test_plots import panels

SET = InputSummary("a/very_long/path/of/generated_clips/with_many_parts/" + "x" * 70, 40, 40, 0, 200.0, "00")


def report() -> ScoreReport:
    scores = [
        Score("fd_panns", "fd", "panns-cnn14-16k", 24.5, False, 40, 40, ci95=(20.25, 28.125)),
        Score("is_panns", "is", "panns-cnn14-16k", 7.0, True, 40, None, std=0.123),
        Score("kid_panns", "kid", "panns-cnn14-16k", -0.0123, False, 40, 40, ci95=(-0.02, 0.004)),
        Score("clap_laion_music_speech", "clap", "clap", None, True, 40, 40, reason="no prompts"),
    ]
    return ScoreReport({score.id: score for score in scores}, "audioldm", SET, SET)


def table(columns: int, label: str = "system") -> Table:
    names = [f"fd_{number}" for number in range(columns)]
    brackets = ["[116.80, 131.20]"] * 2
    first = Column("system", "system", [breakable(label), breakable("[b] & c")], "l", stays=True)
    return Table(
        [first, *(Column(name, tex("FD ↓"), ["116.80", "--"], below={"ci95": brackets}) for name in names)],
        "Caption.",
        {"ci95": "Brackets: intervals."},
    )


def body(text: str) -> list[list[str]]:
    return [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r"\\")]


def test_numbers_of_one_score_have_the_decimals_of_one_score() -> None:
    text = to_latex(report())
    assert ["FD $\\downarrow$", "24.50", "[20.25, 28.12]", "40", "40"] in body(text)
    assert ["IS $\\uparrow$", "7.00 $\\pm$ 0.12", "--", "40", "--"] in body(text)
    assert ["KID $\\downarrow$", "$-$0.0123", "[$-$0.0200, 0.0040]", "40", "40"] in body(text)
    assert ["CLAP score $\\uparrow$", "--", "--", "40", "40"] in body(text)
    assert "% FD ↓: fd_panns" in text


@pytest.mark.parametrize(
    ("values", "decimals"),
    [((31.2, 3.0), 2), ((1234.5,), 2), ((0.0, None), 2), ((), 2), ((0.5,), 3), ((0.05, 9.0), 3), ((1e-12,), 6)],
)
def test_places(values: tuple[float | None, ...], decimals: int) -> None:
    assert places(values) == decimals
    assert number(-0.0, decimals) == number(0.0, decimals)


def test_columns_are_chosen_by_name() -> None:
    found = report()
    assert body(found.to_latex(columns="value,n_gen"))[0] == ["score", "value", "$n$ gen"]
    assert body(found.to_latex(columns=["ci95"]))[1] == ["FD $\\downarrow$", "[20.25, 28.12]"]
    assert "\\pm" not in found.to_latex(columns="value")
    for wrong, problem in (("valu", "Did you mean 'value'"), ("std", "no column of the table"), ("", "no column")):
        with pytest.raises(UsageError, match=problem):
            found.to_latex(columns=wrong)
    assert choose("FD_MIT", ["fd_mit"]) == ["fd_mit"]
    assert choose("fd_mit", ["fd_MIT"]) == ["fd_MIT"]


def test_a_table_that_is_too_wide_is_split_with_its_first_column_repeated() -> None:
    assert table(2).render().count("\\begin{tabular}") == 1
    text = table(11, "a_system_with/a-very-long.name_that/has_many_parts_" + "y" * 90).render()
    parts = text.split("\\begin{tabular}")[1:]
    assert len(parts) > 2
    assert all("system &" in part for part in parts)
    assert sum(part.count("FD $\\downarrow$") for part in parts) == 11
    assert text.startswith("% Needs \\usepackage{booktabs}\n\\begin{table*}")
    assert "Brackets: intervals." in text
    assert "Brackets" not in table(2).render("fd_0")
    assert "\\begin{table}" in table(2).render("fd_0")
    assert not re.search(r"\\\\\n\s*\[", text)  # would be an option of the line before


def test_text_is_shown_as_it_is_and_can_be_broken() -> None:
    assert breakable("a_b/c d") == r"a\_\allowbreak{}b/\allowbreak{}c d"
    assert breakable("") == ""
    assert breakable("comprehensiveness of ESC-50, 0.5") == "comprehensiveness of ESC-50, 0.5"
    assert max(map(len, breakable("z" * 100).split(r"\allowbreak{}"))) == 12
    text = including("figure", "100 % of A&B", ["a note"])
    assert "100 \\% of A\\&B" in text
    assert "% a note" in text


def compiled(texts: dict[str, str], folder: Path, *, options: str = "") -> str:
    """Return TeX's log of a paper with these files."""
    for name, text in texts.items():
        (folder / f"{name}.tex").write_text(text, encoding="utf-8")
    inputs = "".join(f"\\input{{{name}}}\\clearpage\n" for name in texts)
    (folder / "paper.tex").write_text(
        f"\\documentclass{options}{{article}}\n\\usepackage{{booktabs}}\n\\usepackage{{graphicx}}\n"
        f"\\begin{{document}}\nText.\n{inputs}\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return (folder / "paper.log").read_text(errors="replace")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here; what the tables are made of is tested above")
@pytest.mark.parametrize("options", ["", "[twocolumn]"])
def test_papers_with_our_tables_and_figures_compile_and_nothing_stands_out(tmp_path: Path, options: str) -> None:
    draw_for_print(panels(4), tmp_path, "figure", "Scores of examples/a_long_path/of_clips & 100 % of it.")
    texts = {
        "report": to_latex(report()),
        "wide": table(11, "a_system_with/a-very-long.name_that/has_many_parts_" + "y" * 90).render(),
        "narrow": table(2, "[mine]").render(),
        "figure": (tmp_path / "figure.tex").read_text(),
        "agreement": agreement(tmp_path),
    }
    log = compiled(texts, tmp_path, options=options)
    assert "Overfull" not in log
    assert not [line for line in log.splitlines() if line.startswith("!")]


def agreement(folder: Path) -> str:
    """Return a table of agreement with people, of systems and clips."""
    systems, clips = range(6), range(8)
    rows = [(f"s{a}", f"c{b}", a * 1.5 + b % 3, (a + b) % 4, 1 + (a + b) % 5) for a in systems for b in clips]
    for name, columns in (("scores", (0, 1, 2, 3)), ("ratings", (0, 1, 4))):
        head = ["system", "clip_id", "fd_panns", "a_metric_of_my_own", "rating"]
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [[head[place] for place in columns], *([row[c] for c in columns] for row in rows)]
            )
    found = correlate(folder / "scores.csv", folder / "ratings.csv", lower_is_better=["a_metric_of_my_own"])
    assert body(found.to_latex(columns="spearman"))[0] == ["metric", "Spearman"]
    return found.to_latex()
