"""The parser of every command, and what its arguments may be."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from audiogen_metrics.errors import AudiogenMetricsError, UsageError
from audiogen_metrics.options import as_path, bounds
from audiogen_metrics.rendering import FORMAT_OF
from audiogen_metrics.text import escaped


class Parser(argparse.ArgumentParser):
    """A parser that shows the usage of the command in question and names the nearest flag or command."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        """Parse; report what is left over here, where the usage is still that of the command."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            flags = [flag for action in self._actions for flag in action.option_strings]
            hints = [near for text in rest if text.startswith("-") for near in _near(text.partition("=")[0], flags)]
            self.error(
                f"unrecognized arguments: {' '.join(rest)}" + f" (did you mean {', '.join(hints)}?)" * bool(hints)
            )
        formats: Sequence[str] | None = getattr(found, "formats", None)
        if formats is not None and found.format is None:
            suffix = "" if found.output is None else found.output.suffix.lower()
            found.format = FORMAT_OF.get(suffix, formats[0])
            if found.format not in formats:
                self.error(f"this command does not write {suffix}, but {', '.join(formats)}; choose with --format")
        self._require_apart(found)
        return found, rest

    def _require_apart(self, found: argparse.Namespace) -> None:
        """Raise UsageError where two results would go to one file, or one over a file that is read."""
        given = {each.dest: getattr(found, each.dest, None) for each in self._actions}
        if given.get("format") == "html" and given.get("html") == given.get("output"):
            given.pop("output", None)  # both name the page
        written = {each.dest for each in self._actions if each.type in WRITTEN} & given.keys()
        places = {each.dest for each in self._actions if not each.choices and each.metavar not in NO_PLACES}
        inputs = [place for name in (places & given.keys()) - written for place in _places_in(given[name])]
        read, folders = {each for each in inputs if each.is_file()}, [each for each in inputs if each.is_dir()]
        taken: set[Path] = set()
        for output in [given[each.dest] for each in self._actions if each.dest in written]:
            if not isinstance(output, Path) or (output.exists() and not output.is_file()):
                continue
            place = output.resolve()
            if place in taken:
                raise UsageError("is named for two results", where=output, fix="Name another file")
            if place in read or (_is_clip(place) and any(place.is_relative_to(folder) for folder in folders)):
                raise UsageError("is read, and would be overwritten", where=output, fix="Name another file")
            taken.add(place)

    def error(self, message: str) -> NoReturn:
        """Print usage and message on stderr; exit with 2."""
        wrong = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message, re.DOTALL)
        near = _near(wrong[1], re.findall(r"[\w.-]+", wrong[2])) if wrong else []
        super().error(escaped(message) + "".join(f". Did you mean {name!r}?" for name in near))


def at_least(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a reader of whole numbers from ``least`` on, up to ``most`` if there is one."""

    def read(text: str) -> int:
        number = int(text)
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text} is out of range; use a whole number, {bounds(least, most)}")
        return number

    read.__name__ = "int"  # argparse's errors name it
    return read


def between(low: float, high: float | None = None) -> Callable[[str], float]:
    """Return a reader of numbers from ``low`` to ``high``, of which infinity is one only where ``high`` is."""

    def read(text: str) -> float:
        number = float(text)
        if not low <= number <= (sys.float_info.max if high is None else high):  # nor NaN
            raise argparse.ArgumentTypeError(f"{text} is out of range; use a number, {bounds(low, high)}")
        return number

    read.__name__ = "float"
    return read


class Known:
    """A reader of text whose help text may say ``%(type)s`` for the names of a catalogue, looked up when it is shown.

    Names may come from other packages, which is too slow to find out at every start.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def __call__(self, text: str) -> str:
        return text

    @property
    def __name__(self) -> str:
        return ", ".join(self._names())


def output_file(text: str) -> Path:
    """Read the name of a file to write."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of a file")
    try:
        path = as_path(text)
    except AudiogenMetricsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if text.endswith("/") or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, not a file")
    return path


def result_file(text: str) -> Path | None:
    """Read the name of a file for a result, None where it is stdout."""
    return None if text in ("-", "/dev/stdout") else output_file(text)


def plot_file(text: str) -> Path:
    """Read the name of a drawing to write."""
    path = output_file(text)
    if path.suffix not in (".pdf", ".svg", ".png"):
        raise argparse.ArgumentTypeError(f"{text} is neither .pdf, .svg nor .png")
    return path


WRITTEN = (output_file, result_file, plot_file)
"""The readers of names of files to write."""

NO_PLACES = (None, "LIST", "NAME", "TEXT")
"""What the values of arguments are called that name no file or folder."""


def output_folder(text: str) -> Path:
    """Read the name of a folder to write into."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name of a folder")
    return Path(text)


def _is_clip(place: Path) -> bool:
    from audiogen_metrics.audio.files import DECODABLE

    return place.suffix.lower() in DECODABLE and place.is_file()


def _places_in(given: Any) -> Iterator[Path]:
    """Yield the files and folders among the values of an argument: ``PLACE``, ``NAME=PLACE`` or ``FILE::NAME``."""
    for value in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(value, (str, Path)):
            whole = str(value).partition("::")[0]
            for text in (whole, whole.partition("=")[2]):
                path = os.path.expanduser(text)  # noqa: PTH111  # any text may come, on which pathlib raises
                if path and os.path.exists(path):  # noqa: PTH110
                    yield Path(path).resolve()


def _near(name: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(name, known, n=1)
