"""The sentence that a page begins with, and what of chance stands beside a score."""

from __future__ import annotations

import pytest

from audiogen_metrics.evaluation.compare import Comparison, ScoreDifference
from audiogen_metrics.report.html import page
from audiogen_metrics.report.scores import scores_of, together, verdict
from audiogen_metrics.report.versus import verdict as verdict_on_two
from audiogen_metrics.results import InputSummary, Score, ScoreReport

SET = InputSummary("gen", 40, 40, 0, 20.0, "00")


def report(fd: float | None, fad: float | None) -> ScoreReport:
    """Return a report of FD and FAD with these p, and of KL, which has none."""
    details = {
        name: {} if p is None else {"chance_p": p, "chance_expected": 28.17, "chance_draws": 100}
        for name, p in (("fd", fd), ("fad", fad), ("kl", None))
    }
    scores = {
        f"{name}_yamnet": Score(f"{name}_yamnet", name, "yamnet", 30.0, False, 40, 40, details=details[name])
        for name in details
    }
    return ScoreReport(scores, "yamnet", SET, SET)


@pytest.mark.parametrize(
    ("fd", "fad", "said"),
    [
        (
            0.01,
            0.02,
            "The generated clips differ from the reference beyond chance by FD (p = 0.01) and FAD (p = 0.02). "
            "Each score is tested at 5 % by itself.",
        ),
        (
            *(0.05, 0.06),
            "The generated clips differ from the reference beyond chance by FD (p = 0.05); by FAD (p = 0.06) no such "
            "difference is found at this n. Each score is tested at 5 % by itself.",
        ),
        (0.3, None, "No difference from the reference beyond chance is found at this n by FD (p = 0.3)."),
        (None, None, "No score has a p, so nothing here says whether the two sets differ beyond chance."),
    ],
)
def test_the_verdict_says_what_p_says(fd: float | None, fad: float | None, said: str) -> None:
    found = report(fd, fad)
    assert verdict(found).startswith(said)
    text = page(found)
    assert text.index("</h1>") < text.index(said) < text.index("<table>")


def test_chance_has_columns_where_it_is_known() -> None:
    assert "28.17" in scores_of(report(0.3, None))
    differing = scores_of(report(0.01, None))
    assert "28.17" not in differing  # the mean of the deals says nothing of sets that differ
    assert ">0.01<" in differing
    assert "by chance alone" not in scores_of(report(None, None))


def test_names_in_a_sentence() -> None:
    assert [together(["FD", "IS", "KL"][:count]) for count in (1, 2, 3)] == ["FD", "FD and IS", "FD, IS and KL"]


def test_the_verdict_on_two_systems_comes_from_numbers() -> None:
    cases = {
        "fd": (-2.0, 0.01, (-3.0, -1.0), False),
        "is": (-2.0, 0.01, (-3.0, -1.0), True),
        "kl": (1.0, 0.01, (-0.1, 2.1), False),  # p alone says nothing
        "fad": (0.0, 1.0, None, False),
        "kid": (1.0, 0.01, None, False),
    }
    differences = tuple(
        ScoreDifference(
            name, name, "", up, 0, 0, difference, 9, True, 1, None, ci95, p, 99, None, "in words of any kind"
        )
        for name, (difference, p, ci95, up) in cases.items()
    )
    assert [each.better for each in differences] == ["A", "B", None, None, None]
    assert [each.equal for each in differences] == [False, False, False, True, False]
    found = Comparison("yamnet", "", SET, SET, SET, differences, (), {}, {})
    said = (
        "A is better by FD. B is better by IS. A and B cannot be told apart at this n by KL. A and B are equal by FAD."
    )
    assert verdict_on_two(found) == said
    said = "No score says which of the two is better."
    assert verdict_on_two(Comparison("yamnet", "", SET, SET, SET, differences[4:], (), {}, {})) == said
