"""Mode collapse: a set in which a few clips are repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, between_ratios, setting
from audiogen_metrics.probes.pool import Pooled


@dataclass(frozen=True)
class DuplicationParameters:
    """Number of different clips left in the set, and which of them takes this clip's place."""

    modes: int
    replacement: str


@dataclass(frozen=True)
class Duplication(Pooled, Probe[DuplicationParameters]):
    """Replace each clip by one of a few clips of the set; these few stay as they are.

    The few at a higher severity are among those at a lower one.
    """

    name: ClassVar[str] = "duplication"
    dose: ClassVar[str] = "modes"
    modes: int = setting(
        4, "clips", low=1, meaning="different clips at severity 1, from all of them; equal ratios in between."
    )

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> DuplicationParameters:
        """Draw the replacement."""
        order = self.others.order
        modes = round(between_ratios(len(order), min(self.modes, len(order)), severity))
        replacement = order[int(rng.random() * modes)]
        return DuplicationParameters(modes, clip.clip_id if clip.clip_id in order[:modes] else replacement)

    def corrupt(self, clip: Clip, parameters: DuplicationParameters) -> Clip:
        """Return the replacement under the clip's id."""
        if parameters.replacement == clip.clip_id:
            return clip
        return replace(self.others.load(parameters.replacement), clip_id=clip.clip_id)
