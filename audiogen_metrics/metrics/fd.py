"""FD and FAD: the Fréchet distance between two Gaussians, over clips and over windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, Side

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.functional.extrapolation import Extrapolation

FLOOR_REPEATS = 5
"""Random halves of the reference that a noise floor is the mean of."""

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
    needs = "moments"
    extrapolates = True

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the distance, its two terms, and what it was computed on."""
        from audiogen_metrics.functional import frechet_distance

        gen_statistics, ref_statistics = gen.statistics(self.output), ref.statistics(self.output)
        distance = frechet_distance(gen_statistics, ref_statistics)
        details = {
            "rows_gen": gen_statistics.count,
            "rows_ref": ref_statistics.count,
            "dimension": gen_statistics.dimension,
            "mean_term": distance.mean_term,
            "covariance_term": distance.covariance_term,
        }
        return Measurement(distance.value, details=details)

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the distance without each clip; it is the same in both directions."""
        from audiogen_metrics.functional.uncertainty import frechet_leave_one_out

        shrinking, whole = (gen, ref) if side == "gen" else (ref, gen)
        rows = shrinking.rows(self.output)
        return frechet_leave_one_out(rows, whole.statistics(self.output), shrinking.counts(self.output))

    def noise_floor(self, ref: FeatureSource, n_gen: int, seed: int) -> Mapping[str, float | int]:
        """Return the mean distance between disjoint random halves of the reference, and the clips of each half.

        Halves have as many clips as gen, or as there are.
        """
        import numpy as np
        import torch

        from audiogen_metrics.functional import GaussianStatistics, frechet_distance

        rows, counts = ref.rows(self.output), ref.counts(self.output)
        size = min(n_gen, len(counts) // 2)
        if size < 2:
            raise InsufficientDataError(
                "halves of the reference would have fewer than two clips", fix="Pass at least four"
            )
        blocks = rows.split(counts)
        rng = np.random.default_rng(seed)
        values = []
        for _ in range(FLOOR_REPEATS):
            order = rng.permutation(len(blocks))
            halves = (order[:size], order[size : 2 * size])
            statistics = [GaussianStatistics.from_embeddings(torch.cat([blocks[i] for i in half])) for half in halves]
            values.append(frechet_distance(*statistics).value)
        return {"noise_floor": float(np.mean(values)), "noise_floor_n": size}

    def extrapolate(self, gen: FeatureSource, ref: FeatureSource, seed: int) -> Extrapolation:
        """Return the line over 1 / n."""
        from audiogen_metrics.functional.extrapolation import extrapolate

        rows, counts = gen.rows(self.output), gen.counts(self.output)
        statistics = ref.statistics(self.output), gen.statistics(self.output)
        return extrapolate(rows, statistics[0], counts, seed, whole_gen=statistics[1])

    def warnings(self, value: float, n_gen: int, details: Mapping[str, float | int]) -> list[str]:
        """Warn of fewer rows than dimensions."""
        rows = _rows(details)
        if rows >= details.get("dimension", 0):
            return []
        return [
            f"{rows} rows for {details['dimension']} dimensions: the distance is biased upwards; "
            "compare it at equal n only"
        ]

    def explain(self, value: float, details: Mapping[str, float | int]) -> str:
        """Say which of its terms is the larger, and what the reference scores against itself."""
        text = "Lower is better, 0 is the least. "
        mean, covariance = details.get("mean_term"), details.get("covariance_term")
        if mean is not None and covariance is not None and value > 0:
            share = min(max(mean / value, 0.0), 1.0)
            where = "where the sets lie" if share >= 0.5 else "how they spread and which features go together"
            text += f"{max(share, 1 - share):.0%} of it is in {where}. "
        if "noise_floor" in details:
            floor, clips = details["noise_floor"], details["noise_floor_n"]
            text += f"The reference against itself, {clips} clips a side, scores {floor:.4g}. "
        if _rows(details) < details.get("dimension", 0):
            text += "With fewer rows than dimensions, part of it is sampling error: compare it at equal n only."
        return text.strip()


class FrechetDistance(Frechet):
    """FD: one row a clip."""

    name = "fd"
    symbol = "FD"
    title = "Fréchet distance"
    reading = "distance between the sets' distributions of clip embeddings; depends on n"
    output = "embeddings"
    citation = HEUSEL


class FrechetAudioDistance(Frechet):
    """FAD: one row a window, pooled over all clips."""

    name = "fad"
    symbol = "FAD"
    title = "Fréchet audio distance"
    reading = "the same distance over short windows, pooled over all clips; depends on n"
    output = "windows"
    citation = KILGOUR


def _rows(details: Mapping[str, float | int]) -> float | int:
    return min(details.get("rows_gen", 0), details.get("rows_ref", 0))
