"""Protocols: named recipes that fix everything which shapes a score. Data only; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from audiogen_metrics.audio.preparation import PeakPreprocessing, Preprocessing
from audiogen_metrics.metrics import catalogue, metric_names
from audiogen_metrics.metrics.aesthetics import (
    ContentEnjoyment,
    ContentUsefulness,
    ProductionComplexity,
    ProductionQuality,
)
from audiogen_metrics.metrics.definition import Metric
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import KLDivergence, KLSigmoid
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.registry import unknown_name


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
    recipes: Mapping[str, Recipe]
    caveat: str = ""
    defects: tuple[str, ...] = field(default=())

    def select(self, metrics: str | Iterable[str] | None) -> list[Recipe]:
        """Return the recipes of these metrics in the protocol's order; None means its own.

        Raises
        ------
        UsageError
            A metric that the protocol does not have.
        """
        if metrics is None:
            return list(self.recipes.values())
        known = {**self.recipes, **self.on_request, **self.from_home}
        wanted = metric_names(metrics, known)
        return [recipe for metric, recipe in known.items() if metric in wanted]

    @property
    def on_request(self) -> Mapping[str, Recipe]:
        """Recipes of the other metrics, each on the backbone that gives its output to this protocol's own ones."""
        found = {}
        for name, kind in catalogue().items():
            giving = [recipe for recipe in self.recipes.values() if recipe.definition.output == kind.output]
            if kind.on_request and giving and name not in self.recipes:
                place = giving[0].score_id.removeprefix(giving[0].metric)
                found[name] = replace(giving[0], score_id=f"{name}{place}", definition=kind())
        return found

    @property
    def from_home(self) -> Mapping[str, Recipe]:
        """Recipes of metrics whose output no backbone of this protocol gives, as their home protocol has them."""
        here = {**self.recipes, **self.on_request}
        homes = {name: kind.home for name, kind in catalogue().items() if kind.home and name not in here}
        return {name: PROTOCOLS[home].recipes[name] for name, home in homes.items()}

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


def _recipes(*recipes: Recipe) -> Mapping[str, Recipe]:
    return MappingProxyType({recipe.metric: recipe for recipe in recipes})


_AUDIOLDM_AUDIO = Preprocessing(sample_rate=16_000, minimum_samples=32_000)
_AUDIOLDM_003_FAD_AUDIO = Preprocessing(
    sample_rate=16_000, channel="mean", remove_dc=False, resampler="resampy", sixteen_bit="file"
)
_AV_BENCHMARK_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", maximum_samples=8 * 16_000)
_AUDIOBOX_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", remove_dc=False)
_YAMNET_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", minimum_samples=15_600)

_CLAP_RATE = 48_000

CLAP_RECIPES: Mapping[str, tuple[str, Preprocessing]] = MappingProxyType(
    {
        "av-benchmark": (
            "clap-laion-music-speech",
            Preprocessing(_CLAP_RATE, "mean", remove_dc=False, maximum_samples=8 * _CLAP_RATE),
        ),
        "stable-audio-metrics": (
            "clap-laion-630k-fusion",
            PeakPreprocessing(_CLAP_RATE, "mean", remove_dc=False, sixteen_bit="truncated", peak_dbfs=-1.0),
        ),
        "tango": (
            "clap-laion-630k",
            Preprocessing(_CLAP_RATE, "mean", remove_dc=False, maximum_samples=10 * _CLAP_RATE),
        ),
        "musegauge": (
            "clap-laion-music-hop10",
            Preprocessing(_CLAP_RATE, "mean", remove_dc=False, sixteen_bit="truncated"),
        ),
    }
)
"""The audio side of the CLAP scores that others publish: backbone, and what comes before it, by whose recipe it is."""

_PANNS_SCORES: Mapping[str, Metric] = {
    "fd_panns": FrechetDistance(),
    "is_panns": InceptionScore(),
    "kl_panns": KLDivergence(),
    "kl_sigmoid_panns": KLSigmoid(),
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
                    Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _AUDIOLDM_AUDIO),
                    Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("kl_panns", KLDivergence(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                ),
            ),
            Protocol(
                name="audioldm-0.0.3",
                summary="audioldm-eval as pip installs it: FAD has a loader of its own, and there is a KL sigmoid",
                source="audioldm-eval 0.0.3 on PyPI",
                recipes=_recipes(
                    Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _AUDIOLDM_003_FAD_AUDIO),
                    Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("kl_panns", KLDivergence(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
                    Recipe("kl_sigmoid_panns", KLSigmoid(), "panns-cnn14-16k", _AUDIOLDM_AUDIO),
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
                        "fad_vggish",
                        FrechetAudioDistance(),
                        "vggish",
                        replace(_AUDIOLDM_003_FAD_AUDIO, resampler="decimate-resampy"),
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
                    Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _AV_BENCHMARK_AUDIO),
                    Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("kl_panns", KLDivergence(eps=0.0), "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
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
                        FrechetAudioDistance(),
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
                        FrechetAudioDistance(),
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
                name="fadtk-clap",
                summary="FAD as fadtk computes it on clap-laion-music: windows of 10 s, one every second",
                source="microsoft/fadtk",
                recipes=_recipes(
                    Recipe(
                        "fad_clap_laion_music",
                        FrechetAudioDistance(),
                        "clap-laion-music-hop1",
                        Preprocessing(
                            _CLAP_RATE,
                            channel="mean",
                            remove_dc=False,
                            resampler="torchaudio-kaiser",
                            sixteen_bit="resampled-truncated",
                        ),
                    )
                ),
                caveat="FAD on CLAP is not comparable with FAD on VGGish, nor with another CLAP's",
                defects=(
                    "the last nine windows of a clip have zeros behind its sound",
                    "embeddings are rounded to float16; a file's mean, which fadtk rounds too, is exact here",
                ),
            ),
            Protocol(
                name="clap",
                summary="FD on CLAP, of each clip's first ten seconds; no classes, so no IS and no KL",
                source="laion/clap-htsat-unfused through transformers; this project",
                recipes=_recipes(
                    Recipe(
                        "fd_clap",
                        FrechetDistance(),
                        "clap",
                        Preprocessing(sample_rate=48_000, channel="mean", remove_dc=False, maximum_samples=480_000),
                    )
                ),
                caveat="FD on CLAP is not comparable with FD on PANNs, nor with another CLAP's",
            ),
            Protocol(
                name="audiobox-aesthetics",
                summary="how people would rate each clip: PQ, PC, CE and CU; no reference",
                source="arXiv 2502.05139 and facebookresearch/audiobox-aesthetics 0.0.4",
                recipes=_recipes(
                    Recipe("pq_audiobox", ProductionQuality(), "audiobox-aesthetics", _AUDIOBOX_AUDIO),
                    Recipe("pc_audiobox", ProductionComplexity(), "audiobox-aesthetics", _AUDIOBOX_AUDIO),
                    Recipe("ce_audiobox", ContentEnjoyment(), "audiobox-aesthetics", _AUDIOBOX_AUDIO),
                    Recipe("cu_audiobox", ContentUsefulness(), "audiobox-aesthetics", _AUDIOBOX_AUDIO),
                ),
                defects=(
                    "a short last window is rated with zeros behind it",
                    "what is beyond 8 kHz is not heard, and what two channels differ in is not",
                ),
            ),
            Protocol(
                name="yamnet",
                summary="the same statistics on YAMNet, whose weights come with pip; not comparable with papers",
                source="this project",
                recipes=_recipes(
                    Recipe("fd_yamnet", FrechetDistance(), "yamnet", _YAMNET_AUDIO),
                    Recipe("fad_yamnet", FrechetAudioDistance(), "yamnet", _YAMNET_AUDIO),
                    Recipe("is_yamnet", InceptionScore(), "yamnet", _YAMNET_AUDIO),
                    Recipe("kl_yamnet", KLDivergence(), "yamnet", _YAMNET_AUDIO),
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
