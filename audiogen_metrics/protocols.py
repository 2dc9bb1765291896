"""Protocols: named recipes that fix everything which shapes a score. Data only; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from audiogen_metrics.audio.preparation import PeakPreprocessing, Preprocessing
from audiogen_metrics.errors import UsageError, option, spoken
from audiogen_metrics.metrics import catalogue, metric_names
from audiogen_metrics.metrics.aesthetics import (
    ContentEnjoyment,
    ContentUsefulness,
    ProductionComplexity,
    ProductionQuality,
)
from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.definition import Metric
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import (
    KLDivergence,
    KLReverse,
    KLSegments,
    KLSegmentsBoth,
    KLSegmentsReverse,
    KLSigmoid,
)
from audiogen_metrics.metrics.mmd import KernelAudioDistance, WindowedKernelAudioDistance
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.options import split_list
from audiogen_metrics.registry import unknown_name

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone


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
        The recipes by the names of their metrics; where a metric has several, all but the first by their score ids.
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

    def select(self, metrics: str | Iterable[str] | None, backbone: str | None = None) -> list[Recipe]:
        """Return recipes in the protocol's order: all of a metric by its name, one by its score id; None means its own.

        Parameters
        ----------
        metrics
            Names; ``fd@hf:facebook/wav2vec2-base`` is a metric on another backbone than the protocol's.
        backbone
            That of all metrics which name none. Without ``metrics``, those of the protocol that it can serve.

        Raises
        ------
        UsageError
            A metric that the protocol does not have, a backbone that cannot serve it, or two scores of one id.
        """
        if metrics is None:
            return list(self.recipes.values()) if backbone is None else self._served(backbone)
        asked = [name.partition("@")[::2] for name in split_list(metrics)]
        known = [*self.every.values()]
        names = dict.fromkeys([*(recipe.metric for recipe in known), *(recipe.score_id for recipe in known)])
        metric_names([name for name, _ in asked], names)
        found = []
        for name, network in asked:
            places = [place for place, recipe in enumerate(known) if name in (recipe.metric, recipe.score_id)]
            if network or backbone:
                kind = _network(network or str(backbone))
                place = next((each for each in places if known[each].backbone == kind.name), places[0])
                found.append((place, known[place].on(kind)))
            else:
                found += [(place, known[place]) for place in places]
        return _distinct([recipe for _, recipe in sorted(found, key=itemgetter(0))])

    def _served(self, backbone: str) -> list[Recipe]:
        """Return the protocol's own recipes that a backbone can serve, on it; of each metric one."""
        kind = _network(backbone)
        metrics = dict.fromkeys(
            recipe.metric
            for recipe in self.recipes.values()
            if recipe.definition.output in kind.outputs
            and (recipe.definition.output != "windows" or recipe.definition.window_logits == kind.window_logits)
        )
        if not metrics:
            needed = ", ".join(sorted({recipe.definition.output for recipe in self.recipes.values()}))
            raise UsageError(
                f"protocol {self.name} needs {needed}, and {kind.name} gives {', '.join(sorted(kind.outputs))}",
                where=spoken("backbone", "--backbone"),
                fix=f"Name a metric that it can serve: {option('metrics', 'NAME')}",
            )
        return self.select([*metrics], backbone)

    def name_of(self, recipe: Recipe) -> str:
        """Return the name by which `select` finds this recipe alone; with its backbone if the protocol has another."""
        ids = [other.score_id for other in self.every.values() if other.metric == recipe.metric]
        if recipe.score_id not in ids:
            return f"{recipe.metric}@{recipe.backbone}"
        return recipe.metric if len(ids) == 1 else recipe.score_id

    @property
    def every(self) -> Mapping[str, Recipe]:
        """All recipes that can be asked for by the name of their metric, or their score id."""
        return {**self.recipes, **self.on_request, **self.from_home}

    @property
    def on_request(self) -> Mapping[str, Recipe]:
        """Recipes of the other metrics, each on the backbone that gives its output to this protocol's own ones."""
        found = {}
        for name, kind in catalogue().items():
            giving = [
                recipe
                for recipe in self.recipes.values()
                if (recipe.definition.output, recipe.definition.window_logits) == (kind.output, kind.window_logits)
            ]
            if kind.on_request and giving and name not in self.recipes:
                place = giving[0].score_id.removeprefix(giving[0].metric)
                found[name] = replace(giving[0], score_id=f"{name}{place}", definition=kind())
        return found

    @property
    def from_home(self) -> Mapping[str, Recipe]:
        """Recipes of metrics whose output no backbone of this protocol gives, as their home protocol has them."""
        here = {**self.recipes, **self.on_request}
        homes = {name: kind.home for name, kind in catalogue().items() if kind.home and name not in here}
        at_home = {home: {**PROTOCOLS[home].recipes, **PROTOCOLS[home].on_request} for home in homes.values()}
        return {name: at_home[home][name] for name, home in homes.items()}

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


def _network(name: str) -> type[Backbone]:
    from audiogen_metrics.backbones import BACKBONES

    return BACKBONES.get(name)


def _distinct(recipes: list[Recipe]) -> list[Recipe]:
    """Return recipes, each once; UsageError where two different ones have one id."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        if found.setdefault(recipe.score_id, recipe) != recipe:
            raise UsageError(
                f"{recipe.score_id} would be the score on {found[recipe.score_id].backbone} and on {recipe.backbone}",
                fix="Compute them in two runs, or rename a folder",
            )
    return [*found.values()]


def _recipes(*recipes: Recipe) -> Mapping[str, Recipe]:
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        found[recipe.score_id if recipe.metric in found else recipe.metric] = recipe
    return MappingProxyType(found)


_AUDIOLDM_AUDIO = Preprocessing(sample_rate=16_000, minimum_samples=32_000)
_AUDIOLDM_003_FAD_AUDIO = Preprocessing(
    sample_rate=16_000, channel="mean", remove_dc=False, resampler="resampy", sixteen_bit="file"
)
_AV_BENCHMARK_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", maximum_samples=8 * 16_000)
_AUDIOBOX_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", remove_dc=False)
_YAMNET_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", minimum_samples=15_600)

_FADTK_AUDIO = Preprocessing(16_000, "mean", remove_dc=False, resampler="torchaudio-kaiser", sixteen_bit="resampled")

_CLAP_RATE = 48_000
_FADTK_CLAP = replace(_FADTK_AUDIO, sample_rate=_CLAP_RATE, sixteen_bit="resampled-truncated")
_CLAP_CAVEAT = "what is computed on one CLAP is not comparable with another's, nor FD on CLAP with FD on PANNs"
_CLAP_AUDIO = Preprocessing(_CLAP_RATE, "mean", remove_dc=False, maximum_samples=10 * _CLAP_RATE)
_PASST_RATE = 32_000
_AV_BENCHMARK_PASST = Preprocessing(_PASST_RATE, "mean", maximum_samples=8 * _PASST_RATE)
_AV_BENCHMARK_CLAP = Preprocessing(_CLAP_RATE, "mean", maximum_samples=8 * _CLAP_RATE)

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
                source="hkchengrex/av-benchmark, PANNs, VGGish and CLAP scores",
                recipes=_recipes(
                    Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _AV_BENCHMARK_AUDIO),
                    Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("kl_panns", KLDivergence(eps=0.0), "panns-cnn14-16k", _AV_BENCHMARK_AUDIO),
                    Recipe("fd_passt", FrechetDistance(), "passt", _AV_BENCHMARK_PASST, added=True),
                    Recipe("is_passt", InceptionScore(), "passt", _AV_BENCHMARK_PASST, added=True),
                    Recipe("kl_passt", KLDivergence(eps=0.0), "passt", _AV_BENCHMARK_PASST, added=True),
                    Recipe(
                        "clap_laion_music_speech",
                        CLAPScore(),
                        "clap-laion-music-speech",
                        _AV_BENCHMARK_CLAP,
                        added=True,
                    ),
                ),
                defects=(
                    "everything after 8 s (its default length) is not heard",
                    "FD and IS on PaSST are of the clips that have a partner there, and of all clips here",
                ),
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
                        replace(_FADTK_AUDIO, minimum_samples=16_000),
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
                        _FADTK_CLAP,
                    )
                ),
                caveat="FAD on CLAP is not comparable with FAD on VGGish, nor with another CLAP's",
                defects=(
                    "the last nine windows of a clip have zeros behind its sound",
                    "embeddings are rounded to float16; a file's mean, which fadtk rounds too, is exact here",
                ),
            ),
            Protocol(
                name="clap-laion",
                summary="CLAP score on LAION's 89.98 checkpoint, of each clip's first ten seconds; and FD on the same",
                source="hkchengrex/av-benchmark, with its length for AudioCaps",
                recipes=_recipes(
                    *(
                        Recipe(
                            score_id,
                            metric,
                            "clap-laion-music-speech",
                            replace(_AV_BENCHMARK_CLAP, maximum_samples=10 * _CLAP_RATE),
                        )
                        for score_id, metric in (
                            ("clap_laion_music_speech", CLAPScore()),
                            ("fd_clap_laion_music_speech", FrechetDistance()),
                        )
                    )
                ),
                caveat=_CLAP_CAVEAT,
            ),
            Protocol(
                name="stable-audio",
                summary="Stable Audio's evaluation: KL(gen ‖ ref) on PaSST, CLAP with feature fusion, on all of a clip",
                source="Stability-AI/stable-audio-metrics; TangoFlux",
                recipes=_recipes(
                    Recipe(
                        "kl_reverse_passt",
                        KLReverse(),
                        "passt-hop5",
                        PeakPreprocessing(_PASST_RATE, "mean", remove_dc=False, peak_dbfs=-1.0),
                    ),
                    Recipe(
                        "clap_laion_630k_fusion",
                        CLAPScore(),
                        "clap-laion-630k-fusion",
                        PeakPreprocessing(_CLAP_RATE, "mean", remove_dc=False, sixteen_bit="truncated", peak_dbfs=-1.0),
                    ),
                ),
                caveat=_CLAP_CAVEAT,
                defects=(
                    "KL is in the other direction than in audioldm and av-benchmark",
                    "of clips over ten seconds CLAP hears random parts there, and the middle ones of these here",
                    "libsoxr resamples there, torchaudio here",
                ),
            ),
            Protocol(
                name="audiocraft",
                summary="KL on PaSST as AudioCraft has it: in both directions, each ten seconds of a clip a row",
                source="facebookresearch/audiocraft, audiocraft/metrics/kld.py",
                recipes=_recipes(
                    *(
                        Recipe(score_id, metric, "passt-segments", Preprocessing(_PASST_RATE, "mean", remove_dc=False))
                        for score_id, metric in (
                            ("kl_segments_passt", KLSegments()),
                            ("kl_segments_reverse_passt", KLSegmentsReverse()),
                            ("kl_segments_both_passt", KLSegmentsBoth()),
                        )
                    )
                ),
                defects=(
                    "nothing is appended to short segments, so a clip of 3 s and one of 10 s are heard differently",
                    "julius resamples there, torchaudio here",
                ),
            ),
            Protocol(
                name="kadtk",
                summary="KAD as kadtk computes it: the kernel is as wide as the evaluated set",
                source="YoonjinXD/kadtk 1.1.0",
                recipes=_recipes(
                    Recipe(
                        "kad_panns_wavegram",
                        KernelAudioDistance(bandwidth="gen"),
                        "panns-wavegram-logmel-cnn14",
                        replace(_FADTK_AUDIO, sample_rate=_PASST_RATE),
                    ),
                    Recipe(
                        "kad_passt",
                        KernelAudioDistance(bandwidth="gen"),
                        "passt-kadtk",
                        replace(_FADTK_AUDIO, sample_rate=_PASST_RATE),
                        added=True,
                    ),
                    Recipe(
                        "kad_windows_vggish",
                        WindowedKernelAudioDistance(bandwidth="gen"),
                        "vggish-float16",
                        replace(_FADTK_AUDIO, minimum_samples=16_000),
                        added=True,
                    ),
                    Recipe(
                        "kad_windows_clap_laion_music",
                        WindowedKernelAudioDistance(bandwidth="gen"),
                        "clap-laion-music-hop1",
                        _FADTK_CLAP,
                        added=True,
                    ),
                ),
                defects=(
                    "a kernel as wide as the evaluated set is wider for a set that is more varied",
                    "embeddings are rounded to float16 there, and so are those of PaSST, VGGish and CLAP here",
                ),
            ),
            Protocol(
                name="tango",
                summary="CLAP score as in Tango 2's evaluation: 630k without fusion, of each clip's first ten seconds",
                source="declare-lab/tango, tango2/inference.py",
                recipes=_recipes(
                    Recipe(
                        "clap_laion_630k", CLAPScore(), "clap-laion-630k", replace(_CLAP_AUDIO, sixteen_bit="truncated")
                    )
                ),
                caveat=_CLAP_CAVEAT,
                defects=(
                    "of clips over ten seconds it hears ten at random there, and the first ten here",
                    "libsoxr resamples there, torchaudio here",
                ),
            ),
            Protocol(
                name="musegauge",
                summary="CLAP score for music: LAION's 90.14 checkpoint on windows of ten seconds",
                source="musegauge 0.1.4",
                recipes=_recipes(
                    Recipe(
                        "clap_laion_music",
                        CLAPScore(),
                        "clap-laion-music-hop10",
                        replace(_FADTK_AUDIO, sample_rate=_CLAP_RATE, sixteen_bit="truncated"),
                    )
                ),
                caveat=_CLAP_CAVEAT,
                defects=(
                    "the last window of a clip has zeros behind its sound, and counts by its length",
                    "libsoxr resamples there; here a filter of torchaudio's that is within 0.001 dB of it to 14 kHz",
                ),
            ),
            Protocol(
                name="clap",
                summary="CLAP score as in Auffusion's evaluation, on laion/clap-htsat-unfused; and FD on the same",
                source="happylittlecat2333/Auffusion, laion/clap-htsat-unfused through transformers",
                recipes=_recipes(
                    Recipe("clap_htsat_unfused", CLAPScore(), "clap", _CLAP_AUDIO),
                    Recipe("fd_clap", FrechetDistance(), "clap", _CLAP_AUDIO),
                ),
                caveat=_CLAP_CAVEAT,
                defects=("of clips over ten seconds it hears ten at random there, and the first ten here",),
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
    if name.startswith("hf:"):
        fix = f"Name it as the backbone: {option('backbone', name)}"
        raise UsageError(f"{name!r} is a network, not a protocol", fix=fix)
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, [*PROTOCOLS])
    return PROTOCOLS[name]
