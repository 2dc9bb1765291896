"""Probes from words: a name and settings as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from audiogen_metrics.errors import UsageError
from audiogen_metrics.probes import PROBES
from audiogen_metrics.probes.base import Probe, settings_of
from audiogen_metrics.probes.mel import FRONT_ENDS
from audiogen_metrics.probes.pool import Pool
from audiogen_metrics.registry import unknown_name

__all__ = ["configure"]

_WORDS = {"true": True, "false": False}


def configure(name: str, settings: Mapping[str, str] | None = None, pool: Pool | None = None) -> Probe[Any]:
    """Return the probe called ``name``.

    Parameters
    ----------
    name
        As in `PROBES`.
    settings
        Values as text by name: ``{"snr_db": "10", "mel": "audioldm", "mel.hop": "128"}``. Others have their defaults.
    pool
        The clips of the set, for a probe that needs them.

    Raises
    ------
    UsageError
        An unknown probe or setting, or a value of the wrong kind or out of range.

    Examples
    --------
    >>> configure("white-noise", {"snr_db": "10"})
    WhiteNoise(snr_db=10.0, mild_snr_db=40.0)
    """
    kind = PROBES.get(name)
    company: dict[str, Any] = {"pool": pool} if kind.needs_pool else {}
    probe = kind(**company)
    # The front end first, so that its parts may be set whatever the order.
    for setting, text in sorted((settings or {}).items()):
        probe = _with(probe, setting, text, name)
    return probe


def refuse_unused(probes: Iterable[str], labels: object, events: object) -> None:
    """Raise UsageError for labels or a number of events (None if not given) that no probe uses."""
    kinds = {name: PROBES.get(name) for name in probes}
    takers = {
        "events": (events, [name for name, kind in kinds.items() if kind.needs_events]),
        "labels": (labels, [name for name, kind in kinds.items() if kind.needs_events or kind.needs_pool]),
    }
    for option, (given, taken_by) in takers.items():
        if given is not None and not taken_by:
            raise UsageError(
                f"given as {given}, but not used by {', '.join(kinds)}",
                where=option,
                fix=f"Leave it out, or take {'reordering' if option == 'events' else 'interference or reordering'}",
            )


def _with(owner: Any, name: str, text: str, where: str) -> Any:
    head, _, rest = name.partition(".")
    parts = {entry.name for entry in fields(owner) if is_dataclass(entry.default)}
    known = sorted({*settings_of(owner), *parts})
    if head not in known:
        raise unknown_name("setting", name, known) if known else UsageError(f"has no setting {name!r}", where=where)
    if rest:
        if head not in parts:
            raise UsageError(f"{head} has no parts", where=f"{where}.{name}", fix=f"Set {head} itself")
        return replace(owner, **{head: _with(getattr(owner, head), rest, text, f"{where}.{head}")})
    if head in parts:
        if text not in FRONT_ENDS:
            raise unknown_name("front end", text, sorted(FRONT_ENDS))
        return replace(owner, **{head: FRONT_ENDS[text]})
    return replace(owner, **{head: _parse(text, getattr(owner, head), f"{where}.{head}")})


def _parse(text: str, current: object, where: str) -> object:
    try:
        if isinstance(current, bool):
            return _WORDS[text.lower()]
        return type(current)(text)  # type: ignore[call-arg]  # int, float or str
    except (KeyError, ValueError) as error:
        kind = {bool: "true or false", int: "a whole number"}.get(type(current), "a number")
        raise UsageError(f"{text!r} is not {kind}", where=where) from error
