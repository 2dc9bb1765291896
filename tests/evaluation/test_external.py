"""Features of other tools: the same numbers from the same features, and nothing in them is run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy import linalg

from audiogen_metrics import score
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.cli.main import main
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.evaluation.external import read_features, score_features
from audiogen_metrics.functional import inception_score, kl_divergence
from tests.checkpoints import write_panns, write_vggish

CLIPS = 12


def frechet(gen: np.ndarray, ref: np.ndarray) -> float:
    """By the definition, as the peers write it."""
    gen, ref = np.float64(gen), np.float64(ref)
    covariances = np.cov(gen, rowvar=False), np.cov(ref, rowvar=False)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    offset = gen.mean(0) - ref.mean(0)
    return float(offset @ offset + np.trace(covariances[0] + covariances[1] - 2 * root))


@pytest.fixture
def fadtk(tmp_path: Path) -> Any:
    """Two folders ``embeddings/vggish`` with a file per clip, in half precision."""
    rng = np.random.default_rng(0)
    for side, shift in (("gen", 0.2), ("ref", 0.0)):
        folder = tmp_path / side / "embeddings" / "vggish"
        folder.mkdir(parents=True)
        for clip in range(CLIPS):
            np.save(folder / f"clip {clip}.npy", rng.normal(shift, 1, (5 + clip % 3, 8)).astype(np.float16))
    return tmp_path / "gen" / "embeddings" / "vggish", tmp_path / "ref" / "embeddings" / "vggish"


def rows(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(file) for file in sorted(folder.glob("*.npy"))])


def test_fadtk(fadtk: Any) -> None:
    report = score_features(*fadtk, ci=True)
    (fad,) = report.scores.values()
    assert fad.id == "fad_vggish"
    assert fad.value == pytest.approx(frechet(rows(fadtk[0]), rows(fadtk[1])), rel=1e-6)
    assert (fad.n_gen, fad.n_ref, fad.details["rows_gen"]) == (CLIPS, CLIPS, len(rows(fadtk[0])))
    assert fad.ci95 is not None
    assert report.protocol == "imported"
    assert report.caveat
    assert "hershey2017cnn" in [work.key for work in report.citations()]
    assert "0.0 s" not in str(report)


def test_one_array_of_rows(fadtk: Any, tmp_path: Path) -> None:
    for name, folder in zip(("background", "eval"), fadtk, strict=True):
        np.save(tmp_path / f"embds_{name}.npy", rows(folder))
    report = score_features(tmp_path / "embds_background.npy", tmp_path / "embds_eval.npy", backbone="vggish", ci=True)
    assert report["fad_vggish"].value == pytest.approx(score_features(*fadtk)["fad_vggish"].value, rel=1e-12)
    assert report["fad_vggish"].ci95 is None
    assert report["fad_vggish"].remarks == ("no interval and no p: which window is of which clip is not known",)
    assert any("n counts rows" in text for text in report.warnings)


def test_a_reference_of_rows_alone_is_taken_as_exact(fadtk: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "embds.npy", rows(fadtk[1]))
    report = score_features(fadtk[0], tmp_path / "embds.npy", backbone="vggish")
    whole, found = score_features(*fadtk)["fad_vggish"], report["fad_vggish"]
    assert (whole.ci95_ref, found.ci95_ref) == ("sampled", "exact")
    assert found.details["standard_error"] < whole.details["standard_error"]
    assert found.remarks == ("no p: which window is of which clip is not known",)
    assert "reference taken as exact" in str(report)


@pytest.fixture
def caches(tmp_path: Path) -> Any:
    """Two cache folders of av-benchmark."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    for side in ("gen", "ref"):
        folder = tmp_path / side
        folder.mkdir()
        names = [f"clip_{place}" for place in range(CLIPS)]
        panns = {name: {"2048": random(16), "logits": random(7)} for name in names}
        torch.save(panns, folder / "pann_features.pth")
        torch.save({name: random(4, 6) for name in names}, folder / "vggish_features.pth")
        torch.save({name: random(10) for name in names}, folder / "passt_features_embed.pth")
        torch.save({name: random(7) for name in names}, folder / "passt_logits.pth")
    return tmp_path / "gen", tmp_path / "ref"


def test_av_benchmark(caches: Any) -> None:
    report = score_features(*caches)
    assert set(report.scores) == {
        f"{metric}_{backbone}" for metric in ("fd", "is", "kl") for backbone in ("panns", "passt")
    } | {"fad_vggish"}
    gen, ref = (torch.load(folder / "pann_features.pth", weights_only=True) for folder in caches)
    stacked = [torch.stack([clip["2048"] for clip in side.values()]).numpy() for side in (gen, ref)]
    assert report["fd_panns"].value == pytest.approx(frechet(*stacked), rel=1e-6)
    logits = {
        name: torch.stack([side[clip]["logits"] for clip in sorted(gen)]) for name, side in (("g", gen), ("r", ref))
    }
    assert report["kl_panns"].value == kl_divergence(logits["g"], logits["r"], eps=0.0).mean
    assert report["is_panns"].value == inception_score(logits["g"]).mean
    asked = score_features(*caches, metrics=["kid", "fd"])
    assert set(asked.scores) == {"fd_panns", "fd_passt", "kid_panns", "kid_passt"}


@pytest.mark.slow
def test_what_agm_embed_writes(small: tuple[Path, Path], tmp_path: Path) -> None:
    """Embedded once, scored without the audio: the numbers of the run with the audio."""
    for name, folder in zip(("gen", "ref"), small, strict=True):
        assert main(["embed", str(folder), "--protocol", "yamnet", "-o", str(tmp_path / f"{name}.safetensors")]) == 0
    found = score_features(tmp_path / "gen.safetensors", tmp_path / "ref.safetensors")
    direct = score(*small, protocol="yamnet")
    assert {each.id: each.value for each in found.scores.values()} == {
        each.id: each.value for each in direct.scores.values()
    }


def test_embeddings_of_other_weights_are_refused(small: tuple[Path, Path], tmp_path: Path) -> None:
    assert main(["embed", str(small[0]), "--protocol", "yamnet", "-o", str(tmp_path / "gen.safetensors")]) == 0
    with safe_open(tmp_path / "gen.safetensors", framework="pt") as file:
        described = dict(file.metadata())
    changed = described["description"].replace('"weights_sha256": "', '"weights_sha256": "0')
    assert changed != described["description"]
    tensors = load_file(tmp_path / "gen.safetensors")
    save_file(tensors, tmp_path / "ref.safetensors", {**described, "description": changed})
    with pytest.raises(DataError, match="weights_sha256"):
        score_features(tmp_path / "gen.safetensors", tmp_path / "ref.safetensors")
    same = score_features(tmp_path / "gen.safetensors", tmp_path / "gen.safetensors")
    assert same.backbones["yamnet"]["weights_sha256"]
    for content in ({}, {**described, "ids": "[1"}, {**described, "ids": '{"yamnet": ["one"]}'}):
        save_file(tensors, tmp_path / "ref.safetensors", content)
        with pytest.raises(DataError, match="not what agm embed writes"):
            score_features(tmp_path / "gen.safetensors", tmp_path / "ref.safetensors")


def test_command(fadtk: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", *map(str, fadtk), "--format", "json", "-o", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["protocol"] == "imported"
    assert main(["import", *map(str, fadtk)]) == 0
    assert "fad_vggish" in capsys.readouterr().out
    assert main(["import", *map(str, fadtk), "-m", "kl"]) == 2
    assert main(["import", *map(str, fadtk), "-m", "nonsense"]) == 2
    assert main(["import", str(fadtk[0]), str(tmp_path / "nothing")]) == 3


class Evil:
    """Ends the run of whoever unpickles it."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('this ran')",)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: np.save(path, np.array([Evil()]), allow_pickle=True), "cannot be read"),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: np.save(path, np.zeros((3, 2), np.int64)), "int64"),
        (lambda path: np.save(path, np.zeros((3, 2, 2))), "shape"),
        (lambda path: np.save(path, np.zeros((0, 8))), "shape"),
        (lambda path: np.save(path, np.full((3, 8), np.nan)), "NaN"),
        (lambda path: np.save(path, np.zeros((3, 5))), "widths"),
    ],
)
def test_arrays_that_are_none(fadtk: Any, write: Any, reason: str) -> None:
    write(fadtk[0] / "clip 3.npy")
    with pytest.raises(DataError, match=reason):
        score_features(*fadtk)


def test_caches_that_are_none(caches: Any) -> None:
    file = caches[0] / "pann_features.pth"
    for content in (Evil(), [1, 2], {}, {"clip": 3}, {"clip": {"2048": torch.zeros(3)}}):
        torch.save(content, file)
        with pytest.raises(DataError):
            score_features(*caches)
    torch.save({"other": {"2048": torch.zeros(16), "logits": torch.zeros(7)}}, file)
    with pytest.raises(DataError, match="different clips"):
        score_features(*caches)


def test_sets_that_do_not_belong_together(fadtk: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no features that are known"):
        read_features(tmp_path)
    np.save(tmp_path / "rows.npy", np.zeros((4, 8)))
    with pytest.raises(DataError, match="features of"):
        score_features(tmp_path / "rows.npy", fadtk[1])
    for file in list(fadtk[0].iterdir())[1:]:
        file.unlink()
    np.save(fadtk[0] / f"{next(fadtk[0].iterdir()).stem}.npy", np.zeros((1, 8)))
    with pytest.raises(InsufficientDataError):
        score_features(*fadtk, metrics=["fad"])
    with pytest.raises(UsageError, match="needs logits"):
        score_features(*fadtk, metrics=["is"])


@pytest.fixture
def embedded(small: tuple[Path, Path], tmp_path: Path) -> Any:
    """Both sets as ``agm embed`` writes them, in both formats."""
    for side, folder in zip(("gen", "ref"), small, strict=True):
        for suffix in (".npz", ".safetensors"):
            assert main(["embed", str(folder), "--protocol", "yamnet", "-o", str(tmp_path / f"{side}{suffix}")]) == 0
    return tmp_path


@pytest.mark.slow
def test_archives_of_agm_embed(embedded: Any) -> None:
    """Both formats hold the same, and may be mixed."""
    found = [
        score_features(embedded / f"gen{one}", embedded / f"ref{other}")
        for one, other in ((".npz", ".npz"), (".npz", ".safetensors"), (".safetensors", ".safetensors"))
    ]
    assert found[0].scores == found[1].scores == found[2].scores
    assert found[0].gen.files == found[2].gen.files
    assert found[0].backbones["yamnet"]["name"] == "yamnet"


@pytest.mark.slow
def test_score_ids_are_those_of_score(small: tuple[Path, Path], tmp_path: Path) -> None:
    """And so are the options of metrics: KL of av-benchmark has no epsilon."""
    weights = {
        "panns-cnn14-16k": write_panns(tmp_path / "panns.pth", Cnn14At16k),
        "vggish": write_vggish(tmp_path / "v"),
    }
    flags = [part for name, file in weights.items() for part in ("--weights", f"{name}={file}")]
    for side, folder in zip(("gen", "ref"), small, strict=True):
        command = ["embed", str(folder), "--protocol", "av-benchmark", "-o", str(tmp_path / f"{side}.npz")]
        assert main([*command, *flags]) == 0
    direct = score(*small, protocol="av-benchmark", weights=weights)
    found = score_features(tmp_path / "gen.npz", tmp_path / "ref.npz")
    known = {name: each.value for name, each in direct.scores.items() if each.value is not None}
    assert {"fd_panns", "fad_vggish", "is_panns", "kl_panns"} <= known.keys()
    assert {name: each.value for name, each in found.scores.items()} == pytest.approx(known, rel=1e-12)
    asked = score_features(tmp_path / "gen.npz", tmp_path / "ref.npz", metrics=["fd_panns", "kid"])
    assert [*asked.scores] == ["fd_panns", "kid_panns"]
    assert found["kl_panns"].details["eps"] == 0


@pytest.mark.slow
def test_another_backbone_of_agm_embed(small: tuple[Path, Path], tmp_path: Path) -> None:
    for side, folder in zip(("gen", "ref"), small, strict=True):
        assert main(["embed", str(folder), "--backbone", "yamnet", "-o", str(tmp_path / f"{side}.npz")]) == 0
    found, direct = score_features(tmp_path / "gen.npz", tmp_path / "ref.npz"), score(*small, backbone="yamnet")
    assert found.scores.keys() == direct.scores.keys()
    assert found["fad_yamnet"].value == direct["fad_yamnet"].value


@pytest.mark.slow
def test_statistics_of_ours_as_reference(small: tuple[Path, Path], embedded: Any) -> None:
    reference_statistics(small[1], protocol="yamnet").save(embedded / "ref.stats")
    found = score_features(embedded / "gen.npz", embedded / "ref.stats")
    direct = score(small[0], embedded / "ref.stats", protocol="yamnet")
    assert {name: (each.value, each.ci95_ref) for name, each in found.scores.items()} == {
        name: (each.value, each.ci95_ref) for name, each in direct.scores.items()
    }
    with pytest.raises(InsufficientDataError, match="kid_yamnet needs the reference's clips"):
        score_features(embedded / "gen.npz", embedded / "ref.stats", metrics=["kid"])


def test_statistics_of_ours_need_to_know_how_features_were_made(
    fadtk: Any, small: tuple[Path, Path], tmp_path: Path
) -> None:
    reference_statistics(small[1], protocol="yamnet").save(tmp_path / "ref.stats")
    with pytest.raises(DataError, match="made with protocol yamnet, and this run has fadtk"):
        score_features(fadtk[0], tmp_path / "ref.stats")
    with pytest.raises(DataError, match="say how they were made, and features of own by fadtk do not"):
        score_features(fadtk[0], tmp_path / "ref.stats", backbone="own")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vggish", "encodec-emb"])
def test_statistics_of_fadtk_as_reference(tmp_path: Path, name: str) -> None:
    """Its folders of features and of statistics belong together by the name of the network."""
    rng = np.random.default_rng(0)
    for side, shift in (("gen", 0.2), ("ref", 0.0)):
        place = tmp_path / side / "embeddings" / name
        place.mkdir(parents=True)
        for clip in range(CLIPS):
            np.save(place / f"{clip}.npy", rng.normal(shift, 1, (40, 128)).astype(np.float16))
    every = np.float64(rows(tmp_path / "ref" / "embeddings" / name))
    stats = tmp_path / "ref" / "stats" / name
    stats.mkdir(parents=True)
    np.save(stats / "mu.npy", every.mean(0))
    np.save(stats / "cov.npy", np.cov(every, rowvar=False))
    gen, ref = (tmp_path / side / "embeddings" / name for side in ("gen", "ref"))
    whole, found = score_features(gen, ref), score_features(gen, stats)
    score_id = f"fad_{name.replace('-', '_')}"
    assert found[score_id].value == pytest.approx(whole[score_id].value, rel=1e-9)
    assert (found[score_id].n_ref, found[score_id].ci95_ref) == (None, "exact")
    assert not any("trust" in warning for warning in found.warnings)
    with pytest.raises(DataError, match="holds no features of clips"):
        score_features(stats, stats)
    np.savez(tmp_path / "unnamed.npz", mu=every.mean(0), sigma=np.cov(every, rowvar=False))
    with pytest.raises(UsageError, match="means trusting that they are of windows"):
        score_features(gen, tmp_path / "unnamed.npz")
    command = ["import", str(gen), str(tmp_path / "unnamed.npz"), "--trust-reference", "--format", "json"]
    assert main([*command, "-o", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["scores"][score_id]["value"] == found[score_id].value
    with pytest.raises(DataError, match="holds no features of clips"):
        score_features(tmp_path / "unnamed.npz", gen)


def test_archives_that_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", **{"description": np.array("{}"), "a.embeddings": np.array([Evil()], dtype=object)})
    for content in ({"description": np.array("{}")}, {"description": np.array("{"), "a.ids": np.array(["x"])}):
        np.savez(tmp_path / f"{len(content)}.npz", **content)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "1.npz").read_bytes()[:60])
    for name in ("evil", "1", "2", "cut"):
        with pytest.raises(DataError, match="not what agm embed writes"):
            read_features(tmp_path / f"{name}.npz")
