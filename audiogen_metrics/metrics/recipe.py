"""How a protocol computes one metric."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.definition import Metric


@dataclass(frozen=True)
class Recipe:
    """A metric with its options, on one output of one backbone, of audio that is prepared in one way.

    Parameters
    ----------
    score_id
        Metric and backbone, as in reports: ``fad_vggish``.
    definition
        The metric with its options.
    backbone
        Registered name of the backbone.
    preprocessing
        From decoded audio to the backbone's waveform.
    """

    score_id: str
    definition: Metric
    backbone: str
    preprocessing: Preprocessing

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.definition.name

    def options(self) -> dict[str, object]:
        """Return everything that shapes the score, by name, in one level."""
        return {"backbone": self.backbone, **self.definition.options, **asdict(self.preprocessing)}
