"""Stable Audio's evaluation."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import PeakPreprocessing
from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.kl import KLReverse
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.clap import CLAP_CAVEAT, CLAP_RATE
from audiogen_metrics.protocols.definition import Protocol, recipes

PROTOCOLS = (
    Protocol(
        name="stable-audio",
        summary="Stable Audio's evaluation: KL(gen ‖ ref) on PaSST, CLAP with feature fusion, on all of a clip",
        source="Stability-AI/stable-audio-metrics; TangoFlux",
        recipes=recipes(
            Recipe(
                "kl_reverse_passt",
                KLReverse(),
                "passt-hop5",
                PeakPreprocessing(32_000, "mean", remove_dc=False, peak_dbfs=-1.0),
            ),
            Recipe(
                "clap_laion_630k_fusion",
                CLAPScore(),
                "clap-laion-630k-fusion",
                PeakPreprocessing(CLAP_RATE, "mean", remove_dc=False, sixteen_bit="truncated", peak_dbfs=-1.0),
            ),
        ),
        caveat=CLAP_CAVEAT,
        defects=(
            "KL is in the other direction than in audioldm and av-benchmark",
            "of clips over ten seconds CLAP hears random parts there, and the middle ones of these here",
            "libsoxr resamples there, torchaudio here",
        ),
    ),
)
