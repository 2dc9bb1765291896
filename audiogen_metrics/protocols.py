"""Protocols: named recipes that fix everything which shapes a score. Data only; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.errors import UsageError
from audiogen_metrics.registry import unknown_name

MetricName = Literal["fd", "fad", "is", "kl"]


@dataclass(frozen=True)
class Metric:
    """What a metric needs and how to read it.

    Parameters
    ----------
    name
        Short name, as in ``-m fd,kl``.
    title
        The field's full name.
    output
        Which output of a backbone it is computed on: clip rows, window rows or class logits.
    higher_is_better
        Direction.
    reading
        One line for people.
    """

    name: MetricName
    title: str
    output: Literal["embeddings", "windows", "logits"]
    higher_is_better: bool
    reading: str


METRICS: Mapping[MetricName, Metric] = MappingProxyType(
    {
        "fd": Metric(
            "fd",
            "Fréchet distance",
            "embeddings",
            False,
            "distance between the sets' distributions of clip embeddings; depends on n",
        ),
        "fad": Metric(
            "fad",
            "Fréchet audio distance",
            "windows",
            False,
            "the same distance over short windows, pooled over all clips; depends on n",
        ),
        "is": Metric(
            "is",
            "Inception score",
            "logits",
            True,
            "confident classes on each clip, varied over the set; looks at gen only; depends on n and splits",
        ),
        "kl": Metric(
            "kl",
            "Kullback-Leibler divergence",
            "logits",
            False,
            "how far the classes heard in a generated clip are from those in its reference; needs pairs",
        ),
    }
)


@dataclass(frozen=True)
class Recipe:
    """How a protocol computes one metric.

    Parameters
    ----------
    score_id
        Metric and backbone, as in reports: ``fad_vggish``.
    metric
        Which metric.
    backbone
        Registered name of the backbone.
    preprocessing
        From decoded audio to the backbone's waveform.
    splits, seed
        Inception score: number of parts and seed of the permutation.
    eps
        KL: added to the generated probability inside the logarithm.
    """

    score_id: str
    metric: MetricName
    backbone: str
    preprocessing: Preprocessing
    splits: int = 10
    seed: int = 2020
    eps: float = 1e-6


@dataclass(frozen=True)
class Protocol:
    """A named set of recipes.

    Parameters
    ----------
    name
        Name used everywhere: ``--protocol``, ``FAD(protocol=…)``, reports.
    summary
        One line.
    source
        Whose numbers it reproduces.
    recipes
        One recipe per metric.
    caveat
        What must be said beside every score of this protocol; empty if nothing.
    defects
        Known defects that the protocol keeps on purpose.
    """

    name: str
    summary: str
    source: str
    recipes: Mapping[MetricName, Recipe]
    caveat: str = ""
    defects: tuple[str, ...] = field(default=())

    def select(self, metrics: Sequence[str] | None) -> list[Recipe]:
        """Return the recipes of these metrics in the protocol's order; None means all.

        Raises
        ------
        UsageError
            A metric that the protocol does not have.
        """
        if metrics is None:
            return list(self.recipes.values())
        for metric in metrics:
            if metric not in self.recipes:
                raise unknown_name("metric", metric, [*self.recipes])
        if not metrics:
            raise UsageError("no metrics chosen", fix=f"Choose from {', '.join(self.recipes)}")
        return [recipe for metric, recipe in self.recipes.items() if metric in metrics]


def _recipes(*recipes: Recipe) -> Mapping[MetricName, Recipe]:
    return MappingProxyType({recipe.metric: recipe for recipe in recipes})


_AUDIOLDM_AUDIO = Preprocessing(sample_rate=16_000, minimum_samples=32_000)
_YAMNET_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", minimum_samples=15_600)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                name="audioldm",
                summary="the default: FD, IS and KL on PANNs CNN14 (16 kHz), FAD on VGGish",
                source="arXiv 2303.03857 and haoheliu/audioldm_eval (after 2023-06-25, CNN14)",
                recipes=_recipes(
                    Recipe("fd_panns", "fd", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("fad_vggish", "fad", "vggish", _AUDIOLDM_AUDIO),
                    Recipe("is_panns", "is", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("kl_panns", "kl", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                ),
            ),
            Protocol(
                name="yamnet",
                summary="the same statistics on YAMNet, whose weights come with pip; not comparable with papers",
                source="this project",
                recipes=_recipes(
                    Recipe("fd_yamnet", "fd", "yamnet", _YAMNET_AUDIO),
                    Recipe("fad_yamnet", "fad", "yamnet", _YAMNET_AUDIO),
                    Recipe("is_yamnet", "is", "yamnet", _YAMNET_AUDIO),
                    Recipe("kl_yamnet", "kl", "yamnet", _YAMNET_AUDIO),
                ),
                caveat=(
                    "YAMNet scores are not comparable with published PANNs or VGGish numbers; "
                    "for those run the default protocol after: agm weights fetch panns-cnn14-16k vggish"
                ),
            ),
        )
    }
)
"""All protocols by name."""


def get_protocol(name: str) -> Protocol:
    """Return the protocol of this name; UsageError with the nearest name if there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, [*PROTOCOLS])
    return PROTOCOLS[name]
