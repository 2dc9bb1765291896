"""Every metric through every door: it works, or is refused before anything is embedded, with a reason that is true.

The metrics are those of the catalogue and one of another package, which is in no list.
"""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import audiogen_metrics
from audiogen_metrics import MetricSuite, functional, score
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.yamnet import YAMNet
from audiogen_metrics.cli.main import build_parser, main
from audiogen_metrics.embedding import extraction
from audiogen_metrics.embedding.extraction import ExtractionOptions
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingDependencyError, NumericsError, UsageError
from audiogen_metrics.evaluation import Evaluation, evaluate, reference_statistics
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.external import score_features
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.functional import extrapolation, statistics
from audiogen_metrics.metrics import METRICS, OWN, catalogue
from audiogen_metrics.metrics.definition import Measurement, Metric, option, problem_of
from audiogen_metrics.metrics.kl import KLDivergence
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.objects import object_of
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.report.html import write_page
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.schema import score_report_schema
from audiogen_metrics.studies import sanity
from tests.checkpoints import write_audiobox, write_panns, write_passt, write_vggish
from tests.conftest import EXAMPLES

NAMES = (*OWN, "vendi")
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"

pytestmark = pytest.mark.filterwarnings("ignore:.*random weights")


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another package announces the metric of CONTRIBUTING.md."""
    package = tmp_path_factory.mktemp("package")
    block = re.search(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (package / "vendi.py").write_text(block[1])
    found = EntryPoints([EntryPoint("vendi", "vendi:Vendi", "audiogen_metrics.metrics")])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(package)
        patch.setattr("importlib.metadata.entry_points", lambda group: found.select(group=group))
        patch.setattr(METRICS, "_loaders", dict(METRICS._loaders))
        patch.setattr(METRICS, "_group", "audiogen_metrics.metrics")
        patch.setattr(METRICS, "faults", {})
        assert "vendi" in catalogue()
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two systems and their references: 20 clips each, of the same ids."""
    root = tmp_path_factory.mktemp("conformance")
    for source, name, start in (("generated", "a", 0), ("generated", "b", 1), ("reference", "ref", 0)):
        clips = sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())
        (root / name).mkdir()
        for place, clip in enumerate([*clips[start:], *clips[:start]][::2][:20]):
            shutil.copy(clip, root / name / f"{place}{clip.suffix}")
    return root / "a", root / "b", root / "ref"


@pytest.fixture(autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed each clip once in this module; what is embedded at all is counted before the cache."""
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "conformance-cache"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, object]]:
    """Return the protocol of a metric and the weights that it needs."""
    folder = tmp_path_factory.mktemp("weights")
    weights = folder / "panns.pth"

    def options(name: str) -> dict[str, object]:
        if METRICS.get(name).prompted:
            clap = folder / "clap"
            if not clap.exists():
                with warnings.catch_warnings(action="ignore"):
                    shutil.copytree(write_tiny(folder / "tiny") / "clap", clap)
            return {"protocol": "clap", "weights": {"clap": clap}}
        if METRICS.get(name).home:
            ratings = folder / "audiobox" / "model.safetensors"
            if not ratings.exists():
                write_audiobox(ratings.parent)
            return {"protocol": METRICS.get(name).home, "weights": {"audiobox-aesthetics": ratings}}
        if name in {**get_protocol("yamnet").recipes, **get_protocol("yamnet").on_request}:
            return {"protocol": "yamnet"}
        if name in get_protocol("audiocraft").recipes:
            logits = folder / "passt.pt"
            if not logits.exists():
                write_passt(logits)
            return {"protocol": "audiocraft", "weights": {"passt": logits}}
        if name in get_protocol("kadtk").recipes:
            windows = folder / "vggish.pth"
            if not windows.exists():
                write_vggish(windows)
            return {"protocol": "kadtk", "backbone": "vggish-float16", "weights": {"vggish": windows}}
        if not weights.exists():
            write_panns(weights, Cnn14At16k)
        return {"protocol": "audioldm-0.0.3", "weights": {"panns-cnn14-16k": weights}}

    return options


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were embedded."""
    seen: list[Path] = []
    process = extraction._ExtractionRun.process

    def spy(self: extraction._ExtractionRun, clips: object) -> None:
        seen.append(self.folder.root)
        process(self, clips)  # type: ignore[arg-type]

    monkeypatch.setattr(extraction._ExtractionRun, "process", spy)
    return seen


def only(report: ScoreReport) -> object:
    (found,) = report.scores.values()
    return found


def asked(name: str) -> dict[str, object]:
    """What the clips should sound like, of a metric that asks."""
    prompts = {str(place): ["a dog in the rain", f"sound {place}"] for place in range(20)}
    return {"prompts": prompts} if METRICS.get(name).prompted else {}


def definition(name: str) -> type[Metric]:
    return METRICS.get(name)


SLOW = ("kl_segments", "kl_sigmoid", "pq", "kad_windows", "clap")  # whose networks are large
# One network, several columns or directions: one of them stands for all at the door.
STOOD_FOR = ("pc", "ce", "cu", "clap_best", "kl_segments_reverse", "kl_segments_both")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES if name not in STOOD_FOR],
)
class TestEveryDoor:
    def test_score_its_schema_and_verify(self, name: str, folders: Any, place: Any, tmp_path: Path) -> None:
        report = score(folders[0], folders[2], metrics=[name], **asked(name), **place(name))
        assert report[name].value is not None
        jsonschema.validate(json.loads(report.to_json(tmp_path / "report.json")), score_report_schema())
        assert verify(tmp_path / "report.json").equal
        (recipe,) = report.manifest.recipes.values()
        assert definition(name)().options.keys() <= recipe.keys(), "a manifest holds all that shapes a score"

    def test_without_a_reference(self, name: str, folders: Any, place: Any, embedded: Any, tmp_path: Path) -> None:
        if "ref" not in definition(name).sides:
            options = {"metrics": [name], **asked(name), **place(name)}
            report = score(folders[0], **options)
            assert report.ref is None
            assert report[name].value == score(folders[0], folders[2], **options)[name].value
            jsonschema.validate(json.loads(report.to_json(tmp_path / "report.json")), score_report_schema())
            assert verify(tmp_path / "report.json").equal
            return
        with pytest.raises(UsageError, match="no reference is given"):
            score(folders[0], metrics=[name], **place(name))
        assert not embedded

    def test_study(self, name: str, folders: Any, place: Any) -> None:
        options = {"fractions": (0.5, 1.0), "repeats": 2, **asked(name), **place(name)}
        study = sanity(folders[2], metrics=[name], probes=["noise"], **options)
        (finding,) = study.findings
        assert finding.verdict.scale > 0
        assert set(study.curve("noise", finding.score)) == {0.0, 0.5, 1.0}

    def test_compare(self, name: str, folders: Any, place: Any) -> None:
        found = compare(*folders, metrics=[name], permutations=19, **asked(name), **place(name))
        (difference,) = found.differences
        assert difference.p is None or 0 < difference.p <= 1
        assert (difference.ci95 is None) == (difference.standard_error is None)
        assert difference.verdict
        assert str(found)

    def test_statistics(self, name: str, folders: Any, place: Any, embedded: Any, tmp_path: Path) -> None:
        kind = definition(name)
        if "ref" not in kind.sides or (kind.needs != "moments" and kind.output != "logits"):
            reason = "needs no reference" if "ref" not in kind.sides else "needs the reference's clips"
            with pytest.raises(UsageError, match=reason):
                reference_statistics(folders[2], metrics=[name], **place(name))
            assert not embedded
            return
        reference_statistics(folders[2], metrics=[name], **place(name)).save(tmp_path / "ref.stats")
        known = score(folders[0], folders[2], metrics=[name], **place(name))
        served = score(folders[0], tmp_path / "ref.stats", metrics=[name], **place(name))
        assert served[name].value == pytest.approx(known[name].value, rel=1e-9)

    def test_statistics_of_another_metric(
        self, name: str, folders: Any, place: Any, embedded: Any, tmp_path: Path
    ) -> None:
        other = "kl" if name == "fd" else "fd"
        alone = definition(name).home and not definition(name).prompted
        where = place(other if alone or place(name)["protocol"] in ("audiocraft", "kadtk") else name)
        reference_statistics(folders[2], metrics=[other], **where).save(tmp_path / "ref.stats")
        embedded.clear()
        if "ref" not in definition(name).sides:
            where = {**place(name), **asked(name), "protocol": where["protocol"]}
            assert score(folders[0], tmp_path / "ref.stats", metrics=[name], **where)[name].value is not None
            return
        reason = f"hold nothing for {name}_|needs the reference's clips"
        if place(name)["protocol"] != where["protocol"]:
            reason = f"made with protocol {where['protocol']}, and this run has {place(name)['protocol']}"
        with pytest.raises(DataError, match=reason):
            score(folders[0], tmp_path / "ref.stats", metrics=[name], **place(name))
        if place(name) == {"protocol": "yamnet"}:
            with pytest.raises(InsufficientDataError, match=reason):
                object_of(name)(protocol="yamnet", ref=tmp_path / "ref.stats")
        assert not embedded

    def test_suite_and_object(self, name: str, folders: Any, place: Any, tmp_path: Path) -> None:
        options = place(name)
        report = score(folders[0], folders[2], metrics=[name], **asked(name), **options)
        metric = object_of(name)(**options)
        found = MetricSuite([metric]).score(folders[0], folders[2], **asked(name))
        assert found.to_dict() == report.to_dict()
        found.to_json(tmp_path / "suite.json")
        assert verify(tmp_path / "suite.json").equal
        assert metric.score(folders[0], folders[2], **asked(name)) == only(report)
        assert type(pickle.loads(pickle.dumps(metric))) is type(metric)

    def test_streaming(self, name: str, place: Any, embedded: Any) -> None:
        if definition(name).needs == "moments":
            assert object_of(name)(**place(name), streaming=True).streaming
        else:
            with pytest.raises(UsageError, match="needs all rows"):
                object_of(name)(**place(name), streaming=True)
        assert not embedded

    def test_import(self, name: str, folders: Any, place: Any, tmp_path: Path) -> None:
        given = place(name).get("weights", {})
        if "panns-cnn14-16k" in given:  # all networks of the protocol are run
            given = {**given, "vggish": write_vggish(tmp_path / "vggish.pth")}
        weights = [f"--weights={key}={file}" for key, file in given.items()]
        common = ["--protocol", place(name)["protocol"], *weights]
        common += [f"--backbone={place(name)['backbone']}"] if "backbone" in place(name) else []
        for folder in (folders[0], folders[2]):
            assert main(["embed", str(folder), "-o", f"{tmp_path / folder.name}.safetensors", *common]) == 0
        files = tmp_path / "a.safetensors", tmp_path / "ref.safetensors"
        if definition(name).prompted:
            with pytest.raises(UsageError, match="clap needs similarity"):
                score_features(*files, metrics=[name])
            return
        report = score_features(*files, metrics=[name])
        # With the options of the protocol that they were embedded for, as of audio.
        known = object_of(name)(**place(name)).score(folders[0], folders[2])
        assert report[name].value == pytest.approx(known.value, rel=1e-9)
        jsonschema.validate(json.loads(report.to_json()), score_report_schema())
        assert report.device == "cpu"

    def test_html(self, name: str, folders: Any, place: Any, tmp_path: Path) -> None:
        seen: list[Evaluation] = []
        report = score(folders[0], folders[2], metrics=[name], **asked(name), **place(name), observe=seen.append)
        write_page(report, seen[0], tmp_path / "page.html")
        assert definition(name).title in (tmp_path / "page.html").read_text()

    def test_it_is_named_where_people_look(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["list", "metrics"]) == 0
        assert definition(name).title in capsys.readouterr().out
        actions = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
        for command in ("score", "study", "compare", "import"):
            assert re.search(rf"\b{name}\b", actions[command].format_help()), command


def test_the_shipped_schema_is_the_generated_one() -> None:
    shipped = json.loads((files("audiogen_metrics") / "schemas" / "score_report.schema.json").read_text())
    assert shipped == score_report_schema(OWN), "python -m audiogen_metrics.schema > …/score_report.schema.json"
    assert shipped["$defs"]["score"]["properties"]["metric"]["enum"] == [*OWN]


def test_names_of_metrics_are_compared_nowhere() -> None:
    """Outside the metrics' own files, torchmetrics classes and the paper's tables, no code asks which metric it has."""
    allowed = {"metrics", "objects", "benchmark", "audioldm"}
    for path in Path(audiogen_metrics.__file__).parent.rglob("*.py"):
        relative = path.relative_to(Path(audiogen_metrics.__file__).parent)
        if relative.parts[0] in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                words = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                assert not words & set(OWN), f"{relative}:{node.lineno}"


def test_each_thing_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"fits": 0, "divergences": 0}

    def count(owner: object, name: str, what: str) -> None:
        original = getattr(owner, name)

        def counting(*arguments: object, **options: object) -> object:
            counted[what] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counting)

    count(extrapolation, "extrapolate_parts", "fits")
    count(functional, "kl_divergence", "divergences")
    fitted: list[float] = []
    original = statistics.GaussianStatistics.from_blocks.__func__

    def fit(cls: type, blocks: Any) -> Any:
        rows = torch.cat([*blocks])
        fitted.append(float(rows.double().sum()))
        return original(cls, [rows])

    monkeypatch.setattr(statistics.GaussianStatistics, "from_blocks", classmethod(fit))
    seen: list[Evaluation] = []
    gen, ref = EXAMPLES / "generated", EXAMPLES / "reference"
    report = score(gen, ref, protocol="yamnet", extrapolate=True, observe=seen.append)
    write_page(report, seen[0], tmp_path / "page.html")
    assert counted == {"fits": 2, "divergences": 1}
    for recipe in seen[0].recipes[:2]:
        output = recipe.definition.output
        for side in (seen[0].gen, seen[0].ref):
            total = float(side.features(recipe).rows(output).double().sum())
            assert sum(one == pytest.approx(total, rel=1e-12) for one in fitted) == 1


def test_options_belong_to_the_metric(folders: Any) -> None:
    kid = object_of("kid")(protocol="yamnet", subset_size=4, subsets=3)
    found = kid.score(folders[0], folders[2])
    assert found.details["subset_size"] == 4
    recipe = get_protocol("yamnet").select(["kid"])[0]
    assert {"subsets": 3, "subset_size": 4}.items() <= kid.recipe.options().items()
    assert "splits" not in recipe.options()
    assert "eps" not in recipe.options()
    with pytest.raises(UsageError, match="kid subsets=0"):
        replace(recipe.definition, subsets=0)
    with pytest.raises(UsageError, match="whole number"):
        replace(recipe.definition, subsets=2.5)


def test_a_broken_package_breaks_its_own_name_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [("not-one", "fractions:Fraction"), ("gone", "no_such_module:Metric")]
    found = EntryPoints(EntryPoint(name, value, "audiogen_metrics.metrics") for name, value in wrong)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found.select(group=group))
    monkeypatch.setattr(METRICS, "_loaders", {name: METRICS._loaders[name] for name in OWN})
    monkeypatch.setattr(METRICS, "_group", "audiogen_metrics.metrics")
    assert [*catalogue()] == [*OWN]
    assert main(["list", "metrics"]) == 0
    assert "no_such_module" in capsys.readouterr().out
    for name, _ in wrong:
        with pytest.raises(MissingDependencyError):
            METRICS.get(name)


def test_a_measured_thing_is_asked_for_once() -> None:
    calls = []

    class Counting(METRICS.get("vendi")):  # type: ignore[misc]
        name = "counting"

        def compute(self, gen: Any, ref: Any) -> Any:
            calls.append(1)
            return super().compute(gen, ref)

    class Rows:
        def rows(self, _output: Any) -> Any:
            return torch.eye(4)

    measured = Measured(Counting(), Rows(), None)  # type: ignore[arg-type]
    assert measured.measurement.value == pytest.approx(4)
    assert measured.measurement is measured.measurement
    assert len(calls) == 1


class Sound(Metric):
    """A metric that nothing is wrong with."""

    name = "sound"
    title = "Sound"
    reading = "one"
    output = "embeddings"
    higher_is_better = True

    def compute(self, _gen: Any, _ref: Any) -> Any:
        return Measurement(1.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "other"}, "it calls itself 'other'"),
        ({"title": None}, None),
        ({"compute": Metric.compute}, "it has no compute"),
        ({"nearest": option(5, 1, meaning="which")}, "its options need @dataclass"),
    ],
)
def test_what_is_wrong_with_a_metric_of_another_package_is_said(change: Any, reason: str) -> None:
    assert problem_of("sound", Sound) is None
    kind = type("Changed", (Sound,), change)
    found = problem_of("sound", kind)
    assert found is None if reason is None else reason in found


def test_names_that_a_metric_of_another_package_may_not_have() -> None:
    assert "both names must be one" in problem_of("UpperCase", type("Upper", (Sound,), {"name": "UpperCase"}))
    assert "does not say its title" in problem_of("bare", type("Bare", (Metric,), {"name": "bare", "reading": ""}))
    clash = dataclass(frozen=True)(
        type(
            "Clash", (Sound,), {"__annotations__": {"sample_rate": int}, "sample_rate": option(1, 1, meaning="a rate")}
        )
    )
    assert problem_of("sound", clash) == "options may not be called sample_rate"


def test_what_a_metric_returns_is_plain_and_finite() -> None:
    found = Measurement(np.float32(2), torch.tensor(1.0), {"rows": np.int64(3), "share": torch.tensor(0.5)})
    assert json.dumps([found.value, found.std, dict(found.details)]) == '[2.0, 1.0, {"rows": 3, "share": 0.5}]'
    for value in (float("nan"), torch.tensor(float("inf"))):
        with pytest.raises(NumericsError, match="value is"):
            Measurement(value)


def test_verify_refuses_options_of_ones_own(folders: Any, tmp_path: Path) -> None:
    suite = MetricSuite([object_of("kid")(protocol="yamnet", subset_size=10)])
    suite.score(folders[0], folders[2]).to_json(tmp_path / "suite.json")
    with pytest.raises(UsageError, match="kid_yamnet was computed with subset_size 10; protocol yamnet has 1000"):
        verify(tmp_path / "suite.json")


def test_pairs_need_a_reference(folders: Any) -> None:
    with pytest.raises(UsageError, match="no partners without a reference"):
        score(folders[0], protocol="yamnet", pairing="id")


def test_clips_of_a_page_have_the_protocols_divergence(folders: Any) -> None:
    protocol = get_protocol("yamnet")
    exact = replace(protocol.recipes["kl"], definition=KLDivergence(eps=0.0))
    protocol = replace(protocol, recipes={**protocol.recipes, "kl": exact})
    found = []
    for recipes in ([protocol.recipes["fd"], exact], [protocol.recipes["fd"]]):
        sets = scan(folders[0]), scan(folders[2]), recipes, {"yamnet": YAMNet()}, protocol
        found.append(evaluate(*sets, ExtractionOptions()).divergences)
    assert found[0] == found[1]
    assert len(found[0]) == 20
