"""KID and KAD: squared maximum mean discrepancies, which have no bias at small n."""

from __future__ import annotations

from dataclasses import dataclass

from audiogen_metrics.citations import Citation
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, option

BINKOWSKI = Citation(
    "binkowski2018demystifying",
    "Bińkowski, Mikołaj and Sutherland, Danica J. and Arbel, Michael and Gretton, Arthur",
    "Demystifying MMD GANs",
    "ICLR",
    2018,
    "https://arxiv.org/abs/1801.01401",
)
CHUNG = Citation(
    "chung2025kad",
    "Chung, Yoonjin and Eu, Pilsun and Lee, Junwon and Choi, Keunwoo and Nam, Juhan and Chon, Ben Sangbae",
    "KAD: No More FAD! An Effective and Efficient Evaluation Metric for Audio Generation",
    "arXiv",
    2025,
    "https://arxiv.org/abs/2502.15602",
)


@dataclass(frozen=True)
class KernelDistance(Metric):
    """KID: a cubic kernel, as a mean over random subsets."""

    subsets: int = option(100, 1, meaning="random subsets whose distances are averaged")
    subset_size: int = option(1000, 2, meaning="clips of each subset; one subset of all where there are no more")
    seed: int = option(2020, 0, 2**32 - 1, meaning="of the subsets")

    name = "kid"
    symbol = "KID"
    title = "Kernel distance"
    reading = "squared MMD with a cubic kernel; unbiased, so n matters little and values near 0 may be negative"
    output = "embeddings"
    higher_is_better = False
    unbiased = True
    citation = BINKOWSKI

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return mean and standard deviation over subsets."""
        from audiogen_metrics.functional import kernel_distance

        result = kernel_distance(gen.rows(self.output), ref.rows(self.output), **self.options)  # type: ignore[arg-type]
        return Measurement(result.value, result.std, {"subset_size": result.subset_size})


class KernelAudioDistance(Metric):
    """KAD: a Gaussian kernel as wide as the reference, times 100."""

    name = "kad"
    symbol = "KAD"
    title = "Kernel audio distance"
    reading = "squared MMD with a Gaussian kernel as wide as the reference; unbiased, times 100"
    output = "embeddings"
    higher_is_better = False
    unbiased = True
    citation = CHUNG

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the distance of all clips."""
        from audiogen_metrics.functional import kernel_audio_distance

        result = kernel_audio_distance(gen.rows(self.output), ref.rows(self.output))
        return Measurement(result.value, details={"subset_size": result.subset_size})
