"""One metric on two sets: its value and all that follows from it, each computed once, when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from audiogen_metrics.errors import InsufficientDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from audiogen_metrics.functional.extrapolation import Extrapolation
    from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, Side, StandardError


class Measured:
    """A metric on two sets of features.

    Parameters
    ----------
    metric
        With its options.
    gen, ref
        The sets; ``ref`` may be None for a metric that looks at gen only.
    paired
        Whether clips of one id belong together.
    seed
        Of the noise floor's halves and the extrapolation's subsets.
    """

    def __init__(
        self, metric: Metric, gen: FeatureSource, ref: FeatureSource | None, *, paired: bool = True, seed: int = 0
    ) -> None:
        self.metric, self.gen, self.paired, self.seed = metric, gen, paired, seed
        self._ref = ref
        self._without: dict[Side, torch.Tensor] = {}

    @property
    def ref(self) -> FeatureSource:
        """The reference; gen itself for a metric that does not look at it."""
        if "ref" not in self.metric.sides:
            return self.gen
        if self._ref is None:
            raise InsufficientDataError("there is no reference set", fix="Pass ref")
        return self._ref

    @property
    def n_ref(self) -> int | None:
        """Clips of the reference; None if it plays no part."""
        return None if "ref" not in self.metric.sides or self._ref is None else len(self._ref)

    @cached_property
    def measurement(self) -> Measurement:
        """The score; InsufficientDataError where there is too little data."""
        if self.metric.needs == "pairs" and not self.paired:
            raise InsufficientDataError(
                f"{self.metric.symbol} compares pairs, and pairing is off", fix="Use pairing auto or id"
            )
        return self.metric.compute(self.gen, self.ref)

    @cached_property
    def error(self) -> StandardError:
        """The standard error; InsufficientDataError where none is known."""
        return self.metric.standard_error(self)

    @cached_property
    def noise_floor(self) -> Mapping[str, float | int]:
        """What the reference scores against itself; empty where that says nothing."""
        return self.metric.noise_floor(self.ref, len(self.gen), self.seed)

    @cached_property
    def fit(self) -> Extrapolation:
        """The line of the score over 1 / n."""
        return self.metric.extrapolate(self.gen, self.ref, self.seed)

    def without(self, side: Side) -> torch.Tensor:
        """Return the score without each clip of one side."""
        if side not in self._without:
            self._without[side] = self.metric.leave_one_out(self.gen, self.ref, side)
        return self._without[side]
