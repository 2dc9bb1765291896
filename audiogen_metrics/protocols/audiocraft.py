"""AudioCraft's KL."""

from __future__ import annotations

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.metrics.kl import KLSegments, KLSegmentsBoth, KLSegmentsReverse
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes

PROTOCOLS = (
    Protocol(
        name="audiocraft",
        summary="KL on PaSST as AudioCraft has it: in both directions, each ten seconds of a clip a row",
        source="facebookresearch/audiocraft, audiocraft/metrics/kld.py",
        recipes=recipes(
            *(
                Recipe(score_id, metric, "passt-segments", Preprocessing(32_000, "mean", remove_dc=False))
                for score_id, metric in (
                    ("kl_segments_passt", KLSegments()),
                    ("kl_segments_reverse_passt", KLSegmentsReverse()),
                    ("kl_segments_both_passt", KLSegmentsBoth()),
                )
            )
        ),
        defects=(
            "nothing is appended to short segments, so a clip of 3 s and one of 10 s are heard differently",
            "julius resamples there, torchaudio here",
        ),
    ),
)
