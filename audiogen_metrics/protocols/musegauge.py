"""musegauge's CLAP score of music."""

from __future__ import annotations

from dataclasses import replace

from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.clap import CLAP_CAVEAT, CLAP_RATE
from audiogen_metrics.protocols.definition import Protocol, recipes
from audiogen_metrics.protocols.fadtk import AUDIO

PROTOCOLS = (
    Protocol(
        name="musegauge",
        summary="CLAP score for music: LAION's 90.14 checkpoint on windows of ten seconds",
        source="musegauge 0.1.4",
        recipes=recipes(
            Recipe(
                "clap_laion_music",
                CLAPScore(),
                "clap-laion-music-hop10",
                replace(AUDIO, sample_rate=CLAP_RATE, sixteen_bit="truncated"),
            )
        ),
        caveat=CLAP_CAVEAT,
        defects=(
            "the last window of a clip has zeros behind its sound, and counts by its length",
            "libsoxr resamples there; here a filter of torchaudio's that is within 0.001 dB of it to 14 kHz",
        ),
    ),
)
