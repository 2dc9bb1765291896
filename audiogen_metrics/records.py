"""Read frozen dataclasses back from plain data, strictly: files come from anywhere."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from audiogen_metrics.errors import DataError
from audiogen_metrics.options import as_path

T = TypeVar("T")


def load_json(path: str | Path) -> Any:
    """Return the content of a JSON file; DataError for invalid JSON, NaN and Infinity."""
    path = as_path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"is not JSON ({error})", where=path, fix="Pass what agm has written with --format json"
        ) from error


def read(kind: type[T], content: object, place: str = "") -> T:
    """Return an instance of a dataclass from a JSON object; a field with a default may be missing.

    Raises
    ------
    DataError
        Unknown or missing fields, values of another type; says where.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     names: tuple[str, ...] = ()
    >>> read(Point, {"x": 1, "names": ["a"]})
    Point(x=1.0, names=('a',))
    """
    if not isinstance(content, dict):
        raise _wrong(place, "an object", content)
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = content.keys() - fields.keys()
    if unknown:
        raise DataError(f"unknown field {min(unknown, key=str)!r}", where=place or None)
    values = {}
    for name, field in fields.items():
        if name in content:
            values[name] = _value(hints[name], content[name], f"{place}.{name}".lstrip("."))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DataError(f"{name} is missing", where=place or None)
    return kind(**values)


def _value(hint: Any, value: object, place: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        if value is None and type(None) in arguments:
            return None
        *others, last = (each for each in arguments if each is not type(None))
        for each in others:
            with suppress(DataError):
                return _value(each, value, place)
        return _value(last, value, place)
    if dataclasses.is_dataclass(hint):
        return read(hint, value, place)  # type: ignore[arg-type]
    if origin is Literal:
        if value not in arguments:
            raise _wrong(place, " or ".join(map(repr, arguments)), value)
        return value
    if origin is tuple:
        return _tuple(arguments, value, place)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(place, "an object", value)
        return {str(name): _value(arguments[1], each, f"{place}.{name}") for name, each in value.items()}
    return _scalar(hint, value, place)


def _tuple(arguments: tuple[Any, ...], value: object, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(place, "a list", value)
    kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
    if len(kinds) != len(value):
        raise _wrong(place, f"{len(kinds)} values", value)
    return tuple(_value(kinds[index], each, f"{place}[{index}]") for index, each in enumerate(value))


def _scalar(hint: type, value: object, place: str) -> Any:
    # To Python, true is a number.
    fits = isinstance(value, bool) if hint is bool else isinstance(value, hint) and not isinstance(value, bool)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            value, fits = float(value), math.isfinite(value)
        except OverflowError:
            fits = False
    if not fits:
        raise _wrong(
            place,
            {"str": "text", "int": "a whole number", "float": "a number"}.get(hint.__name__, "a truth value"),
            value,
        )
    return value


def _wrong(place: str, wanted: str, value: object) -> DataError:
    text = repr(value)
    return DataError(f"{wanted} belongs here, not {text[:40]}{'…' * (len(text) > 40)}", where=place or None)


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not a number")
