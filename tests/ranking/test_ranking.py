"""Several systems in one table: what is told apart, by which rule, in every format."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics import score
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.matching import Bounds, MatchedSystems
from audiogen_metrics.evaluation.verify import verify, verify_systems
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.uncertainty import Spread, interval, mean_interval
from audiogen_metrics.metrics.definition import ScoreInterval
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.ranking import Ranking, score_systems
from audiogen_metrics.ranking.running import labels
from audiogen_metrics.ranking.separating import letters, permutations_for, separate, too_few
from audiogen_metrics.ranking.tables import rule
from audiogen_metrics.results import ScoreReport
from tests.places import GENERATED, REFERENCE

REF, GEN = REFERENCE, GENERATED


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the generated set, a copy of it, and one with noise."""
    root = tmp_path_factory.mktemp("systems")
    shutil.copytree(GEN, root / "copy")
    corrupt_folder(GEN, root / "noisy", CopyOptions(probe="white-noise", severity=0.9))
    return [GEN, root / "copy", root / "noisy"]


@pytest.fixture(scope="module")
def found(folders: list[Path]) -> Ranking:
    return score_systems(folders, REF, protocol="yamnet", permutations=99)


def test_letters_are_shared_by_all_pairs_that_are_not_apart_and_by_no_others() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        names = [f"s{number}" for number in range(rng.integers(2, 8))]
        pairs = [*combinations(names, 2)]
        apart = [pair for pair in pairs if rng.random() < rng.choice([0.2, 0.5, 0.9])]
        shown = letters(names, apart)
        for pair in pairs:
            assert bool({*shown[pair[0]]} & {*shown[pair[1]]}) == (pair not in apart), (apart, shown)
        assert "a" in shown[names[0]]
    assert letters(["x", "y"], []) == {"x": "a", "y": "a"}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["x/1/out", "x/2/out", "base"], ["1/out", "2/out", "base"]),
        (["x/out", "out"], ["x/out", None]),
        (["a", "./a", "a/../a"], ["a", "a (2)", "a (3)"]),
        (["a (2)", "a", "a"], ["a (2)", "a", "a (3)"]),
    ],
)
def test_labels_tell_folders_apart(paths: list[str], expected: list[str | None]) -> None:
    named = labels(paths)
    assert len({*named}) == len(paths)
    for one, other in zip(named, expected, strict=True):
        assert other is None or one == other


def fake(p: float, low: float, sure: float = 0.0) -> Any:
    """Return a pair with a known p, whose interval at each level reaches from ``low``, wider for a higher level."""

    class Pair(MatchedSystems):
        equal, lengths = False, ""

        def values(self) -> tuple[float, float]:
            return 2.0, 1.0

        def permutation(self, permutations: int, _: int) -> tuple[float, int]:
            return p, permutations

        def bounds(self, level: float = 0.95) -> Bounds:
            return Bounds(0.3, low if level < 0.951 else sure or low, 3.0, 1.0, level)

    rivals: Any = SimpleNamespace(a=SimpleNamespace(gen=[0] * 40), paired=True)
    return Pair(get_protocol("yamnet").select(["fd"])[0], ("a", "b"), (rivals,), ())


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # 0.05 / 3, then 0.05 / 2, then 0.05.
        ([fake(0.01, 0.1), fake(0.02, 0.1), fake(0.04, 0.1)], ["b", "b", "b"]),
        ([fake(0.02, 0.1), fake(0.02, 0.1), fake(0.04, 0.1)], [None, None, None]),
        ([fake(0.01, 0.1), fake(0.03, 0.1), fake(0.04, 0.1)], ["b", None, None]),
        # p alone is not enough, nor is an interval of 95 % among three pairs.
        ([fake(0.001, -0.1), fake(0.001, 0.1), fake(0.9, -0.1)], [None, "b", None]),
        ([fake(0.001, 0.1, sure=-0.1), fake(0.9, -0.1), fake(0.9, -0.1)], [None, None, None]),
        ([fake(0.001, 0.1, sure=-0.1)], ["b"]),
    ],
)
def test_both_p_and_interval_are_corrected_by_holm(pairs: list[Any], expected: list[str | None]) -> None:
    found = separate(pairs, 199, 0)
    assert [each.better for each in found] == expected
    for each in found:
        assert each.p is not None
        assert each.level is not None
        assert each.p_adjusted is not None
        assert each.p_adjusted >= 0.999 * min(1.0, each.p * 0.05 / (1 - each.level))


def test_the_corrected_p_does_not_fall_from_step_to_step() -> None:
    found = separate([fake(0.016, 0.1), fake(0.017, 0.1), fake(0.03, 0.1)], 199, 0)
    assert [each.p_adjusted for each in found] == pytest.approx([0.048, 0.048, 0.048])  # not 0.034 and 0.03
    assert [each.better for each in found] == ["b", "b", "b"]
    assert found[1].verdict == "b better, p = 0.048 among 2 pairs"


def test_permutations_reach_the_corrected_level() -> None:
    for pairs in (1, 3, 10, 45):
        assert not too_few(permutations_for(pairs), pairs)
        assert too_few(20 * pairs - 1, pairs)
        assert not too_few(20 * pairs, pairs)
    assert not too_few(0, 3)


def test_intervals_at_a_level() -> None:
    wide, plain = (interval(1.0, Spread(0.5, 20), level=level) for level in (0.99, 0.95))
    assert (wide.high - 1) / (plain.high - 1) == pytest.approx(2.845340 / 2.085963, rel=1e-5)
    values = np.random.default_rng(0).exponential(size=60)
    high, low = (mean_interval(values, level=level) for level in (0.99, 0.95))
    assert high.low < low.low < low.high < high.high
    assert low == mean_interval(values)


def test_an_interval_of_another_level_gives_no_verdict() -> None:
    class Only95:
        def difference_interval(self, _: Rivals) -> ScoreInterval:
            return ScoreInterval(1.0, 0.5, 2.0)

    system = SimpleNamespace(metric=Only95())
    assert Rivals(system, system, True).interval.low == 0.5  # type: ignore[arg-type]
    with pytest.raises(InsufficientDataError, match="95% only, not at 99"):
        _ = Rivals(system, system, True).at(0.99).interval  # type: ignore[arg-type]


@pytest.mark.slow
def test_reports_are_those_of_score(found: Ranking, folders: list[Path]) -> None:
    assert [*found.reports] == ["generated", "copy", "noisy"]
    for folder, report in zip(folders, found.reports.values(), strict=True):
        alone = score(folder, REF, protocol="yamnet")
        assert alone.scores == report.scores
        assert alone.warnings == report.warnings


@pytest.mark.slow
def test_a_copy_shares_the_letter_and_noise_does_not(found: Ranking) -> None:
    for name in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        assert found.groups[name] == {"generated": "a", "copy": "a", "noisy": "b"}
        assert found.best(name) == ("generated", "copy")
    by = {(each.id, each.system_a, each.system_b): each for each in found.differences}
    assert len(by) == len(found.differences) == 12
    same = by["fd_yamnet", "generated", "copy"]
    assert (same.verdict, same.better, same.p_adjusted) == ("equal", None, 1.0)
    apart = by["fd_yamnet", "copy", "noisy"]
    assert apart.better == "copy"
    assert apart.verdict == "copy better, p = 0.03 among 3 pairs"
    assert apart.level == pytest.approx(1 - 0.05 / 3)
    two = compare(GEN, found.reports["noisy"].gen.path, REF, protocol="yamnet", metrics=["fd"], permutations=99)
    pair = by["fd_yamnet", "generated", "noisy"]
    assert (pair.p, pair.difference, pair.n) == (two.differences[0].p, two.differences[0].difference, 40)
    assert two.differences[0].ci95 is not None
    assert pair.interval is not None
    assert pair.interval[0] < two.differences[0].ci95[0]
    assert any("generated and copy are the same set" in warning for warning in found.warnings)


@pytest.mark.slow
def test_each_set_is_embedded_once_and_each_gaussian_fitted_once(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, fit = FolderSide.extract, EmbeddingSet.statistics
    embedded: list[str] = []
    fitted: list[int] = []

    def extracting(name: str, folder: Any, *rest: Any, **options: Any) -> FolderSide:
        embedded.append(folder.root.name)
        return extract(name, folder, *rest, **options)

    original = GaussianStatistics.from_blocks.__func__  # type: ignore[attr-defined]

    def fitting(cls: type[GaussianStatistics], blocks: Any) -> GaussianStatistics:
        rows = torch.cat([*blocks])
        fitted.append(hash(rows.cpu().numpy().tobytes()))
        result: GaussianStatistics = original(cls, [rows])
        return result

    monkeypatch.setattr(FolderSide, "extract", extracting)
    monkeypatch.setattr(GaussianStatistics, "from_blocks", classmethod(fitting))
    systems = [folders[0], folders[2], folders[0]]
    found = score_systems(systems, REF, protocol="yamnet", metrics=["fd"], draws=0, permutations=20, cache=False)
    assert sorted(embedded) == ["generated", "noisy", "reference"]
    assert [*found.reports] == ["generated", "noisy", "generated (2)"]
    assert len(fitted) == len({*fitted}) == 3
    assert fit is EmbeddingSet.statistics


@pytest.mark.slow
def test_json_is_one_object_and_verified(found: Ranking, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "several.json"
    text = found.to_json(file)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    content = json.loads(text, parse_constant=refuse)
    assert content["schema_version"] == 1
    assert content["systems"] == [*found.reports]
    assert len(content["reports"]) == 3
    assert len(content["differences"]) == 12
    assert {each["id"] for each in content["differences"]} == {*content["groups"]}
    assert main(["verify", str(file), "--cached"]) == 0
    assert capsys.readouterr().out.count("\nequal\n") == 3
    content["reports"][2]["scores"]["fd_yamnet"]["value"] += 1
    file.write_text(json.dumps(content))
    assert main(["verify", str(file), "--cached", "--format", "json"]) == 5
    verdict = json.loads(capsys.readouterr().out)
    assert [each["equal"] for each in verdict["systems"].values()] == [True, True, False]
    with pytest.raises(DataError, match=r"but several, of one system each.*audiogen_metrics\.verify_systems"):
        verify(file)
    with pytest.raises(UsageError, match="1 folders are given, and the file has 3 systems"):
        verify_systems(file, gen=["a"])
    single = tmp_path / "one.json"
    next(iter(found.reports.values())).to_json(single)
    with pytest.raises(DataError, match="holds no reports of several systems"):
        verify_systems(single)
    with pytest.raises(DataError, match="but several"):
        ScoreReport.load(file)


def test_csv_is_tidy(found: Ranking) -> None:
    rows = [*csv.DictReader(io.StringIO(found.to_csv()))]
    assert len(rows) == 12
    assert rows[0]["gen"] == str(GEN)
    assert (rows[0]["system"], rows[0]["group"], rows[0]["best"]) == ("generated", "a", "yes")
    assert {row["group"] for row in rows if row["system"] == "noisy" and row["score"] == "kl_yamnet"} == {"b"}
    pairs = [*csv.DictReader(io.StringIO(found.differences_to_csv()))]
    assert len(pairs) == 12
    assert float(pairs[1]["low"]) < float(pairs[1]["difference"]) < float(pairs[1]["high"])


def test_text_fits_a_terminal_and_says_the_rule(found: Ranking) -> None:
    lines = str(found).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert sum(line.startswith("system ") for line in lines) == 2  # two blocks of two scores
    for text in (str(found), found.to_markdown(), found.to_latex(), found._repr_html_()):
        joined = " ".join(text.split())
        assert "Systems that share a letter are not separable" in joined
        assert "3 pairs per score by Holm" in joined


def test_latex_and_markdown(found: Ranking) -> None:
    text = found.to_latex()
    assert r"\textbf{29.68}\textsuperscript{a}" in text
    assert r"60.86\textsuperscript{b}" in text
    assert r"system & $n$ & FD $\downarrow$" in text
    parts = text.split(r"\begin{tabular}")[1:]
    rows = [[line.count("&") for line in part.splitlines() if line.endswith(r"\\")] for part in parts]
    assert all(len(set(counts)) == 1 for counts in rows)
    chosen = found.to_latex(columns="fd_yamnet,group")
    assert r"system & FD $\downarrow$ \\" in chosen
    assert "Brackets" not in chosen
    with pytest.raises(UsageError, match="unknown column 'fd'"):
        found.to_latex(columns="fd")
    assert "Scores of $n$ clips of each system against 40 reference clips, protocol yamnet" in text
    table = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert len({line.count("|") for line in table}) == 1
    assert "**29.68** <sup>a</sup> [20.32, 39.04], p = 0.07" in table[2]


@pytest.mark.slow
def test_the_page_has_all_systems(found: Ranking, tmp_path: Path) -> None:
    page = found.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page
    assert page.count('id="filter"') == 1
    for label in found.reports:
        assert f"<h3>{label}</h3><h4>Worst 10" in page
    assert page.count('aria-label="fd_yamnet: values of 3 systems') == 1
    assert page.count("<b>copy better, p = 0.03 among 3 pairs</b>") == 3
    travelled = pickle.loads(pickle.dumps(found))
    assert travelled == found
    with pytest.raises(UsageError, match="the clips behind this result are not known here"):
        travelled.to_html()


@pytest.mark.slow
def test_without_intervals_there_are_neither_p_nor_groups(folders: list[Path]) -> None:
    found = score_systems(folders, REF, protocol="yamnet", ci=False)
    assert (found.differences, found.groups) == ((), {})
    for text in (str(found), found.to_markdown(), found.to_latex()):
        assert "letter" not in text
    assert "*" in str(found)


@pytest.mark.slow
def test_systems_of_unequal_size_and_a_score_without_a_value(folders: list[Path], tmp_path: Path) -> None:
    few = tmp_path / "few"
    for path in sorted(path for path in GEN.rglob("*") if path.is_file())[:12]:
        target = few / path.relative_to(GEN)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    found = score_systems([GEN, few, folders[2]], REF, protocol="yamnet", permutations=20, draws=0)
    assert found.best("fd_yamnet") == ()
    assert found.best("kl_yamnet") != ()
    text = " ".join(str(found).split())
    assert "fd_yamnet: the value depends on the number of clips" in text
    assert "20 permutations: p cannot be below 0.05 / 3" in text
    assert all(each.better is None for each in found.differences)
    assert any(
        "generated has 40 clips and few 12: compared on the 12 that both have" in each for each in found.warnings
    )
    assert {each.n for each in found.differences if "few" in (each.system_a, each.system_b)} == {12}


@pytest.mark.slow
def test_statistics_as_reference_are_taken_as_exact_and_it_is_said(folders: list[Path], tmp_path: Path) -> None:
    reference_statistics(REF, protocol="yamnet").save(tmp_path / "ref.stats")
    systems = [folders[0], folders[2]]
    found = score_systems(systems, tmp_path / "ref.stats", protocol="yamnet", metrics=["fd", "is"], permutations=20)
    fd, is_ = found.differences
    assert fd.better == found.best("fd_yamnet")[0] == "generated"
    assert "fd_yamnet: reference taken as exact" in " ".join(str(found).split())
    assert is_.interval is not None
    precision = score_systems(systems, REF, protocol="yamnet", metrics=["precision"], permutations=20)
    assert precision.differences[0].verdict.startswith("none: no interval of precision that holds is known")
    assert precision.groups["precision_yamnet"] == {}


@pytest.mark.slow
def test_no_reference_and_too_few_systems(folders: list[Path]) -> None:
    found = score_systems({"ours": folders[0], "theirs": folders[2]}, protocol="yamnet", permutations=20)
    assert [each.id for each in found.differences] == ["is_yamnet"]
    assert found.differences[0].system_a == "ours"
    assert "ref: none" in str(found)
    for given in ([], [GEN], str(GEN), iter([GEN])):
        with pytest.raises(UsageError, match="two systems or more"):
            score_systems(given, REF, protocol="yamnet")


@pytest.mark.slow
def test_the_command_writes_everything(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, differences = tmp_path / "page.html", tmp_path / "pairs.csv"
    command = ["score", *map(str, folders), "--ref", str(REF), "--protocol", "yamnet", "-m", "fd", "--draws", "0"]
    command += ["--permutations", "60"]
    assert main([*command, "--html", str(page), "--differences", str(differences)]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("ref: scored") == 1
    assert "group" in shown.out
    assert "Which systems differ" in page.read_text()
    assert len(differences.read_text().splitlines()) == 4
    assert main([*command, "--fail-if", "fd_yamnet>50"]) == 5
    assert "noisy: fd_yamnet = 60.8" in capsys.readouterr().err
    assert main([*command, "--format", "csv"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("gen,score,value")
    assert shown.err.count("warning: ref: mixed durations") == 1  # said once, not once a system
    assert not math.isnan(float(shown.out.splitlines()[1].split(",")[2]))


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a system of a single clip, which nothing can be said about."""
    clip = next(path for path in sorted(GEN.rglob("*")) if path.is_file())
    target = tmp_path_factory.mktemp("lone") / "we ird|<b>_&%name" / clip.relative_to(GEN)
    target.parent.mkdir(parents=True)
    shutil.copy(clip, target)
    return next(parent for parent in target.parents if parent.name.startswith("we"))


@pytest.mark.slow
def test_no_verdict_is_not_shown_as_not_separable(folders: list[Path], lone: Path) -> None:
    systems = {"ours": folders[0], "noisy": folders[2], lone.name: lone}
    found = score_systems(iter({**systems}.values()), REF, protocol="yamnet", metrics=["fad"], permutations=60, draws=0)
    assert {*found.groups["fad_yamnet"]} == {"generated", "noisy"}
    assert " A system without a letter could not be compared." in rule(found)
    assert found.to_csv().splitlines()[-1].endswith(",")
    assert "at most 60 exchanges of clips" in rule(found)
    made = {each.permutations for each in found.differences}
    assert max(made) <= 60


@pytest.mark.slow
def test_names_do_nothing_to_markdown_and_latex(folders: list[Path], lone: Path) -> None:
    found = score_systems([folders[0], lone], REF, protocol="yamnet", metrics=["fad"], permutations=20, draws=0)
    text = found.to_markdown()
    assert "<b>" not in text
    assert r"| we ird\|&lt;b&gt;\_&amp;%name |" in text
    assert "_yamnet" in text  # an underscore within a word is none of Markdown's
    tabular = found.to_latex().partition(r"\begin{tabular}")[2].partition(r"\end{tabular}")[0]
    assert r"we ird\textbar{}\textless{}b\textgreater{}\_\&\%name" in tabular
    report = found.reports[lone.name]
    assert "<b>" not in report.to_markdown()
    assert r"\textbar{}\textless{}b\textgreater{}" in report.to_latex()


def test_pairs_without_a_verdict_that_share_a_letter_are_named(found: Ranking) -> None:
    pair = next(each for each in found.differences if each.id == "fd_yamnet" and each.system_b == "copy")
    others = tuple(each for each in found.differences if each is not pair)
    unknown = replace(found, differences=(replace(pair, p_adjusted=None, verdict="none: of a reason"), *others))
    sentence = "In fd_yamnet there is no verdict on generated and copy: that they share a letter says nothing."
    for text in (str(unknown), unknown.to_latex(), unknown.to_markdown(), unknown._repr_html_()):
        assert sentence.replace("_", "") in " ".join(text.split()).replace("\\_", "").replace("_", "")
    assert "no verdict on" not in rule(found)


@pytest.mark.slow
def test_where_nothing_was_tested_no_test_is_named(folders: list[Path]) -> None:
    same = score_systems([GEN, folders[1]], REF, protocol="yamnet", metrics=["fd"], draws=0, permutations=20)
    assert {each.verdict for each in same.differences} == {"equal"}
    assert "(" not in rule(same)
    widths = score_systems([GEN, folders[2]], REF, protocol="yamnet", metrics=["fd"], draws=0, permutations=0)
    assert "(from the width of the interval)" in rule(widths)


def test_what_cannot_be_scored_is_said_before_anything_is(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("embedded")

    monkeypatch.setattr(FolderSide, "extract", refuse)
    two: Any = [folders[0], folders[2]]
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (two, {"ci": False, "permutations": 5}, "permutations: they tell systems apart"),
        (two, {"protocl": "yamnet"}, "unknown option 'protocl'. Did you mean 'protocol'"),
        ({*two}, {}, "systems: a set has no order"),
        ({1: two[0], 2: two[1]}, {}, "systems: 1 is not a label"),
        ({" ": two[0], "b": two[1]}, {}, "systems: ' ' is not a label"),
        ({"a": two[0], "a ": two[1]}, {}, "print as one label"),
        ({"a\n": two[0], r"a\n": two[1]}, {}, "print as one label"),
        ({"a": two[0], "b": ""}, {}, "a path is empty"),
    ]
    for systems, options, message in cases:
        with pytest.raises(UsageError) as caught:
            score_systems(systems, REF, **{"protocol": "yamnet", **options})
        assert message in str(caught.value)
    with pytest.raises(DataError, match="gone: folder does not exist"):
        score_systems([*two, Path("gone")], REF, protocol="yamnet")


def test_each_set_is_opened_once(
    small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder is listed once, and a set that can be read only once may be the reference of several systems."""
    gen, ref = small
    scandir = os.scandir
    listed: Counter[str] = Counter()

    def counting(path: Any) -> Any:
        listed[str(path)] += 1
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    systems = [gen, shutil.copytree(ref, ref.with_name("other"))]
    clips = [(path.name, path.read_bytes()) for path in sorted(ref.rglob("*.*"))]
    options: dict[str, Any] = {"protocol": "yamnet", "metrics": ["fd"], "ci": False}
    listed.clear()
    once = score_systems(systems, iter(clips), **options)
    assert [listed[str(each)] for each in systems] == [1, 1]
    flags = ["--protocol", "yamnet", "-m", "fd", "--no-ci", "--format", "json"]
    assert main(["score", *map(str, systems), "--ref", str(ref), *flags]) == 0
    assert [listed[str(each)] for each in systems] == [2, 2]
    reports = json.loads(capsys.readouterr().out)["reports"]
    values = [report["scores"]["fd_yamnet"]["value"] for report in reports]
    assert values == pytest.approx([report["fd_yamnet"].value for report in once.reports.values()], abs=1e-9)


def test_reprs_are_short(found: Ranking) -> None:
    assert repr(found) == (
        "Ranking(systems=['generated', 'copy', 'noisy'], scores=['fd_yamnet', 'fad_yamnet', 'is_yamnet', 'kl_yamnet'])"
    )
    assert len(repr(found._evaluations[0])) < 300
    assert "fd_yamnet" in repr(found._evaluations[0])
    assert "<table>" in found._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["to_csv", "to_json", "to_markdown", "to_latex", "to_html", "differences_to_csv"])
def test_what_cannot_be_written_says_where(found: Ranking, name: str, tmp_path: Path) -> None:
    for result in (found, found.reports["copy"]):
        if hasattr(result, name):
            with pytest.raises(UsageError, match=r"cannot be written \(Is a directory\)\. Name a file") as caught:
                getattr(result, name)(tmp_path)
            assert caught.value.where == tmp_path
