"""KL in each direction, of clips and of segments, against the formulas of the evaluators that report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.evaluation.one_score import score_warnings, scored
from audiogen_metrics.functional.uncertainty import mean_interval
from audiogen_metrics.metrics.kl import (
    ByPairs,
    KLDivergence,
    KLReverse,
    KLSegments,
    KLSegmentsBoth,
    KLSegmentsReverse,
    Segmented,
)
from audiogen_metrics.metrics.measuring.links import Links
from audiogen_metrics.metrics.measuring.measured import Measured
from audiogen_metrics.metrics.measuring.rivals import Rivals
from audiogen_metrics.protocols import PROTOCOLS

EPS = 1e-6
CLASSES = 12
SEGMENTED = (KLSegments, KLSegmentsReverse, KLSegmentsBoth)


def heard(segments: Sequence[int], seed: int, names: Sequence[str] | None = None) -> EmbeddingSet:
    """Return clips with as many segments as are said, whose logits are the first segment's."""
    generator = torch.Generator().manual_seed(seed)
    rows = [3 * torch.randn(count, CLASSES, generator=generator) for count in segments]
    names = [f"c{place:02d}" for place in range(len(rows))] if names is None else names
    return EmbeddingSet({name: {"windows": block, "logits": block[0]} for name, block in zip(names, rows, strict=True)})


def probabilities(logits: torch.Tensor) -> np.ndarray:
    odds = np.exp(np.float64(logits))
    return odds / odds.sum(-1, keepdims=True)


def segments(source: EmbeddingSet, clip: str, count: int) -> torch.Tensor:
    return source.features[clip]["windows"][:count]


def audiocraft(gen: torch.Tensor, ref: torch.Tensor) -> dict[type[Segmented], np.ndarray]:
    """AudioCraft's three numbers of rows of logits: ``kld``, ``kld_qp`` and ``kld_both``."""
    p, q = gen.double().softmax(-1), ref.double().softmax(-1)
    kld = F.kl_div((p + EPS).log(), q, reduction="none").sum(-1).numpy()
    kld_qp = F.kl_div((q + EPS).log(), p, reduction="none").sum(-1).numpy()
    return {KLSegments: kld, KLSegmentsReverse: kld_qp, KLSegmentsBoth: kld + kld_qp}


@pytest.mark.parametrize("eps", [0.0, EPS])
def test_reversed_is_stable_audio_metrics_formula(eps: float) -> None:
    sets = heard([1] * 9, 0), heard([1] * 9, 1)
    gen, ref = (probabilities(each.logits()) for each in sets)
    by_hand = (gen * (np.log(gen) - np.log(ref + eps))).sum(1)
    found = KLReverse(eps=eps).compute(*sets)
    assert found.value == pytest.approx(by_hand.mean(), rel=1e-12)
    assert [*(found.by_clip or {}).values()] == pytest.approx(by_hand, rel=1e-12)
    assert found.value == KLDivergence(eps=eps).compute(*sets[::-1]).value
    assert found.value != pytest.approx(KLDivergence(eps=eps).compute(*sets).value, rel=0.01)


@pytest.mark.parametrize("kind", SEGMENTED)
def test_segments_are_rows_as_in_audiocraft(kind: str) -> None:
    counts = [1, 3, 2, 4, 1]
    sets = heard(counts, 0), heard(counts, 1)
    by_hand = audiocraft(*(each.rows("windows") for each in sets))[kind]
    found = kind().compute(*sets)
    assert found.value == pytest.approx(by_hand.mean(), rel=1e-12)
    by_clip = [part.mean() for part in np.split(by_hand, np.cumsum(counts)[:-1])]
    assert [*(found.by_clip or {}).values()] == pytest.approx(by_clip, rel=1e-12)
    # A clip counts as often as it has segments.
    assert found.value != pytest.approx(np.mean(by_clip), rel=1e-3)
    assert found.details == {
        "pairs": 5, "eps": EPS, "segments": 11, "fewest_segments": 1, "most_segments": 4, "unequal_pairs": 0,
    }  # fmt: skip


def test_both_is_the_sum_of_the_directions() -> None:
    sets = heard([2, 1, 3], 0), heard([2, 1, 3], 1)
    one, other, both = (kind().compute(*sets) for kind in SEGMENTED)
    assert both.value == pytest.approx(one.value + other.value, rel=1e-12)
    for clip, value in (both.by_clip or {}).items():
        assert value == pytest.approx(one.by_clip[clip] + other.by_clip[clip], rel=1e-12)  # type: ignore[index]


def test_one_segment_each_is_kl_of_clips() -> None:
    sets = heard([1] * 7, 0), heard([1] * 7, 1)
    for segmented, whole in ((KLSegments, KLDivergence), (KLSegmentsReverse, KLReverse)):
        assert segmented().compute(*sets).value == pytest.approx(whole().compute(*sets).value, rel=1e-12)


@pytest.mark.parametrize("kind", SEGMENTED)
def test_of_unequal_pairs_what_both_have_is_compared_and_said(kind: str) -> None:
    ours, theirs = [3, 1, 2, 5], [2, 1, 4, 5]
    sets = heard(ours, 0), heard(theirs, 1)
    rows = [
        torch.cat(
            [segments(each, f"c{place:02d}", min(pair)) for place, pair in enumerate(zip(ours, theirs, strict=True))]
        )
        for each in sets
    ]
    measured = Measured(kind(), *sets)
    assert measured.measurement.value == pytest.approx(audiocraft(*rows)[kind].mean(), rel=1e-12)
    recipe = replace(PROTOCOLS["audiocraft"].recipes[kind.name], definition=kind())
    score = scored(recipe, measured, ci=True)
    assert (score.details["segments"], score.details["unequal_pairs"]) == (10, 2)
    assert score_warnings(recipe, score) == [
        f"{recipe.score_id}: 2 pairs differ in length by a segment or more: those that both have are compared"
    ]


@pytest.mark.parametrize("kind", SEGMENTED)
def test_an_interval_where_all_clips_have_equally_many_segments(kind: str) -> None:
    recipe = PROTOCOLS["audiocraft"].recipes[kind.name]
    equal = Measured(kind(), heard([2] * 12, 0), heard([2] * 12, 1))
    values = torch.tensor([*(equal.measurement.by_clip or {}).values()], dtype=torch.float64)
    expected = mean_interval(values, torch.ones(12, dtype=torch.float64))
    score = scored(recipe, equal, ci=True)
    assert score.ci95 == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert score.remarks == ()

    unequal = Measured(kind(), heard([2] * 11 + [1], 0), heard([2] * 11 + [1], 1))
    score = scored(recipe, unequal, ci=True)
    assert score.ci95 is None
    assert score.remarks == ("no interval: no interval is known where clips differ in their number of segments",)
    for rivals in (Rivals(equal, unequal, True), Rivals(unequal, equal, True)):
        with pytest.raises(InsufficientDataError, match="differ in their number of segments"):
            _ = rivals.interval
    assert Rivals(equal, equal, True).interval.standard_error == 0


@pytest.mark.parametrize("kind", [KLReverse, *SEGMENTED])
def test_several_samples_of_one_reference(kind: type[ByPairs]) -> None:
    names = [f"c{place}_{sample}" for place in range(3) for sample in range(2)]
    gen, ref = heard([2, 1, 3, 3, 1, 2], 0, names), heard([2, 3, 2], 1, ["c0", "c1", "c2"])
    links = Links(prompts={name: name[:2] for name in names})
    found = Measured(kind(), gen, ref, links=links).measurement
    repeated = EmbeddingSet({name: ref.features[name[:2]] for name in names})
    assert found.by_clip == pytest.approx(kind().compute(gen, repeated).by_clip, rel=1e-12)
    assert found.details["pairs"] == 6
    assert found.details.get("unequal_pairs", 2) == 2  # c0_1 and c2_0
    assert found.details.get("segments", 12) == 2 + 1 + 3 + 3 + 1 + 2


def test_samples_of_one_reference_are_the_unit_of_the_interval() -> None:
    names = [f"c{place}_{sample}" for place in range(8) for sample in range(2)]
    gen, ref = heard([2] * 16, 0, names), heard([2] * 8, 1, [f"c{place}" for place in range(8)])
    measured = Measured(KLSegments(), gen, ref, links=Links(prompts={name: name[:2] for name in names}))
    sums = torch.tensor([*(measured.measurement.by_clip or {}).values()], dtype=torch.float64).view(8, 2).sum(1)
    expected = mean_interval(sums, torch.full((8,), 2.0, dtype=torch.float64))
    assert (measured.interval.low, measured.interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.parametrize("kind", [KLReverse, *SEGMENTED])
def test_without_a_pair(kind: str) -> None:
    with pytest.raises(InsufficientDataError, match="no clip id is in both sets"):
        kind().compute(heard([1, 1], 0, ["a", "b"]), heard([1], 1, ["z"]))


def test_who_reports_which_direction() -> None:
    """KL(ref ‖ gen) wherever pairs of clips are compared, but for stable-audio-metrics; AudioCraft gives all three."""
    ways = {
        name: {recipe.metric: recipe.definition.ways for recipe in protocol.recipes.values()
               if isinstance(recipe.definition, ByPairs)}
        for name, protocol in PROTOCOLS.items()
    }  # fmt: skip
    assert ways["stable-audio"] == {"kl_reverse": ("gen",)}
    assert ways["audiocraft"] == {
        "kl_segments": ("ref",), "kl_segments_reverse": ("gen",), "kl_segments_both": ("ref", "gen"),
    }  # fmt: skip
    others = {way for name in ways.keys() - {"stable-audio", "audiocraft"} for way in ways[name].values()}
    assert others == {("ref",)}
