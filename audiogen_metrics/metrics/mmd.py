"""KID and KAD: squared maximum mean discrepancies, which have no bias at small n."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, ScoreInterval, Side, choice, option

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.functional.kernel import Kernel
    from audiogen_metrics.metrics.measuring.measured import Measured
    from audiogen_metrics.metrics.measuring.pool import RowPool
    from audiogen_metrics.metrics.measuring.rivals import Rivals

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


LARGEST_MATRIX = 10_000
"""Rows between which all kernels are kept for many deals of them (800 MB); of more, they are computed anew for each."""


class Discrepancy(Metric):
    """What KID and KAD share: squared maximum mean discrepancies, which differ in their kernels."""

    output: ClassVar[Output] = "embeddings"
    higher_is_better = False
    unbiased = True
    scale: ClassVar[float] = 1.0

    def comparisons(self, gen: int, ref: int, *, ci: bool) -> int:
        """Return those within both sets and between them; once more where clips are left out."""
        return (1 + ci) * (gen**2 + ref**2 + gen * ref)

    @abstractmethod
    def kernel(self, gen: torch.Tensor, ref: torch.Tensor) -> Kernel:
        """Return the kernel as the rows of both sets make it."""

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the score of all rows without each clip, in closed form; the kernel stays that of all."""
        from audiogen_metrics.functional.kernel import discrepancy_leave_one_out

        rows = {"gen": gen.rows(self.output), "ref": ref.rows(self.output)}
        kernel, other = self.kernel(rows["gen"], rows["ref"]), "ref" if side == "gen" else "gen"
        counts = (gen if side == "gen" else ref).counts(self.output)
        return self.scale * discrepancy_leave_one_out(rows[side], rows[other], kernel, counts)

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the difference; the reference stays, so all kernels are computed once, and its own cancels."""
        from audiogen_metrics.functional.kernel import mean_kernel
        from audiogen_metrics.functional.pooled import PooledKernel

        rows, start = rivals.pool.rows, sum(rivals.pool.sizes[:2])
        if start > LARGEST_MATRIX:
            return Metric.contest(self, rivals)
        systems, ref = rows[:start], rows[start:]
        kernel = self.kernel(systems, ref)
        pooled, to_ref = PooledKernel(kernel(systems, systems)), mean_kernel(systems, ref, kernel).cpu().numpy()

        def part(clips: Places) -> float:
            return pooled.within(clips) - 2 * float(to_ref[clips].mean())

        return lambda a, b: self.scale * (part(a) - part(b))


@dataclass(frozen=True)
class KernelDistance(Discrepancy):
    """KID: a cubic kernel, on all clips or as a mean over random subsets."""

    subsets: int | None = option(None, 1, meaning="random subsets whose distances are averaged; null takes all clips")
    subset_size: int = option(1000, 2, meaning="clips of each subset; one subset of all where there are no more")
    seed: int = option(2020, 0, 2**32 - 1, meaning="of the subsets")

    name = "kid"
    symbol = "KID"
    title = "Kernel distance"
    reading = "squared MMD with a cubic kernel; unbiased, so n matters little and values near 0 may be negative"
    citation: ClassVar[Citation | None] = BINKOWSKI

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the distance of all clips, or mean and standard deviation over subsets."""
        from audiogen_metrics.functional import kernel_distance

        result = kernel_distance(gen.rows(self.output), ref.rows(self.output), **self.options)  # type: ignore[arg-type]
        details = {} if self.subsets is None else {"subsets": self.subsets, "subset_size": result.subset_size}
        return Measurement(result.value, result.std, details)

    def variants(self) -> Mapping[str, Metric]:
        """Return the mean over a hundred subsets of a thousand clips, as evaluators of images take it."""
        return {"subsets 100": replace(self, subsets=100)}

    def comparisons(self, gen: int, ref: int, *, ci: bool) -> int:
        """Return those of the subsets, where there are any and they are fewer than all."""
        every = super().comparisons(gen, ref, ci=False)
        size = min(self.subset_size, gen, ref)
        once = every if self.subsets is None else min(every, 3 * self.subsets * size**2)
        return once + ci * every

    def kernel(self, gen: torch.Tensor, ref: torch.Tensor) -> Kernel:
        """Return the cubic kernel, which does not depend on them."""
        from audiogen_metrics.functional.kernel import cubic

        return cubic

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the score of all rows of parts of a pool, whose kernel is computed once."""
        from audiogen_metrics.functional.kernel import cubic, discrepancy
        from audiogen_metrics.functional.pooled import PooledKernel

        if len(pool.rows) > LARGEST_MATRIX:
            return lambda gen, ref: discrepancy(
                pool.part(gen).rows(self.output), pool.part(ref).rows(self.output), cubic
            )
        return PooledKernel(cubic(pool.rows, pool.rows)).value

    def rounding(self, pool: RowPool) -> float:
        """Return a share of the kernel: it is what the distance is a small difference of."""
        return 1e-12 * float((pool.rows.square().mean(1) + 1).pow(3).max())


@dataclass(frozen=True)
class KernelAudioDistance(Discrepancy):
    """KAD: a Gaussian kernel as wide as the reference, times 100."""

    bandwidth: str = choice("ref", "gen", meaning="the set whose median distance is the kernel's width; gen in kadtk")

    name = "kad"
    symbol = "KAD"
    title = "Kernel audio distance"
    reading = "squared MMD with a Gaussian kernel as wide as the reference; unbiased, times 100"
    scale: ClassVar[float] = 100.0
    citation: ClassVar[Citation | None] = CHUNG

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the distance of all clips."""
        from audiogen_metrics.functional import kernel_audio_distance

        rows = gen.rows(self.output), ref.rows(self.output)
        return Measurement(kernel_audio_distance(*rows, bandwidth=self.bandwidth).value)  # type: ignore[arg-type]

    def comparisons(self, gen: int, ref: int, *, ci: bool) -> int:
        """Return those of the kernel, and those of the passes over one set that find its median distance."""
        return super().comparisons(gen, ref, ci=ci) + (1 + ci) * 3 * (ref if self.bandwidth == "ref" else gen) ** 2

    def kernel(self, gen: torch.Tensor, ref: torch.Tensor) -> Kernel:
        """Return the Gaussian kernel as wide as the median distance in one of the sets."""
        from audiogen_metrics.functional.kernel import gaussian

        return gaussian(ref) if self.bandwidth == "ref" else gaussian(gen, "gen")

    def interval(self, measured: Measured) -> ScoreInterval:
        """Return the interval; InsufficientDataError for kadtk's bandwidth, with which none has been shown to hold."""
        self._require_known()
        return super().interval(measured)

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Return the interval of the difference, as `interval`."""
        self._require_known()
        return super().difference_interval(rivals)

    def _require_known(self) -> None:
        if self.bandwidth != "ref":
            raise InsufficientDataError("no interval is known of KAD whose bandwidth is that of gen")

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the difference; where each system has a kernel of its own, both are computed anew."""
        return super().contest(rivals) if self.bandwidth == "ref" else Metric.contest(self, rivals)

    def whole(self) -> Metric:
        """Return the distance with the reference's width: copies of one clip, by which a study scales, have none."""
        return replace(self, bandwidth="ref")

    def variants(self) -> Mapping[str, Metric]:
        """Return the distance with the width that kadtk takes."""
        return {"bandwidth gen": replace(self, bandwidth="gen")}

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the score of parts of a pool, whose distances are computed once; each has a bandwidth of its own."""
        from audiogen_metrics.functional.pooled import PooledGaussian

        if len(pool.rows) > LARGEST_MATRIX:
            return Metric.scorer(self, pool)
        pooled = PooledGaussian(pool.rows)
        # Which set is which changes nothing but the width.
        order = 1 if self.bandwidth == "ref" else -1
        return lambda gen, ref: self.scale * pooled.value(*(gen, ref)[::order])


class WindowedKernelAudioDistance(KernelAudioDistance):
    """KAD over windows, pooled over all clips, as kadtk takes it on networks that give windows."""

    output: ClassVar[Output] = "windows"
    on_request = False

    name = "kad_windows"
    symbol = "WindowedKAD"
    title = "Kernel audio distance of windows"
    reading = "KAD over windows, pooled over all clips, as FAD is of FD"

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the score of parts of a pool, each computed anew: a clip has several rows."""
        return Metric.scorer(self, pool)

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the difference, each part computed anew."""
        return Metric.contest(self, rivals)

    def interval(self, measured: Measured) -> ScoreInterval:
        """Raise InsufficientDataError: no interval has been shown to hold."""
        raise InsufficientDataError("no interval is known of KAD over windows")

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Raise InsufficientDataError, as `interval`."""
        raise InsufficientDataError("no interval is known of KAD over windows")
