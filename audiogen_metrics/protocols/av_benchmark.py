"""The evaluation of MMAudio and what followed it."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import KLDivergence
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.clap import CLAP_RATE
from audiogen_metrics.protocols.definition import Protocol, recipes

_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", maximum_samples=8 * 16_000)
_PASST_AUDIO = Preprocessing(32_000, "mean", maximum_samples=8 * 32_000)
_CLAP_AUDIO = Preprocessing(CLAP_RATE, "mean", maximum_samples=8 * CLAP_RATE)

PROTOCOLS = (
    Protocol(
        name="av-benchmark",
        summary="mean of the channels, cut to 8 s and never padded; KL without epsilon",
        source="hkchengrex/av-benchmark, PANNs, VGGish and CLAP scores",
        recipes=recipes(
            Recipe("fd_panns", FrechetDistance(), "panns-cnn14-16k", _AUDIO),
            Recipe("fad_vggish", FrechetAudioDistance(), "vggish", _AUDIO),
            Recipe("is_panns", InceptionScore(), "panns-cnn14-16k", _AUDIO),
            Recipe("kl_panns", KLDivergence(eps=0.0), "panns-cnn14-16k", _AUDIO),
            Recipe("fd_passt", FrechetDistance(), "passt", _PASST_AUDIO, added=True),
            Recipe("is_passt", InceptionScore(), "passt", _PASST_AUDIO, added=True),
            Recipe("kl_passt", KLDivergence(eps=0.0), "passt", _PASST_AUDIO, added=True),
            Recipe(
                "clap_laion_music_speech",
                CLAPScore(),
                "clap-laion-music-speech",
                _CLAP_AUDIO,
                added=True,
            ),
        ),
        defects=(
            "everything after 8 s (its default length) is not heard",
            "FD and IS on PaSST are of the clips that have a partner there, and of all clips here",
        ),
    ),
)
