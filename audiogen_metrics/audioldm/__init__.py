"""AudioLDM on the maintained parts of diffusers and transformers: generation and fine-tuning (extra ``audioldm``).

Importing this package imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
    from audiogen_metrics.audioldm.original import convert_checkpoint
    from audiogen_metrics.audioldm.sampling import Sampling
    from audiogen_metrics.audioldm.tiny import TINY, write_tiny

__all__ = ["TINY", "AudioLDM", "AudioLDMGenerator", "Sampling", "convert_checkpoint", "write_tiny"]

_HOME = {
    "AudioLDM": "generation",
    "AudioLDMGenerator": "generation",
    "Sampling": "sampling",
    "TINY": "tiny",
    "convert_checkpoint": "original",
    "write_tiny": "tiny",
}


if not TYPE_CHECKING:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
