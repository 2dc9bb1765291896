"""Protocols: data only, in one file for each evaluator that is reproduced. It imports nothing heavy.

A new protocol is a file, and a name in the list below, whose order is that of `agm list protocols`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from audiogen_metrics.errors import UsageError, option
from audiogen_metrics.protocols.definition import Protocol
from audiogen_metrics.registry import unknown_name

__all__ = ["PROTOCOLS", "Protocol", "get_protocol"]

_FILES = (
    "audioldm",
    "av_benchmark",
    "google_fad",
    "fadtk",
    "clap_laion",
    "stable_audio",
    "audiocraft",
    "kadtk",
    "tango",
    "musegauge",
    "clap",
    "audiobox",
    "yamnet",
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {protocol.name: protocol for file in _FILES for protocol in importlib.import_module(f"{__name__}.{file}").PROTOCOLS}
)
"""All protocols by name."""


def get_protocol(name: str) -> Protocol:
    """Return the protocol of this name; UsageError with the nearest name if the name is unknown."""
    if name.startswith("hf:"):
        fix = f"Name it as the backbone: {option('backbone', name)}"
        raise UsageError(f"{name!r} is a network, not a protocol", fix=fix)
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, [*PROTOCOLS])
    return PROTOCOLS[name]
