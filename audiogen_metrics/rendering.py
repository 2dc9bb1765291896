"""How a result becomes text: what each kind can be written as, in one table, and one function that writes it."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audiogen_metrics.registry import unknown_name
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import json_text, written

HUB = ("eval-results", "model-index")
"""Formats of Hugging Face's hub, which need what a report does not know."""

FORMATS: Mapping[str, tuple[str, ...]] = {
    "ScoreReport": ("table", "json", "csv", "markdown", "latex", "av-benchmark", *HUB, "html"),
    "Ranking": ("table", "json", "csv", "markdown", "latex", "html"),
    "Comparison": ("table", "json", "markdown", "html"),
    "ProtocolComparison": ("table", "json", "csv", "markdown"),
    "Copies": ("table", "json", "csv", "markdown", "html"),
    "Agreement": ("table", "json", "csv", "markdown", "latex"),
    "Study": ("table", "json", "csv", "markdown", "html"),
    "Selftest": ("table", "json"),
    "Check": ("text", "json"),
    "Facts": ("table", "json"),
}
"""By the name of its class, the formats of each result, the usual one first. A parser needs them before the class."""

FORMAT_OF = {
    ".json": "json",
    ".csv": "csv",
    ".md": "markdown",
    ".tex": "latex",
    ".html": "html",
    ".yaml": "eval-results",
    ".yml": "eval-results",
}
"""Formats by the suffix of a file; any other suffix is a table for people."""

WITHOUT_WARNINGS = ("json", "csv", "latex", "av-benchmark", *HUB, "html")
"""Formats whose text does not show the warnings to somebody who looks at it."""


@dataclass(frozen=True)
class Renderable:
    """A result that `render` takes: ``str`` of it is text for people, ``to_FORMAT`` gives each of its other formats."""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, ready for strict JSON."""
        return asdict(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the result as strict JSON, and write it to ``path`` if one is given."""
        return written(json_text(self.to_dict()) + "\n", path)


@dataclass(frozen=True)
class Facts(Renderable):
    """What a command has found, as plain data and as text for people, where it has no class of its own."""

    data: Any
    text: str

    def to_dict(self) -> Any:
        """Return the data."""
        return self.data

    def __str__(self) -> str:
        return self.text


def render(found: Renderable, form: str, **options: Any) -> str:
    """Return a result in one of its formats.

    Parameters
    ----------
    found
        The result.
    form
        One of those that `FORMATS` has for its class.
    **options
        What that format alone takes, such as ``columns`` of LaTeX.

    Raises
    ------
    UsageError
        Another format.

    Examples
    --------
    >>> print(render(Facts({"fd": 24.5}, "FD is 24.5"), "json"), end="")
    {
      "fd": 24.5
    }
    """
    known = FORMATS[type(found).__name__]
    if form not in known:
        raise unknown_name("format", form, [*known])
    if form in ("table", "text"):
        return f"{found}\n"
    text: str = getattr(found, f"to_{form.replace('-', '_')}")(**options)
    return text


def records_to_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Return records of one shape as CSV: numbers in full, None as an empty cell.

    Examples
    --------
    >>> print(records_to_csv([{"score": "fd_panns", "value": 24.5, "reason": None}]), end="")
    score,value,reason
    fd_panns,24.5,
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def records_to_markdown(records: Sequence[Mapping[str, object]]) -> str:
    """Return records of one shape as a table in GitHub's Markdown, numbers to six digits.

    Examples
    --------
    >>> print(records_to_markdown([{"score": "fd_panns", "value": 24.5, "reason": None}]), end="")
    | score | value | reason |
    |---|---|---|
    | fd_panns | 24.5 |  |
    """
    return markdown_table(records[0], [[_cell(value) for value in record.values()] for record in records])


def markdown_table(header: Collection[str], rows: Iterable[Iterable[str]]) -> str:
    """Return rows of text as a table in GitHub's Markdown."""
    lines = ["| " + " | ".join(map(markdown, cells)) + " |\n" for cells in (header, *rows)]
    return f"{lines[0]}|{'---|' * len(header)}\n{''.join(lines[1:])}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_MARKUP = re.compile(r"\\(?=[!-/:-@\[-`{-~])|[`*~|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|^[#+-](?= )")
"""What GitHub's Markdown would take for markup: not an underscore inside a word, nor a bracket without a link."""


def markdown(text: str) -> str:
    """Return text from elsewhere as GitHub's Markdown shows it, in a table too.

    Examples
    --------
    >>> print(markdown("fd_yamnet of <b>*a|b*"))
    fd_yamnet of &lt;b&gt;\\*a\\|b\\*
    """
    return _MARKUP.sub(r"\\\g<0>", html.escape(escaped(text), quote=False))
