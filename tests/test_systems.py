"""Intervals in reports, and two systems against one reference with a known answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from audiogen_metrics import KAD, KID, score
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder
from audiogen_metrics.systems import compare

REF = Path("examples/reference")
GEN = Path("examples/generated")


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
    assert report["fd_yamnet"].details["noise_floor"] > 0
    assert report["fd_yamnet"].details["noise_floor_n"] == 20
    # The same again, to the bit.
    assert score(GEN, REF, protocol="yamnet").scores == report.scores
    assert score(GEN, REF, protocol="yamnet", ci=False)["fd_yamnet"].ci95 is None
    for form, shown in (
        ("table", "ref against itself at n = 20"),
        ("csv", "ci95_low"),
        ("markdown", "["),
        ("json", '"ci95": ['),
    ):
        assert main(["score", str(GEN), str(REF), "--protocol", "yamnet", "--format", form]) == 0
        assert shown in capsys.readouterr().out


def test_statistics_of_a_reference_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "ref.stats"
    reference_statistics(REF, protocol="yamnet").save(file)
    whole, fixed = (score(GEN, ref, protocol="yamnet")["fd_yamnet"] for ref in (REF, file))
    assert 0 < fixed.details["standard_error"] < whole.details["standard_error"]
    assert "noise_floor" not in fixed.details
    with pytest.raises(UsageError, match="kid needs the reference's clips"):
        reference_statistics(REF, protocol="yamnet", metrics=["kid"])


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
    for difference in found.differences:
        assert "not separable at this n" in difference.verdict, difference
        assert not difference.paired
        assert difference.ci95[0] < 0 < difference.ci95[1]


def test_a_system_against_itself_is_equal(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", str(GEN), str(GEN), str(REF), "--protocol", "yamnet", "--permutations", "9"]
    assert main(command) == 0
    assert capsys.readouterr().out.count("equal") == 4
    assert main([*command, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {entry["p"] for entry in content["differences"]} == {1.0}
    assert main([*command, "--format", "markdown"]) == 0
    assert "| fd_yamnet |" in capsys.readouterr().out
    assert main([*command, "-m", "kid"]) == 2


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
    import torch

    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    metric = KID(protocol="yamnet", ref=rows, streaming=True)
    for batch in rows.split(40):
        metric.update(gen_embeddings=batch)
    with pytest.raises(InsufficientDataError, match="must not stream"):
        metric.compute()
