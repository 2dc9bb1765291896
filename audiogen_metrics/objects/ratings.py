"""The base of metric objects on ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from audiogen_metrics.functional.validation import Array
from audiogen_metrics.objects.base import AudioMetric, Ready
from audiogen_metrics.objects.batch import Waveforms


class RatingMetric(AudioMetric):
    """A metric on ratings."""

    ready_as: ClassVar[Ready] = "ratings"

    def update(
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        gen_ratings: Array | None = None,
        ref_ratings: Array | None = None,
    ) -> None:
        """Add clips to one or both sets; a metric that uses only gen accepts ref and ignores it.

        Parameters
        ----------
        gen, ref, sample_rate, ids
            As in `FD.update`.
        gen_ratings, ref_ratings
            Ratings ``(clips, axes)`` instead of waveforms, with the axes in the backbone's order.

        Raises
        ------
        DataError, UsageError
            As in `FD.update`.
        """
        self._add(self.sound({"gen": gen, "ref": ref}, {"gen": gen_ratings, "ref": ref_ratings}, sample_rate, ids))
