"""Two systems: what is compared at unequal n, what gets a verdict and what does not, and what stands in the report."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics.cli.main import main
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.compare import Comparison, ScoreDifference, compare
from audiogen_metrics.metrics.definition import Metric
from audiogen_metrics.metrics.fd import FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import KLDivergence
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.metrics.mmd import KernelAudioDistance, KernelDistance
from audiogen_metrics.metrics.prdc import Density, Precision
from tests.conftest import EXAMPLES, write_tone

SIZES = {"a": 60, "b": 90, "ref": 60}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return sets of tones of one distribution: ``a``, ``b`` and ``ref`` share ids, ``other_b`` has its own."""
    root = tmp_path_factory.mktemp("tones")
    for name, size in SIZES.items():
        for place in range(size):
            # The name sets the tone.
            made = root / f"{name}{place:03d}.wav"
            write_tone(made, 0.5)
            for folder, clip in ((name, f"p{place:03d}"), (f"other_{name}", made.stem)):
                (root / folder).mkdir(exist_ok=True)
                shutil.copy(made, root / folder / f"{clip}.wav")
    return root


def by_id(found: Comparison) -> dict[str, ScoreDifference]:
    return {difference.id: difference for difference in found.differences}


def no_better(found: Comparison) -> None:
    for difference in found.differences:
        assert "better" not in difference.verdict, difference
        assert difference.better is None, difference


@pytest.mark.slow
def test_systems_of_unequal_size_are_compared_on_the_clips_that_both_have(tones: Path) -> None:
    found = compare(tones / "a", tones / "b", tones / "ref", protocol="yamnet", permutations=99)
    assert {*by_id(found)} == {"fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"}
    for difference in found.differences:
        assert (difference.n, difference.paired, difference.subsamples) == (60, True, 1)
    assert "A has 60 clips and B 90: compared on the 60 that both have" in found.warnings
    no_better(found)
    # The very clips: a folder that has only those gives the same.
    fewer = tones / "fewer"
    fewer.mkdir()
    for clip in sorted((tones / "b").iterdir())[:60]:
        shutil.copy(clip, fewer)
    same = compare(tones / "a", fewer, tones / "ref", protocol="yamnet", permutations=99)
    assert not any("both have" in warning for warning in same.warnings)
    assert same.differences == found.differences


@pytest.mark.slow
def test_systems_without_common_clips_are_cut_to_equal_size(tones: Path) -> None:
    """One distribution: with 60 clips against 90, the larger was always better."""
    found = compare(tones / "other_a", tones / "other_b", tones / "ref", protocol="yamnet", permutations=99)
    assert {*by_id(found)} == {"fd_yamnet", "fad_yamnet", "is_yamnet"}
    assert any(warning.startswith("kl_yamnet is not compared: no clip id is in both") for warning in found.warnings)
    for difference in found.differences:
        assert (difference.n, difference.paired, difference.subsamples) == (60, False, 5)
        assert difference.p is not None
        assert difference.permutations > 0
    assert any("means over 5 random parts of 60 clips of the larger one" in warning for warning in found.warnings)
    no_better(found)
    swapped = compare(tones / "other_b", tones / "other_a", tones / "ref", protocol="yamnet", permutations=99)
    for difference, other in zip(found.differences, swapped.differences, strict=True):
        assert other.difference == pytest.approx(-difference.difference, rel=1e-9)
        assert (other.n, "better" in other.verdict) == (60, False)


@pytest.mark.slow
def test_a_comparison_as_json(tones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(tones / name) for name in ("a", "b", "ref")]
    command = ["compare", *folders, "--protocol", "yamnet", "--permutations", "39", "-m", "fd,kl,precision,kid"]
    assert main([*command, "--format", "json"]) == 0

    def refuse(name: str) -> None:
        raise AssertionError(name)

    content: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=refuse)
    fields = {field.name for field in dataclasses.fields(ScoreDifference)}
    documented = ScoreDifference.__doc__ or ""
    assert all(name in documented for name in fields)
    for entry in content["differences"]:
        assert {*entry} == fields
        assert entry["difference"] == pytest.approx(entry["a"] - entry["b"])
        assert 1 / 40 <= entry["p"] <= 1
        # Of equal scores, every permutation is at least as far apart.
        assert 0 < entry["permutations"] <= 39 or (entry["difference"], entry["p"], entry["verdict"]) == (0, 1, "equal")
    entries = {entry["metric"]: entry for entry in content["differences"]}
    assert {*entries} == {"fd", "kl", "precision", "kid"}
    # No interval is known, so that p alone cannot say which is better.
    share = entries["precision"]
    assert share["standard_error"] is share["ci95"] is share["detectable"] is None
    assert share["verdict"].startswith("none: ") or share["verdict"] == "equal"
    for metric in ("fd", "kl", "kid"):
        entry = entries[metric]
        assert entry["ci95"][0] < entry["difference"] < entry["ci95"][1]
        # 1.96 and 0.84 standard errors; Student's t and the bootstrap reach a little further.
        assert 2.6 < entry["detectable"] / entry["standard_error"] < 3.4


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return folders of 12 real recordings each; ``gen`` and ``worse`` share ids with each other and not with ref."""
    root = tmp_path_factory.mktemp("few")
    for source, target in (("generated", "gen"), ("reference", "worse"), ("reference", "ref")):
        clips = sorted(path for path in (EXAMPLES / source).rglob("*") if path.is_file())
        for place, clip in enumerate(clips[20:32] if target == "ref" else clips[:12]):
            (root / target).mkdir(exist_ok=True)
            shutil.copy(clip, root / target / f"{'r' * (target == 'ref')}{place}{clip.suffix}")
    return root


@pytest.mark.slow
def test_few_clips_without_pairs_end_no_run(few: Path) -> None:
    """IS has splits of one clip and KL no pairs."""
    found = compare(few / "gen", few / "worse", few / "ref", protocol="yamnet", permutations=19)
    assert {"fd_yamnet", "fad_yamnet"} <= {*by_id(found)}
    assert any(warning.startswith("kl_yamnet is not compared") for warning in found.warnings)
    json.dumps(found.to_dict(), allow_nan=False)
    assert str(found)
    for metric in ("kl", "fd,kl"):
        with pytest.raises(InsufficientDataError, match="kl_yamnet"):
            compare(few / "gen", few / "worse", few / "ref", protocol="yamnet", metrics=metric)


@pytest.mark.slow
def test_without_permutations_p_is_students(few: Path) -> None:
    names = ["fd", "precision"]
    found = by_id(compare(few / "gen", few / "worse", few / "ref", protocol="yamnet", metrics=names, permutations=0))
    assert found["fd_yamnet"].permutations == 0
    p, ci95 = found["fd_yamnet"].p, found["fd_yamnet"].ci95
    assert p is not None
    assert ci95 is not None
    assert (p < 0.05) == (not ci95[0] <= 0 <= ci95[1])
    assert ("better" in found["fd_yamnet"].verdict) == (p < 0.05)
    ahead = "A" if found["fd_yamnet"].difference < 0 else "B"
    assert found["fd_yamnet"].better == (ahead if p < 0.05 else None)
    assert found["precision_yamnet"].p in (None, 1.0)
    assert found["precision_yamnet"].verdict.startswith(("none: ", "equal"))


@pytest.mark.slow
def test_lengths_get_no_verdict(tmp_path: Path) -> None:
    for place in range(12):
        write_tone(tmp_path / "long" / f"{place}.wav", 3.0)
        write_tone(tmp_path / "short" / f"{place}.wav", 1.0)
        write_tone(tmp_path / "ref" / f"{place}.wav", 1.0)
    found = compare(tmp_path / "long", tmp_path / "short", tmp_path / "ref", protocol="yamnet", permutations=19)
    apart = by_id(found)["fad_yamnet"]
    assert apart.verdict.startswith("none: A has ")
    assert "would compare lengths" in apart.verdict
    assert apart.p is apart.ci95 is apart.standard_error is apart.detectable is None
    assert apart.a > 0
    json.dumps(found.to_dict(), allow_nan=False)
    assert "lengths" not in by_id(found)["fd_yamnet"].verdict


@pytest.mark.slow
def test_a_difference_of_exactly_nothing(few: Path) -> None:
    for permutations in (0, 9):
        found = compare(few / "gen", few / "gen", few / "ref", protocol="yamnet", permutations=permutations)
        for difference in found.differences:
            assert (difference.difference, difference.p, difference.verdict) == (0.0, 1.0, "equal")
            assert difference.equal
            assert difference.better is None


@pytest.mark.slow
def test_divergences_of_clips_without_a_reference_do_not_count(tones: Path, tmp_path: Path) -> None:
    """40 of 60 ids are in the reference: the others change nothing."""
    for place in range(40):
        (tmp_path / "ref").mkdir(exist_ok=True)
        shutil.copy(tones / "ref" / f"p{place:03d}.wav", tmp_path / "ref")
        for name in "ab":
            (tmp_path / name).mkdir(exist_ok=True)
            shutil.copy(tones / name / f"p{place:03d}.wav", tmp_path / name)
    some, all_ = (
        compare(root / "a", root / "b", tmp_path / "ref", protocol="yamnet", metrics="kl", permutations=39)
        for root in (tones, tmp_path)
    )
    first, second = some.differences[0], all_.differences[0]
    for name in ("a", "b", "difference", "standard_error", "ci95"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-9), name
    assert first.p is not None
    assert not math.isnan(first.p)
    json.dumps(some.to_dict(), allow_nan=False)


@pytest.mark.slow
def test_samples_of_prompts_make_no_verdict_surer(tones: Path, tmp_path: Path) -> None:
    """Four copies of each clip of both systems: with ``pairs`` no surer than once."""
    for name in ("a", "b"):
        for clip in sorted((tones / name).iterdir())[:24]:
            for sample in range(4):
                (tmp_path / name).mkdir(exist_ok=True)
                shutil.copy(clip, tmp_path / name / f"{clip.stem}_{sample}.wav")
            (tmp_path / f"one_{name}").mkdir(exist_ok=True)
            shutil.copy(clip, tmp_path / f"one_{name}")
    asked: dict[str, Any] = {"protocol": "yamnet", "metrics": ["fd", "kl"], "permutations": 99}
    many = compare(tmp_path / "a", tmp_path / "b", tones / "ref", pairs="{ref}_{sample}", **asked)
    once = compare(tmp_path / "one_a", tmp_path / "one_b", tones / "ref", **asked)
    for one, four in zip(once.differences, many.differences, strict=True):
        assert (one.n, four.n) == (24, 96)
        assert four.standard_error == pytest.approx(one.standard_error, rel=0.1), one.id
        assert four.p == pytest.approx(one.p, abs=0.2)


D = 8


def system(n: int, seed: int, shift: float = 0.0, scale: float = 1.0, d: int = D) -> EmbeddingSet:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale
    rows[:, 0] += shift
    return EmbeddingSet({f"clip{place:03d}": {"embeddings": row, "logits": row} for place, row in enumerate(rows)})


def rivals(metric: Metric, a: EmbeddingSet, b: EmbeddingSet, ref: EmbeddingSet, together: bool, **links: Any) -> Rivals:
    first, second = (Measured(metric, gen, ref, links=Links(**links)) for gen in (a, b))
    return Rivals(first, second, together)


def better(found: Rivals, seed: int) -> bool:
    p, _ = found.permutation(99, seed)
    return p < 0.05 and not found.interval.low <= 0 <= found.interval.high


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("d", [4, 48])
def test_equally_distant_systems_are_seldom_called_better(paired: bool, d: int) -> None:
    """Equal expected scores, other faults: shifted to one side and to the other. Of 60, 9 are 3 errors above 6 %."""
    called = 0
    for seed in range(60):
        a, b = system(40, 3 * seed, 1.0, d=d), system(40, 3 * seed + 1, -1.0, d=d)
        called += better(rivals(FrechetDistance(), a, b, system(40, 3 * seed + 2, d=d), paired), seed)
    assert called <= 9


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    "metric",
    [FrechetDistance(), KernelDistance(), KernelAudioDistance(), InceptionScore(), KLDivergence(), Density()],
    ids=lambda metric: metric.name,
)
def test_systems_of_one_distribution_and_wider_ones(metric: Metric, paired: bool) -> None:
    """Seldom better if equal; found, and in the right direction, if one is much farther away."""
    equal = found = 0
    for seed in range(12):
        ref = system(40, 1000 + seed)
        equal += better(rivals(metric, system(40, seed, 0.3), system(40, 500 + seed, 0.3), ref, paired), seed)
        wide = rivals(metric, system(40, seed), system(40, 500 + seed, 1.5, 2.5), ref, paired)
        if better(wide, seed):
            found += 1
            worse_a = (wide.difference > 0) != metric.higher_is_better
            assert worse_a == isinstance(metric, InceptionScore)
    assert equal <= 3
    assert found >= (9 if metric.name != "density" else 4)


def test_pairs_of_like_clips_make_small_differences_visible() -> None:
    """A system and itself with a little noise and a shift: found in pairs, not without."""
    a = system(60, 0)
    shifted = {clip: {**one, "embeddings": one["embeddings"] + 0.15} for clip, one in a.features.items()}
    b, ref = EmbeddingSet(shifted), system(60, 1)
    together, apart = (rivals(FrechetDistance(), a, b, ref, paired) for paired in (True, False))
    assert together.interval.standard_error < 0.7 * apart.interval.standard_error


@pytest.mark.parametrize("metric", [FrechetDistance(), KernelDistance(), KLDivergence(), InceptionScore()])
@pytest.mark.parametrize("paired", [True, False])
def test_exchanged_systems_exchange_the_sign(metric: Metric, paired: bool) -> None:
    a, b, ref = system(30, 0), system(30, 1, 0.5), system(30, 2)
    one, other = rivals(metric, a, b, ref, paired), rivals(metric, b, a, ref, paired)
    assert other.difference == -one.difference
    assert other.interval.standard_error == pytest.approx(one.interval.standard_error, rel=1e-9)
    middle = one.interval.low + one.interval.high, other.interval.low + other.interval.high
    assert middle[0] == pytest.approx(-middle[1], abs=0.3 * one.interval.standard_error)


@pytest.mark.parametrize("metric", [FrechetDistance(), KernelDistance(), Precision(), KLDivergence(), InceptionScore()])
def test_the_least_p_is_that_of_all_permutations(metric: Metric) -> None:
    a, b, ref = system(40, 0), system(40, 1, 30.0, 4.0), system(40, 2)
    p, made = rivals(metric, a, b, ref, True).permutation(49, 0)
    assert made == 49
    assert p < 0.05
    same = rivals(metric, a, EmbeddingSet(dict(a.features)), ref, True)
    assert same.permutation(49, 0)[0] == 1.0


@pytest.mark.parametrize("paired", [True, False])
def test_systems_whose_clips_are_all_copies(paired: bool) -> None:
    """One clip of each, in truth: there is no interval, which is said."""
    a, b, ref = system(12, 0), system(12, 1), system(12, 2)
    labels = {"gen": [dict.fromkeys(a.clip_ids, "one")]}
    for links in ({"paired": False, "contents": labels}, {"prompts": dict.fromkeys(a.clip_ids, "clip000")}):
        for metric in (FrechetDistance(), KernelDistance()):
            found = rivals(metric, a, b, ref, paired, **links)
            with pytest.raises(InsufficientDataError):
                print(found.interval)


def test_ties_of_both_systems_widen_the_interval() -> None:
    """Each clip of both twice: as wide as once, with pairs and without."""
    a, b, ref = system(40, 0), system(40, 1, 0.5), system(40, 2)
    twice = [EmbeddingSet({f"{c}{h}": one for c, one in each.features.items() for h in "xy"}) for each in (a, b)]
    labels = {clip: clip[:-1] for clip in twice[0].clip_ids}
    for metric in (FrechetDistance(), KernelAudioDistance(), KLDivergence()):
        for paired in (True, False):
            prompts = labels if metric.needs == "pairs" else None
            links = {"prompts": prompts, "contents": {"gen": [labels]}}
            once = rivals(metric, a, b, ref, paired).interval.standard_error
            tied = rivals(metric, *twice, ref, paired, **links).interval.standard_error
            assert tied == pytest.approx(once, rel=0.08), (metric.name, paired)


def test_swaps_move_tied_clips_together() -> None:
    a, b, ref = system(8, 0), system(8, 1), system(8, 2)
    labels = {clip: str(place // 2) for place, clip in enumerate(a.clip_ids)}
    found = rivals(FrechetDistance(), a, b, ref, True, contents={"gen": [labels]})
    rng = np.random.default_rng(0)
    for _ in range(40):
        ours, theirs = found._dealt(rng)
        assert [*(ours % 8)] == [*(theirs % 8)] == [*range(8)]
        assert all(ours[place] // 8 == ours[place + 1] // 8 for place in range(0, 8, 2))
        assert all(ours // 8 + theirs // 8 == 1)


@pytest.mark.parametrize("metric", [KernelDistance(), KernelAudioDistance()], ids=lambda m: m.name)
def test_kernels_that_are_computed_once_give_the_difference_of_the_scores(metric: Metric) -> None:
    rows = torch.randn(70, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sets = [
        EmbeddingSet({f"{name}{place:02d}": {"embeddings": row} for place, row in enumerate(part)})
        for name, part in zip("abr", rows.split([20, 20, 30]), strict=True)
    ]
    rivals = Rivals(*(Measured(metric, each, sets[2]) for each in sets[:2]), paired=False)
    dealt = np.random.default_rng(0).permutation(40)
    a, b = np.sort(dealt[:20]), np.sort(dealt[20:])
    assert metric.contest(rivals)(a, b) == pytest.approx(Metric.contest(metric, rivals)(a, b), rel=1e-9)
