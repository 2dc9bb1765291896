"""Microsoft's FAD toolkit."""

from __future__ import annotations

from dataclasses import replace

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.fd import FrechetAudioDistance
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.clap import CLAP_RATE
from audiogen_metrics.protocols.definition import Protocol, recipes

AUDIO = Preprocessing(16_000, "mean", remove_dc=False, resampler="torchaudio-kaiser", sixteen_bit="resampled")
CLAP_AUDIO = replace(AUDIO, sample_rate=CLAP_RATE, sixteen_bit="resampled-truncated")

PROTOCOLS = (
    Protocol(
        name="fadtk",
        summary="FAD as fadtk computes it on VGGish",
        source="microsoft/fadtk",
        recipes=recipes(
            Recipe(
                "fad_vggish",
                FrechetAudioDistance(),
                "vggish-float16",
                replace(AUDIO, minimum_samples=16_000),
            )
        ),
        defects=("embeddings are rounded to float16; a file's mean, which fadtk rounds too, is exact here",),
    ),
    Protocol(
        name="fadtk-clap",
        summary="FAD as fadtk computes it on clap-laion-music: windows of 10 s, one every second",
        source="microsoft/fadtk",
        recipes=recipes(
            Recipe(
                "fad_clap_laion_music",
                FrechetAudioDistance(),
                "clap-laion-music-hop1",
                CLAP_AUDIO,
            )
        ),
        caveat="FAD on CLAP is not comparable with FAD on VGGish, nor with another CLAP's",
        defects=(
            "the last nine windows of a clip have zeros behind its sound",
            "embeddings are rounded to float16; a file's mean, which fadtk rounds too, is exact here",
        ),
    ),
)
