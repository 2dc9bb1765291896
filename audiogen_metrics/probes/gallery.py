"""Probes described as data, for lists and the gallery page."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from audiogen_metrics.probes.base import Probe, settings_of

_ENTRY = re.compile(r"^(?P<name>\w+)\n    (?P<text>.+?)(?=^\w|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SettingEntry:
    """One setting, as in a class docstring: ``type • unit • range • default: text``."""

    name: str
    type: str
    unit: str
    range: str
    default: str
    text: str

    def __str__(self) -> str:
        return " • ".join((self.type, self.unit or "–", self.range, self.default)) + f": {self.text}"


@dataclass(frozen=True)
class ProbeEntry:
    """One probe: name, first sentence, which drawn parameter follows severity, what it needs, its settings."""

    name: str
    summary: str
    dose: str
    needs: str
    settings: tuple[SettingEntry, ...]


def describe(kind: type[Probe[Any]]) -> ProbeEntry:
    """Return the description of a probe."""
    needs = "other clips of the set" if kind.needs_pool else "sequences of events" if kind.needs_events else ""
    summary = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
    return ProbeEntry(kind.name, summary, kind.dose, needs, describe_settings(kind))


def describe_settings(kind: type[Any]) -> tuple[SettingEntry, ...]:
    """Return the settings of a probe or front end; those of a nested front end under dotted names.

    Types, units, ranges and defaults are those that are enforced; only the text comes from the docstrings.
    """
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        texts |= _texts(base)
    allowed = settings_of(kind)
    own = tuple(
        SettingEntry(
            entry.name,
            type(entry.default).__name__,
            allowed[entry.name].unit,
            allowed[entry.name].range,
            f"{entry.default:g}" if isinstance(entry.default, float) else str(entry.default).lower(),
            texts.get(entry.name, ""),
        )
        for entry in fields(kind)
        if entry.name in allowed
    )
    nested = (
        SettingEntry(f"{entry.name}.{part.name}", part.type, part.unit, part.range, part.default, part.text)
        for entry in fields(kind)
        if is_dataclass(entry.default) and not isinstance(entry.default, type)
        for part in describe_settings(type(entry.default))
    )
    return (*own, *nested)


def _texts(kind: type[Any]) -> dict[str, str]:
    _, _, section = inspect.cleandoc(kind.__doc__ or "").partition("Parameters\n----------\n")
    found = {match["name"]: " ".join(match["text"].split()) for match in _ENTRY.finditer(section)}
    return {name: text.partition(": ")[2] for name, text in found.items()}
