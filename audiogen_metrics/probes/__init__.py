"""Probes: known damage in known doses, to find out what a metric can hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audiogen_metrics.registry import Registry

if TYPE_CHECKING:
    from audiogen_metrics.probes.base import Probe

__all__ = ["PROBES"]

PROBES: Registry[type[Probe[Any]]] = Registry("probe", entry_point_group="audiogen_metrics.probes")
"""All probes; an installed package adds its own under this entry-point group, loaded on use."""

_HOME = {
    "controls": {"identity": "Identity", "resynthesis": "Resynthesis"},
    "noise": {"noise": "MelNoise", "white-noise": "WhiteNoise", "pink-noise": "PinkNoise"},
    "masking": {"masking": "MelMasking", "time-mask": "TimeMask"},
    "interference": {"interference": "Interference", "mix": "Mix"},
    "reordering": {"reordering": "Reordering", "segment-shuffle": "SegmentShuffle"},
    "level": {"gain": "Gain", "clipping": "Clipping", "dc-offset": "DCOffset", "bit-depth": "BitDepth"},
    "bandwidth": {"low-pass": "LowPass", "bandwidth": "Bandwidth"},
    "codec": {"mp3": "MP3", "opus": "Opus"},
    "duration": {"silence": "SilenceInsertion", "truncation": "Truncation"},
    "duplication": {"duplication": "Duplication"},
}

for _module, _probes in _HOME.items():
    for _name, _class in _probes.items():
        PROBES.add(_name, f"audiogen_metrics.probes.{_module}:{_class}")
