"""Probes described as data, for lists and the gallery page."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from audiogen_metrics.probes.base import Probe, Setting, settings_of


@dataclass(frozen=True)
class ProbeEntry:
    """One probe: name, first sentence, which drawn parameter follows severity, what it needs, its settings."""

    name: str
    summary: str
    dose: str
    needs: str
    settings: Mapping[str, Setting]


def describe(kind: type[Probe[Any]]) -> ProbeEntry:
    """Return the description of a probe."""
    needs = "other clips of the set" if kind.needs_pool else "sequences of events" if kind.needs_events else ""
    summary = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
    return ProbeEntry(kind.name, summary, kind.dose, needs, describe_settings(kind))


def describe_settings(kind: type[Any]) -> dict[str, Setting]:
    """Return the settings of a probe or front end by name; those of a nested front end under dotted names, last."""
    nested = {
        f"{entry.name}.{name}": part
        for entry in fields(kind)
        if is_dataclass(entry.default) and not isinstance(entry.default, type)
        for name, part in settings_of(entry.default).items()
    }
    return settings_of(kind) | nested
