"""The CLAP score as a metric: prompts in the run, several captions, the page, several systems, objects."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics import CLAPScore, MetricSuite, compare, score, score_systems, verify
from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preparation import prepare
from audiogen_metrics.audioldm.clap import CLAP
from audiogen_metrics.audioldm.tiny import write_tiny
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.similarity import read_texts
from audiogen_metrics.errors import DataError, NumericsError, UsageError
from audiogen_metrics.evaluation import Evaluation
from audiogen_metrics.evaluation.evaluation import of_reference
from audiogen_metrics.objects import object_of
from audiogen_metrics.objects.similarity import SimilarityMetric
from audiogen_metrics.prompts import captions_of
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.report.html import write_page
from audiogen_metrics.studies import sanity

pytestmark = pytest.mark.filterwarnings("ignore:.*random weights", "ignore:.*compute.*before.*update")

RATE = 16_000
NAMES = [f"c{place}" for place in range(6)]
PROMPTS = {name: f"the sound of {name}" for name in NAMES}


def write_noise(path: Path, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1 + seed / 500, int(seconds * RATE))
    soundfile.write(path, np.cumsum(samples) / 50 if seed % 2 else samples, RATE, "FLOAT")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings(action="ignore"):
        return {"clap": write_tiny(tmp_path_factory.mktemp("tiny") / "tiny") / "clap"}


@pytest.fixture(scope="module")
def gen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gen")
    for place, name in enumerate(NAMES):
        write_noise(folder / f"{name}.wav", seconds=1 + place / 4, seed=place)
    return folder


@pytest.fixture(scope="module")
def cosines(weights: dict[str, Path], gen: Path) -> dict[str, float]:
    """By hand: both towers, each clip and text alone."""
    clap = CLAP("cpu", weights=weights["clap"])
    found = {}
    for name in NAMES:
        samples, rate = soundfile.read(gen / f"{name}.wav", dtype="float32", always_2d=True)
        waveform = prepare(Audio(samples, rate), PROTOCOLS["clap"].recipes["clap"].preprocessing)
        heard = clap(waveform[None]).embeddings
        assert heard is not None
        found[name] = float(heard[0].double() @ clap.embed_text([PROMPTS[name]])[0].double())
    return found


def scored(gen: Path, weights: dict[str, Path], **options: object) -> Any:
    return score(gen, protocol="clap", weights=weights, device="cpu", **options)


@pytest.mark.slow
def test_the_mean_cosine_with_its_interval_and_each_clip(gen: Any, weights: Any, cosines: Any) -> None:
    seen: list[Evaluation] = []
    found = scored(gen, weights, prompts=PROMPTS, observe=seen.append)["clap"]
    assert (found.id, found.n_gen, found.n_ref, found.higher_is_better) == ("clap_htsat_unfused", 6, None, True)
    assert found.value == pytest.approx(np.mean([*cosines.values()]), abs=1e-6)
    assert found.std == pytest.approx(np.std([*cosines.values()], ddof=1), abs=1e-6)
    error = 2.5706 * np.std([*cosines.values()], ddof=1) / np.sqrt(6)  # Student's t of 5 degrees
    assert found.ci95 == pytest.approx((found.value - error, found.value + error), abs=1e-5)
    by_clip = seen[0].measured(seen[0].recipes[0]).measurement.by_clip
    assert by_clip == pytest.approx(cosines, abs=1e-6)


def test_several_captions_mean_and_best(gen: Any, weights: Any, tmp_path: Path) -> None:
    lines = [f"{name},the sound of {name}\n{name}.wav,something else" for name in NAMES]
    (tmp_path / "p.csv").write_text("clip_id,prompt\n" + "\n".join(lines))
    report = scored(gen, weights, prompts=tmp_path / "p.csv", metrics=["clap", "clap_best"])
    ones = [
        scored(gen, weights, prompts={n: text(n) for n in NAMES}) for text in (PROMPTS.get, lambda _: "something else")
    ]
    each = []
    for options in (PROMPTS, dict.fromkeys(NAMES, "something else")):
        seen: list[Evaluation] = []
        scored(gen, weights, prompts=options, observe=seen.append)
        each.append(seen[0].measured(seen[0].recipes[0]).measurement.by_clip)
    assert report["clap"].value == pytest.approx(np.mean([one["clap"].value for one in ones]), abs=1e-9)
    assert report["clap_best"].value == pytest.approx(np.mean([max(one[n] for one in each) for n in NAMES]), abs=1e-9)
    assert report.manifest is not None
    assert report.manifest.prompts["c0"] == ("the sound of c0", "something else")


def test_what_does_not_join_is_said_and_kept_for_verify(gen: Any, weights: Any, tmp_path: Path) -> None:
    given = {name: PROMPTS[name] for name in NAMES[:4]} | {"C5": "near", "other": "nothing", "c4": " "}
    report = scored(gen, weights, prompts=given)
    assert report["clap"].n_gen == 4
    (note,) = [text for text in report.warnings if text.startswith("prompts: ")]
    assert note == (
        "prompts: 1 differs only in case (gen 'c5', prompts 'C5'); 2 of 6 clips of gen have none: 'c4', 'c5'; "
        "2 have no clip: 'C5', 'other'"
    )
    report.to_json(tmp_path / "report.json")
    assert verify(tmp_path / "report.json", device="cpu").equal
    with pytest.raises(DataError, match=r"no clip of gen has a prompt.*gen has 'c0', prompts are of 'x'"):
        scored(gen, weights, prompts={"x": "y"})


def test_samples_of_one_prompt_take_that_of_their_reference(gen: Any, weights: Any, tmp_path: Path) -> None:
    for name in NAMES:
        for sample in range(2):
            (tmp_path / "gen").mkdir(exist_ok=True)
            shutil.copy(gen / f"{name}.wav", tmp_path / "gen" / f"{name}_{sample}.wav")
    options = {"protocol": "clap", "weights": weights, "device": "cpu", "metrics": "clap", "prompts": PROMPTS}
    report = score(tmp_path / "gen", gen, pairs="{ref}_{sample}", **options)
    assert report["clap"].n_gen == 12
    assert report["clap"].value == pytest.approx(scored(gen, weights, prompts=PROMPTS)["clap"].value, abs=1e-6)
    assert report.manifest is not None
    assert report.manifest.prompts["c3_1"] == ("the sound of c3",)


def test_limit_takes_what_is_scored(gen: Any, weights: Any) -> None:
    report = scored(gen, weights, prompts=PROMPTS, limit=3)
    assert (report["clap"].n_gen, [text for text in report.warnings if "prompts" in text]) == (3, [])


def test_the_page_shows_prompts_worst_first(gen: Any, weights: Any, cosines: Any, tmp_path: Path) -> None:
    seen: list[Evaluation] = []
    report = scored(gen, weights, prompts=PROMPTS | {"c1": ["<b>bold</b>", "x"]}, observe=seen.append)
    write_page(report, seen[0], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "by CLAP score" in text
    assert "<q>the sound of c0</q>" in text
    assert "<q>&lt;b&gt;bold&lt;/b&gt;</q> <q>x</q>" in text
    worst = min((name for name in NAMES if name != "c1"), key=cosines.__getitem__)
    assert f". {worst}</h4>" in text


def test_the_page_shows_prompts_beside_other_metrics(gen: Any, tmp_path: Path) -> None:
    seen: list[Evaluation] = []
    report = score(gen, gen, protocol="yamnet", metrics="kl", prompts=PROMPTS, observe=seen.append)
    write_page(report, seen[0], tmp_path / "page.html")
    assert "<q>the sound of c2</q>" in (tmp_path / "page.html").read_text()


def test_two_systems(gen: Any, weights: Any, tmp_path: Path) -> None:
    for place, name in enumerate(NAMES):
        write_noise(tmp_path / "b" / f"{name}.wav", seconds=2, seed=50 + place)
    options = {"protocol": "clap", "weights": weights, "device": "cpu", "metrics": "clap", "prompts": PROMPTS}
    (found,) = compare(gen, tmp_path / "b", gen, permutations=19, **options).differences
    b = scored(tmp_path / "b", weights, prompts=PROMPTS)["clap"].value
    assert (found.paired, found.n) == (True, 6)
    assert found.b == pytest.approx(b, abs=1e-9)
    ranking = score_systems({"a": gen, "b": tmp_path / "b"}, **options)
    (pair,) = ranking.differences
    assert pair.difference == pytest.approx(found.difference, abs=1e-9)


def test_study(gen: Any, weights: Any) -> None:
    study = sanity(gen, protocol="clap", metrics="clap", weights=weights, device="cpu", prompts=PROMPTS,
                   probes=["noise"], fractions=(0.5, 1.0), repeats=2)  # fmt: skip
    assert study.backbones["clap"]["tokenizer_sha256"]
    assert study.findings[0].score == "clap_htsat_unfused"


def test_without_prompts(gen: Any, weights: Any, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--protocol", "clap", "--weights", f"clap={weights['clap']}"]
    assert main(["score", str(gen), str(gen), *options]) == 0
    shown = capsys.readouterr()
    assert "no prompts: clap_htsat_unfused would need them" in shown.err
    assert "clap_htsat" not in shown.out
    for command in (
        ["score", str(gen)],
        ["score", str(gen), str(gen)],
        ["compare", *[str(gen)] * 3],
        ["study", str(gen)],
    ):
        assert main([*command, *options, "-m", "clap"]) == 2
        assert "clap_htsat_unfused: no prompts are given. Pass --prompts FILE" in capsys.readouterr().err
    with pytest.raises(UsageError, match="all scores of clap need a reference or prompts"):
        scored(gen, weights)
    with pytest.raises(UsageError, match="Pass prompts="):
        MetricSuite([CLAPScore("clap", weights=weights["clap"])]).score(gen)


def test_prompts_that_no_score_uses_are_spoken_of(gen: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.csv").write_text("clip_id,prompt\nc0,a\n")
    command = ["score", str(gen), str(gen), "--protocol", "yamnet", "-m", "kl", "--prompts", str(tmp_path / "p.csv")]
    assert main(command) == 0
    assert "for the CLAP score, name it too: -m all,clap" in capsys.readouterr().err


def test_the_short_way_gives_the_same_number(
    gen: Any, weights: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text(
        "\n".join(json.dumps({"clip_id": n, "captions": [t]}) for n, t in PROMPTS.items())
    )
    command = [str(gen), str(tmp_path / "p.jsonl"), "--clap", str(weights["clap"]), "--format", "json"]
    assert main(["clap", *command]) == 0
    known = scored(gen, weights, prompts=PROMPTS)["clap"]
    assert json.loads(capsys.readouterr().out)["value"] == known.value


def test_a_second_run_reads_no_text(gen: Any, weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scored(gen, weights, prompts=PROMPTS)["clap"].value
    monkeypatch.setattr(CLAP, "load", lambda _: pytest.fail("loaded the network"))
    assert scored(gen, weights, prompts=PROMPTS)["clap"].value == first


def test_a_text_without_numbers(weights: Any) -> None:
    clap = CLAP("cpu", weights=weights["clap"])
    clap.embed_text = lambda texts: torch.full((len(texts), 3), torch.nan)  # type: ignore[method-assign]
    with pytest.raises(NumericsError, match="NaN or infinity for a text"):
        read_texts(clap, ["x"], cache=False)


class TestObject:
    def clips(self) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [0.1 * torch.randn(RATE * (1 + place), generator=generator) for place in range(3)]

    def test_equals_the_towers(self, weights: Any) -> None:
        metric = CLAPScore("clap", weights=weights["clap"])
        best = object_of("clap_best")("clap", weights=weights["clap"])
        assert isinstance(best, SimilarityMetric)
        prompts = ["rain", ["a dog", "rain"], "wind"]
        suite = MetricSuite([metric, best])
        for place, clip in enumerate(self.clips()):
            suite.update(gen=[clip], sample_rate=RATE, ids=[str(place)], prompts=prompts[place : place + 1])
        together = CLAPScore("clap", weights=weights["clap"])
        together.update(gen=self.clips(), sample_rate=RATE, prompts=prompts)
        values = suite.compute()
        torch.testing.assert_close(together.compute(), values["clap_htsat_unfused"])
        assert values["clap_best_htsat_unfused"] > values["clap_htsat_unfused"]
        assert metric.compute_score(ci=True).ci95 is not None

    def test_beside_other_metrics(self, weights: Any) -> None:
        suite = MetricSuite([CLAPScore("clap", weights=weights["clap"]), object_of("is")(protocol="yamnet")])
        with pytest.raises(UsageError, match="the prompts of the clips are missing"):
            suite.update(gen=self.clips(), sample_rate=RATE)
        assert not suite["is"].update_called, "added to all members or to none"
        suite.update(gen=self.clips(), sample_rate=RATE, prompts=["a", "b", "c"])
        assert suite["clap"].compute() is not None

    def test_what_is_refused(self, weights: Any) -> None:
        metric = CLAPScore("clap", weights=weights["clap"])
        bad = [["a", each, "c"] for each in (" ", None, [], 3, [None])]
        for prompts, what in ((["a"], "1 prompts for 3 clips"), *((each, r"prompts\[1\]") for each in bad)):
            with pytest.raises(DataError, match=what):
                metric.update(gen=self.clips(), sample_rate=RATE, prompts=prompts)
        with pytest.raises(DataError, match=r"gen_similarity of shape \(4, 3\).*mean and best"):
            metric.update(gen_similarity=torch.zeros(4, 3))
        with pytest.raises(DataError, match="beyond ±1"):
            metric.update(gen_similarity=torch.full((4, 2), 1.5))

    def test_a_bad_clip_leaves_with_its_prompt(self, weights: Any) -> None:
        clips, prompts = self.clips(), ["a dog", "rain", "wind"]
        metric = CLAPScore("clap", weights=weights["clap"], on_bad_clip="omit")
        clips[1] = clips[1] * torch.nan
        with pytest.warns(UserWarning, match="1 of 3 clips are left out"):
            metric.update(gen=clips, sample_rate=RATE, prompts=prompts)
        other = CLAPScore("clap", weights=weights["clap"])
        other.update(gen=[clips[0], clips[2]], sample_rate=RATE, prompts=["a dog", "wind"])
        torch.testing.assert_close(metric.compute(), other.compute())


def test_the_recipes() -> None:
    """The five numbers of the field, each as its evaluator prepares clips."""
    recipes = {
        name: PROTOCOLS[name].recipes["clap"] for name in ("av-benchmark", "stable-audio", "tango", "clap", "musegauge")
    }
    assert len({recipe.backbone for recipe in recipes.values()}) == 5
    audio = {name: recipe.preprocessing for name, recipe in recipes.items()}
    assert {each.sample_rate for each in audio.values()} == {48_000}
    assert {each.channel for each in audio.values()} == {"mean"}
    assert not any(each.minimum_samples for each in audio.values())
    assert {name for name, each in audio.items() if each.remove_dc} == {"av-benchmark"}
    assert audio["av-benchmark"].maximum_samples == 8 * 48_000
    assert audio["tango"].maximum_samples == audio["clap"].maximum_samples == 480_000
    assert audio["stable-audio"].maximum_samples == audio["musegauge"].maximum_samples == 0
    assert audio["stable-audio"].peak_dbfs == -1.0  # type: ignore[attr-defined]
    assert {name for name, each in audio.items() if each.sixteen_bit} == {"stable-audio", "tango", "musegauge"}


def test_captions_by_id() -> None:
    found = captions_of({"a.wav": "x", "a": ["y", "x"], "café": "z"}, ["a", "café", "b"])
    assert found.by_clip == {"a": ("x", "y"), "café": ("z",)}
    with pytest.raises(UsageError, match="Pass a file, or prompts by clip id"):
        captions_of(3, ["a"])  # type: ignore[arg-type]
    for wrong in ({"a": []}, {"a": [1]}, {"a": None}, {1: "x"}):
        with pytest.raises(DataError, match="is not a prompt of"):
            captions_of(wrong, ["a"])  # type: ignore[arg-type]


def test_prompts_that_are_cut_are_said_also_from_the_cache(
    gen: Any, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("longer" in text for text in scored(gen, weights, prompts=PROMPTS).warnings)
    long = " ".join(["rain"] * 600)
    for _ in range(2):
        warnings_found = scored(gen, weights, prompts=PROMPTS | {"c1": long}).warnings
        (said,) = [text for text in warnings_found if "longer" in text]
        assert said == "prompts: 1 of gen are longer than clap reads, which takes their beginning"
        monkeypatch.setattr(CLAP, "load", lambda _: pytest.fail("loaded the network"))


def test_an_object_says_which_prompts_are_cut(weights: Any) -> None:
    metric = CLAPScore("clap", weights=weights["clap"])
    clip = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="1 prompts are longer than clap reads"):
        metric.update(gen=[clip], sample_rate=RATE, prompts=[" ".join(["rain"] * 600)])


def test_the_reference_is_embedded_for_scores_that_look_at_it(gen: Any, weights: Any) -> None:
    seen: list[Evaluation] = []
    options = {"protocol": "yamnet", "weights": weights, "device": "cpu", "prompts": PROMPTS, "observe": seen.append}
    home = PROTOCOLS["clap"].recipes["clap"]
    fd = PROTOCOLS["yamnet"].recipes["fd"]
    found = of_reference([fd, home])
    assert found == [fd]
    assert of_reference([home]) == [home]
    report = score(gen, gen, metrics=["fd", "clap"], **{**options, "protocol": "clap"})
    assert {recipe.score_id for recipe in seen[0].ref.sets} == {"fd_clap"}
    assert report["clap"].value == scored(gen, weights, prompts=PROMPTS)["clap"].value
    alone = score(gen, gen, metrics="clap", **{**options, "protocol": "clap"})
    assert not any("ref" in text for text in alone.warnings)
