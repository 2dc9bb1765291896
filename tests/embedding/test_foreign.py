"""Others' statistics as a reference: the numbers of the set they were made of, and on what terms they are taken."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite, score
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.foreign import open_foreign, place_of
from audiogen_metrics.embedding.foreign_networks import KNOWN, Standing, known, standing
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import AudiogenMetricsError, DataError, InsufficientDataError, NumericsError, UsageError
from audiogen_metrics.evaluation import embed_folder
from audiogen_metrics.evaluation.compare import compare
from audiogen_metrics.evaluation.opening import open_reference
from audiogen_metrics.evaluation.verify import verify
from audiogen_metrics.functional import GaussianStatistics, frechet_distance
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.schema import score_report_schema
from audiogen_metrics.score_text import UNCOUNTED
from tests.checkpoints import write_vggish

FMA_POP = get_protocol("fadtk").recipes["fad"]


def gaussian(width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rows = np.random.default_rng(seed).normal(size=(3 * width, width))
    return rows.mean(0), np.atleast_2d(np.cov(rows, rowvar=False))


@pytest.fixture
def moments(small: tuple[Path, Path]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and covariance of the reference folder, as other tools compute them, by score id."""
    side, _ = embed_folder(small[1], protocol="yamnet")
    found = {}
    for recipe, embedded in side.sets.items():
        if recipe.definition.needs == "moments":
            rows = embedded.rows(recipe.definition.output).double().numpy()
            found[recipe.score_id] = rows.mean(0), np.cov(rows, rowvar=False)
    return found


def write(folder: Path, layout: str, mean: np.ndarray, covariance: np.ndarray, name: str = "yamnet") -> Path:
    """Write statistics in one of the layouts."""
    if layout in ("stats", "stats/NAME"):
        place = folder / "stats" / name
        place.mkdir(parents=True)
        np.save(place / "mu.npy", mean)
        np.save(place / "cov.npy", covariance)
        return folder / "stats" if layout == "stats" else place
    arrays = {
        "mu": {"mu": mean, "sigma": covariance},
        "mu_ref": {"mu_ref": mean, "sigma_ref": covariance},
        "named": {f"{name}.mu": mean, f"{name}.cov": covariance},
        "several": {
            f"{name}.mu": mean,
            f"{name}.cov": covariance,
            "other.mu": np.zeros(3),
            "other.cov": np.eye(3),
        },
    }[layout]
    np.savez(folder / "others.npz", **arrays)
    return folder / "others.npz"


LAYOUTS = ("mu", "mu_ref", "named", "several", "stats", "stats/NAME")


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_numbers_of_the_set_behind_them(
    small: tuple[Path, Path], moments: Any, tmp_path: Path, layout: Any
) -> None:
    """A score against statistics is that against their clips, with an interval of gen's sampling, no n and no p."""
    file = write(tmp_path, layout, *moments["fad_yamnet"])
    report = score(small[0], file, metrics=["fad"], protocol="yamnet", trust_reference=True)
    whole, found = score(*small, metrics=["fad"], protocol="yamnet")["fad_yamnet"], report["fad_yamnet"]
    assert found.value == pytest.approx(whole.value, rel=1e-7)
    assert (found.n_gen, found.n_ref, found.ci95_ref) == (12, None, "exact")
    assert UNCOUNTED in found.remarks
    assert found.remarks[-1].startswith("no p: ")
    assert {"chance_p", "rows_ref"} & found.details.keys() == set()
    assert found.details["standard_error"] < whole.details["standard_error"]
    assert report.ref.scored is report.ref.found is None
    assert any("it is trusted that they are of windows of yamnet" in warning for warning in report.warnings)
    assert not any("Fréchet distances depend on both" in warning for warning in report.warnings)
    assert report.pairing["gen_only"] == []
    jsonschema.validate(json.loads(report.to_json()), score_report_schema())
    assert ScoreReport.from_dict(json.loads(report.to_json()), "report").to_dict() == report.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown", "latex", "html"])
def test_every_report_says_that_n_is_not_known(
    small: tuple[Path, Path], moments: Any, tmp_path: Path, form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "mu", *moments["fd_yamnet"])
    command = ["score", str(small[0]), str(file), "--protocol", "yamnet", "-m", "fd", "--trust-reference"]
    assert main([*command, "--format", form, "-o", str(tmp_path / f"out.{form}")]) == 0
    text = " ".join((tmp_path / f"out.{form}").read_text().split()).lower()
    assert "reference taken as exact" in text or '"ci95_ref": "exact"' in text or ",exact," in text
    unknown = "unknown number of clips" if form == "latex" else "n of the reference is not known"
    assert unknown in text
    assert "ref: statistics of an unknown number of clips" in capsys.readouterr().err


def test_what_is_not_said_must_be_vouched_for(
    small: tuple[Path, Path], moments: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unnamed = write(tmp_path, "mu", *moments["fad_yamnet"])
    with pytest.raises(UsageError, match=r"could each take them. Name one: metrics=\"fd_yamnet\""):
        score(small[0], unnamed, protocol="yamnet", trust_reference=True)
    trusted = "means trusting that they are of windows of yamnet, and of audio prepared as protocol yamnet prepares it"
    with pytest.raises(UsageError, match=trusted):
        score(small[0], unnamed, metrics=["fad"], protocol="yamnet")
    assert main(["score", str(small[0]), str(unnamed), "--protocol", "yamnet", "-m", "fad"]) == 2
    assert "If you do: --trust-reference" in capsys.readouterr().err
    # Nothing was embedded before that.
    with pytest.raises(UsageError, match="is for others' statistics"):
        score(*small, metrics=["fad"], protocol="yamnet", trust_reference=True)


@pytest.mark.slow
def test_of_several_networks_one_is_named(small: tuple[Path, Path], moments: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "several", *moments["fad_yamnet"])
    options = {"metrics": ["fad"], "protocol": "yamnet", "trust_reference": True}
    chosen, found = (score(small[0], ref, **options) for ref in (f"{file}::yamnet", file))
    assert chosen.scores == found.scores
    assert chosen.manifest.ref == f"{file}::yamnet"
    with pytest.raises(UsageError, match=r"unknown network in this reference 'yamnett'\. Did you mean 'yamnet'"):
        score(small[0], f"{file}::yamnett", **options)
    with pytest.raises(DataError, match="has statistics of other, and fad_yamnet is on yamnet"):
        score(small[0], f"{file}::other", **options)
    np.savez(tmp_path / "unnamed.npz", mu=np.zeros(2), sigma=np.eye(2))
    with pytest.raises(UsageError, match="does not name its network"):
        score(small[0], f"{tmp_path / 'unnamed.npz'}::yamnet", **options)
    with pytest.raises(UsageError, match="holds no statistics to choose 'yamnet' from"):
        score(small[0], f"{small[1]}::yamnet", **options)
    assert place_of(f"{file}::yamnet") == file


def test_a_name_with_colons_is_a_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a::b.npz", mu=np.zeros(2), sigma=np.eye(2))
    assert open_foreign(tmp_path / "a::b.npz").moments[""].mean == "mu"


@pytest.mark.slow
def test_what_they_cannot_serve(small: tuple[Path, Path], moments: Any, tmp_path: Path) -> None:
    """By default a score without a value and why; by name an error, before anything is embedded."""
    np.savez(tmp_path / "named.npz", **dict(zip(("yamnet.mu", "yamnet.cov"), moments["fad_yamnet"], strict=True)))
    np.savez(tmp_path / "wide.npz", mu=np.zeros(7), sigma=np.eye(7))
    for metrics in (["fad", "kl"], ["kid", "fad"]):
        with pytest.raises(InsufficientDataError, match=r"mean and covariance, and (kl|kid) needs clips"):
            score(small[0], tmp_path / "named.npz", metrics=metrics, protocol="yamnet", trust_reference=True)
    with pytest.raises(DataError, match="mu, sigma are 7 wide, and rows of yamnet 1024"):
        score(small[0], tmp_path / "wide.npz", metrics=["fd"], protocol="yamnet", trust_reference=True)
    for options in ({"pairing": "id"}, {"pairs": {"a": "b"}}):
        with pytest.raises(UsageError, match="do not name clips to pair with"):
            score(small[0], tmp_path / "wide.npz", metrics=["fd"], protocol="yamnet", trust_reference=True, **options)
    with pytest.raises(UsageError, match="cannot be limited"):
        score(small[0], tmp_path / "wide.npz", metrics=["fd"], protocol="yamnet", trust_reference=True, limit=3)


BAD = {
    "shapes": ({"mu": np.zeros(3), "sigma": np.eye(2)}, "do not belong together"),
    "not a vector": ({"mu": np.zeros((1, 2)), "sigma": np.eye(2)}, r"mean has shape \(1, 2\)"),
    "deviations": ({"mu": np.zeros(2), "sigma": np.ones(2)}, r"covariance has shape \(2,\)"),
    "a factor": ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.0], [1.0, 1.0]])}, "not symmetric"),
    "indefinite": ({"mu": np.zeros(2), "sigma": np.diag([1.0, -1e-3])}, "eigenvalue -0.001"),
    "nan": ({"mu": np.array([np.nan, 0]), "sigma": np.eye(2)}, "NaN or infinite"),
    "infinite": ({"mu": np.zeros(2), "sigma": np.diag([np.inf, 1])}, "NaN or infinite"),
    "half": ({"mu": np.zeros(2, np.float16), "sigma": np.eye(2)}, "of type float16"),
    "whole numbers": ({"mu": np.zeros(2, np.int64), "sigma": np.eye(2)}, "of type int64"),
    "text": ({"mu": np.array(["a"]), "sigma": np.eye(2)}, "of type <U1"),
    "no mean": ({"sigma": np.eye(2)}, "has no mu, without which"),
    "no covariance": ({"vggish.mu": np.zeros(128)}, "has no vggish.cov"),
    "other arrays": ({"features": np.eye(2)}, "holds features, and no statistics that are known here"),
    "two kinds": ({"mu": np.zeros(2), "sigma": np.eye(2), "a.mu": np.zeros(2), "a.cov": np.eye(2)}, "of several kinds"),
    "width": ({"vggish.mu": np.zeros(3), "vggish.cov": np.eye(3)}, "vggish gives rows of 128 numbers"),
}


def everything(path: Path) -> list[GaussianStatistics]:
    found = open_foreign(path)
    return [found.gaussian(name) for name in found.moments]


@pytest.mark.parametrize("kind", BAD)
def test_each_fault_has_one_error(tmp_path: Path, kind: str) -> None:
    arrays, message = BAD[kind]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        everything(tmp_path / "bad.npz")
    assert str(tmp_path / "bad.npz") in str(error.value)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("run",)


def test_hostile_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "evil.npz"
    np.savez(file, mu=np.array([Evil()], dtype=object), sigma=np.eye(1))
    with pytest.raises(DataError, match="holds pickled objects, which are not run"):
        open_foreign(file).gaussian("")
    file.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="cannot be read"):
        open_foreign(file)
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="cannot be read"):
        open_foreign(file)
    with zipfile.ZipFile(file, "w") as archive:  # a header that promises 8 TB
        archive.writestr("sigma.npy", b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, "
                         b"'shape': (1000000, 1000000), }".ljust(117) + b"\n")  # fmt: skip
        archive.writestr("mu.npy", b"\x93NUMPY")
    with pytest.raises(DataError, match="cannot be read"):
        open_foreign(file).gaussian("")
    (tmp_path / "stats").mkdir()
    (tmp_path / "stats" / "mu.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"has no cov\.npy"):
        open_foreign(tmp_path / "stats")
    (tmp_path / "stats" / "cov.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"mu\.npy cannot be read"):
        open_foreign(tmp_path / "stats").gaussian("stats")
    assert capsys.readouterr().out == ""


def test_rounding_below_zero_is_cut_off_and_no_more() -> None:
    """Kept in float32, a covariance of fewer rows than dimensions has eigenvalues below 0; the distance stands."""
    rows = torch.randn(40, 200, generator=torch.Generator().manual_seed(0)).double()
    whole = GaussianStatistics.from_embeddings(rows)
    covariance = whole.covariance.float()
    assert float(torch.linalg.eigvalsh(covariance.double())[0]) < 0
    kept = GaussianStatistics.from_covariance(whole.mean.float(), covariance, None)
    variance = float(whole.factor.square().sum())
    assert frechet_distance(kept, whole).value < 1e-3 * variance
    assert kept.count is None
    with pytest.raises(InsufficientDataError, match="is not known"):
        kept.merge(whole)
    with pytest.raises(DataError, match="eigenvalue"):
        GaussianStatistics.from_covariance(whole.mean, covariance - 1e-4 * torch.eye(200), None)
    with pytest.raises((DataError, NumericsError)):
        GaussianStatistics.from_covariance(torch.zeros(2), torch.full((2, 2), 1.7e308, dtype=torch.float64), None)


def test_features_whose_n_is_not_known() -> None:
    given = GivenFeatures((), gaussian=GaussianStatistics.from_covariance(np.zeros(2), np.eye(2), None), counted=False)
    with pytest.raises(InsufficientDataError, match="is not known"):
        len(given)
    found = FD(protocol="yamnet", ref=given.gaussian)
    found.update(gen_embeddings=torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    assert (found.compute_score(ci=True).n_ref, found.compute_score().remarks) == (None, (UNCOUNTED,))


def test_terms_for_each_network() -> None:
    """What fadtk names is taken as it is by the protocol that does the same, and only by it."""
    for name, network in KNOWN.items():
        if not network.protocol:
            continue
        metric = "fad" if network.output == "windows" else "fd"
        (recipe,) = get_protocol(network.protocol).select([f"{metric}@{network.backbone}"])
        assert standing(name, recipe, network.protocol) == Standing(), name
    audioldm = get_protocol("audioldm").recipes["fad"]
    assert standing("vggish", audioldm, "audioldm").needs_trust
    assert "resampler torchaudio, not torchaudio-kaiser" in standing("vggish", audioldm, "audioldm").fact
    assert standing("vggish", audioldm, "audioldm").fix.startswith('Score with protocol="fadtk"')
    near = standing("vggish", replace(FMA_POP, backbone="vggish"), "fadtk")
    assert (near.needs_trust, "float16" in near.warning) == (False, True)
    for name in ("clap-laion-music", "clap-2023", "encodec-emb", "panns-cnn14-16k"):
        assert standing(name, FMA_POP, "fadtk").other
    assert standing("panns-cnn14-16k", get_protocol("audioldm").recipes["fd"], "audioldm").needs_trust
    assert "not known" in standing("vggish", FMA_POP, "imported").fact
    own, others = WEIGHTS.get("vggish").sha256, "0" * 64
    assert [standing("vggish", FMA_POP, "fadtk", digest).needs_trust for digest in (own, others)] == [False, True]


def test_terms_for_networks_of_transformers() -> None:
    recipe = replace(FMA_POP, backbone="hf:m-a-p/MERT-v1-95M@layer=11@frames@float16")
    assert standing("MERT-v1-95M-11", recipe, "fadtk") == standing("vggish", FMA_POP, "fadtk")
    assert standing("MERT-v1-95M", recipe, "fadtk").other
    assert known("MERT-v1-95M").network == "hf:m-a-p/MERT-v1-95M@layer=12"
    assert known("w2v2-large").width == 1024
    pinned = replace(recipe, backbone="hf:m-a-p/MERT-v1-95M@revision=0123@layer=11@frames")
    assert "float16" in standing("MERT-v1-95M-11", pinned, "fadtk").warning
    assert not standing("MERT-v1-95M-11", pinned, "fadtk").needs_trust
    assert standing("MERT-v1-95M-11", recipe, "audioldm").needs_trust is False  # by the recipe, whoever asks for it


@pytest.mark.slow
def test_a_file_of_fadtk_finds_its_network(small: tuple[Path, Path], tmp_path: Path) -> None:
    """Several networks, none chosen: the recipe's is taken; weights that are not the published ones are said."""
    weights = write_vggish(tmp_path / "vggish.pth")
    arrays = {}
    for place, name in enumerate(("vggish", "encodec-emb")):
        arrays[f"{name}.mu"], arrays[f"{name}.cov"] = gaussian(128, place)
    np.savez(tmp_path / "pop.npz", **arrays)
    options = {"protocol": "fadtk", "weights": {"vggish": weights}, "limit": None}
    with pytest.raises(UsageError, match="other weights than the published ones"):
        score(small[0], tmp_path / "pop.npz", **options)
    trusted = score(small[0], tmp_path / "pop.npz", trust_reference=True, **options)
    assert trusted.ref.statistics["arrays of fad_vggish"] == "vggish.mu, vggish.cov"
    rows = embed_folder(small[0], protocol="fadtk", weights={"vggish": weights})[0]
    embedded = next(iter(rows.sets.values()))
    direct = frechet_distance(
        embedded.statistics("windows"),
        GaussianStatistics.from_covariance(arrays["vggish.mu"], arrays["vggish.cov"], None),
    )
    assert trusted["fad_vggish"].value == pytest.approx(direct.value, rel=1e-12)
    with pytest.raises(UsageError, match="audioldm differs: channel first, not mean"):
        score(small[0], tmp_path / "pop.npz", metrics=["fad"], weights={"vggish": weights})


@pytest.mark.slow
def test_metric_objects(small: tuple[Path, Path], moments: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "mu", *moments["fad_yamnet"])
    with pytest.raises(UsageError, match="means trusting"):
        FAD(protocol="yamnet", ref=file)
    with pytest.raises(InsufficientDataError, match="mean and covariance, and kl needs clips"):
        KL(protocol="yamnet", ref=file, trust_reference=True)
    with pytest.raises(UsageError, match="is for a file of others' statistics"):
        FAD(protocol="yamnet", trust_reference=True)
    with pytest.warns(UserWarning, match="it is trusted that"):
        fad = FAD(protocol="yamnet", ref=file, trust_reference=True)
    expected = score(*small, metrics=["fad"], protocol="yamnet")["fad_yamnet"].value
    assert fad.score(small[0]).value == pytest.approx(expected, rel=1e-7)
    assert fad.score(*small).n_ref == 12
    assert pickle.loads(pickle.dumps(fad)).clone().score(small[0]).remarks[0] == UNCOUNTED
    with pytest.warns(UserWarning, match="it is trusted that"):
        suite = MetricSuite([FAD(protocol="yamnet", ref=file, trust_reference=True), IS(protocol="yamnet")])
    assert suite.score(small[0])["fad_yamnet"].value == pytest.approx(expected, rel=1e-7)


@pytest.mark.slow
def test_verify_finds_another_file(small: tuple[Path, Path], moments: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "several", *moments["fad_yamnet"])
    report = score(small[0], f"{file}::yamnet", metrics=["fad"], protocol="yamnet", trust_reference=True)
    report.to_json(tmp_path / "report.json")
    assert verify(tmp_path / "report.json", cache=True).equal
    moved = file.rename(tmp_path / "moved.npz")
    with pytest.raises(DataError, match="ref does not exist"):
        verify(tmp_path / "report.json", cache=True)
    assert verify(tmp_path / "report.json", ref=f"{moved}::yamnet", cache=True).differences == ()
    mean, covariance = moments["fad_yamnet"]
    np.savez(moved, **{"yamnet.mu": mean + 0.01, "yamnet.cov": covariance})
    changed = verify(tmp_path / "report.json", ref=f"{moved}::yamnet", cache=True)
    assert {difference.kind for difference in changed.differences} == {"files", "score"}


@pytest.mark.slow
def test_compare(small: tuple[Path, Path], moments: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "mu", *moments["fd_yamnet"])
    options = {"metrics": ["fd"], "protocol": "yamnet", "permutations": 39}
    found = compare(small[0], small[1], file, trust_reference=True, **options)
    (difference,) = found.differences
    assert difference.verdict.startswith("B better")
    assert found.ref.scored is None
    assert any("reference taken as exact" in warning for warning in found.warnings)
    command = ["compare", *map(str, small), str(file), "--protocol", "yamnet", "-m", "fd", "--permutations", "0"]
    assert main([*command, "--trust-reference", "--html", str(tmp_path / "page.html"), "-o", str(tmp_path / "o")]) == 0
    assert "statistics of an unknown number of clips" in (tmp_path / "page.html").read_text()
    with pytest.raises(UsageError, match="means trusting"):
        compare(*small, file, **options)
    with pytest.raises(UsageError, match="do not name clips to pair with"):
        compare(*small, file, pairs="{ref}_{sample}", trust_reference=True, **options)


@pytest.mark.slow
def test_several_systems(small: tuple[Path, Path], moments: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "mu", *moments["fd_yamnet"])
    command = ["score", *map(str, small), "--ref", str(file), "--protocol", "yamnet", "-m", "fd", "--trust-reference"]
    for form in ("table", "latex", "json"):
        assert main([*command, "--format", form, "-o", str(tmp_path / form)]) == 0
    assert "statistics of an unknown number of clips" in (tmp_path / "table").read_text()
    assert "against statistics of an unknown number of reference clips" in (tmp_path / "latex").read_text()
    (difference,) = json.loads((tmp_path / "json").read_text())["differences"]
    assert difference["better"] is not None


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mean, covariance = gaussian(128)
    np.savez(
        tmp_path / "pop.npz", **{"vggish.mu": mean, "vggish.cov": covariance, "own.mu": mean, "own.cov": covariance}
    )
    assert main(["stats", "show", str(tmp_path / "pop.npz")]) == 0
    shown = capsys.readouterr().out
    assert "vggish.mu, vggish.cov: 128 wide" in shown
    assert "--protocol fadtk -m fad@vggish-float16" in shown
    assert "n is not known" in shown
    assert main(["stats", "show", f"{tmp_path / 'pop.npz'}::own", "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [*content["statistics"]] == ["own"]
    assert content["statistics"]["own"]["variance"] == pytest.approx(np.trace(covariance))


def test_folders_that_are_none(small: tuple[Path, Path], tmp_path: Path) -> None:
    assert open_foreign(small[1]) is None
    assert open_foreign(tmp_path / "nothing") is None
    with pytest.raises(AudiogenMetricsError):
        open_reference(tmp_path / "nothing")


def test_every_protocol_that_is_named_exists() -> None:
    assert {network.protocol for network in KNOWN.values()} - {""} <= PROTOCOLS.keys()


def test_a_folder_of_many_clips_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number}.wav").touch()
    (tmp_path / "loop").symlink_to("loop")
    asked: list[Path] = []
    real = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(path) or real(path))
    assert open_foreign(tmp_path) is None
    assert len(asked) == 2  # for statistics of its own


def test_a_folder_that_cannot_be_listed_is_left_to_the_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", closed)
    monkeypatch.setattr("os.listdir", closed)
    assert open_foreign(tmp_path) is None
    with pytest.raises(DataError, match="cannot list the folder"):
        open_reference(tmp_path)
