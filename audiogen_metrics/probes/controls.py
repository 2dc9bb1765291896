"""Negative controls: what a metric reads without damage, or after the way through the mel-spectrogram alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, draw_seed
from audiogen_metrics.probes.mel import Analysis, Matrix
from audiogen_metrics.probes.resynthesis import MelProbe


@dataclass(frozen=True)
class Nothing:
    """No parameters."""


@dataclass(frozen=True)
class Identity(Probe[Nothing]):
    """Change nothing: every metric must read flat."""

    name: ClassVar[str] = "identity"

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> Nothing:  # noqa: ARG002
        """Draw nothing."""
        return Nothing()

    def corrupt(self, clip: Clip, parameters: Nothing) -> Clip:  # noqa: ARG002
        """Return the clip itself."""
        return clip


@dataclass(frozen=True)
class ResynthesisParameters:
    """Seed of random phases."""

    seed: int


@dataclass(frozen=True)
class Resynthesis(MelProbe[ResynthesisParameters]):
    """Go to the mel-spectrogram and back without corruption, at every severity: what the way alone does to a metric.

    With ``phase`` this only resamples to the front end's rate.
    """

    name: ClassVar[str] = "resynthesis"

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> ResynthesisParameters:  # noqa: ARG002
        """Draw a seed."""
        return ResynthesisParameters(draw_seed(rng))

    def edit(self, source: Analysis, parameters: ResynthesisParameters) -> tuple[Analysis, Matrix]:  # noqa: ARG002
        """Leave M as it is."""
        return source, source.mel
