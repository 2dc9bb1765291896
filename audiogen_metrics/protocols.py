"""Protocols: named recipes that fix everything which shapes a score. Data only; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.errors import UsageError
from audiogen_metrics.registry import unknown_name

MetricName = Literal["fd", "fad", "is", "kl", "kl_sigmoid", "kid", "kad", "precision", "recall", "density", "coverage"]


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
        "kl_sigmoid": Metric(
            "kl_sigmoid",
            "positive term of the Bernoulli divergence",
            "logits",
            False,
            "audioldm_eval's KL sigmoid: can be negative and is no divergence; only to reproduce old numbers",
        ),
        "kid": Metric(
            "kid",
            "Kernel distance",
            "embeddings",
            False,
            "squared MMD with a cubic kernel; unbiased, so n matters little and values near 0 may be negative",
        ),
        "kad": Metric(
            "kad",
            "Kernel audio distance",
            "embeddings",
            False,
            "squared MMD with a Gaussian kernel as wide as the reference; unbiased, times 100",
        ),
        "precision": Metric(
            "precision",
            "Precision",
            "embeddings",
            True,
            "share of generated clips that lie among the reference: does it sound right?",
        ),
        "recall": Metric(
            "recall",
            "Recall",
            "embeddings",
            True,
            "share of the reference that lies among the generated clips: is all of it made?",
        ),
        "density": Metric(
            "density",
            "Density",
            "embeddings",
            True,
            "how densely the reference lies around generated clips; not bounded by 1",
        ),
        "coverage": Metric(
            "coverage",
            "Coverage",
            "embeddings",
            True,
            "share of the reference's neighbourhoods with a generated clip in them",
        ),
    }
)


ON_REQUEST: tuple[MetricName, ...] = ("kid", "kad", "precision", "recall", "density", "coverage")
"""Metrics that every protocol with an FD has too, on the same embeddings, when asked for by name."""


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

    def options(self) -> dict[str, object]:
        """Return everything that shapes the score, by name, in one level."""
        own = asdict(self)
        audio = own.pop("preprocessing")
        return {name: value for name, value in (own | audio).items() if name not in ("score_id", "metric")}


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

    def select(self, metrics: str | Iterable[str] | None) -> list[Recipe]:
        """Return the recipes of these metrics in the protocol's order; None means all but those on request.

        Raises
        ------
        UsageError
            A metric that the protocol does not have.
        """
        if metrics is None:
            return list(self.recipes.values())
        known = {**self.recipes, **self.on_request}
        wanted = metric_names(metrics, [*known])
        return [recipe for metric, recipe in known.items() if metric in wanted]

    @property
    def on_request(self) -> Mapping[MetricName, Recipe]:
        """The recipes of `ON_REQUEST`: what FD is computed on."""
        if "fd" not in self.recipes:
            return {}
        fd = self.recipes["fd"]
        place = fd.score_id.removeprefix("fd")
        return {metric: replace(fd, score_id=f"{metric}{place}", metric=metric) for metric in ON_REQUEST}

    def differences(self, other: Protocol) -> dict[str, str]:
        """Return in what each score that both have differs from ``other``'s: ``"channel mean, eps 0"``.

        Scores on different backbones have different ids, so only what shares an id is compared.
        """
        theirs = {recipe.score_id: recipe for recipe in other.recipes.values()}
        found = {
            recipe.score_id: ", ".join(
                f"{name} {value}"
                for name, value in recipe.options().items()
                if value != theirs[recipe.score_id].options()[name]
            )
            for recipe in self.recipes.values()
            if recipe.score_id in theirs
        }
        return {score_id: text for score_id, text in found.items() if text}


def split_names(given: str | Iterable[str]) -> list[str]:
    """Return names of metrics as people write them, one by one.

    Examples
    --------
    >>> split_names("FD, kl,")
    ['fd', 'kl']
    """
    parts = [part for text in ([given] if isinstance(given, str) else given) for part in text.split(",")]
    return list(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))


def metric_names(given: str | Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the same names after proof that they are known; UsageError for one that is not, or none at all."""
    names = split_names(given)
    for name in names:
        if name not in known:
            raise unknown_name("metric", name, list(known))
    if not names:
        raise UsageError("no metrics chosen", fix=f"Choose from {', '.join(known)}")
    return names


def _recipes(*recipes: Recipe) -> Mapping[MetricName, Recipe]:
    return MappingProxyType({recipe.metric: recipe for recipe in recipes})


_AUDIOLDM_AUDIO = Preprocessing(sample_rate=16_000, minimum_samples=32_000)
_AUDIOLDM_003_FAD_AUDIO = Preprocessing(
    sample_rate=16_000, channel="mean", remove_dc=False, resampler="resampy", sixteen_bit="file"
)
_AV_BENCHMARK_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", maximum_samples=8 * 16_000)
_YAMNET_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", minimum_samples=15_600)

_PANNS_SCORES: Mapping[str, MetricName] = {
    "fd_panns": "fd",
    "is_panns": "is",
    "kl_panns": "kl",
    "kl_sigmoid_panns": "kl_sigmoid",
}

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
                name="audioldm-0.0.3",
                summary="audioldm-eval as pip installs it: FAD has a loader of its own, and there is a KL sigmoid",
                source="audioldm-eval 0.0.3 on PyPI",
                recipes=_recipes(
                    Recipe("fd_panns", "fd", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("fad_vggish", "fad", "vggish", _AUDIOLDM_003_FAD_AUDIO),
                    Recipe("is_panns", "is", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("kl_panns", "kl", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("kl_sigmoid_panns", "kl_sigmoid", "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                ),
                defects=(
                    "FAD hears other audio than the others: all channels, DC kept, another resampler, no padding",
                    "clips under 0.975 s drop out of FAD only; here they are named",
                    "KL sigmoid keeps one of two terms: activating every class more makes it better",
                    "float WAV files are read for FAD as near silence there; here they are read as audio",
                    "Vorbis beyond full scale wraps around for FAD, as libsndfile's integers do",
                    "rows of IS come in the order of the folder there, in the order of clip ids here",
                ),
            ),
            Protocol(
                name="audioldm-2023-02",
                summary="the evaluator of the first papers: 32 and 48 kHz files are decimated without a filter",
                source="haoheliu/audioldm_eval at 4d6d18e (2023-02-12)",
                recipes=_recipes(
                    *(
                        Recipe(score_id, metric, "panns-cnn14-16k", replace(_AUDIOLDM_AUDIO, resampler="decimate"))
                        for score_id, metric in _PANNS_SCORES.items()
                    ),
                    Recipe(
                        "fad_vggish", "fad", "vggish", replace(_AUDIOLDM_003_FAD_AUDIO, resampler="decimate-resampy")
                    ),
                ),
                defects=(
                    "48 kHz becomes 16 kHz by taking every third sample: what lies above 8 kHz aliases",
                    "32 kHz loses every second sample, then is resampled as if it had not: an octave up, half as long",
                    "FAD takes every second sample of 32 kHz files, and otherwise hears as in audioldm-0.0.3",
                    "KL sigmoid as in audioldm-0.0.3",
                ),
            ),
            Protocol(
                name="av-benchmark",
                summary="mean of the channels, cut to 8 s and never padded; KL without epsilon",
                source="hkchengrex/av-benchmark, PANNs and VGGish scores",
                recipes=_recipes(
                    Recipe("fd_panns", "fd", "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("fad_vggish", "fad", "vggish", _AV_BENCHMARK_AUDIO),
                    Recipe("is_panns", "is", "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("kl_panns", "kl", "panns-cnn14-16k", _AV_BENCHMARK_AUDIO, eps=0.0),
                ),
                defects=("everything after 8 s (its default length) is not heard",),
            ),
            Protocol(
                name="google-fad",
                summary="FAD on overlapping windows of level-normalised clips",
                source="google-research/frechet_audio_distance",
                recipes=_recipes(
                    Recipe(
                        "fad_vggish",
                        "fad",
                        "vggish-overlapping",
                        Preprocessing(sample_rate=16_000, channel="mean", remove_dc=False, peak_floor=0.1),
                    )
                ),
                defects=(
                    "the level is taken from the largest sample, not the largest magnitude; levels are not compared",
                    "it takes 16 kHz mono files; others are mixed down and resampled here as in audioldm",
                ),
            ),
            Protocol(
                name="fadtk",
                summary="FAD as fadtk computes it on VGGish",
                source="microsoft/fadtk",
                recipes=_recipes(
                    Recipe(
                        "fad_vggish",
                        "fad",
                        "vggish-float16",
                        Preprocessing(
                            sample_rate=16_000,
                            channel="mean",
                            remove_dc=False,
                            resampler="torchaudio-kaiser",
                            minimum_samples=16_000,
                            sixteen_bit="resampled",
                        ),
                    )
                ),
                defects=("embeddings are rounded to float16; a file's mean, which fadtk rounds too, is exact here",),
            ),
            Protocol(
                name="clap",
                summary="FD on CLAP, of each clip's first ten seconds; no classes, so no IS and no KL",
                source="laion/clap-htsat-unfused through transformers; this project",
                recipes=_recipes(
                    Recipe(
                        "fd_clap",
                        "fd",
                        "clap",
                        Preprocessing(sample_rate=48_000, channel="mean", remove_dc=False, maximum_samples=480_000),
                    )
                ),
                caveat="FD on CLAP is not comparable with FD on PANNs, nor with another CLAP's",
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
