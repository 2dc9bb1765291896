"""The page of a study: its sentence says what the verdicts say, and its command makes the study again."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from audiogen_metrics.cli.main import main
from audiogen_metrics.records import load_json, read
from audiogen_metrics.results import InputSummary
from audiogen_metrics.studies.page import verdict
from audiogen_metrics.studies.repeating import command_of
from audiogen_metrics.studies.result import Axis, Finding, ProbeRun, Study
from audiogen_metrics.studies.verdicts import Response, Verdict
from tests.conftest import EXAMPLES
from tests.report.test_html import outline

SHORT: Mapping[str, Response] = {
    "r": "responds",
    "f": "flat",
    "w": "wrong direction",
    "c": "comes and goes",
    "n": "no verdict",
}


def study(axes: Mapping[Axis, Mapping[str, str]], scores: str = "fd is kl") -> Study:
    """Return a study with these answers: a letter for each score, by axis and probe."""
    names = [f"{score}_yamnet" for score in scores.split()]
    findings = [
        Finding(probe, score, axis, Verdict(SHORT[letter], 1.0, None, 1.0, 0.1, 10.0, None))
        for axis, probes in axes.items()
        for probe, letters in probes.items()
        for score, letter in zip(names, letters, strict=True)
    ]
    probes = {finding.probe: ProbeRun(1, {}, 9, {}) for finding in findings}
    ref = InputSummary("set", 9, 9, 0, 9.0, "00")
    doses = ((0.0, 1.0), (), 2, 0, False)
    return Study("yamnet", "", ref, {}, *doses, probes, (), tuple(findings), {}, (), {})


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (
            {"fraction": {"noise": "rrr", "masking": "rfr", "resynthesis": "fff"}},
            "FD and KL respond to noise and masking; IS responds to noise. IS is flat under masking. "
            "All scores are flat under the control, resynthesis.",
        ),
        (
            {"fraction": {"noise": "wcn", "resynthesis": "rfn"}},
            "No score responds to any damage. FD gets better under noise, the wrong direction. "
            "IS comes and goes under noise. KL has no verdict on noise. "
            "FD is moved by the control, which damages nothing: do not rely on it here.",
        ),
        ({"fraction": {"noise": "nnn", "identity": "nnn"}}, "FD, IS and KL have no verdict on noise."),
        ({"fraction": {"identity": "fff"}}, "All scores are flat under the control, identity."),
        ({"fraction": {"identity": "ffn"}}, "There is no verdict: no score differs from repeat to repeat."),
        (
            {"fraction": {"mp3": "rrr"}, "severity": {"mp3": "nnn"}},
            "By share of clips corrupted: FD, IS and KL respond to mp3. "
            "By severity: FD, IS and KL have no verdict on mp3.",
        ),
    ],
)
def test_the_sentence_says_what_the_verdicts_say(axes: Mapping[Axis, Mapping[str, str]], said: str) -> None:
    assert verdict(study(axes)) == said


def test_no_command_is_shown_that_would_run_something_else() -> None:
    known = study({"fraction": {"white-noise": "rrr"}})
    assert command_of(known) is None  # settings that are not those of the probe
    assert command_of(replace(known, protocol="one's own")) is None


@pytest.mark.slow
def test_the_command_on_the_page_makes_the_study_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--protocol", "yamnet", "--limit", "12", "-m", "fd,kl", "--repeats", "2", "--seed", "3"]
    asked = ["--probes", "white-noise,masking", "--fractions", "0,0.3,1", "--severities", "0.7", "--redraw-parameters"]
    changed = ["--set", "masking.mel.hop=128", "--set", "masking.per_span=false", "--html", str(tmp_path / "page.html")]
    assert main(["study", str(EXAMPLES / "reference"), *small, *asked, *changed, "-o", str(tmp_path / "first")]) == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "first" / "study.html").read_text(encoding="utf-8")
    agm, *command = shlex.split(html.unescape(re.findall("<pre>(.*)</pre>", page)[0]))
    assert agm == "agm"
    assert main([*command, "--limit", "12", "-o", str(tmp_path / "again")]) == 0  # as the page says of --limit
    first, again = (load_json(tmp_path / name / "study.json") for name in ("first", "again"))
    assert first == again
    capsys.readouterr()
    found, text = read(Study, first), outline(tmp_path / "page.html").text
    assert 0 < text.index(verdict(found)) < text.index("Read this first") < text.index("How to repeat it")
    assert f"{found.finding('masking', 'kl_yamnet', 'severity').change:+.4g}" in text
