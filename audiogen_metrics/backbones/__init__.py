"""Networks that turn waveforms into embeddings and logits, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.registry import Registry

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone

BACKBONES: Registry[type[Backbone]] = Registry("backbone", entry_point_group="audiogen_metrics.backbones")
"""All backbones; an installed package adds its own under this entry-point group, loaded on use."""

BACKBONES.add("yamnet", "audiogen_metrics.backbones.yamnet:YAMNet")
