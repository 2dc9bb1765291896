"""How a protocol computes one metric."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.errors import UsageError
from audiogen_metrics.metrics.definition import Metric

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone

__all__ = ["Recipe"]


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
    added
        Whether the protocol has had this score for less long than its others, so that a run of the whole protocol,
        which could do without the score's network before, still can: without it, the score is None with its reason.
        What is computed does not depend on it.
    """

    score_id: str
    definition: Metric
    backbone: str
    preprocessing: Preprocessing
    added: bool = field(default=False, compare=False)

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.definition.name

    def options(self) -> dict[str, object]:
        """Return everything that shapes the score, by name, in one level."""
        return {"backbone": self.backbone, **self.definition.options, **asdict(self.preprocessing)}

    def on(self, kind: Backbone | type[Backbone]) -> Recipe:
        """Return the recipe on another backbone, at its rate; the score id then ends in its name.

        Raises
        ------
        UsageError
            It does not give what the metric is computed on.
        """
        require_output(self, kind)
        if kind.name == self.backbone:
            return self
        audio = self.preprocessing
        shortest = audio.minimum_samples * kind.sample_rate // audio.sample_rate
        # A protocol that does not pad leaves short clips out; another backbone does not change that.
        shortest = max(shortest, kind.minimum_samples) if audio.minimum_samples else 0
        return replace(
            self,
            score_id=f"{self.metric}_{spelled(kind.name)}",
            backbone=kind.name,
            preprocessing=replace(
                audio,
                sample_rate=kind.sample_rate,
                minimum_samples=shortest,
                maximum_samples=audio.maximum_samples * kind.sample_rate // audio.sample_rate,
            ),
        )


def require_output(recipe: Recipe, backbone: Backbone | type[Backbone]) -> None:
    """Raise UsageError unless the backbone gives the output that the recipe's metric is computed on."""
    output = recipe.definition.output
    if recipe.definition.prompted:
        if not backbone.reads_text:
            fix = "Leave out its backbone: the metric has one of its own"
            raise UsageError(f"{backbone.name} reads no prompts", where=recipe.score_id, fix=fix)
        output = "embeddings"
    if output in backbone.outputs:
        if output == "windows" and recipe.definition.window_logits != backbone.window_logits:
            kinds = ("embeddings", "class logits")
            needed, given = kinds[recipe.definition.window_logits], kinds[backbone.window_logits]
            raise UsageError(
                f"{recipe.metric} needs windows that are {needed}, and those of {backbone.name} are {given}",
                where=recipe.score_id,
                fix="Leave out its backbone, or name another metric",
            )
        return
    fix = f"It gives {', '.join(sorted(backbone.outputs))}"
    if backbone.name.startswith("hf:"):
        frames = f"; for windows write {backbone.name}@frames, which most networks have"
        head = "; logits need a checkpoint with a classification head"
        fix += {"windows": frames, "logits": head}.get(output, "")
    where = recipe.score_id if backbone.name == recipe.backbone else None
    raise UsageError(f"{recipe.metric} needs {output}, which {backbone.name} does not give", where=where, fix=fix)


def spelled(name: str) -> str:
    """Return a backbone's name as score ids have it."""
    if not name.startswith("hf:"):
        return name.replace("-", "_")
    from audiogen_metrics.backbones.hub import HubName

    return HubName.parse(name).slug
