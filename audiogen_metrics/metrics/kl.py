"""KL: the divergence between the classes heard in each generated clip and in its reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from audiogen_metrics.audio.pairing import no_pairs, pair
from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.definition import (
    FeatureSource,
    Measurement,
    Metric,
    Needs,
    Reported,
    ScoreInterval,
    Side,
    option,
)

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.metrics.measuring.measured import Measured
    from audiogen_metrics.metrics.measuring.rivals import Rivals

AT_ONCE = 2048
"""Pairs whose logits are read together."""

KULLBACK = Citation(
    "kullback1951information",
    "Kullback, Solomon and Leibler, Richard A.",
    "On Information and Sufficiency",
    "The Annals of Mathematical Statistics 22 (1)",
    1951,
    "https://doi.org/10.1214/aoms/1177729694",
)


@dataclass(frozen=True)
class ByPairs(Metric):
    """The mean over pairs of one divergence, whatever turns logits into probabilities."""

    eps: float = option(1e-6, 0.0, meaning="added inside the logarithm to the probability below the fraction line")

    ways: ClassVar[tuple[Side, ...]] = ("ref",)
    """Whose probabilities the log ratio is averaged over: ``ref`` is KL(ref ‖ gen); with both, the two are added."""

    activation: ClassVar[Literal["softmax", "sigmoid_positive"]]
    output: ClassVar[Output] = "logits"
    higher_is_better = False
    needs: ClassVar[Needs] = "pairs"
    citation: ClassVar[Citation | None] = KULLBACK

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the mean over the clip ids that both sets have."""
        common = pair(gen.clip_ids, ref.clip_ids).paired
        if not common:
            raise no_pairs(gen.clip_ids, ref.clip_ids)
        return self.of_pairs(common, gen, ref)

    def of_pairs(self, common: tuple[str, ...], gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the mean over these clips, which both sets have: some of them are read at a time, in order."""
        import torch

        parts = [common[start : start + AT_ONCE] for start in range(0, len(common), AT_ONCE)]
        found = torch.cat([self.between(gen.logits(part), ref.logits(part)) for part in parts])
        by_clip = dict(zip(common, found.tolist(), strict=True))
        return Measurement(float(found.mean()), details={"pairs": len(common), "eps": self.eps}, by_clip=by_clip)

    def between(self, gen: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        """Return the divergence of each row of logits ``(n, classes)`` from the same one of the other set."""
        import torch

        from audiogen_metrics.functional import kl_divergence

        sets = {"ref": (gen, ref), "gen": (ref, gen)}
        ways = [kl_divergence(*sets[way], activation=self.activation, eps=self.eps).per_pair for way in self.ways]
        return torch.stack(ways).sum(0)

    def interval(self, measured: Measured) -> ScoreInterval:
        """Return the interval of a mean over pairs, by the studentised bootstrap: divergences are skewed."""
        from audiogen_metrics.functional.uncertainty import mean_interval

        found = mean_interval(*_by_unit(measured), seed=measured.seed)
        return ScoreInterval(found.standard_error, found.low, found.high, "sampled")

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Return the interval of the mean difference of two systems over prompts; by Student's t where they differ."""
        from audiogen_metrics.functional.uncertainty import Spread, interval, mean_interval

        (first, sizes), (second, _) = (_by_unit(system) for system in (rivals.a, rivals.b))
        if rivals.paired:
            found = mean_interval(first - second, sizes, rivals.a.seed, rivals.level)
        else:
            means = [mean_interval(*_by_unit(system)) for system in (rivals.a, rivals.b)]
            parts = [Spread(each.standard_error, each.freedom) for each in means]
            found = interval(rivals.difference, *parts, level=rivals.level)
        return ScoreInterval(found.standard_error, found.low, found.high, level=rivals.level)

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the mean difference over its standard error, without computing a divergence again."""
        import torch

        values = torch.cat([_by_clip(rivals.a), _by_clip(rivals.b)])

        def studentised(a: Places, b: Places) -> float:
            first, second = values[torch.from_numpy(a)], values[torch.from_numpy(b)]
            parts = [part[~part.isnan()] for part in ([first - second] if rivals.paired else [first, second])]
            error = math.hypot(*(float(part.std()) / math.sqrt(len(part)) for part in parts))
            difference = float(parts[0].mean()) - (0.0 if rivals.paired else float(parts[1].mean()))
            return difference / error if error > 0 else 0.0

        return studentised

    def variants(self) -> Mapping[str, Metric]:
        """Return the divergence without epsilon, which evaluators differ in."""
        return {"eps 0": replace(self, eps=0.0)}


@dataclass(frozen=True)
class KLDivergence(ByPairs):
    """KL of softmax probabilities."""

    name = "kl"
    symbol = "KL"
    title = "Kullback-Leibler divergence"
    reading = "how far the classes heard in a generated clip are from those in its reference; needs pairs"
    activation: ClassVar[Literal["softmax", "sigmoid_positive"]] = "softmax"

    def explain(self, score: Reported) -> str:
        """Say how near the classes are, in words."""
        words = ((0.1, "nearly those"), (1.0, "close to those"), (3.0, "often not those"))
        degree = next((word for bound, word in words if (score.value or 0.0) < bound), "mostly not those")
        return f"Lower is better, 0 is the least. On average the classes heard in a clip are {degree} of its reference."

    def variants(self) -> Mapping[str, Metric]:
        """Return what evaluators call KL too: without epsilon, in the other direction, and both directions added."""
        directions = {"KL(gen ‖ ref)": KLReverse(self.eps), "both directions": _Both(self.eps)}
        return {**super().variants(), **(directions if type(self) is KLDivergence else {})}


@dataclass(frozen=True)
class KLReverse(KLDivergence):
    """KL in the other direction, KL(gen ‖ ref), as stable-audio-metrics and TangoFlux report it."""

    name = "kl_reverse"
    symbol = "KLReverse"
    title = "Kullback-Leibler divergence, reversed"
    reading = "how far the classes heard in a reference are from those in its generated clip; needs pairs"
    ways: ClassVar[tuple[Side, ...]] = ("gen",)


@dataclass(frozen=True)
class _Both(KLDivergence):
    """The sum of both directions, which nobody reports of whole clips."""

    ways: ClassVar[tuple[Side, ...]] = ("ref", "gen")


@dataclass(frozen=True)
class Segmented(KLDivergence):
    """The mean over segments of clips: the windows of a network are class logits, one row a segment.

    Of a pair of unequal length, the segments that both have are compared.
    """

    output: ClassVar[Output] = "windows"
    window_logits = True
    on_request = False

    def of_pairs(self, common: tuple[str, ...], gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the mean over all segments of these clips; a clip's own number is the mean over its segments."""
        import torch

        ours, theirs = (dict(zip(each.clip_ids, _blocks(each, self.output), strict=True)) for each in (gen, ref))
        lengths = {clip: min(len(ours[clip]), len(theirs[clip])) for clip in common}
        parts = [[side[clip][:length] for clip, length in lengths.items()] for side in (ours, theirs)]
        found = self.between(*map(torch.cat, parts))
        means = [float(part.mean()) for part in found.split([*lengths.values()])]
        details = {
            "pairs": len(common),
            "eps": self.eps,
            "segments": len(found),
            "fewest_segments": min(lengths.values()),
            "most_segments": max(lengths.values()),
            "unequal_pairs": sum(len(ours[clip]) != len(theirs[clip]) for clip in common),
        }
        return Measurement(float(found.mean()), details=details, by_clip=dict(zip(common, means, strict=True)))

    def interval(self, measured: Measured) -> ScoreInterval:
        """Return the interval of a mean over pairs; InsufficientDataError where clips have different weights in it."""
        details = measured.measurement.details
        if details["fewest_segments"] != details["most_segments"]:
            raise InsufficientDataError("no interval is known where clips differ in their number of segments")
        return super().interval(measured)

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Return the interval of the difference, as `interval`."""
        for system in (rivals.a, rivals.b):
            self.interval(system)
        return super().difference_interval(rivals)

    def warnings(self, score: Reported) -> Sequence[str]:
        """Return which pairs were compared in part only."""
        cut = score.details["unequal_pairs"]
        return [f"{cut} pairs differ in length by a segment or more: those that both have are compared"] * bool(cut)


@dataclass(frozen=True)
class KLSegments(Segmented):
    """KL(ref ‖ gen) of segments: AudioCraft's ``kld``."""

    name = "kl_segments"
    symbol = "KLSegments"
    title = "Kullback-Leibler divergence of segments"
    reading = "KL of segments of at most ten seconds, each a row, as AudioCraft reports it; needs pairs"


@dataclass(frozen=True)
class KLSegmentsReverse(Segmented):
    """KL(gen ‖ ref) of segments: AudioCraft's ``kld_qp``."""

    name = "kl_segments_reverse"
    symbol = "KLSegmentsReverse"
    title = "Kullback-Leibler divergence of segments, reversed"
    reading = "the same in the other direction, AudioCraft's kld_qp; needs pairs"
    ways: ClassVar[tuple[Side, ...]] = ("gen",)


@dataclass(frozen=True)
class KLSegmentsBoth(Segmented):
    """The sum of both directions: AudioCraft's ``kld_both``."""

    name = "kl_segments_both"
    symbol = "KLSegmentsBoth"
    title = "Kullback-Leibler divergence of segments, both directions"
    reading = "the sum of both directions, AudioCraft's kld_both; needs pairs"
    ways: ClassVar[tuple[Side, ...]] = ("ref", "gen")


@dataclass(frozen=True)
class KLSigmoid(ByPairs):
    """The first term of the Bernoulli divergence, as audioldm_eval reports it."""

    name = "kl_sigmoid"
    title = "positive term of the Bernoulli divergence"
    reading = "audioldm_eval's KL sigmoid: can be negative and is not a divergence; only to reproduce old numbers"
    activation: ClassVar[Literal["softmax", "sigmoid_positive"]] = "sigmoid_positive"
    on_request = False


def _by_clip(measured: Measured) -> torch.Tensor:
    """Return the divergence of each generated clip, NaN for one without a partner."""
    import torch

    values = measured.measurement.by_clip or {}
    return torch.tensor(
        [values.get(clip, math.nan) for clip in measured.gen.clip_ids], dtype=torch.float64, device="cpu"
    )


def _by_unit(measured: Measured) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the divergences of each group of clips that belong together, and how many it has."""
    import torch

    by_clip = _by_clip(measured)
    groups = [by_clip[torch.from_numpy(unit)] for unit in measured.units("gen").values()]
    groups = [kept for group in groups if len(kept := group[~group.isnan()])]
    return torch.stack([group.sum() for group in groups]), torch.tensor(
        [len(group) for group in groups], dtype=torch.float64, device="cpu"
    )


def _blocks(source: FeatureSource, output: Output) -> tuple[torch.Tensor, ...]:
    blocks: tuple[torch.Tensor, ...] = source.rows(output).split(source.counts(output))
    return blocks
