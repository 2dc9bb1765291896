"""The statistics of this library on the network whose weights come with pip."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.fd import FrechetAudioDistance, FrechetDistance
from audiogen_metrics.metrics.inception import InceptionScore
from audiogen_metrics.metrics.kl import KLDivergence
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes

_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", minimum_samples=15_600)

PROTOCOLS = (
    Protocol(
        name="yamnet",
        summary="the same statistics on YAMNet, whose weights come with pip; not comparable with papers",
        source="this project",
        recipes=recipes(
            Recipe("fd_yamnet", FrechetDistance(), "yamnet", _AUDIO),
            Recipe("fad_yamnet", FrechetAudioDistance(), "yamnet", _AUDIO),
            Recipe("is_yamnet", InceptionScore(), "yamnet", _AUDIO),
            Recipe("kl_yamnet", KLDivergence(), "yamnet", _AUDIO),
        ),
        caveat=(
            "YAMNet scores are not comparable with published PANNs or VGGish numbers; "
            "for those run the default protocol after: agm weights fetch panns-cnn14-16k vggish"
        ),
    ),
)
