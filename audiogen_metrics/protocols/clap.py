"""CLAP through transformers, as Auffusion takes it."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.clap import CLAPScore
from audiogen_metrics.metrics.fd import FrechetDistance
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes

CLAP_RATE = 48_000
CLAP_CAVEAT = "what is computed on one CLAP is not comparable with another's, nor FD on CLAP with FD on PANNs"
CLAP_AUDIO = Preprocessing(CLAP_RATE, "mean", remove_dc=False, maximum_samples=10 * CLAP_RATE)

PROTOCOLS = (
    Protocol(
        name="clap",
        summary="CLAP score as in Auffusion's evaluation, on laion/clap-htsat-unfused; and FD on the same",
        source="happylittlecat2333/Auffusion, laion/clap-htsat-unfused through transformers",
        recipes=recipes(
            Recipe("clap_htsat_unfused", CLAPScore(), "clap", CLAP_AUDIO),
            Recipe("fd_clap", FrechetDistance(), "clap", CLAP_AUDIO),
        ),
        caveat=CLAP_CAVEAT,
        defects=("of clips over ten seconds it hears ten at random there, and the first ten here",),
    ),
)
