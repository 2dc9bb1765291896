"""PQ, PC, CE and CU: a mean over clips, its interval and its tests against scipy, and where clips are listed by it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from audiogen_metrics import FD, MetricSuite, score
from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.one_score import scored
from audiogen_metrics.metrics import METRICS, PQ
from audiogen_metrics.metrics.aesthetics import ContentUsefulness, ProductionComplexity, ProductionQuality
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.report.html import write_page
from audiogen_metrics.testing import check_metric
from tests.checkpoints import write_audiobox
from tests.conftest import write_tone


def ratings(n: int, seed: int = 0) -> torch.Tensor:
    return 5 + torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clips(rows: torch.Tensor, names: Sequence[str] | None = None) -> EmbeddingSet:
    names = [f"clip{place:03d}" for place in range(len(rows))] if names is None else names
    return EmbeddingSet({name: {"ratings": row} for name, row in zip(names, rows, strict=True)})


def test_each_metric_is_the_mean_of_its_axis() -> None:
    rows = ratings(7)
    for place, axis in enumerate(AESTHETICS):
        found = METRICS.get(axis.lower())().compute(clips(rows), None)  # type: ignore[arg-type]
        assert found.value == pytest.approx(float(rows[:, place].mean()), rel=1e-12)
        assert found.std == pytest.approx(float(np.std(rows[:, place].numpy(), ddof=1)), rel=1e-12)
        assert found.by_clip == {f"clip{at:03d}": float(rows[at, place]) for at in range(7)}
    with pytest.raises(DataError, match="Rows are CE, CU, PC, PQ"):
        ProductionQuality().compute(clips(rows[:, :3]), None)  # type: ignore[arg-type]


def test_the_interval_is_students() -> None:
    rows = ratings(9)
    column = rows[:, AESTHETICS.index("CU")].numpy()
    interval = Measured(ContentUsefulness(), clips(rows), None).interval
    expected = stats.t.interval(0.95, 8, column.mean(), column.std(ddof=1) / 3)
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-9)
    assert interval.standard_error == pytest.approx(column.std(ddof=1) / 3, rel=1e-9)


def test_leaving_out_is_the_mean_of_the_rest() -> None:
    rows = ratings(6)
    found = ProductionQuality().leave_one_out(clips(rows), None, "gen")  # type: ignore[arg-type]
    column = rows[:, 3]
    for place in range(6):
        rest = torch.cat([column[:place], column[place + 1 :]])
        assert float(found[place]) == pytest.approx(float(rest.mean()), rel=1e-12)


def test_copies_count_as_one_clip_in_the_interval() -> None:
    rows = ratings(8)
    twice = torch.cat([rows, rows])
    names = [f"{half}{place}" for half in "ab" for place in range(8)]
    contents = {"gen": ({name: f"content{name[1:]}" for name in names},)}
    single = Measured(ProductionQuality(), clips(rows), None).interval
    links = Links(False, None, contents)  # type: ignore[arg-type]
    double = Measured(ProductionQuality(), clips(twice, names), None, links=links).interval
    assert double.standard_error == pytest.approx(single.standard_error, rel=1e-9)


def test_one_clip_has_a_value_and_no_interval() -> None:
    recipe = get_protocol("audiobox-aesthetics").recipes["pq"]
    found = scored(recipe, Measured(ProductionQuality(), clips(ratings(1)), None), ci=True)
    assert found.value is not None
    assert (found.std, found.ci95) == (None, None)
    assert "no interval" in found.remarks[0]


def rivals(a: torch.Tensor, b: torch.Tensor, paired: bool) -> Rivals:
    sets = [Measured(ProductionQuality(), clips(rows), None) for rows in (a, b)]
    return Rivals(*sets, paired)


def test_paired_systems_differ_as_in_a_paired_t_test() -> None:
    first = ratings(12)
    second = first + 0.1 * ratings(12, seed=1) - 0.3
    found = rivals(first, second, paired=True)
    expected = stats.ttest_rel(first[:, 3], second[:, 3])
    interval = expected.confidence_interval()
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    own, other = np.arange(12), np.arange(12, 24)
    statistic = ProductionQuality().contest(found)
    assert statistic(own, other) == pytest.approx(expected.statistic, rel=1e-9)


def test_unpaired_systems_are_studentised_as_welch_does() -> None:
    first, second = ratings(12), 2 * ratings(12, seed=1)
    found = rivals(first, second, paired=False)
    expected = stats.ttest_ind(first[:, 3], second[:, 3], equal_var=False)
    assert ProductionQuality().contest(found)(np.arange(12), np.arange(12, 24)) == pytest.approx(
        expected.statistic, rel=1e-9
    )
    assert found.interval.standard_error == pytest.approx(
        math.hypot(float(first[:, 3].std()), float(second[:, 3].std())) / math.sqrt(12), rel=1e-9
    )


def test_complexity_is_no_quality() -> None:
    report = scored(
        get_protocol("audiobox-aesthetics").recipes["pc"], Measured(ProductionComplexity(), clips(ratings(3)), None)
    )
    assert "not better by itself" in ProductionComplexity().explain(report)


# Through every protocol -----------------------------------------------------------------------------------------------


def test_other_protocols_take_the_recipe_of_its_home() -> None:
    home = get_protocol("audiobox-aesthetics")
    for protocol in PROTOCOLS.values():
        (recipe,) = protocol.select(["pq"])
        assert recipe == home.recipes["pq"]
    assert [recipe.metric for recipe in get_protocol("audioldm").select("fd,pq")] == ["fd", "pq"]
    assert "pq" not in [recipe.metric for recipe in get_protocol("audioldm").select(None)]
    with pytest.raises(UsageError, match="unknown metric 'kl'"):
        home.select(["kl"])


def test_missing_weights_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_tone(tmp_path / "gen" / "a.wav")
    for options in (["-m", "pq"], ["--protocol", "audiobox-aesthetics"]):
        assert main(["score", str(tmp_path / "gen"), *options]) == MissingWeightsError.exit_code == 4
        assert "agm weights fetch audiobox-aesthetics audiobox-aesthetics-config" in capsys.readouterr().err


# Objects and pages ----------------------------------------------------------------------------------------------------


def test_the_object() -> None:
    metric = PQ()
    rows = ratings(10)
    metric.update(gen_ratings=rows[:4], ids=[f"{place}" for place in range(4)])
    metric.update(gen_ratings=rows[4:], ids=[f"{place}" for place in range(4, 10)])
    assert float(metric.compute()) == pytest.approx(float(rows[:, 3].mean()), rel=1e-12)
    check_metric(PQ())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"audiobox-aesthetics": write_audiobox(tmp_path_factory.mktemp("audiobox"))}


@pytest.mark.slow
def test_the_page_lists_the_worst_clips_first(weights: dict[str, Path], tmp_path: Path) -> None:
    for number in range(6):
        write_tone(tmp_path / "gen" / f"{number}.wav", 0.3)
    seen: list[Evaluation] = []
    report = score(tmp_path / "gen", protocol="audiobox-aesthetics", weights=weights, observe=seen.append)
    write_page(report, seen[0], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Worst 3 by production quality" in page
    assert "Best 3 by production quality" in page
    assert "over clips" in page
    assert "over splits" not in page
    rating = seen[0].rating
    assert rating is not None
    ranked = sorted(rating[1], key=lambda clip: rating[1][clip])
    shown = [part.split(". ")[1].split("<")[0] for part in page.split("<h4>")[1:]]
    assert shown == ranked[:3] + ranked[::-1][:3]


@pytest.mark.slow
def test_systems_are_compared_clip_by_clip(weights: dict[str, Path], tmp_path: Path) -> None:
    for folder in "ab":
        for number in range(6):
            write_tone(tmp_path / folder / f"{number}.wav", 0.2 + 0.1 * (folder == "b"))
    found = compare(
        tmp_path / "a", tmp_path / "b", tmp_path / "a", protocol="audiobox-aesthetics", weights=weights, permutations=19
    )
    assert [difference.id for difference in found.differences] == [
        f"{axis}_audiobox" for axis in ("pq", "pc", "ce", "cu")
    ]
    assert all(difference.p is not None and difference.ci95 is not None for difference in found.differences)
    alone = compare(tmp_path / "a", tmp_path / "b", protocol="audiobox-aesthetics", weights=weights, permutations=19)
    assert alone.ref is None
    assert alone.differences == found.differences


@pytest.fixture
def rated(tmp_path: Path) -> list[str]:
    """Two systems of tones that differ from clip to clip."""
    for folder in "ab":
        for number in range(6):
            write_tone(tmp_path / f"{folder}{number}.wav", 0.3)
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / f"{folder}{number}.wav").rename(tmp_path / folder / f"{number}.wav")
    return [str(tmp_path / "a"), str(tmp_path / "b")]


@pytest.mark.slow
def test_systems_are_compared_without_a_reference(
    weights: dict[str, Path], rated: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompts are ranked by who is ahead, whose rating is higher: not as a divergence would be."""
    page = tmp_path / "page.html"
    command = ["compare", *rated, "--weights", f"audiobox-aesthetics={weights['audiobox-aesthetics']}"]
    command += ["--permutations", "0"]
    assert main([*command, "--protocol", "audiobox-aesthetics", "-m", "pq", "--html", str(page)]) == 0
    shown = capsys.readouterr()
    assert "pq_audiobox" in shown.out
    assert "ref  none: only what looks at the generated sets alone is compared" in shown.out
    assert "no reference: what looks at generated audio alone is computed" in shown.err
    assert main([*command, "-m", "pq", "--format", "json"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    assert (content["ref"], content["differences"][0]["paired"]) == (None, True)
    assert "fd_panns, fad_vggish, kl_panns would need one" in shown.err
    ahead, behind = page.read_text().split("<h3>")[1:]
    assert ahead.startswith("A is ahead by PQ</h3>")
    assert behind.startswith("B is ahead by PQ</h3>")
    options = {"protocol": "audiobox-aesthetics", "metrics": "pq", "weights": weights, "cache": False}
    rows: list[dict[str, float]] = []
    for folder in rated:
        score(folder, observe=lambda found: rows.append(dict(found.rating[1])), **options)  # type: ignore[arg-type,index]
    order = sorted(rows[0], key=lambda clip: rows[1][clip] - rows[0][clip])
    shown_in = [[part.split(". ")[1].split("<")[0] for part in text.split("<h4>")[1:]] for text in (ahead, behind)]
    assert shown_in == [order[:3], order[::-1][:3]]
    assert page.read_text().count("<audio") == 2 * 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-m", "fd,pq"], "fd_yamnet: no reference is given"),
        (["--protocol", "google-fad"], "all scores of google-fad need a reference"),
        (["-m", "pq", "--pairs", "{ref}_{sample}"], "--pairs: clips have no partners without a reference"),
    ],
)
def test_what_needs_a_reference_says_so_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()  # would be an error of another kind
    sets = [str(tmp_path / "empty")] * 2
    assert main(["compare", *sets, "--protocol", "yamnet", *options]) == UsageError.exit_code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_folders_of_scores_that_need_no_reference(
    weights: dict[str, Path], rated: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--weights", f"audiobox-aesthetics={weights['audiobox-aesthetics']}", "-m", "pq", "--permutations", "0"]
    assert main(["score", *rated, rated[0], *common, "--format", "json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["systems"] == ["a", "b", "a (2)"]
    assert "no reference" in shown.err
    assert main(["score", *rated, rated[0], "-m", "all", "--protocol", "yamnet"]) == UsageError.exit_code
    assert f"--ref {rated[0]}" in capsys.readouterr().err
    assert main(["score", *rated, *common[:-2], "--format", "json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["inputs"]["ref"]["path"] == rated[1]
    assert "is taken as the reference, which no score here looks at" in shown.err


@pytest.mark.slow
def test_beside_another_metric_in_one_run(weights: dict[str, Path], small: tuple[Path, Path]) -> None:
    report = score(*small, protocol="yamnet", metrics="fd,pq", weights=weights)
    suite = MetricSuite([FD(protocol="yamnet"), PQ(protocol="yamnet", weights=weights)]).score(*small)
    assert {name: found.value for name, found in suite.scores.items()} == {
        name: found.value for name, found in report.scores.items()
    }
    assert [*report.scores] == ["fd_yamnet", "pq_audiobox"]
    assert (report["fd_yamnet"].n_ref, report["pq_audiobox"].n_ref) == (12, None)
    assert json.loads(report.to_json())["backbones"]["audiobox-aesthetics"]["config_sha256"]


def test_too_few_clips() -> None:
    with pytest.raises(InsufficientDataError, match="no clip is left"):
        ProductionQuality().compute(clips(ratings(0)), None)  # type: ignore[arg-type]
