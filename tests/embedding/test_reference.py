"""Statistics files: the numbers of the folder, and refused where they were made in another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite, score
from audiogen_metrics.embedding import reference
from audiogen_metrics.embedding.reference import ReferenceStatistics, is_statistics, machine_differences
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.evaluation import reference_statistics
from audiogen_metrics.protocols import get_protocol
from tests.objects.test_metrics import read


@pytest.fixture
def built(small: Any) -> Any:
    """Statistics of the reference folder."""
    return reference_statistics(small[1], protocol="yamnet")


@pytest.fixture
def saved(built: Any, tmp_path: Path) -> Any:
    """Their file."""
    built.save(tmp_path / "ref.stats")
    return tmp_path / "ref.stats"


def test_scores_are_those_of_the_folder(small: Any, saved: Any) -> None:
    """Bit for bit: the file holds the very factor and logits."""
    folder, file = (score(small[0], ref, protocol="yamnet", ci=False) for ref in (small[1], saved))
    assert folder.scores == file.scores
    assert folder.warnings == file.warnings
    assert replace(folder, manifest=None).to_dict() == replace(file, manifest=None).to_dict()


@pytest.mark.parametrize("metric", [FD, FAD, IS, KL])
def test_metrics_take_the_file(small: Any, saved: Any, metric: Any) -> None:
    kept, plain = metric(protocol="yamnet", ref=saved), metric(protocol="yamnet")
    expected = plain.score(*small).value
    assert kept.score(small[0]).value == plain.score(small[0], saved).value == expected
    for clip_id, waveform, rate in read(small[0]):
        kept.update(gen=waveform, sample_rate=rate, ids=[clip_id])
    assert float(kept.compute()) == pytest.approx(expected, rel=1e-5)
    kept.reset()
    with (
        pytest.raises(InsufficientDataError, match="there are no gen clips"),
        pytest.warns(UserWarning, match="before"),
    ):
        kept.compute()


def test_suite_takes_the_file(small: Any, saved: Any) -> None:
    suite = MetricSuite([metric(protocol="yamnet") for metric in (FD, FAD, IS, KL)])
    served, known = suite.score(small[0], saved, ci=False), suite.score(*small, ci=False)
    assert served.scores == known.scores
    assert {score.ci95_ref for score in suite.score(small[0], saved).scores.values()} == {"exact", "sampled", None}


def test_round_trip(built: Any, saved: Any) -> None:
    loaded = ReferenceStatistics.load(saved)
    assert is_statistics(saved)
    assert not is_statistics(saved.parent)
    assert (loaded.protocol, loaded.summary, loaded.clip_ids) == (built.protocol, built.summary, built.clip_ids)
    assert loaded.features.keys() == {"fd_yamnet", "fad_yamnet", "kl_yamnet"}
    assert torch.equal(loaded.features["fd_yamnet"].gaussian.factor, built.features["fd_yamnet"].gaussian.factor)
    assert not list(saved.parent.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone": {"weights_sha256": 64 * "0"}},
            "weights_sha256 000000000000…, and this run has eff9",
        ),
        ({"backbone": {"numerics_version": 99}}, "numerics_version 99"),
        ({"backbone": {"dtype": "bfloat16"}}, "dtype bfloat16"),
        ({"backbone": {"name": "other"}}, "with backbone other"),
        ({"preprocessing": {"channel": "first"}}, "preprocessing channel first, and this run has mean"),
        ({"preprocessing": {"minimum_samples": 0}}, "minimum_samples 0"),
    ],
)
def test_another_recipe_is_refused(small: Any, built: Any, tmp_path: Path, change: Any, message: str) -> None:
    stamps = {
        score_id: {part: {**values, **change.get(part, {})} for part, values in stamp.items()}
        for score_id, stamp in built.stamps.items()
    }
    replace(built, stamps=stamps).save(tmp_path / "other.stats")
    with pytest.raises(DataError, match=message):
        score(small[0], tmp_path / "other.stats", protocol="yamnet")
    with pytest.raises(DataError, match=message):
        FD(protocol="yamnet", ref=tmp_path / "other.stats").update(gen=torch.zeros(1, 16_000), sample_rate=16_000)


def test_another_protocol_is_refused(small: Any, saved: Any) -> None:
    with pytest.raises(DataError, match="protocol yamnet, and this run has audioldm"):
        score(small[0], saved)
    with pytest.raises(DataError, match="protocol yamnet, and this run has audioldm"):
        FD(backbone="yamnet", ref=saved)


def test_another_device_is_a_warning(small: Any, built: Any, tmp_path: Path) -> None:
    stamps = {
        score_id: {**stamp, "backbone": {**stamp["backbone"], "device_type": "cuda", "tf32": 2}}
        for score_id, stamp in built.stamps.items()
    }
    replace(built, stamps=stamps).save(tmp_path / "gpu.stats")
    report = score(small[0], tmp_path / "gpu.stats", protocol="yamnet")
    assert any("made on cuda, this run is on cpu" in warning for warning in report.warnings)
    assert any("made with TF32, this run is without" in warning for warning in report.warnings)
    metric = FD(protocol="yamnet", ref=tmp_path / "gpu.stats")
    with pytest.warns(UserWarning, match="made on cuda"), pytest.warns(UserWarning, match="made with TF32"):
        metric.update(gen=0.1 * torch.ones(2, 16_000), sample_rate=16_000)


def test_tf32_alone_is_a_warning(built: Any) -> None:
    """As on one GPU, where the run before was told to use it."""
    stamps = [{**stamp["backbone"], "device_type": "cuda", "tf32": 1} for stamp in built.stamps.values()]
    plain = [{**stamp, "tf32": 0} for stamp in stamps]
    assert machine_differences(stamps, plain, "a", "b") == [
        "a with TF32, b without: scores may differ by 1.3e-3 relative"
    ]
    assert machine_differences(plain, plain, "a", "b") == machine_differences(stamps, stamps, "a", "b") == []


def test_an_engine_of_products_alone_is_a_warning(built: Any) -> None:
    stamps = [stamp["backbone"] for stamp in built.stamps.values()]
    plain = [{name: value for name, value in stamp.items() if name != "products"} for stamp in stamps]
    faster = [{**stamp, "products": "onednn"} for stamp in plain]
    elsewhere = [{**stamp, "device_type": "cuda"} for stamp in plain]
    told = "with products by oneDNN, b by torch: scores may differ by 1e-5"
    assert machine_differences(faster, plain, "a", "b") == [f"a {told}"]
    assert machine_differences(faster, elsewhere, "a", "b") == [
        "a on cpu, b on cuda: scores may differ by 1e-5 relative"
    ]
    assert machine_differences(faster, faster, "a", "b") == machine_differences(plain, plain, "a", "b") == []


def test_damage_is_found(small: Any, saved: Any) -> None:
    content = bytearray(saved.read_bytes())
    for name, changed in {
        "flipped": bytes(content[:-9]) + bytes([content[-9] ^ 1]) + bytes(content[-8:]),
        "cut": bytes(content[: len(content) // 2]),
    }.items():
        (saved.parent / name).write_bytes(changed)
        with pytest.raises(DataError, match="damaged statistics"):
            score(small[0], saved.parent / name, protocol="yamnet")


def test_other_files_and_formats_are_refused(small: Any, saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved.parent / "text").write_text("hello")
    with pytest.raises(DataError, match="not one of reference statistics"):
        score(small[0], saved.parent / "text", protocol="yamnet")
    monkeypatch.setattr(reference, "FORMAT_VERSION", 2)
    with pytest.raises(DataError, match="statistics of format 1"):
        ReferenceStatistics.load(saved)


def test_what_is_not_in_the_file(small: Any, tmp_path: Path) -> None:
    reference_statistics(small[1], protocol="yamnet", metrics=["fd"]).save(tmp_path / "fd.stats")
    report = score(small[0], tmp_path / "fd.stats", protocol="yamnet")
    assert report["fd_yamnet"].value is not None
    assert "there are no statistics of windows" in report["fad_yamnet"].reason
    assert "there are no logits" in report["kl_yamnet"].reason
    with pytest.raises(InsufficientDataError, match="hold nothing for kl_yamnet, only for fd_yamnet"):
        score(small[0], tmp_path / "fd.stats", protocol="yamnet", metrics=["kl"])
    with pytest.raises(UsageError, match="IS needs no reference"):
        reference_statistics(small[1], protocol="yamnet", metrics=["is"])


def test_limit_strict_and_skipped(small: Any, saved: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be limited"):
        score(small[0], saved, protocol="yamnet", limit=3)
    (small[1] / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="1 of 13 files cannot be scored"):
        reference_statistics(small[1], protocol="yamnet", strict=True)
    reference_statistics(small[1], protocol="yamnet").save(tmp_path / "skipped.stats")
    report = score(small[0], tmp_path / "skipped.stats", protocol="yamnet")
    assert any("ref: skipped" in warning for warning in report.warnings)
    with pytest.raises(DataError, match="1 files were skipped when these statistics were made"):
        score(small[0], tmp_path / "skipped.stats", protocol="yamnet", strict=True)
    assert len(reference_statistics(small[1], protocol="yamnet", limit=3).clip_ids) == 3


def test_selection_without_settings_trusts_the_rest(built: Any) -> None:
    """Ready-made embeddings have no weights to compare."""
    recipe = get_protocol("yamnet").recipes["fd"]
    assert built.select(recipe, "yamnet") is built.features["fd_yamnet"]
