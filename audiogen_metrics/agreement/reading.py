"""Scores and ratings from the files that hold them: reports, and tables of systems or clips."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiogen_metrics.audio.pairing import as_clip_id
from audiogen_metrics.errors import DataError, UsageError, option
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.options import as_path
from audiogen_metrics.prompts import ID_COLUMNS
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.tabular import column as column_of
from audiogen_metrics.tabular import has_decimal_commas, read_records, read_text, records_of

Key = tuple[str | None, str | None]
"""System and clip id; one of them may be unknown."""

_ABOUT = ("gen", "rater", "prompt", "caption", "captions", "text")
"""Columns that say what a row is about, and are not scores."""


@dataclass
class Scores:
    """Every metric's values.

    Parameters
    ----------
    of_systems, of_clips
        By metric: the value of each system, or of each clip.
    higher_is_better
        By metric, without those whose direction is not known.
    warnings
        What was left out.
    """

    of_systems: dict[str, dict[str, float]] = field(default_factory=dict)
    of_clips: dict[str, dict[Key, float]] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, in order of first appearance."""
        return tuple(dict.fromkeys((*self.of_systems, *self.of_clips)))

    def add(self, metric: str, key: Key, value: float, where: object) -> None:
        """Take one value; DataError for a second one of the same system or clip."""
        system, clip = key
        if clip is None:
            assert system is not None
            taken: dict[Any, float] = self.of_systems.setdefault(metric, {})
            place: Any = system
        else:
            taken, place = self.of_clips.setdefault(metric, {}), key
        if place in taken:
            raise DataError(f"{metric} of {named(key)} is there twice", where=str(where))
        taken[place] = value

    def know(self, metric: str, higher: bool, where: object) -> None:
        """Take a metric's direction; DataError where another file says the opposite."""
        if self.higher_is_better.setdefault(metric, higher) != higher:
            raise DataError(
                f"says the opposite of another file about which values of {metric} are better", where=str(where)
            )


@dataclass(frozen=True)
class Ratings:
    """What people said.

    Parameters
    ----------
    of
        By system and clip, the mean rating and how many ratings it is of.
    raters
        How many people; None where that is not said.
    """

    of: Mapping[Key, tuple[float, int]]
    raters: int | None

    @property
    def count(self) -> int:
        """How many ratings there are."""
        return sum(count for _, count in self.of.values())


def named(key: Key) -> str:
    """Return what to call a system or clip."""
    system, clip = key
    parts = [f"system {system!r}"] * (system is not None) + [f"clip {clip!r}"] * (clip is not None)
    return ", ".join(parts)


def read_scores(sources: Sequence[tuple[str | None, str | Path]]) -> Scores:
    """Return the scores of all files, each with the name of its system if one was given.

    Raises
    ------
    DataError
        A file that cannot be read, holds no scores, or says something twice.
    """
    found = Scores()
    for name, given in sources:
        path = as_path(given)
        if path.suffix.lower() == ".json":
            _read_json(found, name, path)
        else:
            _read_table(found, name, path)
    if not found.metrics:
        raise DataError("holds no scores", where=", ".join(str(path) for _, path in sources))
    return found


def _read_json(found: Scores, name: str | None, path: Path) -> None:
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON ({error})", where=path) from error
    if isinstance(content, list) or (isinstance(content, dict) and "data" in content):
        _take(found, name, path, [*records_of(text, path, what="scores", once=None)])
    elif isinstance(content, dict) and isinstance(content.get("per_clip"), dict):
        records = [{"clip_id": clip, "clap_score": value} for clip, value in content["per_clip"].items()]
        _take(found, name, path, records)
        found.know("clap_score", True, path)
    elif isinstance(content, dict) and isinstance(content.get("reports"), list):
        if name is not None:
            raise UsageError(f"{path} names its systems itself", where=f"{name}={path}", fix=f"Write {path} alone")
        labels = content.get("systems")
        if not isinstance(labels, list) or len(labels) != len(content["reports"]):
            raise DataError("does not name the systems of its reports", where=path)
        for label, report in zip(labels, content["reports"], strict=True):
            _take_report(found, str(label), path, ScoreReport.from_dict(report, path))
    else:
        _take_report(found, name or path.stem, path, ScoreReport.from_dict(content, path))


def _take_report(found: Scores, system: str, path: Path, report: ScoreReport) -> None:
    for score in report.scores.values():
        found.know(score.id, score.higher_is_better, path)
        if score.value is None:
            found.warnings.append(f"{score.id} of system {system!r} has no value: {score.reason}")
        else:
            found.add(score.id, (system, None), score.value, path)


def _read_table(found: Scores, name: str | None, path: Path) -> None:
    records = read_records(path, what="scores", once=None)
    _take(found, name, path, records, commas=has_decimal_commas(path))


def _take(
    found: Scores, name: str | None, path: Path, records: Sequence[Mapping[str, Any]], *, commas: bool = False
) -> None:
    """Take the scores of a table: a column each, or a row each as ``agm score --format csv`` writes them."""
    columns = _columns(records, path)
    if {"score", "value"} <= {*columns}:
        _take_rows(found, name, path, records, commas=commas)
        return
    id_column = column_of(columns, ID_COLUMNS)
    if id_column is None and "system" not in columns:
        raise _no_names(columns, path)
    scores = [column for column in columns if column not in ("system", id_column, *_ABOUT)]
    texts = [column for column in scores if not any(map(is_number, _cells(records, column)))]
    if texts:
        found.warnings.append(f"{path}: columns without any number, which are not scores: {', '.join(texts)}")
    for number, record in enumerate(records, 1):
        key = key_of(record, id_column, name, f"{path}, record {number}")
        for column in scores:
            if column not in texts and not is_empty(record.get(column)):
                where = f"{path}, record {number}, column {column}"
                found.add(column, key, number_of(record[column], where, commas=commas), path)


def _take_rows(
    found: Scores, name: str | None, path: Path, records: Sequence[Mapping[str, Any]], *, commas: bool
) -> None:
    for number, record in enumerate(records, 1):
        where = f"{path}, record {number}"
        system = name or _text(record.get("system")) or _text(record.get("gen")) or path.stem
        if is_empty(record["value"]):
            found.warnings.append(f"{record['score']} of system {system!r} has no value: {record.get('reason')}")
            continue
        metric = str(record["score"])
        if record.get("better") in ("higher", "lower"):
            found.know(metric, record["better"] == "higher", path)
        found.add(metric, (system, None), number_of(record["value"], f"{where}, column value", commas=commas), path)


def read_ratings(given: str | Path, column: str = "rating") -> Ratings:
    """Return the mean rating of every system or clip.

    Raises
    ------
    DataError
        A file that cannot be read, without this column, with a rating that is not a number, or with two ratings of one
        clip by one rater.
    """
    path = as_path(given)
    records, commas = read_records(path, what="ratings", once=None), has_decimal_commas(path)
    columns = _columns(records, path)
    if column not in columns:
        fix = f"Name the column with {option('rating', 'NAME')}: it has {', '.join(columns)}"
        raise DataError(f"has no column {column!r}", where=path, fix=fix)
    id_column = column_of([name for name in columns if name != column], ID_COLUMNS)
    if id_column is None and "system" not in columns:
        raise _no_names(columns, path)
    said: dict[Key, list[float]] = {}
    by: set[tuple[Key, str]] = set()
    for number, record in enumerate(records, 1):
        where = f"{path}, record {number}"
        if is_empty(record.get(column)):
            continue
        key, rater = key_of(record, id_column, None, where), _text(record.get("rater"))
        if rater and (key, rater) in by:
            raise DataError(f"rater {rater!r} has rated {named(key)} twice", where=where, fix="Keep one of them")
        by.add((key, rater))
        said.setdefault(key, []).append(number_of(record[column], f"{where}, column {column}", commas=commas))
    if not said:
        raise DataError("holds no ratings", where=path)
    raters = {rater for _, rater in by if rater}
    return Ratings(
        {key: (math.fsum(found) / len(found), len(found)) for key, found in said.items()}, len(raters) or None
    )


def directions(scores: Scores, lower: Iterable[str]) -> dict[str, bool]:
    """Return whether higher is better, for every metric where that is known.

    What the user says comes first, then what a report says, then what this library knows of the metric whose name a
    column begins with.

    Raises
    ------
    UsageError
        A name that is not a metric's.
    """
    found = dict(scores.higher_is_better)
    for metric in scores.metrics:
        kinds = [name for name in catalogue() if re.fullmatch(rf"{re.escape(name)}([-_@ ].+)?", metric.casefold())]
        if kinds:
            found.setdefault(metric, catalogue()[max(kinds, key=len)].higher_is_better)
    for name in lower:
        if name not in scores.metrics:
            raise unknown_name("metric", name, [*scores.metrics])
        found[name] = False
    return found


def key_of(record: Mapping[str, Any], id_column: str | None, name: str | None, where: str) -> Key:
    """Return which system and clip a record is about."""
    system = _text(record.get("system"))
    if name is not None and system not in ("", name):
        raise DataError(f"is about system {system!r}, and the file was given as {name!r}", where=where)
    clip = "" if id_column is None else _text(record.get(id_column))
    key = name or system or None, as_clip_id(clip, ()) if clip else None
    if key == (None, None):
        raise DataError("names neither a system nor a clip", where=where)
    return key


def is_empty(value: object) -> bool:
    """Tell whether a cell holds nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_number(value: object) -> bool:
    """Tell whether a cell holds a finite number."""
    try:
        number_of(value, "", commas=True)
    except DataError:
        return False
    return True


def number_of(value: object, where: str, *, commas: bool = False) -> float:
    """Return a finite number from a cell; ``commas`` are decimal points where they are allowed, otherwise an error."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and re.fullmatch(r"[-+]?\d+(,\d+)+", text):
        if not commas:
            fix = "Write 1200 or 1.2: what a comma in a number means is not known where commas separate the cells"
            raise DataError(f"{text[:40]!r} has a comma", where=where, fix=fix)
        text = text.replace(",", ".")
    try:
        number = math.nan if isinstance(text, bool) or "_" in str(text) else float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{str(value)[:40]!r} is not a number", where=where, fix="Leave the cell empty if there is no number"
        )
    return number


def _cells(records: Sequence[Mapping[str, Any]], column: str) -> list[Any]:
    return [record.get(column) for record in records if not is_empty(record.get(column))]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _columns(records: Sequence[Mapping[str, Any]], path: Path) -> list[str]:
    if not records:
        raise DataError("has no records", where=path)
    return [*dict.fromkeys(str(column) for record in records for column in record)]


def _no_names(columns: Sequence[str], path: Path) -> DataError:
    fix = f"Name a column system, or one {ID_COLUMNS[0]}: it has {', '.join(columns)}"
    return DataError("says neither which system nor which clip a row is about", where=path, fix=fix)
