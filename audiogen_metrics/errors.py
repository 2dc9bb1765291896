"""Every error of the library: one root, one exit code each, and what would fix it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from audiogen_metrics.text import escaped


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
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        remedy = f". {self.fix}" if self.fix else ""
        return escaped(f"{place}{self.what}{remedy}")


class UsageError(AudiogenMetricsError, ValueError):
    """A name, option or combination of options that does not exist."""

    exit_code = 2


class DataError(AudiogenMetricsError, ValueError):
    """Input that cannot be scored: audio, folders, arrays, statistics."""

    exit_code = 3


class AudioFileError(DataError):
    """One audio file that cannot be used."""


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


class CheckFailedError(AudiogenMetricsError):
    """A check that the user asked for did not hold."""

    exit_code = 5


class NumericsError(AudiogenMetricsError, ArithmeticError):
    """A computation whose result cannot be trusted."""

    exit_code = 6


NO_MEMORY = "does not fit into memory: cut it into clips"
"""What is said of a file for which memory ran out."""


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out, of a device or of the machine, for which torch has no error of its own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, for a device
        return True
    return any(sign in str(error) for sign in ("DefaultCPUAllocator", "bad_alloc"))
