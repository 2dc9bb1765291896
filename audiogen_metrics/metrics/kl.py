"""KL: the divergence between the classes heard in each generated clip and in its reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import InsufficientDataError
from audiogen_metrics.metrics.definition import FeatureSource, Measurement, Metric, StandardError, option

if TYPE_CHECKING:
    import numpy as np
    import torch

    from audiogen_metrics.metrics.measured import Measured

KULLBACK = Citation(
    "kullback1951information",
    "Kullback, Solomon and Leibler, Richard A.",
    "On Information and Sufficiency",
    "The Annals of Mathematical Statistics 22 (1)",
    1951,
    "https://doi.org/10.1214/aoms/1177729694",
)


@dataclass(frozen=True)
class ByPairs(Metric):
    """The mean over pairs of one divergence, whatever turns logits into probabilities."""

    eps: float = option(1e-6, 0.0, meaning="added to the generated probability inside the logarithm")

    activation: ClassVar[Literal["softmax", "sigmoid_positive"]]
    output = "logits"
    higher_is_better = False
    needs = "pairs"
    citation = KULLBACK

    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the mean over the clip ids that both sets have."""
        from audiogen_metrics.functional import kl_divergence

        pairs = pair(gen.clip_ids, ref.clip_ids)
        common = pairs.paired
        if not common:
            shown = pairs.near_misses() or f"{_first_id('gen', gen)}, {_first_id('ref', ref)}"
            raise InsufficientDataError(
                f"no clip id is in both sets ({shown})", fix="Give each generated file the name of its reference"
            )
        result = kl_divergence(gen.logits(common), ref.logits(common), activation=self.activation, eps=self.eps)
        by_clip = dict(zip(common, result.per_pair.tolist(), strict=True))
        return Measurement(result.mean, details={"pairs": len(common), "eps": self.eps}, by_clip=by_clip)

    def variants(self) -> Mapping[str, Metric]:
        """Return the divergence without epsilon, which evaluators differ in."""
        return {"eps 0": replace(self, eps=0.0)}


@dataclass(frozen=True)
class KLDivergence(ByPairs):
    """KL of softmax probabilities."""

    name = "kl"
    symbol = "KL"
    title = "Kullback-Leibler divergence"
    reading = "how far the classes heard in a generated clip are from those in its reference; needs pairs"
    activation = "softmax"

    def standard_error(self, measured: Measured) -> StandardError:
        """Return the standard error of a mean over pairs."""
        from audiogen_metrics.functional.uncertainty import mean_error

        return StandardError(mean_error(_by_clip(measured)), "sampled")

    def difference_error(self, a: Measured, b: Measured, paired: bool) -> float:
        """Return the standard error of the mean difference of two systems."""
        from audiogen_metrics.functional.uncertainty import mean_error

        first, second = _by_clip(a), _by_clip(b)
        if paired:
            return mean_error(first - second)
        return math.hypot(mean_error(first), mean_error(second))

    def swapped_difference(self, a: Measured, b: Measured, rng: np.random.Generator) -> float:
        """Return the mean difference once some clips have changed sides, without computing the divergence again."""
        import numpy as np
        import torch

        first, second = _by_clip(a), _by_clip(b)
        signs = torch.from_numpy(np.where(rng.random(len(first)) < 0.5, -1.0, 1.0))
        return float(((first - second) * signs).mean())

    def explain(self, value: float, details: Mapping[str, float | int]) -> str:
        """Say how near the classes are, in words."""
        words = ((0.1, "nearly those"), (1.0, "close to those"), (3.0, "often not those"))
        degree = next((word for bound, word in words if value < bound), "mostly not those")
        return f"Lower is better, 0 is the least. On average the classes heard in a clip are {degree} of its reference."


@dataclass(frozen=True)
class KLSigmoid(ByPairs):
    """The first term of the Bernoulli divergence, as audioldm_eval reports it."""

    name = "kl_sigmoid"
    title = "positive term of the Bernoulli divergence"
    reading = "audioldm_eval's KL sigmoid: can be negative and is no divergence; only to reproduce old numbers"
    activation = "sigmoid_positive"
    on_request = False


def _by_clip(measured: Measured) -> torch.Tensor:
    import torch

    values = measured.measurement.by_clip
    assert values is not None
    return torch.tensor(list(values.values()), dtype=torch.float64, device="cpu")


def _first_id(name: str, source: FeatureSource) -> str:
    return f"{name} has {source.clip_ids[0]!r}" if source.clip_ids else f"{name} is empty"
