"""FD and FAD: the Fréchet distance between two Gaussians, over clips and over windows."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from audiogen_metrics.citations import Citation
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, Needs, Reported, ScoreInterval, Side

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.functional.downdates import Root
    from audiogen_metrics.functional.extrapolation import Extrapolation
    from audiogen_metrics.functional.statistics import GaussianStatistics
    from audiogen_metrics.metrics.measuring.pool import RowPool
    from audiogen_metrics.metrics.measuring.rivals import Rivals

    _Held: TypeAlias = tuple[weakref.ref[GaussianStatistics], Root]
    _Difference: TypeAlias = Callable[[Places, Places], float]
    _Influences: TypeAlias = Callable[[Places, Places], tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]

UNBIASED = 10
"""Clips per dimension above which the bias of a distance is small beside its value."""

HEUSEL = Citation(
    "heusel2017gans",
    "Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard and Hochreiter, Sepp",
    "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    "NeurIPS",
    2017,
    "https://arxiv.org/abs/1706.08500",
)
KILGOUR = Citation(
    "kilgour2019frechet",
    "Kilgour, Kevin and Zuluaga, Mauricio and Roblek, Dominik and Sharifi, Matthew",
    "Fréchet Audio Distance: A Reference-Free Metric for Evaluating Music Enhancement Algorithms",
    "Interspeech",
    2019,
    "https://arxiv.org/abs/1812.08466",
)


class Frechet(Metric):
    """What FD and FAD share; they differ in the rows that they look at."""

    higher_is_better = False
    needs: ClassVar[Needs] = "moments"
    span: ClassVar[tuple[float, float]] = (0.0, math.inf)
    extrapolates = True

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the distance, its two terms, and what it was computed on."""
        from audiogen_metrics.functional import frechet_distance

        gen_statistics, ref_statistics = gen.statistics(self.output), ref.statistics(self.output)
        distance = frechet_distance(gen_statistics, ref_statistics)
        rows = {"rows_gen": gen_statistics.count, "rows_ref": ref_statistics.count}
        details = {
            **{name: count for name, count in rows.items() if count is not None},
            "dimension": gen_statistics.dimension,
            "mean_term": distance.mean_term,
            "covariance_term": distance.covariance_term,
        }
        return Measurement(distance.value, details=details)

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the distance without each clip; it is the same in both directions, and so is its root."""
        from audiogen_metrics.functional.downdates import frechet_without_each

        statistics = gen.statistics(self.output), ref.statistics(self.output)
        root = _root(*statistics)
        if side == "gen":
            return frechet_without_each(gen.blocks(self.output), *statistics, root)
        return frechet_without_each(ref.blocks(self.output), *statistics[::-1], root.turned())

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the distance of parts of a pool that is decomposed once."""
        from audiogen_metrics.functional.pooled import PooledFrechet

        return PooledFrechet(pool.rows, pool.counts).value

    def rounding(self, pool: RowPool) -> float:
        """Return a share of the variance: it is what the distance is a small difference of."""
        return 1e-7 * float(pool.rows.var(0).sum())

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Return the interval of the difference of two systems, by the influence functions of the clips.

        Both systems have the same bias, so that these hold where they would be too small for one score.
        """
        from audiogen_metrics.functional.uncertainty import interval

        _, influences = _two(rivals)
        places = [rivals.pool.places(number) for number in range(2)]
        found = interval(rivals.difference, *rivals.spreads(*influences(*places)), level=rivals.level)
        return ScoreInterval(found.standard_error, found.low, found.high, level=rivals.level)

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the difference over its standard error, as the influence functions of the clips give it."""
        difference, influences = _two(rivals)

        def studentised(a: Places, b: Places) -> float:
            parts = rivals.spreads(*influences(a, b))
            error = math.hypot(*(part.standard_error for part in parts))
            return difference(a, b) / error if error > 0 else 0.0

        return studentised

    def extrapolate(self, gen: FeatureSource, ref: FeatureSource, seed: int) -> Extrapolation:
        """Return the line over 1 / n."""
        from audiogen_metrics.functional.extrapolation import extrapolate_parts

        statistics = ref.statistics(self.output), gen.statistics(self.output)
        return extrapolate_parts(lambda clips: gen.blocks(self.output, clips), len(gen), *statistics, seed)

    def warnings(self, score: Reported) -> list[str]:
        """Warn of fewer clips than dimensions: windows of one clip are alike and take no bias away."""
        clips, dimension = _clips(score), score.details["dimension"]
        if clips >= dimension:
            return []
        return [f"{clips} clips for {dimension} dimensions: the distance is biased upwards; compare it at equal n only"]

    def explain(self, score: Reported) -> str:
        """Say which of its terms is the larger, and how large the bias may be."""
        details, value = score.details, score.value or 0.0
        text = "Lower is better, 0 is the least. "
        mean, covariance = details.get("mean_term"), details.get("covariance_term")
        if mean is not None and covariance is not None and value > 0:
            share = min(max(mean / value, 0.0), 1.0)
            where = "where the sets lie" if share >= 0.5 else "how they spread and which features go together"
            text += f"{max(share, 1 - share):.0%} of it is in {where}. "
        per_dimension = _clips(score) / details["dimension"] if "dimension" in details else math.inf
        if per_dimension < 1:
            text += "With fewer clips than dimensions, much of it is sampling error: compare it at equal n only."
        elif per_dimension < UNBIASED:
            text += (
                f"With {per_dimension:.2g} clips per dimension, some of it is sampling error: compare it at equal n."
            )
        return text.strip()


class FrechetDistance(Frechet):
    """FD: one row a clip."""

    name = "fd"
    symbol = "FD"
    title = "Fréchet distance"
    reading = "distance between the sets' distributions of clip embeddings; depends on n"
    output: ClassVar[Output] = "embeddings"
    citation: ClassVar[Citation | None] = HEUSEL


class FrechetAudioDistance(Frechet):
    """FAD: one row a window, pooled over all clips."""

    name = "fad"
    symbol = "FAD"
    title = "Fréchet audio distance"
    reading = "the same distance over short windows, pooled over all clips; depends on n"
    output: ClassVar[Output] = "windows"
    citation: ClassVar[Citation | None] = KILGOUR


_ROOTS: weakref.WeakKeyDictionary[GaussianStatistics, tuple[weakref.ref[GaussianStatistics], Root]] = (
    weakref.WeakKeyDictionary()
)
"""That of a set whose other side may be asked for next; it goes with the set's statistics at the latest."""


def _root(gen: GaussianStatistics, other: GaussianStatistics) -> Root:
    """Return the root of two sets, decomposed for whichever side comes first; the second one takes it away."""
    from audiogen_metrics.functional.downdates import Root

    known = _ROOTS.pop(gen, None)
    if known is not None and known[0]() is other:
        return known[1]
    found = Root.of(gen, other)
    _ROOTS[gen] = weakref.ref(other), found
    return found


def _two(rivals: Rivals) -> tuple[_Difference, _Influences]:
    """Return the difference of two systems, and what each clip of A, of B and of the reference does to it.

    Both are functions of which clips of the pool are whose. A reference of which only statistics are known is taken as
    exact: its clips do nothing.
    """
    from audiogen_metrics.functional.pooled import AgainstStatistics, PooledFrechet

    pool = rivals.pool
    if rivals.exact is not None:
        fixed = AgainstStatistics(pool.rows, pool.counts, rivals.exact)
        return (
            lambda a, b: fixed.value(a) - fixed.value(b),
            lambda a, b: (fixed.influences(a), fixed.influences(b), None),
        )
    pooled, ref = PooledFrechet(pool.rows, pool.counts), pool.places(2)

    def influences(a: Places, b: Places) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        (gen_a, ref_a), (gen_b, ref_b) = pooled.influences(a, ref), pooled.influences(b, ref)
        return gen_a, gen_b, ref_a - ref_b

    return lambda a, b: pooled.value(a, ref) - pooled.value(b, ref), influences


def _clips(score: Reported) -> int:
    return min(score.n_gen, score.n_gen if score.n_ref is None else score.n_ref)
