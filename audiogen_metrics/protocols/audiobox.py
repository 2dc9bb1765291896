"""Meta's Audiobox Aesthetics."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.aesthetics import (
    ContentEnjoyment,
    ContentUsefulness,
    ProductionComplexity,
    ProductionQuality,
)
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes

_AUDIO = Preprocessing(sample_rate=16_000, channel="mean", remove_dc=False)

PROTOCOLS = (
    Protocol(
        name="audiobox-aesthetics",
        summary="how people would rate each clip: PQ, PC, CE and CU; no reference",
        source="arXiv 2502.05139 and facebookresearch/audiobox-aesthetics 0.0.4",
        recipes=recipes(
            Recipe("pq_audiobox", ProductionQuality(), "audiobox-aesthetics", _AUDIO),
            Recipe("pc_audiobox", ProductionComplexity(), "audiobox-aesthetics", _AUDIO),
            Recipe("ce_audiobox", ContentEnjoyment(), "audiobox-aesthetics", _AUDIO),
            Recipe("cu_audiobox", ContentUsefulness(), "audiobox-aesthetics", _AUDIO),
        ),
        defects=(
            "a short last window is rated with zeros behind it",
            "what is beyond 8 kHz is not heard, and what two channels differ in is not",
        ),
    ),
)
