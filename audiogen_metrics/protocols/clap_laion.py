"""LAION's CLAP as av-benchmark takes it for AudioCaps."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.fd import FrechetDistance
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.clap import CLAP_CAVEAT, CLAP_RATE
from audiogen_metrics.protocols.definition import Protocol, recipes

PROTOCOLS = (
    Protocol(
        name="clap-laion",
        summary="CLAP score on LAION's 89.98 checkpoint, of each clip's first ten seconds; and FD on the same",
        source="hkchengrex/av-benchmark, with its length for AudioCaps",
        recipes=recipes(
            *(
                Recipe(
                    score_id,
                    metric,
                    "clap-laion-music-speech",
                    Preprocessing(CLAP_RATE, "mean", maximum_samples=10 * CLAP_RATE),
                )
                for score_id, metric in (
                    ("clap_laion_music_speech", CLAPScore()),
                    ("fd_clap_laion_music_speech", FrechetDistance()),
                )
            )
        ),
        caveat=CLAP_CAVEAT,
    ),
)
