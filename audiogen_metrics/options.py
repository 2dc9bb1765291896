"""What options may be: the checks that the command line and the Python interface share."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from audiogen_metrics.errors import DataError, UsageError


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a whole number within bounds.

    Raises
    ------
    UsageError
        Anything else, such as NaN, text or a truth value.

    Examples
    --------
    >>> whole("seed", float("nan"), 0)
    Traceback (most recent call last):
    audiogen_metrics.errors.UsageError: seed=nan. Use a whole number, at least 0
    """
    try:
        number = int(value)
        fits = not isinstance(value, (bool, str)) and bool(number == value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number, fits = 0, False
    if not fits or number < least or (most is not None and number > most):
        raise UsageError(f"{name}={value}", fix=f"Use a whole number, {bounds(least, most)}")
    return number


def number(name: str, value: Any, least: float, most: float = math.inf) -> float:
    """Return a finite number within bounds; UsageError for anything else."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not least <= value <= most:
        raise UsageError(f"{name}={value!r}", fix=f"Use a number, {bounds(least, most)}")
    return cast("float", value)


def bounds(least: float, most: float | None = None) -> str:
    """Return a range in words.

    Examples
    --------
    >>> bounds(0), bounds(1, 1000)
    ('at least 0', 'from 1 to 1000')
    """
    low, high = (f"{end:g}" if isinstance(end, float) else str(end) for end in (least, most))
    return f"at least {low}" if most in (None, math.inf) else f"from {low} to {high}"


def split_list(given: str | Iterable[str]) -> list[str]:
    """Return what people write as one comma-separated text or several, one by one, in lower case and each once.

    What follows an ``@``, the name of a network, keeps its capitals. UsageError where nothing does.

    Examples
    --------
    >>> split_list(["FD, kl,", "fd"])
    ['fd', 'kl']
    """
    parts = [part for text in ([given] if isinstance(given, str) else given) for part in text.split(",")]
    pieces = [part.strip().partition("@") for part in parts if part.strip()]
    for name, at, network in pieces:
        if at and not (name and network):
            raise UsageError(f"{name}@{network} is half a name", fix="Write METRIC@NETWORK, such as fd@yamnet")
    return list(dict.fromkeys(f"{name.lower()}{at}{network}" for name, at, network in pieces))


def as_path(value: Any, where: str | None = None) -> Path:
    """Return a path that somebody has given, which need not exist, ``~`` and ``~name`` read as home folders.

    Parameters
    ----------
    value
        What was given.
    where
        The argument or flag that it was given for.

    Raises
    ------
    UsageError
        Something that is not a path, an empty one, which the system takes for the current folder, or one below a home
        folder that is not known.
    DataError
        A path that cannot be looked up: too long, or below a folder that is closed.
    """
    try:
        text = os.fspath(value)
    except TypeError as error:
        raise UsageError(
            f"a path belongs here, not a {type(value).__name__}",
            where=where,
            fix="Pass a folder or file",
        ) from error
    if not text:
        raise UsageError("a path is empty", where=where, fix="Pass '.' for the current folder")
    path = at_home(os.fsdecode(text))
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be looked up ({getattr(error, 'strerror', None) or error})", where=text) from error
    return path


def at_home(path: str | Path, variable: str = "") -> Path:
    """Return a path with a leading ``~`` or ``~name`` replaced by the home folder; it is not looked up.

    Parameters
    ----------
    path
        As it was given.
    variable
        The environment variable that it comes from, for the message.

    Raises
    ------
    UsageError
        The home folder is not known: there is no such user, or neither ``HOME`` nor an entry in passwd.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        where = f"{variable}={path}" if variable else path
        raise UsageError("its home folder is not known", where=where, fix="Write the path in full") from error
