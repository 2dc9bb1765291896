"""Scores and ratings of the same systems and clips, joined by their names, level by level."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from audiogen_metrics.agreement.reading import Key, Ratings, Scores, named
from audiogen_metrics.agreement.result import Level
from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional import correlation as formulas
from audiogen_metrics.functional.correlation import Coefficient, Numbers


@dataclass
class LevelRows:
    """One level: ratings and every metric's values by system or clip."""

    name: Level
    ratings: Mapping[Key, float]
    values: Mapping[str, Mapping[Key, float]]
    several: bool
    kept: dict[tuple[str, str, tuple[Key, ...]], Numbers] = field(default_factory=dict)

    def keys(self, *metrics: str) -> tuple[Key, ...]:
        """Return the systems or clips that have a rating and all these metrics, in a fixed order."""
        common = [key for key in self.ratings if all(key in self.values[metric] for metric in metrics)]
        return tuple(sorted(common, key=lambda key: (key[0] or "", key[1] or "")))

    def units(self, keys: Sequence[Key]) -> npt.NDArray[np.int64]:
        """Return the number of each row's unit: a system; a clip, or all clips of one id."""
        names = [key[1] if key[1] is not None else key[0] for key in keys]
        return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].ravel()

    def columns(self, metric: str, keys: Sequence[Key], higher: bool) -> tuple[Numbers, Numbers]:
        """Return the metric, turned so that higher is better, and the ratings."""
        x = np.array([self.values[metric][key] for key in keys], dtype=np.float64)
        return (x if higher else -x), np.array([self.ratings[key] for key in keys], dtype=np.float64)

    def estimate(self, kind: Coefficient, x: Numbers, y: Numbers, keys: Sequence[Key]) -> formulas.Estimate:
        """Return the coefficient as a function of which rows are taken."""
        if self.name != "clip_within_system":
            return lambda rows: formulas.correlation(kind, x[rows], y[rows])
        systems = np.unique([key[0] or "" for key in keys], return_inverse=True)[1].ravel()

        if not len(keys):
            raise InsufficientDataError(f"no system has {formulas.FEWEST} clips that differ in metric and rating")

        def mean(rows: npt.NDArray[np.bool_]) -> float:
            parts = [rows & (systems == each) for each in range(int(systems.max()) + 1)]
            return float(np.mean([formulas.correlation(kind, x[part], y[part]) for part in parts]))

        return mean

    def usable(self, keys: tuple[Key, ...], *columns: Numbers) -> tuple[Any, ...]:
        """Return keys and columns; within systems, of those systems only that have enough clips with differences."""
        if self.name != "clip_within_system" or not keys:
            return keys, *columns
        names = np.array([key[0] or "" for key in keys])
        kept = np.zeros(len(keys), dtype=bool)
        for system in sorted({*names.tolist()} - {""}):
            own = names == system
            if own.sum() >= formulas.FEWEST and all(np.ptp(column[own]) > 0 for column in columns):
                kept |= own
        return tuple(itertools.compress(keys, kept)), *(column[kept] for column in columns)

    def replicates(
        self, metric: str, kind: Coefficient, x: Numbers, y: Numbers, keys: tuple[Key, ...], seed: int
    ) -> Numbers:
        """Return the coefficient without each unit or group of units."""
        asked = (metric, kind, keys)
        if asked not in self.kept:
            units = self.units(keys)
            group = formulas.groups_of(int(units.max()) + 1, seed)[units]
            self.kept[asked] = formulas.left_out(self.estimate(kind, x, y, keys), group)
        return self.kept[asked]

    @property
    def independent(self) -> bool:
        """Whether rows are independent of each other: systems, or clips of one system."""
        return self.name == "system" or not self.several


@dataclass
class Joined:
    """Ratings and scores of systems and clips, by the same names."""

    of_systems: dict[Key, float]
    of_clips: dict[Key, float]
    system_values: dict[str, dict[Key, float]]
    clip_values: dict[str, dict[Key, float]]
    alone: dict[str, tuple[str, ...]]

    def levels(self, metrics: Sequence[str]) -> list[LevelRows]:
        """Return the levels on which both have something."""
        found = []
        if any(self.system_values[metric] for metric in metrics) and self.of_systems:
            found.append(LevelRows("system", self.of_systems, self.system_values, several=False))
        rated = [key for key in self.of_clips if any(key in self.clip_values[metric] for metric in metrics)]
        if rated:
            several = len({key[0] for key in rated}) > 1
            found.append(LevelRows("clip", self.of_clips, self.clip_values, several))
            if several:
                found.append(LevelRows("clip_within_system", self.of_clips, self.clip_values, several))
        return found

    def warnings(self) -> list[str]:
        """Return the names that are in one input only."""
        found = []
        for where, other in (("scores", "ratings"), ("ratings", "scores")):
            names = self.alone[where]
            if names:
                shown = "; ".join(names[:3]) + "; …" * (len(names) > 3)
                found.append(f"{len(names)} in {where} only, without {other}: {shown}")
        return found

    def hint(self) -> str:
        """Return what may be wrong where nothing is in both."""
        shown = [f"{where} have {names[0]}" for where, names in self.alone.items() if names]
        return f"Use the same names in both files ({', '.join(shown)})" if shown else "Give at least three of each"


def join(scores: Scores, ratings: Ratings, metrics: Sequence[str]) -> Joined:
    """Join by name; a system without a value of its own has the mean over its clips.

    Raises
    ------
    DataError
        A clip whose system cannot be told.
    """
    clips = {metric: scores.of_clips.get(metric, {}) for metric in metrics}
    score_keys = [*dict.fromkeys(key for values in clips.values() for key in values)]
    rating_keys = [key for key in ratings.of if key[1] is not None]
    own, theirs = _with_systems(score_keys, rating_keys, "scores"), _with_systems(rating_keys, score_keys, "ratings")
    clip_values = {metric: {own[key]: value for key, value in values.items()} for metric, values in clips.items()}
    of_clips = {theirs[key]: ratings.of[key][0] for key in rating_keys}
    of_systems: dict[Key, float] = {(system, None): value for system, value in _means(of_clips).items()}
    of_systems |= {key: value for key, (value, _) in ratings.of.items() if key[1] is None}
    system_values: dict[str, dict[Key, float]] = {}
    for metric in metrics:
        values = _means(clip_values[metric]) | scores.of_systems.get(metric, {})
        system_values[metric] = {(system, None): value for system, value in values.items()}
    scored: set[Key] = {key for values in system_values.values() for key in values}
    sides = (({*own.values()}, scored), ({*of_clips}, {*of_systems}))
    alone = {"scores": _only(*sides[0], *sides[1]), "ratings": _only(*sides[1], *sides[0])}
    return Joined(of_systems, of_clips, system_values, clip_values, alone)


def _only(clips: set[Key], systems: set[Key], other_clips: set[Key], other_systems: set[Key]) -> tuple[str, ...]:
    """Return what to call the systems, and the clips of other systems, that the other input does not have."""
    lost = systems - other_systems if other_systems else set()
    found = {key for key in clips - other_clips if (key[0], None) not in lost} if other_clips else set()
    return tuple(sorted(map(named, found | lost)))


def _with_systems(keys: Sequence[Key], others: Sequence[Key], where: str) -> dict[Key, Key]:
    """Return each key with the system of its clip, where only the other input says it.

    Raises
    ------
    DataError
        The clip is of several systems there, or two of these clips become one.
    """
    systems: dict[str | None, list[str]] = {}
    for system, clip in dict.fromkeys(others):
        if system is not None:
            systems.setdefault(clip, []).append(system)
    found: dict[Key, Key] = {}
    for key in keys:
        of_clip = systems.get(key[1], []) if key[0] is None else []
        if len(of_clip) > 1:
            fix = "Add a column system" + (", or write NAME=FILE" if where == "scores" else "")
            raise DataError(f"clip {key[1]!r} is of several systems, {of_clip[0]!r} and {of_clip[1]!r}", where, fix)
        found[key] = (of_clip[0], key[1]) if of_clip else key
    if len({*found.values()}) < len(found):
        raise DataError("some clips are there with and without a system", where, "Name the system of every clip")
    return found


def _means(values: Mapping[Key, float]) -> dict[str, float]:
    """Return the mean over clips of each system."""
    found: dict[str, list[float]] = {}
    for (system, _), value in values.items():
        if system is not None:
            found.setdefault(system, []).append(value)
    return {system: float(np.mean(each)) for system, each in found.items()}
