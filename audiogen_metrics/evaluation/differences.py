"""What differs between two reports: causes before scores, and apart from them what does not count."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from audiogen_metrics.errors import HELPS
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.results import later_fields

__all__ = ["Difference"]

TOLERANCE = 1e-5
"""Relative difference up to which scores count as equal: what batch shape and device may change."""

OF_DEALS = frozenset({"chance_expected", "halves_gen", "halves_ref"})
"""Numbers of a score that a metric's ``scorer`` gives: exact up to its ``rounding``, also where they are nearly 0."""

ROUNDING = 1e-9
"""Absolute difference that counts as none: the distance of a set to itself has no digits to compare."""

NAMED = 5
"""Entries that a difference names."""

LATER = later_fields()
"""Fields that reports of earlier versions do not have."""

EARLIER_OPTIONS = frozenset({"splits", "seed", "eps"})
"""Options of metrics that earlier versions wrote into every recipe, whatever its metric; they wrote no others."""


IN_UNITS = frozenset(
    {"value", "std", "ci95", "mean_term", "covariance_term", "standard_error", "extrapolated"}
    | {"chance_expected", "halves_gen", "halves_ref", "extrapolated_low", "extrapolated_high"}
)
"""Numbers of a score that are in its own unit: they are as exact as its value, however small they are beside it."""

UNCERTAINTY = frozenset(
    {"ci95", "ci95_ref", "standard_error", "remarks", "noise_floor", "noise_floor_n", "subset_size", "subsets"}
    | {"chance_p", "chance_expected", "chance_draws", "halves_gen", "halves_ref", "halves_n"}
    | {"extrapolated_low", "extrapolated_high"}
)
"""What version 0.1 said of a score's uncertainty in another way."""

MACHINE = frozenset({"device", "device_type", "tf32", "cudnn", "products", "transformers", "problems"})
"""What says where the networks ran, and how that went: the scores are what counts."""

VERSIONS = frozenset({"numerics_version"})
"""Versions of code beside ``versions``: the scores tell whether they matter."""

TEXTS = frozenset({"caveat", "reason", "remarks", "warnings"})
"""What another version of this library may word in another way."""

Kind = Literal["files", "backbone", "recipe", "run", "score", "warning", "version", "machine"]

NOTES: tuple[Kind, ...] = ("version", "machine")
"""Kinds of difference that do not count."""

_ABSENT = object()


@dataclass(frozen=True)
class Difference:
    """One thing in which a report and its repetition differ.

    Parameters
    ----------
    kind
        ``files``, ``backbone`` (weights, precision), ``recipe``, ``run`` (protocol, options), ``score``, ``warning``,
        ``version`` of a tool and what another version of this library says otherwise, or ``machine`` (its device).
    what
        Which set, backbone, score or tool.
    text
        In what, recorded before found.
    """

    kind: Kind
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


def differences(
    recorded: Mapping[str, Any],
    found: Mapping[str, Any],
    tolerance: float = TOLERANCE,
    rounding: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Difference]:
    """Yield what differs between a report and its repetition, causes before scores; both are JSON values.

    All that either of them states is compared, also what a later version of this library adds to a report. ``rounding``
    says by score id how far apart what random deals give may be.
    """
    was = _library(recorded)
    compare = _Comparison(was != _library(found), (was or "").startswith("0.1."), tolerance)
    old, new = ({**report, "manifest": {**report["manifest"]}} for report in (recorded, found))
    inputs = [report.pop("inputs") for report in (old, new)]
    for name, was, now in _by_name(*inputs):
        if was is not None and now is not None:
            yield from compare.inputs(name, was, now)
    yield from compare.fields("files", "pairing", old.pop("pairing", {}), new.pop("pairing"))
    yield from compare.named("backbone", old.pop("backbones", {}), new.pop("backbones"))
    recipes = old["manifest"].pop("recipes", {}), new["manifest"].pop("recipes")
    yield from compare.named("recipe", *recipes)
    yield from compare.fields("run", "manifest", old.pop("manifest"), new.pop("manifest"))
    scores, versions = ([report.pop(part, {}) for report in (old, new)] for part in ("scores", "versions"))
    warnings = [_about_sets(report) for report in (old, new)]
    for report in (old, new):
        report.pop("warnings", None)
    yield from compare.fields("run", "", old, new)
    for score_id, was, now in _by_name(*scores):
        yield from compare.score(score_id, was, now, rounding.get(score_id, 0.0))
    yield from compare.warnings(*warnings)
    yield from compare.fields("version", "version of", *versions)
    if compare.early:
        yield Difference("version", "uncertainty", "version 0.1 told it in another way: only values are compared")


@dataclass(frozen=True)
class _Comparison:
    """How a report is compared: whether another version of this library has written it, or 0.1, and how exactly."""

    foreign: bool
    early: bool
    tolerance: float

    def inputs(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
        """Compare what is said of one set; the hash of the list of files is a consequence of the files."""
        changes = list(_files(name, old.get("files", {}), new["files"]))
        yield from changes
        was, now = ({key: value for key, value in side.items() if key != "files"} for side in (old, new))
        if changes:
            was["digest"] = now["digest"]
        if math.isclose(was["seconds"], now["seconds"]):
            was["seconds"] = now["seconds"]
        for side in (was, now):
            # What would mend a file follows from the reason; reports of earlier versions do not have it.
            side["skipped"] = [{**entry, "fix": ""} for entry in side.get("skipped", [])]
        left_out = was.pop("left_out", {}), now.pop("left_out")
        for backbone, before, after in _by_name(*left_out):
            was[f"left out by {backbone}"], now[f"left out by {backbone}"] = before or [], after or []
        yield from self.fields("files", name, was, now)

    def named(self, kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
        """Compare settings by name."""
        for name, was, now in _by_name(old, new):
            if was is None or now is None:
                yield Difference(kind, name, _one_sided(was))
            else:
                was = {key: value for key, value in was.items() if key in now or key not in EARLIER_OPTIONS}
                yield from self.fields(kind, name, was, now)

    def fields(self, kind: Kind, what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
        """Compare settings one by one."""
        for key, was, now in _by_key(old, new):
            if not _same(was, now):
                yield Difference(self.kind(kind, key, was), f"{what} {key}".strip(), _change(was, now))

    def score(
        self, score_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, rounding: float
    ) -> Iterator[Difference]:
        """Compare all that is said of one score, its value first."""
        if old is None or new is None:
            yield Difference("score", score_id, _one_sided(old))
            return
        unit = max(abs(one["value"] or 0.0) for one in (old, new))
        scales = {**dict.fromkeys(IN_UNITS, unit), "extrapolation_slope": unit * new["n_gen"]}
        fields = [{key: value for key, value in one.items() if key != "details"} for one in (old, new)]
        found: dict[Kind, list[str]] = {}
        for side in fields:
            side["reason"] = _first_clause(side.get("reason"))
        for key, was, now in [*_by_key(*fields), *_by_key(old.get("details", {}), new["details"])]:
            least = max(ROUNDING, rounding * (key in OF_DEALS))
            if not (self.early and key in UNCERTAINTY) and not self.close(was, now, scales.get(key), least):
                text = _change(was, now) if key == "value" else f"{key} {_change(was, now)}"
                texts = found.setdefault(self.kind("score", key, was), [])
                texts.insert(0 if key == "value" else len(texts), text)
        for kind, texts in found.items():
            yield Difference(kind, score_id, "; ".join(texts))

    def warnings(self, old: Counter[str], new: Counter[str]) -> Iterator[Difference]:
        """Compare the warnings about the sets and scores."""
        kind = self.kind("warning", "warnings", None)
        for name, texts in (("in the report only", old - new), ("now only", new - old)):
            for text in texts.elements():
                yield Difference(kind, "warnings", f"{name}: {text}")

    def close(self, was: Any, now: Any, scale: float | None, least: float) -> bool:
        """Tell whether two values of a score are equal, numbers within the tolerance.

        Where there is a ``scale``, that of the value, numbers may also be ``least`` apart.
        """
        if scale is not None and isinstance(was, list) and isinstance(now, list):
            return len(was) == len(now) and all(map(partial(self.close, scale=scale, least=least), was, now))
        if _is_number(was) and _is_number(now) and isinstance(was + now, float):
            allowed = self.tolerance * max(abs(was), abs(now), scale or 0.0)
            return bool(abs(now - was) <= allowed + (0.0 if scale is None else least))
        return _same(was, now)

    def kind(self, kind: Kind, key: str, was: object) -> Kind:
        """Return the kind of a difference in a field."""
        if key in MACHINE:
            return "machine"
        unsaid = was is _ABSENT and (self.foreign or key in (_later_options() if kind == "recipe" else LATER))
        return "version" if unsaid or key in VERSIONS or (self.foreign and key in TEXTS) else kind


def _later_options() -> set[str]:
    """Return the names of all options that earlier versions did not write."""
    return {name for kind in catalogue().values() for name in kind().options} - EARLIER_OPTIONS


def _library(report: Mapping[str, Any]) -> str | None:
    version: str | None = report.get("versions", {}).get("audiogen-metrics")
    return version


def _about_sets(report: Mapping[str, Any]) -> Counter[str]:
    problems = {*report.get("problems", [])}
    said = (warning for warning in report.get("warnings", []) if f": {HELPS} " not in warning)
    return Counter(warning for warning in said if warning not in problems)


def _files(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    groups = {
        "changed": [clip for clip, digest in old.items() if new.get(clip, digest) != digest],
        "missing or no longer usable": sorted(old.keys() - new.keys()),
        "added": sorted(new.keys() - old.keys()),
    }
    for what, clips in groups.items():
        if clips:
            yield Difference("files", name, f"{len(clips)} files {what}: {_named(clips)}")


def _by_name(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield what both have under each name; None where one has nothing."""
    for name in dict.fromkeys([*old, *new]):
        yield name, old.get(name), new.get(name)


def _by_key(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each field of both."""
    for key in sorted({*old, *new}):
        yield key, old.get(key, _ABSENT), new.get(key, _ABSENT)


def _one_sided(old: object) -> str:
    return "not in the report, but now" if old is None else "in the report, but not now"


def _same(was: Any, now: Any) -> bool:
    """Tell whether two JSON values say the same: lists in any order; a field that is not there says nothing."""
    if was is _ABSENT:
        return bool(now in (None, "", [], {}))
    if isinstance(was, list) and isinstance(now, list):
        one, other = (Counter(json.dumps(value, sort_keys=True) for value in values) for values in (was, now))
        return one == other
    return isinstance(was, bool) == isinstance(now, bool) and bool(was == now)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _change(was: Any, now: Any) -> str:
    if isinstance(was, list) and isinstance(now, list) and not all(map(_is_number, was + now)):
        old, new = Counter(map(_text, was)), Counter(map(_text, now))
        groups = (("in the report only", old - new), ("now only", new - old))
        return "; ".join(f"{name}: {_named([*texts.elements()])}" for name, texts in groups if texts)
    change = f" ({now - was:+.3g})" if _is_number(was) and _is_number(now) else ""
    return f"{_text(was)}, now {_text(now)}{change}"


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    if isinstance(value, str):
        return value or "empty"
    if isinstance(value, dict):
        return ": ".join(_text(value[key]) for key in sorted(value))
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:.9g}" if isinstance(value, float) else json.dumps(value)


def _first_clause(reason: str | None) -> str | None:
    """Return what a reason says without what would help, which the command line once said in flags."""
    return None if reason is None else reason.partition(". ")[0]


def _named(texts: Sequence[str]) -> str:
    return ", ".join(texts[:NAMED]) + ", …" * (len(texts) > NAMED)
