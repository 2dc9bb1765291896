"""AudioLDM on the maintained parts of diffusers and transformers: generation and fine-tuning (extra ``audioldm``).

Importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.lazy import handing_on

if TYPE_CHECKING:
    from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
    from audiogen_metrics.audioldm.original import convert_checkpoint
    from audiogen_metrics.audioldm.sampling import Sampling
    from audiogen_metrics.audioldm.tiny import TINY, write_tiny

__all__ = ["TINY", "AudioLDM", "AudioLDMGenerator", "Sampling", "convert_checkpoint", "write_tiny"]

if not TYPE_CHECKING:  # a checker that saw this would take any name
    __getattr__ = handing_on(
        __name__,
        {
            "AudioLDM": "audiogen_metrics.audioldm.generation",
            "AudioLDMGenerator": "audiogen_metrics.audioldm.generation",
            "Sampling": "audiogen_metrics.audioldm.sampling",
            "TINY": "audiogen_metrics.audioldm.tiny",
            "convert_checkpoint": "audiogen_metrics.audioldm.original",
            "write_tiny": "audiogen_metrics.audioldm.tiny",
        },
    )
