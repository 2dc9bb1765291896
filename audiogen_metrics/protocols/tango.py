"""Tango 2's CLAP score."""

from __future__ import annotations

from dataclasses import replace

from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.clap import CLAP_AUDIO, CLAP_CAVEAT
from audiogen_metrics.protocols.definition import Protocol, recipes

PROTOCOLS = (
    Protocol(
        name="tango",
        summary="CLAP score as in Tango 2's evaluation: 630k without fusion, of each clip's first ten seconds",
        source="declare-lab/tango, tango2/inference.py",
        recipes=recipes(
            Recipe("clap_laion_630k", CLAPScore(), "clap-laion-630k", replace(CLAP_AUDIO, sixteen_bit="truncated"))
        ),
        caveat=CLAP_CAVEAT,
        defects=(
            "of clips over ten seconds it hears ten at random there, and the first ten here",
            "libsoxr resamples there, torchaudio here",
        ),
    ),
)
