"""What metrics share that are the mean over clips of one number a clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, Side

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.metrics.measuring.pool import RowPool
    from audiogen_metrics.metrics.measuring.rivals import Rivals


@dataclass(frozen=True)
class ClipMean(Metric):
    """The mean over clips of one column of rows that hold numbers of a clip.

    Attributes
    ----------
    columns
        What the columns are called, in their order.
    axis
        Which of them.
    """

    columns: ClassVar[tuple[str, ...]]
    axis: ClassVar[str]
    sides: ClassVar[tuple[Side, ...]] = ("gen",)

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the mean over clips, their standard deviation, and the number of each clip."""
        if self.prompted and len(gen) == 0:
            raise InsufficientDataError("there is no clip with a prompt", fix="Score at least one")
        numbers = self.column(gen.rows(self.output))
        std = float(numbers.std()) if len(numbers) > 1 else None
        counts = gen.counts(self.output)
        by_clip = dict(zip(gen.clip_ids, numbers.tolist(), strict=True)) if len(counts) == len(numbers) else None
        return Measurement(float(numbers.mean()), std, by_clip=by_clip)

    def column(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this column of rows ``(clips, columns)``, float64; DataError for rows of another kind."""
        import torch

        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise DataError(
                f"{self.output} of shape {tuple(rows.shape)}",
                where=self.name,
                fix=f"Rows are {', '.join(self.columns)}",
            )
        return rows[:, self.columns.index(self.axis)].to(torch.float64)

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the mean without each clip, or without each group of clips that are tied."""
        import torch

        numbers = self.column(gen.rows(self.output))
        counts = torch.tensor(gen.counts(self.output), dtype=torch.int64, device=numbers.device)
        if len(counts) < 2:
            raise InsufficientDataError("one clip has no spread", fix="Score more clips")
        sums = torch.stack([part.sum() for part in numbers.split(counts.tolist())])
        return (sums.sum() - sums) / (counts.sum() - counts)

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the mean of some clips of a pool."""
        numbers = self.column(pool.rows).cpu().numpy()
        return lambda gen, _: float(numbers[gen].mean())

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return the mean difference over its standard error."""
        numbers = self.column(rivals.pool.rows).cpu().numpy()

        def studentised(a: Places, b: Places) -> float:
            parts = [numbers[a] - numbers[b]] if rivals.paired else [numbers[a], numbers[b]]
            error = math.hypot(*(float(part.std(ddof=1)) / math.sqrt(len(part)) for part in parts))
            difference = float(numbers[a].mean() - numbers[b].mean())
            return difference / error if error > 0 else 0.0

        return studentised
