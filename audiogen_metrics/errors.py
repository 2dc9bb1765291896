"""Every error of the library: one root, one exit code each, and what would fix it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from audiogen_metrics.text import escaped, quoted

__all__ = [
    "AudioFileError",
    "AudiogenMetricsError",
    "CheckFailedError",
    "DataError",
    "InsufficientDataError",
    "LostProcessError",
    "MissingDependencyError",
    "MissingWeightsError",
    "NumericsError",
    "UsageError",
]

HELPS = "what helps"
"""How a warning begins that says what to do about clips."""

_NAMES = re.compile(r"\bIN\b|\bOUT(\.\w+)?\b")


_speaks_flags = False

_FLAGS = {"suffixes": "--suffix", "roots": "--root", "splits": "--split"}
"""Flags that are not called like the argument that they are for."""


@contextmanager
def speaking_flags(flags: bool = True) -> Iterator[None]:
    """Name options in errors as the command line does, inside the block; elsewhere they are named as in Python.

    Without ``flags`` they are so inside the block too: what is kept, such as the reason in a report, must not depend on
    who asks.
    """
    global _speaks_flags
    before, _speaks_flags = _speaks_flags, flags
    try:
        yield
    finally:
        _speaks_flags = before


def spoken(python: str, command_line: str) -> str:
    """Return the one of two wordings that the user of the moment can write: Python or flags."""
    return command_line if _speaks_flags else python


def option(name: str, value: str | Mapping[str, str] | bool = True) -> str:
    """Return an option with its value as the user of the moment would write it.

    Parameters
    ----------
    name
        Of the argument in Python.
    value
        A text; capitals, numbers and what is in angle brackets stand for what the user has; by key, for an argument
        that takes a mapping; a truth value.

    Examples
    --------
    >>> print(option("protocol", "yamnet"), option("weights", {"vggish": "FILE"}), option("resume"), sep=", ")
    protocol="yamnet", weights={"vggish": FILE}, resume=True
    >>> with speaking_flags():
    ...     print(option("protocol", "yamnet"), option("weights", {"vggish": "FILE"}), option("resume"), sep=", ")
    --protocol yamnet, --weights vggish=FILE, --resume
    """
    if not _speaks_flags:
        if isinstance(value, Mapping):
            return f"{name}={{{', '.join(f'{json.dumps(key)}: {_literal(each)}' for key, each in value.items())}}}"
        return f"{name}={_literal(value)}"
    flag = _FLAGS.get(name) or f"--{name.replace('_', '-')}"
    if isinstance(value, Mapping):
        return " ".join(f"{flag} {shlex.quote(f'{key}={each}')}" for key, each in value.items())
    return flag if isinstance(value, bool) else f"{flag} {shlex.quote(value)}"


def _literal(value: str | bool) -> str:
    """Return a value as Python writes it; what the user is to put in himself stays as it is."""
    stands_for = isinstance(value, bool) or re.fullmatch(r"[A-Z]+|\d+", value)
    return str(value) if stands_for else json.dumps(value, ensure_ascii=False)


def with_names(fix: str, path: str | Path) -> str:
    """Return a fix with a file's name in place of IN, and with names made of it in place of OUT and OUT.wav.

    Examples
    --------
    >>> with_names("Convert it: ffmpeg -i IN OUT.wav", "two words.m4a")
    "Convert it: ffmpeg -i 'two words.m4a' 'two words.wav'"
    """
    path = Path(path)

    def out(found: re.Match[str]) -> str:
        other = path.with_suffix(found[1] or path.suffix)
        return quoted(other if other != path else path.with_name(f"{path.stem}.new{other.suffix}"))

    # In one pass, as a name may hold either word.
    return _NAMES.sub(lambda found: out(found) if found[0].startswith("OUT") else quoted(path), fix)


def remedies(fixes: Iterable[str]) -> list[str]:
    """Return one line for each kind of fix, the most frequent first, with the number of clips that it is for.

    Examples
    --------
    >>> remedies(["Fetch it: git lfs pull", "", "Fetch it: git lfs pull"])
    ['what helps 2 skipped clips: Fetch it: git lfs pull']
    """
    counts = Counter(filter(None, fixes)).most_common()
    return [f"{HELPS} {count} skipped clip{'s' * (count > 1)}: {fix}" for fix, count in counts]


class AudiogenMetricsError(Exception):
    """Root of all errors raised on purpose.

    Parameters
    ----------
    what
        What went wrong, in one clause.
    where
        The file, folder, clip or option concerned.
    fix
        What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, where: str | Path | None = None, fix: str | None = None) -> None:
        super().__init__(what, where, fix)
        self.what: str = what
        self.where: str | Path | None = where
        self.fix: str | None = fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return escaped(f"{place}{self.what}{remedy}")

    @property
    def remedy(self) -> str:
        """What the user can do about it, as it is shown; empty if that is not known."""
        return self.fix or ""


class UsageError(AudiogenMetricsError, ValueError):
    """A name, option or combination of options that does not exist."""

    exit_code = 2


class DataError(AudiogenMetricsError, ValueError):
    """Input that cannot be scored: audio, folders, arrays, statistics."""

    exit_code = 3


class AudioFileError(DataError):
    """One audio file that cannot be used.

    In the commands of ``fix``, IN stands for the file and OUT for another one of its name.
    """

    @property
    def remedy(self) -> str:
        """What the user can do about it, with this file in its commands."""
        return with_names(self.fix or "", self.where or "IN")


class InsufficientDataError(DataError):
    """Sound input, but too little of it for the number asked for."""


class MissingDependencyError(AudiogenMetricsError, ImportError):
    """An optional or broken dependency."""

    exit_code = 4


class MissingWeightsError(AudiogenMetricsError, FileNotFoundError):
    """Network weights that are not on this machine, or are not the published ones."""

    exit_code = 4


class LostProcessError(AudiogenMetricsError, ConnectionError):
    """Another process of the same run has gone."""

    exit_code = 4

    def __init__(
        self,
        what: str,
        where: str | Path | None = None,
        fix: str | None = "Its own message says why; run again, which takes what was embedded from the cache",
    ) -> None:
        super().__init__(what, where, fix)


class CheckFailedError(AudiogenMetricsError):
    """A check that the user asked for did not hold."""

    exit_code = 5


class NumericsError(AudiogenMetricsError, ArithmeticError):
    """A computation whose result cannot be trusted."""

    exit_code = 6


NO_MEMORY = "does not fit into memory: cut it into clips"
"""What is said of a file for which memory ran out."""


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether a device or the machine ran out of memory; torch has no error of its own for the machine."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, for a device
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "bad_alloc"))
