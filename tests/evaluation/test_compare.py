"""Intervals in reports, and two systems against one reference with a known answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from audiogen_metrics import FD, KAD, KID, score
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.reference import ReferenceStatistics
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.report.html import score_html
from tests.places import GENERATED, REFERENCE

REF, GEN = REFERENCE, GENERATED
EXTRACTIONS = 1e-6  # two extractions of one folder, each by its own batches and threads, agree to this


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("noisy") / "set"
    corrupt_folder(GEN, target, CopyOptions(probe="white-noise", severity=0.9))
    return target


def test_intervals_stand_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    report = score(GEN, REF, protocol="yamnet")
    for found in report.scores.values():
        assert found.ci95 is not None
        assert found.value is not None
        assert found.ci95[0] < found.value < found.ci95[1]
        assert found.details["standard_error"] > 0
    assert 20 < report["fd_yamnet"].details["chance_expected"] < 40
    assert 0.03 <= report["fd_yamnet"].details["chance_p"] <= 0.1
    assert 0.03 <= report["fad_yamnet"].details["chance_p"] <= 0.2
    # The same again, to the bit.
    assert score(GEN, REF, protocol="yamnet").scores == report.scores
    assert score(GEN, REF, protocol="yamnet", ci=False)["fd_yamnet"].ci95 is None
    for form, shown in (
        ("table", "by chance alone"),
        ("csv", "ci95_low"),
        ("markdown", "["),
        ("json", '"ci95": ['),
    ):
        assert main(["score", str(GEN), str(REF), "--protocol", "yamnet", "--format", form]) == 0
        assert shown in capsys.readouterr().out


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("statistics") / "ref.stats"
    reference_statistics(REF, protocol="yamnet").save(file)
    return file


def test_an_interval_says_what_it_makes_of_the_reference(statistics: Path) -> None:
    """The interval of gen's sampling alone is another quantity than that of both sets'; KL has the pairs either way."""
    whole, fixed = (score(GEN, ref, protocol="yamnet") for ref in (REF, statistics))
    for name in ("fd_yamnet", "fad_yamnet"):
        assert (whole[name].ci95_ref, fixed[name].ci95_ref) == ("sampled", "exact")
        assert 0 < fixed[name].details["standard_error"] < whole[name].details["standard_error"]
        assert "chance_p" not in fixed[name].details
        assert "no p: " in fixed[name].remarks[-1]
        assert not any("only statistics" in remark for remark in whole[name].remarks)
    for name, expected in (("is_yamnet", None), ("kl_yamnet", "sampled")):
        assert whole[name].ci95_ref == fixed[name].ci95_ref == expected
        assert fixed[name].ci95 == pytest.approx(whole[name].ci95, rel=EXTRACTIONS)
    plain = score(GEN, statistics, protocol="yamnet", ci=False)["fd_yamnet"]
    assert (plain.ci95, plain.ci95_ref, plain.remarks) == (None, None, ())
    with pytest.raises(UsageError, match="kid needs the reference's clips"):
        reference_statistics(REF, protocol="yamnet", metrics=["kid"])


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("table", "reference taken as exact for fd_yamnet, fad_yamnet: its own sampling is not in them."),
        ("table", "windows; reference taken as exact; no p: "),
        ("markdown", "reference taken as exact for fd_yamnet, fad_yamnet"),
        ("latex", "]$^*$ & 40 & 40"),
        ("latex", "$^*$: reference taken as exact."),
        ("csv", ',exact,"no p: only statistics of the embeddings'),
        ("json", '"ci95_ref": "exact"'),
    ],
)
def test_every_format_says_it_beside_the_interval(
    statistics: Path, capsys: pytest.CaptureFixture[str], form: str, shown: str
) -> None:
    for ref, there in ((statistics, True), (REF, False)):
        assert main(["score", str(GEN), str(ref), "--protocol", "yamnet", "--format", form]) == 0
        assert (shown in " ".join(capsys.readouterr().out.split())) == there


def test_pages_say_it_beside_the_interval(statistics: Path, tmp_path: Path) -> None:
    report = score_html(GEN, statistics, tmp_path / "page.html", protocol="yamnet", metrics=["fd"])
    page = (tmp_path / "page.html").read_text()
    assert " (reference taken as exact)</td>" in page
    assert "No p: only statistics of the embeddings are known" in page
    assert "reference taken as exact" in report._repr_html_()


def test_why_there_is_no_interval_or_p(tmp_path: Path) -> None:
    files = sorted(path for path in REF.rglob("*") if path.is_file())
    gen, few = tmp_path / "gen", tmp_path / "few"
    for folder, count in ((gen, 12), (few, 3)):
        folder.mkdir()
        for index, path in enumerate(files[:count]):
            shutil.copy(path, folder / f"{index}{path.suffix}")
    report = score(gen, few, protocol="yamnet", pairing="none")
    assert report["fd_yamnet"].ci95 is not None
    assert "a split of one clip scores 1" in report["is_yamnet"].remarks[0]
    assert score(gen, few, protocol="yamnet", metrics=["kid"])["kid_yamnet"].ci95 is not None
    found = score(few, few, protocol="yamnet", metrics=["fd"])
    assert found["fd_yamnet"].remarks == ("no p: there are fewer than six pairs, or too few clips to deal out",)
    found = score(gen, gen, protocol="yamnet", metrics=["precision", "density"])
    assert found["precision_yamnet"].remarks == ("no interval: no interval of precision that holds is known",)
    assert found["density_yamnet"].remarks == ("no interval: 12 clips are too few to leave out groups of them",)
    assert "leave out groups" in " ".join(str(found).split())


def test_a_comparison_against_statistics_takes_them_as_exact(statistics: Path, noisy: Path) -> None:
    """The same scores as against the folder, an interval without the reference's own sampling, and a word on it."""
    whole, fixed = (
        compare(GEN, noisy, ref, protocol="yamnet", metrics=["fd", "fad", "kl"], permutations=59)
        for ref in (REF, statistics)
    )
    for one, other in zip(whole.differences, fixed.differences, strict=True):
        assert (one.a, one.b) == pytest.approx((other.a, other.b), rel=EXTRACTIONS)
        assert (one.verdict[:8], other.verdict[:8]) == ("A better", "A better")
        assert one.standard_error is not None
        assert other.standard_error is not None
        if one.id == "kl_yamnet":  # its pairs are in the file
            assert other.ci95 == pytest.approx(one.ci95, rel=EXTRACTIONS)
        else:
            assert 0 < other.standard_error < one.standard_error
    said = [warning for warning in fixed.warnings if "reference taken as exact" in warning]
    assert [warning.partition(":")[0] for warning in said] == ["fd_yamnet", "fad_yamnet"]
    assert not any("reference taken as exact" in warning for warning in whole.warnings)
    with pytest.raises(InsufficientDataError, match="kid_yamnet needs the reference's clips"):
        compare(GEN, noisy, statistics, protocol="yamnet", metrics=["kid"])


def test_an_interval_against_statistics_says_so(statistics: Path) -> None:
    gaussian = ReferenceStatistics.load(statistics).features["fd_yamnet"].gaussian
    for ref in (gaussian, statistics):
        found = FD(protocol="yamnet", ref=ref).score(GEN)
        assert found.ci95 is not None
        assert found.ci95_ref == "exact"
        assert FD(protocol="yamnet", ref=ref).score(GEN, ci=False).ci95 is None


def test_a_set_against_itself_with_noise(noisy: Path) -> None:
    found = compare(GEN, noisy, REF, protocol="yamnet", permutations=99)
    by_id = {difference.id: difference for difference in found.differences}
    for name in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        assert by_id[name].verdict.startswith("A better, p = 0.0"), by_id[name]
        assert by_id[name].paired
    other = compare(noisy, GEN, REF, protocol="yamnet", metrics=["fd"], permutations=99).differences[0]
    assert other.verdict.startswith("B better")
    assert other.difference == pytest.approx(-by_id["fd_yamnet"].difference)


def test_two_halves_of_one_set_are_not_separable(tmp_path: Path) -> None:
    files = sorted(path for path in GEN.rglob("*") if path.is_file())
    for index, path in enumerate(files):
        target = tmp_path / "ab"[index % 2] / path.relative_to(GEN)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    found = compare(tmp_path / "a", tmp_path / "b", REF, protocol="yamnet", metrics=["fd", "fad", "kl"])
    fd, fad, kl = found.differences
    for difference in (fd, kl):
        assert "not separable at this n, which would find a difference of " in difference.verdict, difference
        assert not difference.paired
        assert difference.ci95[0] < 0 < difference.ci95[1]
    assert "not separable at this n" in fad.verdict


def test_a_system_against_itself_is_equal(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", str(GEN), str(GEN), str(REF), "--protocol", "yamnet", "--permutations", "9"]
    assert main(command) == 0
    assert capsys.readouterr().out.count("equal") == 4
    assert main([*command, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {entry["p"] for entry in content["differences"]} == {1.0}
    assert main([*command, "--format", "markdown"]) == 0
    assert "| fd_yamnet |" in capsys.readouterr().out
    assert main([*command, "-m", "kid"]) == 0
    assert "equal" in capsys.readouterr().out
    assert main([*command, "-m", "kid", "--permutations", "0"]) == 0
    assert "equal" in capsys.readouterr().out


def test_metrics_on_request(noisy: Path) -> None:
    names = ["kid", "kad", "precision", "recall", "density", "coverage"]
    clean, worse = (score(gen, REF, protocol="yamnet", metrics=names) for gen in (GEN, noisy))
    for found in clean.scores.values():
        better = clean[found.id].value, worse[found.id].value
        assert None not in better
        assert (better[0] > better[1]) == found.higher_is_better, found.id  # type: ignore[operator]
    assert not set(score(GEN, REF, protocol="yamnet").scores) & set(clean.scores)


def test_kernel_metrics_as_objects() -> None:
    for kind in (KID, KAD):
        metric = kind(protocol="yamnet", ref=str(REF))
        found = metric.score(str(GEN), str(REF))
        assert found.value == pytest.approx(
            score(GEN, REF, protocol="yamnet", metrics=[kind.metric_name])[metric.score_id].value, rel=1e-9
        )


def test_kernel_metrics_cannot_stream() -> None:
    for kind in (KID, KAD):
        with pytest.raises(UsageError, match="needs all rows"):
            kind(protocol="yamnet", streaming=True)
