"""score(): right, invariant, honest about what it left out."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics import ScoreReport, score
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingWeightsError, UsageError
from audiogen_metrics.evaluation.one_score import compute
from audiogen_metrics.functional import GaussianStatistics, frechet_distance, inception_score, kl_divergence
from audiogen_metrics.protocols import PROTOCOLS
from tests.conftest import EXAMPLES, write_tone

RECIPES = PROTOCOLS["yamnet"].recipes


def run(gen: Path, ref: Path, **options: object) -> ScoreReport:
    return score(gen, ref, **{"protocol": "yamnet", "workers": 0, "device": "cpu", **options})  # type: ignore[arg-type]


def values(report: ScoreReport) -> dict[str, float]:
    return {score_id: found.value for score_id, found in report.scores.items() if found.value is not None}


def assert_close(one: ScoreReport, other: ScoreReport, rel: float) -> None:
    assert values(one).keys() == values(other).keys()
    for score_id, value in values(one).items():
        assert values(other)[score_id] == pytest.approx(value, rel=rel), score_id


def features(count: int, seed: int) -> EmbeddingSet:
    generator = torch.Generator().manual_seed(seed)
    return EmbeddingSet(
        {
            f"clip{index:03}": {
                "embeddings": torch.randn(16, generator=generator),
                "windows": torch.randn(1 + index % 4, 16, generator=generator),
                "logits": 3 * torch.randn(7, generator=generator),
            }
            for index in range(count)
        }
    )


def test_scores_are_the_functions_of_the_features() -> None:
    gen, ref = features(30, 0), features(25, 1)

    def frechet(output: str) -> float:
        sides = [GaussianStatistics.from_embeddings(side.rows(output)) for side in (gen, ref)]  # type: ignore[arg-type]
        return frechet_distance(*sides).value

    pairs = ref.clip_ids
    expected = {
        "fd": frechet("embeddings"),
        "fad": frechet("windows"),
        "is": inception_score(gen.rows("logits")).mean,
        "kl": kl_divergence(gen.select(pairs).rows("logits"), ref.rows("logits"), eps=1e-6).mean,
    }
    for metric, recipe in RECIPES.items():
        found = compute(recipe, gen, ref)
        assert found.value == pytest.approx(expected[metric], rel=1e-12)
        assert (found.n_gen, found.n_ref) == (30, None if metric == "is" else 25)
    assert compute(RECIPES["kl"], gen, ref).details["pairs"] == 25


def test_order_of_the_features_does_not_matter() -> None:
    gen, ref = features(30, 0), features(30, 1)
    ids = list(gen.clip_ids)
    random.Random(1).shuffle(ids)
    for metric in ("fd", "fad", "kl"):
        recipe = RECIPES[metric]  # type: ignore[index]
        expected = compute(recipe, gen, ref).value
        assert compute(recipe, gen.select(ids), ref).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_four_scores_with_their_n(small: tuple[Path, Path]) -> None:
    report = run(*small)
    assert list(report.scores) == ["fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"]
    for found in report.scores.values():
        assert found.value is not None
        assert found.backbone == "yamnet"
        assert found.n_gen == 12
        assert found.reason is None
    assert report.protocol == "yamnet"
    assert "not comparable" in report.caveat
    assert report.backbones["yamnet"]["weights_sha256"].startswith("eff9769d")
    assert report["fad_yamnet"].details["rows_gen"] > 12
    assert report.pairing["paired"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3, "workers": 2}, {"cache": False}], ids=str)
def test_invariance_through_the_network(small: tuple[Path, Path], options: dict[str, object]) -> None:
    assert_close(run(*small, cache=False), run(*small, **options), rel=1e-5)


@pytest.mark.slow
def test_a_warm_run_gives_the_same_to_the_bit(small: tuple[Path, Path]) -> None:
    assert values(run(*small)) == values(run(*small))


@pytest.mark.slow
def test_copies_of_a_folder_score_alike(small: tuple[Path, Path], tmp_path: Path) -> None:
    moved = [shutil.copytree(folder, tmp_path / "deep" / folder.name) for folder in small]
    original, copy = run(*small), run(*moved)
    assert values(original) == values(copy)
    assert original.gen.digest == copy.gen.digest != original.ref.digest


def test_a_set_against_itself(small: tuple[Path, Path]) -> None:
    report = run(small[1], small[1])
    for metric in ("fd_yamnet", "fad_yamnet"):
        found = report[metric]
        assert found.value is not None
        assert 0 <= found.value <= 1e-6  # the traces are near 30
    # The protocol's epsilon makes KL(x, x) slightly negative, by at most classes · eps.
    assert report["kl_yamnet"].value is not None
    assert -521e-6 <= report["kl_yamnet"].value <= 0


@pytest.mark.slow
def test_direction_matters_only_where_it_should(small: tuple[Path, Path]) -> None:
    forward, backward = run(*small), run(*small[::-1])
    for metric in ("fd_yamnet", "fad_yamnet"):
        assert forward[metric].value == pytest.approx(backward[metric].value, rel=1e-9)
    for metric in ("is_yamnet", "kl_yamnet"):
        assert forward[metric].value != pytest.approx(backward[metric].value, rel=1e-3)


@pytest.mark.slow
def test_the_scores_hear_noise(tmp_path: Path) -> None:
    """White noise at 20 and 0 dB on real recordings moves the distances and KL, the more the louder."""
    reports = {}
    for name, snr in (("clean", None), ("soft", 20), ("loud", 0)):
        folder = tmp_path / name
        folder.mkdir()
        for index, path in enumerate(sorted(p for p in (EXAMPLES / "reference").rglob("*") if p.is_file())):
            samples, rate = soundfile.read(path)
            if snr is not None:
                noise = np.random.default_rng(index).normal(size=samples.shape)
                samples = samples + noise * np.sqrt((samples**2).mean() / (noise**2).mean() / 10 ** (snr / 10))
            soundfile.write(folder / f"{index:02}.wav", samples, rate, subtype="FLOAT")
        reports[name] = values(run(folder, tmp_path / "clean"))
    for metric in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        assert reports["clean"][metric] < reports["soft"][metric] < reports["loud"][metric]


def test_default_metrics_that_cannot_be_are_null_with_a_reason(small: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    for index, path in enumerate(sorted(small[0].rglob("*.*"))[:5]):
        other.mkdir(exist_ok=True)
        shutil.copy(path, other / f"{index}{path.suffix}")
    report = run(other, small[1])
    assert report["fd_yamnet"].value is not None
    assert (report["is_yamnet"].value, report["kl_yamnet"].value) == (None, None)
    assert "at least 10 clips, got 5" in str(report["is_yamnet"].reason)
    assert "no clip id is in both sets" in str(report["kl_yamnet"].reason)
    assert "null" in str(report)
    for metric in ("is", "kl"):
        with pytest.raises(InsufficientDataError):
            run(other, small[1], metrics=[metric])


def test_one_clip_has_no_distance(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    report = run(tmp_path, tmp_path)
    assert report["fd_yamnet"].value is None
    assert "covariance of one embedding" in str(report["fd_yamnet"].reason)
    assert report["kl_yamnet"].value is not None


@pytest.mark.slow
def test_unmatched_clips_are_named(small: tuple[Path, Path]) -> None:
    gone = next(small[0].rglob("*.*"))
    gone_id = gone.relative_to(small[0]).with_suffix("").as_posix()
    gone.rename(small[0] / "extra.wav")
    report = run(*small)
    assert report.pairing == {"mode": "auto", "paired": 11, "gen_only": ["extra"], "ref_only": [gone_id]}
    assert report["kl_yamnet"].details["pairs"] == 11
    assert any("2 clips have no partner" in warning for warning in report.warnings)
    with pytest.raises(DataError, match="2 clips have no partner: gen 'extra', ref"):
        run(*small, pairing="id")


@pytest.mark.slow
def test_no_pairing_means_no_kl(small: tuple[Path, Path]) -> None:
    assert "pairing is off" in str(run(*small, pairing="none")["kl_yamnet"].reason)


@pytest.mark.slow
def test_bad_files_are_reported_and_strict_refuses(small: tuple[Path, Path]) -> None:
    (small[0] / "broken.wav").write_bytes(b"RIFF")
    (small[0] / "notes.txt").write_text("not audio")
    report = run(*small)
    assert (report.gen.scored, report.gen.found, report.gen.ignored) == (12, 13, 1)
    assert report.gen.skipped[0]["clip"] == "broken"
    assert any("skipped" in warning and "broken.wav" in warning for warning in report.warnings)
    with pytest.raises(DataError, match=r"1 of 13 files cannot be scored \(broken"):
        run(*small, strict=True)


def test_limit_keeps_pairs_together(small: tuple[Path, Path]) -> None:
    write_tone(small[0] / "aaa.wav")
    report = run(*small, limit=5)
    assert (report.gen.scored, report.ref.scored, report.pairing["paired"]) == (5, 5, 5)


def test_warnings_of_the_sets(tmp_path: Path) -> None:
    for index in range(10):
        write_tone(tmp_path / "ref" / f"{index}.wav")
    gen = tmp_path / "gen"
    for index in range(3):
        write_tone(gen / f"{index}.wav", rate=(16_000, 44_100, 16_000)[index])
    shutil.copy(gen / "0.wav", gen / "copy.wav")
    soundfile.write(gen / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(gen / "clipped.wav", np.sign(np.sin(np.arange(16_000) / 9)), 16_000)
    write_tone(gen / "short.wav", 0.2)
    warnings = "\n".join(run(gen, tmp_path / "ref").warnings)
    for expected in (
        "gen: 1 of 7 clips silent",
        "gen: 1 of 7 clips clipped",
        "gen: 2 of 7 clips exact duplicates of another clip: 0, copy",
        "gen: 1 of 7 clips shorter than the 0.975 s window",
        "gen: mixed durations, 0.2 to 1 s",
        "gen: mixed sample rates: 16000 Hz ×6, 44100 Hz ×1",
        "gen has 7 clips and ref 10",
        "fd_yamnet: 7 clips for 1024 dimensions",
    ):
        assert expected in warnings
    assert "ref: mixed" not in warnings


@pytest.mark.slow
def test_the_report_is_strict_json(small: tuple[Path, Path], tmp_path: Path) -> None:
    report = run(*small)
    report.to_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert content["schema_version"] == 1
    assert content["scores"]["fd_yamnet"]["value"] == report["fd_yamnet"].value
    assert content["inputs"]["gen"]["scored"] == 12
    assert torch.__version__.startswith(content["versions"]["torch"])
    with pytest.raises(UsageError, match="Did you mean 'fd_yamnet'"):
        report["fd_yamet"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "yamnett"}, "Did you mean 'yamnet'"),
        ({"metrics": ["fda"]}, "unknown metric 'fda'"),
        ({"metrics": []}, "no metrics chosen"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"workers": -1}, "workers=-1"),
        ({"limit": 0}, "limit=0"),
        ({"pairing": "name"}, "unknown pairing"),
    ],
)
def test_refuses_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(EXAMPLES / "generated", EXAMPLES / "reference", **options)


def test_the_default_protocol_never_falls_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError, match='protocol="yamnet"'):
        score(EXAMPLES / "generated", EXAMPLES / "reference")
