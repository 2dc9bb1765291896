"""The evaluator of AudioLDM and its forms: of the repository, of PyPI, and of the first papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.definition import Metric
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import KLDivergence, KLSigmoid
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes

_AUDIO = Preprocessing(sample_rate=16_000, minimum_samples=32_000)
_FAD_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", remove_dc=False, resampler="resampy", sixteen_bit="file")
_PANNS_SCORES: Mapping[str, Metric] = {
    "fd_panns": FrechetDistance(),
    "is_panns": InceptionScore(),
    "kl_panns": KLDivergence(),
    "kl_sigmoid_panns": KLSigmoid(),
}

PROTOCOLS = (
    Protocol(
        name="audioldm",
        summary="the default: FD, IS and KL on PANNs CNN14 (16 kHz), FAD on VGGish",
        source="arXiv 2303.03857 and haoheliu/audioldm_eval (after 2023-06-25, CNN14)",
        recipes=recipes(
            Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AUDIO),
            Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _AUDIO),
            Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AUDIO),
            Recipe("kl_panns", KLDivergence(), "panns-cnn14-16k", _AUDIO),
        ),
    ),
    Protocol(
        name="audioldm-0.0.3",
        summary="audioldm-eval as pip installs it: FAD has a loader of its own, and there is a KL sigmoid",
        source="audioldm-eval 0.0.3 on PyPI",
        recipes=recipes(
            Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AUDIO),
            Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _FAD_AUDIO),
            Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AUDIO),
            Recipe("kl_panns", KLDivergence(), "panns-cnn14-16k", _AUDIO),
            Recipe("kl_sigmoid_panns", KLSigmoid(), "panns-cnn14-16k", _AUDIO),
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
        recipes=recipes(
            *(
                Recipe(score_id, metric, "panns-cnn14-16k", replace(_AUDIO, resampler="decimate"))
                for score_id, metric in _PANNS_SCORES.items()
            ),
            Recipe(
                "fad_vggish",
                FrechetAudioDistance(),
                "vggish",
                replace(_FAD_AUDIO, resampler="decimate-resampy"),
            ),
        ),
        defects=(
            "48 kHz becomes 16 kHz by taking every third sample: what lies above 8 kHz aliases",
            "32 kHz loses every second sample, then is resampled as if it had not: an octave up, half as long",
            "FAD takes every second sample of 32 kHz files, and otherwise hears as in audioldm-0.0.3",
            "KL sigmoid as in audioldm-0.0.3",
        ),
    ),
)
