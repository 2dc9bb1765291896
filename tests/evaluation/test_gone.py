"""Scores that were added to a protocol: null with their reason where their network is missing, an error by name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from audiogen_metrics import FD, MetricSuite, score
from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.reference import ReferenceStatistics
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.networks import added, find_networks
from audiogen_metrics.evaluation.protocol_sweep import compare_protocols
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.metrics import PQ, catalogue
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols import PROTOCOLS, Protocol, get_protocol
from audiogen_metrics.report.html import score_html
from audiogen_metrics.schema import score_report_schema
from audiogen_metrics.studies import sanity
from tests.checkpoints import write_audiobox, write_tokenizer
from tests.conftest import write_tone

FUSION = "clap-laion-630k-fusion"
"""A network whose file has no published digest: any file under its name will do until it is loaded."""

FILE = "630k-audioset-fusion-best.pt"


@pytest.fixture(autouse=True)
def _extended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have three protocols that have grown: all scores added, one beside others, and two."""
    own = [*PROTOCOLS["yamnet"].recipes.values()][2:]
    clap = Recipe("kid_clap", catalogue()["kid"](), FUSION, Preprocessing(48_000, "mean"), added=True)
    home = PROTOCOLS["audiobox-aesthetics"].recipes["pq"]
    rating = Recipe(home.score_id, home.definition, home.backbone, home.preprocessing, added=True)
    grown = {"grown": [own[0], rating, own[1]], "twice": [clap, own[0], own[1], rating], "new": [rating, clap]}
    made = {
        name: Protocol(name, "a test", "nobody", {recipe.metric: recipe for recipe in recipes})
        for name, recipes in grown.items()
    }
    for module in (
        "audiogen_metrics.protocols",
        "audiogen_metrics.evaluation.protocol_sweep",
        "audiogen_metrics.cli.listing",
    ):
        monkeypatch.setattr(f"{module}.PROTOCOLS", {**PROTOCOLS, **made})


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve generated clips and their references."""
    root = tmp_path_factory.mktemp("sets")
    for number in range(12):
        for name in ("gen", "ref"):
            write_tone(root / f"{name}{number}.wav", 1.0)
            (root / name).mkdir(exist_ok=True)
            (root / f"{name}{number}.wav").rename(root / name / f"{number}.wav")
    return [str(root / "gen"), str(root / "ref")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | Path]:
    return {"audiobox-aesthetics": write_audiobox(tmp_path_factory.mktemp("audiobox"))}


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `FILE` would be, of CLAP, which no test loads."""
    monkeypatch.setenv("AGM_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights" / FILE


def embedded() -> list[Path]:
    """Return what is in the cache of embeddings."""
    from audiogen_metrics.settings import cache_dir

    return [path for path in cache_dir().rglob("*.safetensors") if "converted" not in path.parts]


def test_a_score_says_why_it_is_null(sets: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["score", *sets, "--protocol", "grown", "--no-ci"]
    assert main([*command, "--format", "json"]) == 0
    shown = capsys.readouterr()
    content = json.loads(shown.out)
    jsonschema.validate(content, score_report_schema())
    assert [*content["scores"]] == ["is_yamnet", "pq_audiobox", "kl_yamnet"]
    null = content["scores"]["pq_audiobox"]
    assert (null["value"], null["n_gen"], null["n_ref"]) == (None, 0, None)
    for part in ("model.safetensors", "agm weights fetch audiobox-aesthetics", 'weights={"audiobox-aesthetics": FILE}'):
        assert part in null["reason"]
    assert content["missing"] == {"audiobox-aesthetics": null["reason"]}
    assert [*content["backbones"]] == ["yamnet"]
    (said,) = [line for line in shown.err.splitlines() if "pq_audiobox" in line]
    assert said.startswith("warning: pq_audiobox cannot be computed: audiobox-aesthetics")
    assert "--weights audiobox-aesthetics=FILE" in said
    plain = score(*sets, protocol="yamnet", metrics="is,kl", ci=False)
    for name, found in plain.scores.items():
        assert content["scores"][name]["value"] == found.value
    for form in ("table", "csv", "markdown", "latex"):
        assert main([*command, "--format", form]) == 0
        shown = capsys.readouterr()
        assert ("agm weights fetch" in shown.out) == (form != "latex")  # where no null has its reason
        assert "warning: pq_audiobox cannot be computed" in shown.err
    assert main([*command, "--fail-if", "pq_audiobox<5"]) == 5
    assert "pq_audiobox has no value" in capsys.readouterr().err
    seen: list[Evaluation] = []
    score_html(*sets, tmp_path / "page.html", protocol="grown", ci=False)
    assert "agm weights fetch audiobox-aesthetics" in (tmp_path / "page.html").read_text()
    report = score(*sets, protocol="grown", ci=False, observe=seen.append)
    assert [recipe.score_id for recipe in seen[0].listed] == [*report.scores] == [*content["scores"]]


def test_with_its_network_it_has_a_value(sets: list[str], weights: dict[str, str | Path]) -> None:
    report = score(*sets, protocol="grown", weights=weights, ci=False)
    assert report["pq"].value is not None
    assert report.missing == {}


@pytest.mark.parametrize(
    "options",
    [
        ["score", "GEN", "REF", "-m", "is,pq"],
        ["score", "GEN", "REF", "-m", "all"],
        ["score", "GEN", "REF", "GEN", "--ref", "REF", "-m", "pq"],
        ["score", "GEN", "REF", "--protocol", "new"],
        ["compare", "GEN", "REF", "REF", "-m", "is,pq"],
        ["compare", "GEN", "REF", "--protocol", "new"],
        ["study", "REF", "-m", "is,pq"],
        ["embed", "GEN", "-o", "rows.npz", "--protocol", "new"],
        ["protocols", "compare", "GEN", "REF", "--base", "new"],
    ],
)
def test_by_name_or_alone_it_is_an_error_before_anything_is_computed(
    sets: list[str], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    words = [dict(zip(("GEN", "REF"), sets, strict=True)).get(word, word) for word in options]
    own = [] if "--protocol" in words or "--base" in words else ["--protocol", "grown"]
    assert main([*words, *own]) == MissingWeightsError.exit_code == 4
    assert not embedded()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "agm: error:" in shown.err


def test_weights_that_are_given_are_no_network_to_do_without(sets: list[str], tmp_path: Path) -> None:
    (tmp_path / "alone").write_bytes(b"no config beside it")
    for name, said in (("nowhere", "there is no such weights file"), ("alone", r"config\.json: cannot be read")):
        with pytest.raises(MissingWeightsError, match=said):
            score(*sets, protocol="grown", weights={"audiobox-aesthetics": tmp_path / name})


def test_what_a_protocol_always_had_stays_required(sets: list[str]) -> None:
    """A network that carries one score that was not added is required for all."""
    for name in ("audioldm-0.0.3", "audiobox-aesthetics"):
        with pytest.raises(MissingWeightsError):
            score(*sets, protocol=name)
    first, second = PROTOCOLS["audioldm"].recipes["fd"], PROTOCOLS["audioldm"].recipes["fad"]
    with pytest.raises(MissingWeightsError, match=r"vggish-10086976\.pth are not"):
        find_networks([PROTOCOLS["yamnet"].recipes["fd"], second])
    grown = Recipe("kid_panns", catalogue()["kid"](), first.backbone, first.preprocessing, added=True)
    protocol = Protocol("p", "", "", {"fd": first, "kid": grown, "pq": PROTOCOLS["audiobox-aesthetics"].recipes["pq"]})
    recipes = protocol.select(None)
    assert added(recipes) == set()
    assert added([grown]) == {first.backbone}


def test_objects_name_what_they_compute(sets: list[str]) -> None:
    suite = MetricSuite([PQ(protocol="grown"), FD(protocol="yamnet")])
    with pytest.raises(UsageError, match="protocols"):
        suite.score(*sets)
    for found in (MetricSuite([PQ(protocol="grown")]), PQ(protocol="grown")):
        with pytest.raises(MissingWeightsError, match="agm weights fetch audiobox-aesthetics"):
            found.score(sets[0])
    assert not embedded()


def test_systems_are_compared_on_the_rest(sets: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(*sets, sets[1], protocol="grown", permutations=0)
    assert [difference.id for difference in found.differences] == ["is_yamnet", "kl_yamnet"]
    assert any(text.startswith("pq_audiobox is not compared: audiobox-aesthetics") for text in found.warnings)
    alone = compare(*sets, protocol="grown", permutations=0)
    assert [difference.id for difference in alone.differences] == ["is_yamnet"]
    command = ["--protocol", "grown", "--permutations", "0", "--format", "json"]
    assert main(["compare", *sets, *command]) == 0
    assert "warning: pq_audiobox cannot be computed" in capsys.readouterr().err
    assert main(["score", *sets, "--ref", sets[1], *command]) == 0
    shown = capsys.readouterr()
    ranking = json.loads(shown.out)
    assert [report["scores"]["pq_audiobox"]["value"] for report in ranking["reports"]] == [None, None]
    (pair,) = [pair for pair in ranking["differences"] if pair["id"] == "pq_audiobox"]
    assert pair["verdict"].startswith("none: gen has no value: audiobox-aesthetics")
    assert shown.err.count("pq_audiobox cannot be computed") == 1
    assert main(["score", *sets, "--ref", sets[1], *command[:-2]]) == 0
    assert "agm weights fetch" in capsys.readouterr().out


def test_a_study_and_statistics_do_without(sets: list[str], tmp_path: Path) -> None:
    found = sanity(sets[1], protocol="grown", probes=["noise"], fractions=[1.0], repeats=2)
    assert {finding.score for finding in found.findings} == {"is_yamnet", "kl_yamnet"}
    assert any(text.startswith("pq_audiobox is not studied: ") for text in found.warnings)
    assert main(["stats", "build", sets[1], "-o", str(tmp_path / "ref.stats"), "--protocol", "twice"]) == 2  # KID
    assert main(["stats", "build", sets[1], "-o", str(tmp_path / "ref.stats"), "--protocol", "grown"]) == 0
    assert [*ReferenceStatistics.load(tmp_path / "ref.stats").features] == ["kl_yamnet"]
    assert score(sets[0], tmp_path / "ref.stats", protocol="grown", ci=False)["kl"].value is not None
    assert main(["embed", sets[0], "-o", str(tmp_path / "rows.npz"), "--protocol", "grown"]) == 0
    with np.load(tmp_path / "rows.npz") as rows:
        assert {name.partition(".")[0] for name in rows.files} >= {"yamnet"}
        assert not any(name.startswith("audiobox") for name in rows.files)


def test_every_protocol_is_compared_with_a_base_that_has_grown(sets: list[str]) -> None:
    found = compare_protocols(*sets, base="grown")
    assert "audiobox-aesthetics" in found.missing
    assert {row.score.id for row in found.rows if row.name == "grown"} == {"is_yamnet", "kl_yamnet"}


def test_lists_and_docs_say_which_scores_were_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "protocols"]) == 0
    text = capsys.readouterr().out
    grown = [name for name, each in PROTOCOLS.items() if any(recipe.added for recipe in each.recipes.values())]
    assert text.count("added, so null where their network is missing: ") == len(grown) + 3
    assert "added, so null where their network is missing: kid_clap, pq_audiobox\n" in text


def test_files_that_are_given_beside_a_spared_network_are_taken(fetched: Path, tmp_path: Path) -> None:
    fetched.write_bytes(b"not loaded")
    (tmp_path / "tokenizer").mkdir()
    folder = write_tokenizer(tmp_path / "tokenizer")
    given = {"roberta-base-vocab": folder / "vocab.json", "roberta-base-merges": folder / "merges.txt"}
    recipe = Recipe("clap_fusion", catalogue()["clap"](), FUSION, Preprocessing(48_000, "mean"), added=True)
    found = find_networks([PROTOCOLS["yamnet"].recipes["is"], recipe], "cpu", given, [FUSION])
    assert not found.missing
    assert found.backbones[FUSION].tokenizer_files == (*given.values(),)  # type: ignore[attr-defined]


def test_a_missing_package_is_treated_alike(sets: list[str], fetched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before anything is decoded, by name too, although the weights are here."""
    fetched.write_bytes(b"not loaded")
    monkeypatch.setitem(sys.modules, "transformers", None)
    report = score(*sets, protocol="twice", ci=False)
    reason = report["kid"].reason
    assert reason is not None
    assert "pip install 'audiogen-metrics[clap]'" in reason
    assert set(report.missing) == {FUSION, "audiobox-aesthetics"}
    for place in embedded():
        place.unlink()
    with pytest.raises(MissingDependencyError, match="transformers is not installed"):
        score(*sets, protocol="twice", metrics="is,kid")
    assert main(["score", *sets, "--protocol", "fadtk-clap"]) == 4
    assert not embedded()


def test_reports_with_missing_networks_verify(
    sets: list[str], fetched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A null stays; a network that has come is said; one that has gone is an error."""
    report = tmp_path / "report.json"
    score(*sets, protocol="twice", ci=False).to_json(report)
    again = verify(report)
    assert again.equal
    assert again.differences == ()
    fetched.write_bytes(b"not loaded")
    come = verify(report)
    assert come.equal
    assert [str(each) for each in come.differences] == [
        f"kid_clap: has no value, as {FUSION} was missing; it is here now: score again for a value"
    ]
    assert main(["verify", str(report)]) == 0
    assert "it is here now" in capsys.readouterr().out
    content = json.loads(report.read_text())
    del content["missing"][FUSION]
    report.write_text(json.dumps(content))
    fetched.unlink()
    with pytest.raises(MissingWeightsError, match="clap-laion-630k-fusion"):
        verify(report)


def test_a_report_says_what_is_missing_when_it_is_read_again(sets: list[str], tmp_path: Path) -> None:
    from audiogen_metrics.results import ScoreReport

    report = score(*sets, protocol="grown", ci=False)
    report.to_json(tmp_path / "report.json")
    assert ScoreReport.load(tmp_path / "report.json").missing == report.missing
    assert get_protocol("grown").recipes["pq"] == PROTOCOLS["audiobox-aesthetics"].recipes["pq"]
