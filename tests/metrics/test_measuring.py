"""What follows from a metric and two sets, against brute force and what exact arithmetic or theory demands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.one_score import scored
from audiogen_metrics.functional import GaussianStatistics
from audiogen_metrics.functional.uncertainty import Spread, interval, joined, mean_interval, outlier
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, ScoreInterval, Side
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import KLDivergence
from audiogen_metrics.metrics.measuring.chance import Chance, _between, rows_apart
from audiogen_metrics.metrics.measuring.chance import chance as by_chance
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.pool import RowPool
from audiogen_metrics.metrics.mmd import KernelAudioDistance, KernelDistance
from audiogen_metrics.metrics.prdc import Coverage, Density, Precision
from audiogen_metrics.protocols import get_protocol

D = 4


def normal(n: int, seed: int, d: int = D) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def clips(rows: torch.Tensor, name: str = "clip", windows: Sequence[int] | None = None) -> EmbeddingSet:
    """Return a set whose clips have these rows as embeddings and logits, and as many windows as are said."""
    counts = [1] * len(rows) if windows is None else windows
    return EmbeddingSet(
        {
            f"{name}{place:03d}": {
                "embeddings": row,
                "logits": row,
                "windows": row + 0.1 * normal(count, place, rows.shape[1]),
            }
            for place, (row, count) in enumerate(zip(rows, counts, strict=True))
        }
    )


def doubled(source: EmbeddingSet) -> tuple[EmbeddingSet, dict[str, str]]:
    """Return each clip twice, and labels that say so."""
    both = {clip + half: one for clip, one in source.features.items() for half in "ab"}
    return EmbeddingSet(both), {clip: clip[:-1] for clip in both}


def ties(links: Links, gen: str, ref: str) -> list[int]:
    first, second = links.ties(gen.split(), ref.split())
    found = [*first.tolist(), *second.tolist()]
    numbers = {number: place for place, number in enumerate(dict.fromkeys(found))}
    return [numbers[number] for number in found]


def test_equal_ids_leave_together() -> None:
    assert ties(Links(), "a b c", "b c d") == [0, 1, 2, 1, 2, 3]
    assert ties(Links(paired=False), "a b c", "b c d") == [0, 1, 2, 3, 4, 5]
    assert ties(Links(), "a b", "") == [0, 1]


def test_samples_of_one_prompt_leave_with_their_reference() -> None:
    prompts = {"a_0": "a", "a_1": "a", "b_0": "b", "z_0": "z", "z_1": "z"}
    assert ties(Links(prompts=prompts), "a_0 a_1 b_0 b", "a b") == [0, 0, 1, 1, 0, 1]
    # Off is off, also for prompts.
    assert ties(Links(False, prompts), "a_0 a_1", "a") == [0, 1, 2]


def test_copies_leave_together_and_chains_are_one_group() -> None:
    contents = {"gen": [{"a": "x", "c": "x", "b": "y"}], "ref": [{"p": "u", "q": "u"}]}
    assert ties(Links(False, contents=contents), "a b c", "p q r") == [0, 1, 0, 2, 2, 3]
    # a pairs with a, whose copy is q, which pairs with q, whose copy is c, which is a sample of r.
    links = Links(True, {"c": "r"}, {"gen": [{"q": "1", "c": "1"}], "ref": [{"a": "2", "q": "2"}]})
    assert ties(links, "a c q s", "a q r t") == [0, 0, 0, 1, 0, 0, 0, 2]
    # A file of gen that equals one of ref is no copy within a set.
    assert ties(Links(False, contents={"gen": [{"a": "x"}], "ref": [{"p": "x"}]}), "a", "p") == [0, 1]
    # Of two systems, copies in either tie.
    two = Links(False, contents={"gen": [{"a": "1", "b": "1"}, {"b": "2", "c": "2"}]})
    assert ties(two, "a b c d", "") == [0, 0, 0, 1]


def test_copies_are_counted_once_per_content() -> None:
    links = Links(contents={"gen": [{"a": "x", "b": "x", "c": "x", "d": "y"}]})
    assert links.copies("gen", ["a", "b", "c", "d", "e"]) == 2
    assert links.copies("ref", ["a", "b"]) == 0


def test_strata() -> None:
    assert Links().strata(["a", "b", "c"], ["b", "c", "d"]).tolist() == [0, 1, 2, 1, 2, 0]
    assert Links(False).strata(["a", "b"], ["a", "b"]).tolist() == [0, 0, 0, 0]
    links = Links(prompts={"a0": "a", "a1": "a", "b0": "b", "c0": "gone"})
    assert links.strata(["a0", "a1", "b0", "c0"], ["a", "b", "d"]).tolist() == [1, 1, 2, 0, 1, 2, 0]


def test_a_pool_and_its_parts() -> None:
    gen, ref = clips(normal(3, 0), windows=[1, 3, 2]), clips(normal(2, 1), windows=[2, 2])
    pool = RowPool("windows", gen, ref)
    assert pool.sizes == [3, 2]
    assert pool.counts == [1, 3, 2, 2, 2]
    assert pool.places(1).tolist() == [3, 4]
    part = pool.part(np.array([1, 4]))
    assert part.counts("windows") == [3, 2]
    assert len(part) == 2
    expected = torch.cat([gen.rows("windows")[1:4], ref.rows("windows")[2:4]])
    assert torch.equal(part.rows("windows"), expected)
    assert torch.equal(part.statistics("windows").covariance, GaussianStatistics.from_embeddings(expected).covariance)
    with pytest.raises(InsufficientDataError, match="no embeddings in this pool"):
        part.rows("embeddings")
    logits = RowPool("logits", gen, ref).part(np.array([0, 3]))
    assert torch.equal(logits.logits(logits.clip_ids[::-1]), logits.rows("logits").flip(0))
    assert torch.equal(logits.logits(), logits.rows("logits"))


def test_deals_keep_sizes_and_strata() -> None:
    """Of every deal that a score sees."""
    links = Links(prompts={f"clip{place:03d}": f"clip{place % 8:03d}" for place in range(16)})
    gen, ref = clips(normal(20, 0)), clips(normal(12, 1))
    strata = links.strata(gen.clip_ids, ref.clip_ids)
    pool, seen = RowPool("embeddings", gen, ref), []

    def score(first: np.ndarray, second: np.ndarray) -> float:
        assert sorted([*first, *second]) == [*range(32)]
        assert [sum(strata[first] == stratum) for stratum in np.unique(strata)] == [
            sum(strata[:20] == stratum) for stratum in np.unique(strata)
        ]
        seen.append(tuple(first))
        return float(len(seen) > 1)

    found = by_chance(pool, score, strata, higher_is_better=False, draws=30, seed=1, rounding=0.0)
    assert len(set(seen)) > 20
    assert found.draws == 20
    assert found.p == 1.0


METRICS: list[Metric] = [
    FrechetDistance(),
    FrechetAudioDistance(),
    KernelDistance(),
    KernelAudioDistance(),
    Precision(),
    Coverage(),
    Density(),
]


@pytest.mark.parametrize(
    ("metric", "paired"),
    # Equal sets have no extreme density among all deals.
    [(metric, paired) for metric in METRICS for paired in (True, False) if paired or metric.name != "density"],
    ids=lambda each: getattr(each, "name", str(each)),
)
@pytest.mark.parametrize("d", [4, 60])
def test_identical_sets_are_as_near_as_any(metric: Metric, paired: bool, d: int) -> None:
    """Deals of pairs of equal clips all give the same score, but for rounding; p is 1 to the digit."""
    rows = normal(24, 3, d) + 5
    found = Measured(metric, clips(rows), clips(rows), links=Links(paired)).chance
    assert found.p == 1.0
    assert found.draws == 20
    assert found.halves_gen is None


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("paired", [True, False])
def test_far_sets_have_the_least_p(metric: Metric, paired: bool) -> None:
    far = Measured(metric, clips(normal(24, 3) + 9), clips(normal(24, 4)), links=Links(paired), draws=59)
    found = far.chance
    assert found.p == pytest.approx(1 / 60)
    assert found.draws == 59
    assert (found.halves_n, set(found.details())) == (
        12,
        {"chance_p", "chance_expected", "chance_draws", "halves_gen", "halves_ref", "halves_n"},
    )
    assert found.halves_gen is not None
    assert found.halves_ref is not None
    assert (found.halves_gen < found.halves_ref) == metric.higher_is_better
    # The same sets are of one distribution with each other's draws: no number comes from the clock.
    again = Measured(metric, far.gen, far.ref, links=Links(paired), draws=59).chance
    assert again == found


@pytest.mark.parametrize("metric", [Precision(), Density()], ids=lambda metric: metric.name)
def test_sharper_sets_are_no_surprise_where_more_is_better(metric: Metric) -> None:
    """A set in the middle of ref has more precision and density than chance gives."""
    assert Measured(metric, clips(0.2 * normal(40, 5)), clips(normal(40, 6)), links=Links(False)).chance.p > 0.5
    assert Measured(metric, clips(4 * normal(40, 5)), clips(normal(40, 6)), links=Links(False)).chance.p < 0.05


@pytest.mark.parametrize("metric", [each for each in METRICS if each.name != "kid"], ids=lambda metric: metric.name)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_p_does_not_depend_on_the_unit_of_features(metric: Metric, scale: float) -> None:
    gen, ref = clips(normal(30, 7) * 1.5), clips(normal(30, 8))
    plain, scaled = (
        Measured(metric, *(EmbeddingSet({c: {k: v * by for k, v in f.items()} for c, f in side.features.items()})
                           for side in (gen, ref)), links=Links(False)).chance
        for by in (1.0, scale)
    )  # fmt: skip
    assert scaled.p == plain.p
    assert scaled.draws == plain.draws


def test_identical_sets_in_tiny_units() -> None:
    for metric in METRICS:
        rows = normal(24, 3) * 1e-5
        assert Measured(metric, clips(rows), clips(rows)).chance.p == 1.0, metric.name


@pytest.mark.slow
def test_size_of_p_where_names_pair_and_where_they_do_not() -> None:
    """Of one distribution, p ≤ 0.1 in about a tenth of the cases; 250 of them are within 0.05 … 0.16."""
    for links in (Links(), Links(False)):
        ps = []
        for seed in range(250):
            prompt = normal(12, 1000 + seed, 3)
            gen, ref = (clips(prompt + normal(12, side + seed, 3)) for side in (2000, 3000))
            if not links.paired:
                gen, ref = (clips(normal(12, side + seed, 3)) for side in (2000, 3000))
            ps.append(Measured(FrechetDistance(), gen, ref, links=links, draws=39, seed=seed).chance.p)
        assert 0.05 < np.mean(np.array(ps) <= 0.1) < 0.16


def test_power() -> None:
    shifted = [
        Measured(
            FrechetDistance(),
            clips(normal(40, seed) + 0.7),
            clips(normal(40, 500 + seed)),
            links=Links(False),
            draws=39,
        ).chance.p
        for seed in range(40)
    ]
    assert np.mean(np.array(shifted) <= 0.05) > 0.85


def test_expected_is_the_mean_score_of_one_distribution() -> None:
    gen, ref = clips(normal(30, 9)), clips(normal(30, 10))
    found = Measured(FrechetDistance(), gen, ref, links=Links(False), draws=200).chance
    truth = [
        FrechetDistance().compute(clips(normal(30, seed)), clips(normal(30, 5000 + seed))).value for seed in range(200)
    ]
    assert found.expected == pytest.approx(np.mean(truth), rel=0.25)


def test_halves_are_matched_and_disjoint() -> None:
    """Gen's half has the prompts of the half of ref that it stands beside, and neither is in the other half of ref."""
    gen, ref = clips(normal(24, 11) + 5), clips(normal(20, 12))
    links, seen = Links(), []
    pool = RowPool("embeddings", gen, ref)

    def score(first: np.ndarray, second: np.ndarray) -> float:
        seen.append((first, second))
        return 1.0 if len(seen) == 1 else 0.0

    found = by_chance(
        pool, score, links.strata(gen.clip_ids, ref.clip_ids), higher_is_better=False, draws=30, seed=0, rounding=0.0
    )
    assert (found.p, found.halves_n) == (1 / 31, 10)
    halves = seen[31:]
    assert len(halves) == 20
    for (ours, theirs), (same, other) in zip(halves[::2], halves[1::2], strict=True):
        assert theirs.tolist() == other.tolist()
        assert sorted(ours + 24) == sorted(same)
        assert not {*same} & {*other}
        assert len(ours) == len(same) == len(other) == 10
        assert max(ours) < 24 <= min(same)


@pytest.mark.parametrize(("quantile", "stops"), [(0.5, True), (0.9, True), (0.9995, False)])
def test_deals_stop_at_the_tenth_that_is_as_extreme(quantile: float, stops: bool) -> None:
    rng, values = np.random.default_rng(0), [float(stats.norm.ppf(quantile))]

    def score(*sides: np.ndarray) -> float:
        assert len(sides) == 2
        values.append(float(rng.normal()))
        return values[-2] if len(values) == 2 else values[-1]

    pool, strata = RowPool("embeddings", clips(normal(20, 0)), clips(normal(20, 1))), np.zeros(40, dtype=np.int64)
    found = by_chance(pool, score, strata, higher_is_better=False, draws=999, seed=0, rounding=0.0)
    assert (found.draws < 999) == stops
    extreme = sum(value >= values[0] for value in values[2 : 2 + found.draws])
    assert found.p == (1 + extreme) / (1 + found.draws)
    assert not stops or extreme >= 10 <= found.draws / 2
    assert found.p == pytest.approx(1 - quantile, abs=0.15)


def refusal(metric: Metric, gen: EmbeddingSet, ref: object, **options: object) -> str:
    with pytest.raises(InsufficientDataError) as caught:
        print(Measured(metric, gen, ref, **options).chance)  # type: ignore[arg-type]
    return str(caught.value)


def test_p_stands_where_halves_are_too_small_for_the_metric() -> None:
    found = Measured(Precision(), clips(normal(10, 0) + 9), clips(normal(10, 1), "ref")).chance
    assert found.p == 0.01
    assert found.halves_n is None


def test_lengths_are_not_compared() -> None:
    short, long = [2] * 30, [10] * 30
    text = refusal(FrechetAudioDistance(), clips(normal(30, 0), windows=long), clips(normal(30, 1), windows=short))
    assert "gen has 10 rows a clip and ref 2" in text
    mixed = Measured(
        FrechetAudioDistance(), clips(normal(30, 0), windows=[2, 10] * 15), clips(normal(30, 1), windows=[10, 2] * 15)
    )
    assert mixed.chance.p > 0
    # Equal means of unequal spread are lengths too.
    assert "lengths" in refusal(
        FrechetAudioDistance(), clips(normal(30, 0), windows=[6] * 30), clips(normal(30, 1), windows=[2, 10] * 15)
    )
    # FD has one row a clip, whatever its length.
    assert Measured(
        FrechetDistance(), clips(normal(30, 0), windows=long), clips(normal(30, 1), windows=short)
    ).chance.p > 0  # fmt: skip


def test_too_few_pairs() -> None:
    assert "fewer than six pairs" in refusal(FrechetDistance(), clips(normal(5, 0)), clips(normal(5, 1)))
    assert Measured(FrechetDistance(), clips(normal(6, 0)), clips(normal(6, 1))).chance.draws >= 20
    assert "fewer than six" in refusal(FrechetDistance(), clips(normal(3, 0)), clips(normal(3, 1)), links=Links(False))
    # One prompt with many samples cannot be dealt out in many ways: 6 + 1 clips in seven.
    prompts = {f"clip{place:03d}": "ref000" for place in range(6)}
    assert "fewer than six" in refusal(
        FrechetDistance(), clips(normal(6, 0)), clips(normal(2, 1), "ref"), links=Links(prompts=prompts)
    )


def test_a_summary_cannot_be_dealt_out() -> None:
    summary = GivenFeatures(("a",) * 30, GaussianStatistics.from_embeddings(normal(30, 1)), None)
    assert "only statistics" in refusal(FrechetDistance(), clips(normal(30, 0)), summary)


def test_copies_cannot_be_dealt_out() -> None:
    gen, ref = clips(normal(40, 0)), clips(normal(40, 1))
    for side, count, refused in (("gen", 2, False), ("gen", 3, True), ("ref", 2, False), ("ref", 3, True)):
        labels = {f"clip{place:03d}": "one" for place in range(count + 1)}
        options = {"links": Links(contents={side: [labels]})}  # type: ignore[dict-item]
        if refused:
            assert f"{count} of 40 {side} clips are copies" in refusal(FrechetDistance(), gen, ref, **options)
        else:
            assert Measured(FrechetDistance(), gen, ref, **options).chance.p > 0  # type: ignore[arg-type]


def test_large_sets_are_dealt_out_on_request_only() -> None:
    gen, ref = clips(normal(2001, 0, 2)), clips(normal(10, 1, 2))
    assert "on request" in refusal(FrechetDistance(), gen, ref)
    found = Measured(FrechetDistance(), gen, ref, links=Links(False), draws=25).chance
    assert 1 / 26 <= found.p <= 1


def test_metrics_without_two_distributions_have_no_p() -> None:
    for metric in (InceptionScore(), KLDivergence()):
        assert "does not compare two distributions" in refusal(metric, clips(normal(30, 0)), clips(normal(30, 1)))


def leave_both(metric: Metric, gen: EmbeddingSet, ref: EmbeddingSet) -> float:
    """Return the jackknife's standard error where each pair leaves both sets, computed one by one."""
    ids = gen.clip_ids
    values = [
        metric.compute(*(side.select([clip for clip in ids if clip != gone]) for side in (gen, ref))).value
        for gone in ids
    ]
    return math.sqrt((len(ids) - 1) * float(np.var(values)))


@pytest.mark.parametrize(
    "metric", [FrechetDistance(), FrechetAudioDistance(), KernelDistance(), KernelAudioDistance()], ids=lambda m: m.name
)
@pytest.mark.parametrize("own", [0.2, 3.0])
def test_the_spread_of_pairs_is_that_of_leaving_out_pairs(metric: Metric, own: float) -> None:
    """To first order; the spread of two sets without pairs is another: prompts that both share cancel in part."""
    prompt = normal(120, 13)
    gen, ref = clips(prompt + own * normal(120, 14) + 0.5), clips(prompt + own * normal(120, 15))
    measured = Measured(metric, gen, ref)
    spread = measured.spread(("gen", "ref"))
    assert spread.freedom == 119
    assert spread.standard_error == pytest.approx(leave_both(metric, gen, ref), rel=0.1)
    apart = Measured(metric, gen, ref, links=Links(False)).spread(("gen", "ref"))
    if own < 1:
        assert apart.standard_error > 1.3 * spread.standard_error
    assert measured.spread(["gen"]).standard_error < apart.standard_error


@pytest.mark.parametrize(
    ("metric", "paired"),
    [
        *(
            (metric, paired)
            for metric in (FrechetDistance(), KernelDistance(), KernelAudioDistance())
            for paired in (1, 0)
        ),
        (KLDivergence(), 1),
    ],
    ids=lambda each: getattr(each, "name", str(each)),
)
def test_copies_make_nothing_surer(metric: Metric, paired: int) -> None:
    """Every clip twice, with equal content: as wide as the interval of each once, not √2 times narrower."""
    gen, ref = clips(normal(60, 16) + 0.7), clips(normal(60, 17))
    (gen_twice, gen_labels), (ref_twice, ref_labels) = doubled(gen), doubled(ref)
    links = Links(bool(paired), contents={"gen": [gen_labels], "ref": [ref_labels]})
    once = Measured(metric, gen, ref, links=Links(bool(paired))).interval.standard_error
    twice = Measured(metric, gen_twice, ref_twice, links=links).interval.standard_error
    unaware = Measured(metric, gen_twice, ref_twice, links=Links(bool(paired))).interval.standard_error
    assert twice == pytest.approx(once, rel=0.06)
    assert unaware == pytest.approx(once / math.sqrt(2), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("metric", [InceptionScore(), Density()], ids=lambda m: m.name)
def test_copies_make_nothing_surer_where_groups_leave(metric: Metric) -> None:
    """Groups are drawn, so over several sets."""
    ratios = []
    for seed in range(12):
        gen, ref = clips(normal(60, seed)), clips(normal(60, 100 + seed))
        gen_twice, labels = doubled(gen)
        links = Links(False, contents={"gen": [labels]})
        aware, unaware = (Measured(metric, gen_twice, ref, links=each) for each in (links, Links(False)))
        if isinstance(metric, Density):
            ratios.append(aware.spread(["gen"]).standard_error / unaware.spread(["gen"]).standard_error)
        else:
            ratios.append(aware.interval.standard_error / unaware.interval.standard_error)
    assert np.mean(ratios) > 1.15


@pytest.mark.slow
def test_one_copy_does_not_widen_the_interval_of_is_by_splitting_anew() -> None:
    errors = []
    for copied in (False, True):
        found = []
        for seed in range(20):
            rows = 2.5 * normal(40, seed, 10)
            rows[1] = rows[0] if copied else rows[1]
            labels = {"clip000": "one", "clip001": "one"} if copied else {}
            measured = Measured(InceptionScore(), clips(rows), None, links=Links(contents={"gen": [labels]}))
            found.append(measured.interval.standard_error)
        errors.append(np.mean(found))
    # Splits made anew for each part more than doubled it.
    assert 0.8 < errors[1] / errors[0] < 1.7


def test_is_of_splits_of_one_clip_has_no_interval() -> None:
    measured = Measured(InceptionScore(), clips(3 * normal(10, 0)), None)
    assert measured.measurement.value == pytest.approx(1)
    with pytest.raises(InsufficientDataError, match="a split of one clip scores 1"):
        _ = measured.interval


@pytest.mark.parametrize("metric", [FrechetDistance(), KernelDistance()], ids=lambda m: m.name)
def test_a_set_of_copies_says_that_it_is_one(metric: Metric) -> None:
    labels = {f"clip{place:03d}": "one" for place in range(25)}
    copies, ref = clips(torch.ones(25, D, dtype=torch.float64)), clips(normal(30, 1), "ref")
    with pytest.raises(InsufficientDataError, match="all 25 gen clips are tied to each other"):
        _ = Measured(metric, copies, ref, links=Links(contents={"gen": [labels]})).interval


def test_pairs_that_lead_nowhere_do_not_call_the_reference_empty() -> None:
    measured = Measured(KLDivergence(), clips(normal(9, 0)), clips(normal(9, 1), "ref"), links=Links(True, {"x": "y"}))
    with pytest.raises(InsufficientDataError, match="no gen clip has a reference in ref by the pairs"):
        _ = measured.measurement


def test_is_without_clips_that_are_tied_is_refused_not_made_up() -> None:
    twice, labels = doubled(clips(normal(30, 0)))
    measured = Measured(InceptionScore(), twice, None, links=Links(contents={"gen": [labels]}))
    assert measured.interval.standard_error > 0
    with pytest.raises(InsufficientDataError):
        measured.without("gen")


def test_samples_of_a_prompt_make_nothing_surer() -> None:
    """Ten equal samples of each prompt are worth one, also with their references in the joint spread."""
    gen, ref = clips(normal(50, 18) + 0.5), clips(normal(50, 19))
    many = EmbeddingSet({f"{clip}_{k}": one for clip, one in gen.features.items() for k in range(10)})
    prompts = {clip: clip[:-2] for clip in many.clip_ids}
    for metric in (FrechetDistance(), KernelAudioDistance(), KLDivergence()):
        once, tied = Measured(metric, gen, ref), Measured(metric, many, ref, links=Links(prompts=prompts))
        assert tied.interval.standard_error == pytest.approx(once.interval.standard_error, rel=0.1), metric.name
    kl = Measured(KLDivergence(), many, ref, links=Links(prompts=prompts)).measurement
    assert kl.details["pairs"] == 500
    assert kl.value == pytest.approx(Measured(KLDivergence(), gen, ref).measurement.value, rel=1e-12)


def test_a_clip_that_pairs_by_its_own_name_stays_a_pair_beside_prompts() -> None:
    """Where the file of pairs does not name it: as `Links` and the report's pairing say."""
    gen = EmbeddingSet({**clips(normal(4, 20), "a_").features, "b": clips(normal(1, 21)).features["clip000"]})
    ref = EmbeddingSet(dict(zip("ab", clips(normal(2, 22)).features.values(), strict=True)))
    links = Links(prompts={clip: "a" for clip in gen.clip_ids if clip != "b"})
    found = Measured(KLDivergence(), gen, ref, links=links).measurement
    assert found.by_clip is not None
    assert {*found.by_clip} == {*gen.clip_ids}
    assert links.ties(gen.clip_ids, ref.clip_ids)[0][-1] == links.ties(gen.clip_ids, ref.clip_ids)[1][-1]


def test_only_a_summary_is_taken_as_exact() -> None:
    """A reference of known clips that are too few is not: without its share, the interval would be too narrow."""
    gen = clips(normal(40, 23))
    summary = GivenFeatures(("a",) * 30, GaussianStatistics.from_embeddings(normal(30, 24)), None)
    assert Measured(FrechetDistance(), gen, summary).interval.ref == "exact"
    assert Measured(FrechetDistance(), gen, clips(normal(30, 24)), links=Links(False)).interval.ref == "sampled"
    for metric, few in ((FrechetDistance(), 2), (Density(), 15)):
        measured = Measured(metric, gen, clips(normal(few, 25)), links=Links(False))
        with pytest.raises(InsufficientDataError):
            print(metric.name, measured.interval)


def test_one_clip_that_makes_the_interval_is_named() -> None:
    rows = normal(60, 26)
    rows[7] = 40.0
    for gen, ref, name in ((rows, normal(60, 27), "gen 'clip007'"), (normal(60, 27), rows, "ref 'clip007'")):
        remark = Measured(FrechetDistance(), clips(gen), clips(ref), links=Links(False)).interval.remark
        assert remark.startswith("the interval may be too narrow: " + name)
        assert "alone makes 9" in remark
    assert Measured(FrechetDistance(), clips(normal(60, 26)), clips(normal(60, 27))).interval.remark == ""
    # With a copy it is no longer alone, unless it is known that both are one.
    twice, labels = doubled(clips(rows))
    links = Links(False, contents={"gen": [labels]})
    remark = Measured(FrechetDistance(), twice, clips(normal(60, 27)), links=links).interval.remark
    assert "gen 'clip007a and 1 tied to it' alone makes 9" in remark


def test_gaussian_sets_raise_no_doubt() -> None:
    """20 % of the sum alone would be said of nearly all sets of ten clips."""
    said = [
        bool(Measured(FrechetDistance(), clips(normal(10, s, 3)), clips(normal(10, 900 + s, 3))).interval.remark)
        for s in range(150)
    ]
    assert np.mean(said) < 0.15


def test_an_interval_ends_where_the_metric_does() -> None:
    gen = clips(normal(12, 28))
    found = Measured(FrechetDistance(), gen, clips(normal(12, 29) + 0.1)).interval
    assert found.low >= 0
    found = Measured(InceptionScore(), clips(0.01 * normal(30, 30)), None).interval
    assert 1 <= found.low <= found.high


def test_is_of_twenty_clips_has_a_width() -> None:
    for seed in range(20):
        found = Measured(InceptionScore(), clips(3 * normal(20, seed)), None).interval
        assert found.high - found.low > 1e-3


def test_interval_is_students() -> None:
    low, high = stats.t.interval(0.95, 9, loc=3.0, scale=2.0)
    found = interval(3.0, Spread(2.0, 9))
    assert (found.low, found.high) == pytest.approx((low, high))
    # Welch and Satterthwaite: two equal parts have twice the degrees of freedom.
    assert joined([Spread(1.0, 5), Spread(1.0, 5)]) == pytest.approx((math.sqrt(2), 10))
    assert joined([Spread(1.0, 5), Spread(0.0, 3)]) == pytest.approx((1.0, 5))
    assert joined([Spread(0.0, 5)]) == (0.0, math.inf)
    assert interval(1.0, Spread(0.0, 5)) == (0.0, 1.0, 1.0, math.inf)


def test_interval_of_a_mean_follows_skew() -> None:
    values = torch.from_numpy(np.random.default_rng(0).lognormal(size=40))
    found, mean = mean_interval(values), float(values.mean())
    assert found.high - mean > 1.2 * (mean - found.low)
    assert found.standard_error == pytest.approx(float(values.std()) / math.sqrt(40))
    assert mean_interval(values) == found
    assert mean_interval(values, seed=1) != found


def test_interval_of_a_mean_covers_better_than_students() -> None:
    rng, truth, ours, students = np.random.default_rng(1), math.exp(0.5), 0, 0
    for _ in range(300):
        values = rng.lognormal(size=20)
        found = mean_interval(torch.from_numpy(values))
        half = stats.t.ppf(0.975, 19) * values.std(ddof=1) / math.sqrt(20)
        ours += found.low <= truth <= found.high
        students += abs(values.mean() - truth) <= half
    assert ours / 300 > students / 300 + 0.01
    assert ours / 300 > 0.87


def test_interval_of_a_mean_of_clusters() -> None:
    """Values that are equal within a group count once; unequal groups give the mean of all values."""
    values = torch.from_numpy(np.random.default_rng(2).normal(size=30))
    once = mean_interval(values)
    many = mean_interval(values * 7, torch.full((30,), 7.0))
    assert many == pytest.approx(once)
    sizes = torch.arange(1.0, 31.0)
    found = mean_interval(values * sizes, sizes)
    mean = float((values * sizes).sum() / sizes.sum())
    assert found.low < mean < found.high
    assert found.low + found.high == pytest.approx(2 * mean, abs=found.standard_error)


def test_interval_of_a_mean_of_too_few_or_equal_values() -> None:
    with pytest.raises(InsufficientDataError, match="4 values are too few"):
        mean_interval(torch.arange(4.0))
    assert mean_interval(torch.full((9,), 2.5)) == (0.0, 2.5, 2.5, math.inf)
    for rare in (5, 6, 200):
        values = torch.zeros(rare)
        values[0] = 1.0
        assert all(map(math.isfinite, mean_interval(values)))


def grubbs(values: np.ndarray) -> bool:
    """Return whether Grubbs's two-sided test at 0.1 % calls the farthest value an outlier."""
    n = len(values)
    statistic = np.abs(values - values.mean()).max() / values.std(ddof=1)
    t = stats.t.isf(0.001 / (2 * n), n - 2)
    return bool(statistic > (n - 1) / math.sqrt(n) * math.sqrt(t**2 / (n - 2 + t**2)))


@pytest.mark.parametrize("n", [3, 5, 10, 40, 300])
def test_outliers_are_those_of_grubbs_that_make_a_fifth(n: int) -> None:
    rng, seen = np.random.default_rng(n), set()
    for far in np.linspace(0, 30, 60):
        values = rng.normal(size=n)
        values[n // 2] += far
        squares = (values - values.mean()) ** 2
        share = squares.max() / squares.sum()
        expected = (int(squares.argmax()), pytest.approx(share)) if grubbs(values) and share > 0.2 else None
        assert outlier(torch.from_numpy(values)) == expected
        seen.add(expected is None)
    assert True in seen
    assert n < 5 or False in seen


def test_no_outlier_among_equal_or_two() -> None:
    assert outlier(torch.ones(9)) is None
    assert outlier(torch.tensor([1.0, 5.0])) is None


@pytest.mark.parametrize("numbers", [(math.nan, 0.0, 1.0), (1.0, -math.inf, 1.0), (1.0, 0.0, math.nan)])
def test_no_interval_has_an_end_that_is_no_number(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(InsufficientDataError, match="its ends are"):
        ScoreInterval(*numbers)


def test_a_score_stands_where_its_interval_is_none() -> None:
    """Whatever gives NaN, it leaves no score: the reason does."""

    class Broken(FrechetDistance):
        def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
            return super().leave_one_out(gen, ref, side) * math.nan

    recipe = replace(get_protocol("yamnet").select(["fd"])[0], definition=Broken())
    found = scored(recipe, Measured(Broken(), clips(normal(30, 0)), clips(normal(30, 1))), ci=True)
    assert found.value is not None
    assert found.ci95 is None
    assert any("no interval: its ends are nan" in remark for remark in found.remarks)


def test_draws_are_kept_under_the_value_that_the_metric_gives() -> None:
    """A metric of one name with another formula, as another package's next version, must not read what was kept."""

    class Other(FrechetDistance):
        def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
            return Measurement(2 * super().compute(gen, ref).value)

    asked: list[str] = []

    def keep(_: torch.Tensor, described: str, make: Callable[[], Chance]) -> Chance:
        asked.append(described)
        return make()

    for metric in (FrechetDistance(), Other()):
        assert Measured(metric, clips(normal(30, 0)), clips(normal(30, 1)), keep=keep).chance.draws
    assert len(set(asked)) == 2


@pytest.mark.parametrize("seed", range(40))
def test_lengths_differ_as_scipy_says(seed: int) -> None:
    """Wasserstein's distance above a tenth of the shorter mean, and Kolmogorov's and Smirnov's p below 0.05."""
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(1, 30, rng.integers(1, 60)).tolist() for _ in range(2))
    second = [round(each * (1 + seed / 40)) for each in second]
    area, largest = _between(first, second)
    assert area == pytest.approx(float(stats.wasserstein_distance(first, second)), rel=1e-12, abs=1e-12)
    known = stats.ks_2samp(first, second, method="asymp")
    assert largest == pytest.approx(float(known.statistic), rel=1e-12, abs=1e-12)
    expected = area > 0.1 * min(np.mean(first), np.mean(second)) and float(known.pvalue) < 0.05
    assert rows_apart(first, second) is bool(expected)
