"""Google's first FAD."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.fd import FrechetAudioDistance
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes

PROTOCOLS = (
    Protocol(
        name="google-fad",
        summary="FAD on overlapping windows of level-normalised clips",
        source="google-research/frechet_audio_distance",
        recipes=recipes(
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
)
