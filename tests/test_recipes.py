"""The recipes of the evaluators that papers use, by name and from end to end, on random checkpoints."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from audiogen_metrics import compare, score, score_systems, verify
from audiogen_metrics.backbones.laion_clap import Music, MusicSpeech, SoundsFusion
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.passt import PaSST, Segments
from audiogen_metrics.backbones.published import weights_name
from audiogen_metrics.backbones.wavegram import WavegramLogmelCnn14
from audiogen_metrics.cli.main import build_parser, main
from audiogen_metrics.errors import MissingWeightsError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.evaluation.external import score_features
from audiogen_metrics.metrics.kl import KLReverse
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.report.tables import AV_BENCHMARK, to_av_benchmark
from audiogen_metrics.results import InputSummary, Score, ScoreReport
from benchmarks.reported import NETWORKS, NUMBERS
from tests.checkpoints import write_laion_clap, write_panns, write_passt, write_tokenizer, write_vggish
from tests.conftest import EXAMPLES, write_tone

AV = get_protocol("av-benchmark")
AV_IDS = [
    "fd_panns", "fad_vggish", "is_panns", "kl_panns", "fd_passt", "is_passt", "kl_passt", "clap_laion_music_speech",
]  # fmt: skip
CLIPS, PAIRS = 10, 4
PAIRED = [*map(str, range(PAIRS))]


def ids(recipes: Any) -> list[str]:
    return [recipe.score_id for recipe in recipes]


class TestSelect:
    """A protocol with several scores of one metric."""

    def test_all_of_a_metric_by_its_name_and_one_by_its_score_id(self) -> None:
        assert ids(AV.select(None)) == AV_IDS
        assert ids(AV.select("fd")) == ["fd_panns", "fd_passt"]
        assert ids(AV.select("kl,fd")) == ["fd_panns", "kl_panns", "fd_passt", "kl_passt"]
        assert ids(AV.select("fd_passt")) == ["fd_passt"]
        assert ids(AV.select("fd_passt,fd_panns")) == ["fd_panns", "fd_passt"]
        assert ids(AV.select("fd,fd_passt")) == ["fd_panns", "fd_passt"], "each once"
        assert ids(AV.select("clap_laion_music_speech")) == ["clap_laion_music_speech"]
        assert ids(PROTOCOLS["kadtk"].select("kad")) == ["kad_panns_wavegram", "kad_passt"]

    def test_on_a_network_that_the_protocol_has_it_is_its_own_recipe(self) -> None:
        (found,) = AV.select("fd@passt")
        assert found == AV.recipes["fd_passt"]
        assert ids(AV.select(["fd"], "passt")) == ["fd_passt"]
        assert ids(AV.select("fd@panns-cnn14-16k")) == ["fd_panns"]
        assert ids(AV.select(["kad"], "passt")) == ["kad_passt"]

    def test_on_another_network_it_is_the_first_recipe_there(self) -> None:
        (found,) = AV.select("fd@panns-cnn14-32k")
        assert found.score_id == "fd_panns_cnn14_32k"
        assert found.preprocessing == replace(
            AV.recipes["fd"].preprocessing, sample_rate=32_000, maximum_samples=8 * 32_000
        )
        assert ids(AV.select("fd,fd@panns-cnn14-32k")) == ["fd_panns", "fd_panns_cnn14_32k", "fd_passt"]

    def test_all_that_a_network_can_serve_each_metric_once(self) -> None:
        assert ids(AV.select(None, "passt")) == ["fd_passt", "is_passt", "kl_passt"]

    def test_names_select_the_recipe_that_they_are_of(self) -> None:
        assert [AV.name_of(recipe) for recipe in AV.select("fd,fad,kad")] == ["fd_panns", "fad", "fd_passt", "kad"]
        for protocol in PROTOCOLS.values():
            for recipe in protocol.every.values():
                assert protocol.select(protocol.name_of(recipe)) == [recipe]
        (other,) = AV.select("fd@panns-cnn14-32k")
        assert AV.select(AV.name_of(other)) == [other]

    def test_windows_that_are_class_logits_are_no_embeddings(self, small: Any) -> None:
        audiocraft = get_protocol("audiocraft")
        assert audiocraft.on_request == {}, "no FAD of logits"
        for name in ("kl_segments@vggish", "kl_segments@yamnet"):
            with pytest.raises(UsageError, match="needs windows that are class logits, and those of"):
                audiocraft.select(name)
        for protocol, name in (("audioldm", "fad@passt-segments"), ("kadtk", "kad_windows@passt-segments")):
            with pytest.raises(UsageError, match="needs windows that are embeddings, and those of passt-segments are"):
                get_protocol(protocol).select(name)
        with pytest.raises(UsageError, match="audiocraft needs windows, and yamnet gives"):
            score(*small, protocol="audiocraft", backbone="yamnet")
        assert ids(get_protocol("kadtk").select(None, "vggish")) == ["kad_windows_vggish"]

    def test_unknown_names(self) -> None:
        with pytest.raises(UsageError, match=r"unknown metric 'fd_past'.*fd_passt"):
            AV.select("fd_past")
        with pytest.raises(UsageError, match="unknown metric 'fd_passt'"):
            get_protocol("audioldm").select("fd_passt")
        with pytest.raises(UsageError, match="unknown metric 'kl_segments'"):
            get_protocol("audioldm").select("kl_segments")

    def test_what_was_added_to_a_protocol(self) -> None:
        added = {name: {r.score_id for r in p.recipes.values() if r.added} for name, p in PROTOCOLS.items()}
        assert {name: found for name, found in added.items() if found} == {
            "av-benchmark": {"fd_passt", "is_passt", "kl_passt", "clap_laion_music_speech"},
            "kadtk": {"kad_passt", "kad_windows_vggish", "kad_windows_clap_laion_music"},
        }


def report_of(**values: float | None) -> ScoreReport:
    kinds = {recipe.score_id: recipe for recipe in AV.recipes.values()}
    summary = InputSummary("gen", CLIPS, CLIPS, 0, 10.0, "00")
    scores = {
        name: Score(name, kinds[name].metric, kinds[name].backbone, value, False, CLIPS, CLIPS,
                    std=0.5 if name.startswith("is") and value is not None else None)
        for name, value in values.items()
    }  # fmt: skip
    return ScoreReport(scores, "av-benchmark", summary, summary)


class TestAvBenchmarkFormat:
    def test_names_and_order_are_those_of_output_metrics_json(self) -> None:
        text = to_av_benchmark(report_of(**{name: float(place) for place, name in enumerate(AV_IDS)}))
        assert json.loads(text) == {
            "FD-VGG": 1.0, "FD-PANN": 0.0, "FD-PASST": 4.0, "KL-PANNS-softmax": 3.0, "KL-PASST-softmax": 6.0,
            "ISC-PANNS-mean": 2.0, "ISC-PANNS-std": 0.5, "ISC-PASST-mean": 5.0, "ISC-PASST-std": 0.5,
            "LAION-CLAP-Score": 7.0,
        }  # fmt: skip
        assert [*json.loads(text)] == [name for pair in AV_BENCHMARK.values() for name in pair if name]
        assert {*AV_BENCHMARK} == {*AV_IDS}

    def test_null_where_there_is_no_value_and_nothing_of_what_was_not_asked_for(self) -> None:
        assert json.loads(to_av_benchmark(report_of(fd_panns=2.0, is_passt=None))) == {
            "FD-PANN": 2.0, "ISC-PASST-mean": None, "ISC-PASST-std": None,
        }  # fmt: skip

    def test_a_report_of_another_protocol_is_refused(self) -> None:
        report = replace(report_of(fd_panns=2.0), protocol="audioldm")
        with pytest.raises(UsageError, match=r"audioldm is not av-benchmark's recipe.*Score with protocol="):
            to_av_benchmark(report)

    def test_the_command_line_refuses_before_it_scores(self, small: Any, capsys: pytest.CaptureFixture[str]) -> None:
        gen, ref = map(str, small)
        assert main(["score", gen, ref, "--protocol", "yamnet", "--format", "av-benchmark"]) == 2
        assert "--protocol av-benchmark" in capsys.readouterr().err
        command = ["score", gen, ref, "--ref", ref, "--protocol", "av-benchmark", "--format", "av-benchmark"]
        assert main(command) == 2
        assert "holds one system" in capsys.readouterr().err


@pytest.fixture(scope="module")
def weights() -> Iterator[Callable[..., dict[str, Path]]]:
    """Return random checkpoints by name, each written when it is first asked for and gone with the module."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write = {
            "panns-cnn14-16k": lambda path: write_panns(path, Cnn14At16k),
            "panns-wavegram-logmel-cnn14": lambda path: write_panns(path, WavegramLogmelCnn14),
            "vggish": write_vggish,
            "passt": write_passt,
            "clap-laion-music-speech": lambda path: write_laion_clap(path, MusicSpeech),
            "clap-laion-music": lambda path: write_laion_clap(path, Music),
            "clap-laion-630k-fusion": lambda path: write_laion_clap(path, SoundsFusion),
        }

        def of(*names: str) -> dict[str, Path]:
            found = {name: folder / f"{name}.pth" for name in names}
            for name, path in found.items():
                if not path.exists():
                    write[name](path)
            if any(name.startswith("clap") for name in names):
                if not (folder / "vocab.json").exists():
                    write_tokenizer(folder)
                found |= {"roberta-base-vocab": folder / "vocab.json", "roberta-base-merges": folder / "merges.txt"}
            return found

        yield of


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Converted weights are 1 GB, so it goes with the module."""
    folder = tmp_path_factory.mktemp("recipes-cache")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _shared_cache(_one_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of 86 million parameters on ten clips is what takes long here."""
    monkeypatch.setenv("AGM_CACHE_DIR", str(_one_cache))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ten clips of one second, which IS needs, and the partners of four."""
    root = tmp_path_factory.mktemp("sets")
    for side, count in (("gen", CLIPS), ("ref", PAIRS)):
        for place in range(count):
            write_tone(root / side / f"{side}-{place}.wav")
            (root / side / f"{side}-{place}.wav").rename(root / side / f"{place}.wav")
    return root / "gen", root / "ref"


@pytest.fixture(scope="module")
def prompts() -> dict[str, str]:
    return {str(place): f"a dog in the rain {place}" for place in range(CLIPS)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*random weights")
class TestEndToEnd:
    def test_av_benchmark(self, sets: Any, prompts: Any, weights: Any, tmp_path: Path) -> None:
        given = weights("panns-cnn14-16k", "vggish", "passt", "clap-laion-music-speech")
        options = {"protocol": "av-benchmark", "weights": given, "device": "cpu"}
        report = score(*sets, prompts=prompts, **options)
        assert [*report.scores] == AV_IDS
        assert all(found.value is not None for found in report.scores.values())
        assert json.loads(to_av_benchmark(report))["FD-PASST"] == report["fd_passt"].value
        assert report.manifest is not None
        assert ids(AV.select(report.manifest.metrics)) == AV_IDS

        options["weights"] = weights("panns-cnn14-16k", "passt")
        named = score(*sets, metrics="fd,kl_passt", **options)
        assert {name: found.value for name, found in named.scores.items()} == {
            name: report[name].value for name in ("fd_panns", "fd_passt", "kl_passt")
        }
        named = score(*sets, metrics="fd,kl_passt", limit=2, **options)  # it is computed anew
        named.to_json(tmp_path / "named.json")
        assert named.manifest is not None
        assert named.manifest.metrics == ("fd_panns", "fd_passt", "kl_passt")
        assert verify(tmp_path / "named.json", device="cpu").equal

        options["weights"] = weights("passt")
        both = score_systems({"a": sets[0], "b": sets[1]}, sets[1], metrics="fd_passt", **options)
        assert [*both.reports["a"].scores] == ["fd_passt"]
        assert both.reports["b"]["fd_passt"].value == pytest.approx(0, abs=1e-6)

    def test_av_benchmarks_kl_is_without_epsilon(self, sets: Any, weights: Any) -> None:
        seen: list[Evaluation] = []
        given = weights("passt")
        found = score(*sets, metrics="kl_passt", protocol="av-benchmark", weights=given, observe=seen.append)["kl"]
        gen, ref = (
            side.features(seen[0].recipes[0]).logits(PAIRED).double().log_softmax(1)
            for side in (seen[0].gen, seen[0].ref)
        )
        assert found.value == pytest.approx(float((ref.exp() * (ref - gen)).sum(1).mean()), rel=1e-9)

    def test_without_passt_its_scores_are_null_unless_they_are_named(
        self, sets: Any, weights: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = weights("panns-cnn14-16k", "vggish")
        command = ["score", *map(str, sets), "--protocol", "av-benchmark", "--device", "cpu"]
        command += [f"--weights={name}={path}" for name, path in given.items()]
        target = tmp_path / "output_metrics.json"
        assert main([*command, "--format", "av-benchmark", "-o", str(target)]) == 0
        found = json.loads(target.read_text())
        assert {name for name, value in found.items() if value is None} == {
            "FD-PASST", "KL-PASST-softmax", "ISC-PASST-mean", "ISC-PASST-std",
        }  # fmt: skip
        assert "LAION-CLAP-Score" not in found, "without prompts it is not asked for"
        assert "agm weights fetch passt" in capsys.readouterr().err

        assert main([*command, "--format", "json"]) == 0
        report = json.loads(capsys.readouterr().out)
        for name in ("fd_passt", "is_passt", "kl_passt"):
            assert report["scores"][name]["value"] is None
            assert "passt" in report["scores"][name]["reason"]
        for names in ("fd,fad", "fad,fd_passt,is_panns", "all"):
            assert main([*command, "-m", names]) == 4
            assert "agm weights fetch passt" in capsys.readouterr().err
        with pytest.raises(MissingWeightsError, match="passt"):
            compare(*sets, sets[1], metrics="kl,fad", protocol="av-benchmark", weights=given)

    def test_stable_audio(self, sets: Any, prompts: Any, weights: Any, tmp_path: Path) -> None:
        given = weights("passt", "clap-laion-630k-fusion")
        seen: list[Evaluation] = []
        report = score(
            *sets, protocol="stable-audio", prompts=prompts, weights=given, device="cpu", observe=seen.append
        )
        assert [*report.scores] == ["kl_reverse_passt", "clap_laion_630k_fusion"]
        logits = [side.features(seen[0].recipes[0]).logits(PAIRED).double()
                  for side in (seen[0].gen, seen[0].ref)]  # fmt: skip
        gen, ref = (each.softmax(1) for each in logits)
        by_hand = (gen * (gen.log() - (ref + 1e-6).log())).sum(1).mean()
        assert report["kl_reverse"].value == pytest.approx(float(by_hand), rel=1e-9)
        assert -1 <= report["clap"].value <= 1
        report.to_json(tmp_path / "report.json")
        assert verify(tmp_path / "report.json", device="cpu").equal
        # The level plays no part.
        (quiet := tmp_path / "quiet").mkdir()
        for clip in sets[0].iterdir():
            samples, rate = soundfile.read(clip, dtype="float32")
            soundfile.write(quiet / clip.name, samples / 8, rate, "FLOAT")
        again = score(quiet, sets[1], protocol="stable-audio", metrics="kl_reverse", weights=weights("passt"))
        assert again["kl_reverse"].value == pytest.approx(report["kl_reverse"].value, rel=1e-3)

    def test_audiocraft(self, weights: Any, tmp_path: Path) -> None:
        given = weights("passt")
        sets = tmp_path / "gen", tmp_path / "ref"
        for folder, longest in zip(sets, (11, 10), strict=True):
            for place, seconds in enumerate((0.5, 0.5, 0.5, longest)):
                write_tone(folder / f"{folder.name}-{place}.wav", seconds)
                (folder / f"{folder.name}-{place}.wav").rename(folder / f"{place}.wav")
        seen: list[Evaluation] = []
        report = score(*sets, protocol="audiocraft", weights=given, device="cpu", observe=seen.append)
        assert [*report.scores] == ["kl_segments_passt", "kl_segments_reverse_passt", "kl_segments_both_passt"]
        one, other, both = (found.value for found in report.scores.values())
        assert both == pytest.approx(one + other, rel=1e-12)
        assert one != pytest.approx(other, rel=1e-3)
        # The clip of 11 s has two segments, its partner one.
        features = seen[0].gen.features(seen[0].recipes[0])
        assert dict(zip(features.clip_ids, features.counts("windows"), strict=True))["3"] == 2
        assert report["kl_segments"].details["segments"] == 4
        assert any("1 pairs differ in length by a segment or more" in text for text in report.warnings)
        report.to_json(tmp_path / "report.json")
        assert verify(tmp_path / "report.json", device="cpu").equal

    def test_segments_are_the_networks_logits_of_each_ten_seconds(self, weights: Any) -> None:
        (path,) = weights("passt").values()
        whole, segments = PaSST(weights=path), Segments(weights=path)
        clip = 0.1 * torch.randn(1, 12 * 32_000, generator=torch.Generator().manual_seed(0))
        found = segments(clip).windows
        assert found is not None
        assert found.shape == (1, 2, 527)
        torch.testing.assert_close(found[:, 0], whole(clip[:, :320_000]).logits, rtol=0, atol=1e-4)

    def test_kadtk(self, sets: Any, weights: Any, tmp_path: Path) -> None:
        given = weights("panns-wavegram-logmel-cnn14", "passt", "vggish", "clap-laion-music")
        given = {name: path for name, path in given.items() if not name.startswith("roberta")}
        seen: list[Evaluation] = []
        options = {"protocol": "kadtk", "weights": given, "device": "cpu", "limit": PAIRS}
        report = score(*sets, observe=seen.append, **options)
        assert [*report.scores] == [
            "kad_panns_wavegram", "kad_passt", "kad_windows_vggish", "kad_windows_clap_laion_music",
        ]  # fmt: skip
        for recipe in seen[0].recipes:
            output = recipe.definition.output
            gen, ref = (side.features(recipe).rows(output).double() for side in (seen[0].gen, seen[0].ref))
            squares = [torch.cdist(*pair).square() for pair in ((gen, gen), (ref, ref), (gen, ref))]
            width = torch.quantile(torch.pdist(gen), 0.5)
            within = [
                (torch.exp(-each / (2 * width**2)).sum() - len(each)) / (len(each) * (len(each) - 1))
                for each in squares[:2]
            ]
            by_hand = 100 * (sum(within) - 2 * torch.exp(-squares[2] / (2 * width**2)).mean())
            assert report[recipe.score_id].value == pytest.approx(float(by_hand), rel=1e-4), recipe.score_id
        assert {found.ci95 for found in report.scores.values()} == {None}
        assert seen[0].gen.features(seen[0].recipes[1]).rows("embeddings").shape == (PAIRS, 1295)
        options["weights"] = weights("panns-wavegram-logmel-cnn14")
        report = score(*sets, metrics="kad_panns_wavegram", **options)
        report.to_json(tmp_path / "report.json")
        assert verify(tmp_path / "report.json", device="cpu").equal


@pytest.mark.slow
def test_imported_windows_of_other_networks_are_no_logits(small: Any, tmp_path: Path) -> None:
    for folder in small:
        command = ["embed", str(folder), "--protocol", "yamnet", "-o", str(tmp_path / f"{folder.name}.safetensors")]
        assert main(command) == 0
    with pytest.raises(UsageError, match="kl_segments needs windows that are class logits"):
        score_features(tmp_path / "gen.safetensors", tmp_path / "ref.safetensors", metrics="kl_segments")


def test_reversed_on_request_in_every_protocol_that_has_logits(small: Any) -> None:
    gen, ref = small
    one = score(gen, ref, protocol="yamnet", metrics="kl_reverse")["kl_reverse"]
    other = score(ref, gen, protocol="yamnet", metrics="kl")["kl"]
    assert one.value == pytest.approx(other.value, rel=1e-12)
    assert one.id == "kl_reverse_yamnet"
    assert isinstance(get_protocol("audioldm").select("kl_reverse")[0].definition, KLReverse)


@pytest.mark.slow
def test_every_reported_number_is_one_score_and_stands_on_the_page() -> None:
    page = (EXAMPLES.parent / "docs" / "reporting.md").read_text(encoding="utf-8")
    for number in NUMBERS:
        (recipe,) = get_protocol(number.protocol).select(number.score_id)
        assert recipe.score_id == number.score_id
        assert weights_name(recipe.backbone) in NETWORKS
        row = (number.name, number.evaluator, number.network, number.how, f"`{number.command}`")
        assert f"| {' | '.join(row)} |" in page
        build_parser().parse_args(number.command.split()[1:])
