"""LaTeX for papers: one renderer for all tables, which fit a page, and what includes a figure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Literal

from audiogen_metrics.citations import Citation
from audiogen_metrics.errors import UsageError
from audiogen_metrics.options import split_list
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.text import escaped

TEXT_WIDTH, COLUMN_WIDTH = 345.0, 245.0
"""What a table may be wide, in points: as the text of LaTeX's article, the narrowest page, and as a column of two."""

WORDS_WIDTH = 120.0
"""Width above which text in the first columns is broken into lines, in points."""

SMALL = 0.89
"""Size of small print in a table to that of its numbers."""

GAP = 6.0
"""Between two columns, in points."""

BREAK = r"\allowbreak{}"

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "∞": r"$\infty$",
    "²": r"$^2$",
}


def tex(text: str) -> str:
    """Return text as LaTeX prints it.

    Examples
    --------
    >>> print(tex("FD ↓ of 50 %"))
    FD $\\downarrow$ of 50 \\%
    """
    return "".join(_TEX.get(character, character) for character in escaped(text))


def breakable(text: str) -> str:
    r"""Return text as LaTeX prints it, which may go on in the next line within a path or a very long word.

    Examples
    --------
    >>> print(breakable("my/set of ESC-50"))
    my/\allowbreak{}set of ESC-50
    """
    marked = re.sub(r"(?<=[/_])(?=\S)", "\0", escaped(text))
    marked = re.sub(r"[^\s/_\0]{25,}", lambda word: re.sub(r".{12}(?=.)", "\\g<0>\0", word[0]), marked)
    return "".join(BREAK if character == "\0" else _TEX.get(character, character) for character in marked)


def places(values: Iterable[float | None]) -> int:
    """Return the decimals that all numbers of one score share: two, and more where numbers are small.

    What is less than a thousandth of the largest number counts as 0.

    Examples
    --------
    >>> places([116.8, 24.53]), places([0.0123, 0.2]), places([3.01, None, 1e-9])
    (2, 3, 2)
    """
    known = [abs(value) for value in values if value]
    if not known:
        return 2
    small = min(value for value in known if value >= max(known) / 1000)
    return min(max(2, 2 - math.floor(math.log10(max(known))), 1 - math.floor(math.log10(small))), 6)


def number(value: float | None, decimals: int) -> str:
    """Return a number with that many decimals and a true minus sign; a dash for None.

    Examples
    --------
    >>> number(-1.5, 2), number(-0.0001, 2), number(None, 2)
    ('$-$1.50', '0.00', '--')
    """
    return "--" if value is None else f"{value:z.{decimals}f}".replace("-", "$-$")


def interval(ends: Sequence[float] | None, decimals: int) -> str:
    """Return an interval in brackets; nothing for None."""
    return "" if ends is None else f"[{number(ends[0], decimals)}, {number(ends[1], decimals)}]"


def choose(given: str | Iterable[str], columns: Iterable[str], parts: Iterable[str] = ()) -> list[str]:
    """Return names of columns, and of what stands beside or below them, as people write them, one by one.

    Raises
    ------
    UsageError
        A name that is not known, or no column.

    Examples
    --------
    >>> choose("FD,ci95", ["fd", "kl"], ["ci95", "std"])
    ['fd', 'ci95']
    """
    columns = list(columns)
    known = {name.lower(): name for name in (*columns, *parts)}
    names = []
    for name in split_list(given):
        if name.lower() not in known:
            raise unknown_name("column", name, [*known.values()])
        names.append(known[name.lower()])
    if not {*names} & {*columns}:
        raise UsageError("no column of the table is chosen", fix=f"Add one of {', '.join(columns)}")
    return names


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name
        Chooses it.
    title, cells
        Its head, and a cell for each row, as LaTeX.
    align
        As in LaTeX.
    beside, below
        What may stand behind each cell, and in small print below it, as LaTeX, by the name that chooses it.
    stays
        Whether it says what a row is, so that it is always there, and first in every part of a table that is split.
    """

    name: str
    title: str
    cells: Sequence[str]
    align: Literal["l", "r"] = "r"
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    below: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stays: bool = False


@dataclass(frozen=True)
class Table:
    """A table for a paper, with its caption; needs the package booktabs.

    Parameters
    ----------
    columns
        All that it may show, of equal length.
    caption
        As LaTeX.
    legend
        What the caption says more where a column, or what stands beside or below one, is shown; by its name.
    default
        Names of what is shown where nothing is chosen; None shows everything.
    groups
        For each row the heading that it stands under, as LaTeX; empty without headings.
    notes
        Comments before the table, as text.
    works
        To cite; BibTeX in comments behind the table.
    """

    columns: Sequence[Column]
    caption: str
    legend: Mapping[str, str] = field(default_factory=dict)
    default: Sequence[str] | None = None
    groups: Sequence[str] = ()
    notes: Sequence[str] = ()
    works: Sequence[Citation] = ()

    def render(self, chosen: str | Iterable[str] | None = None) -> str:
        """Return the table with the chosen columns, split into several below each other where one is too wide.

        Raises
        ------
        UsageError
            As `choose` does.
        """
        names = [column.name for column in self.columns if not column.stays]
        parts = list(dict.fromkeys(name for column in self.columns for name in (*column.beside, *column.below)))
        if chosen is None:
            chosen = [*names, *parts] if self.default is None else self.default
        shown = choose(chosen, names, parts)
        columns = [column for column in self.columns if column.stays or column.name in shown]
        lines = [name for name in shown if any(name in column.below for column in columns)]
        blocks = [*_blocks([_printed(column, shown, lines) for column in columns])]
        star = "*" * (max(map(_total, blocks)) > COLUMN_WIDTH)
        said = [text for name, text in self.legend.items() if name in shown]
        comments = "".join(f"% {escaped(note)}\n" for note in self.notes)
        entries = "".join(f"% {line}\n" for work in self.works for line in work.bibtex().splitlines())
        tabulars = "\\par\\medskip\n".join(map(self._tabular, blocks))
        style = f"\\smallskip\\small\n\\setlength{{\\tabcolsep}}{{{GAP / 2:g}pt}}\n"
        return (
            f"% Needs \\usepackage{{booktabs}}\n{comments}\\begin{{table{star}}}\n\\centering\n"
            f"\\caption{{{' '.join([self.caption, *said])}}}\n"
            f"{style}{tabulars}\\end{{table{star}}}\n{entries}"
        )

    def _tabular(self, columns: Sequence[_Printed]) -> str:
        lines = [_row([column.title for column in columns]), "\\midrule"]
        for place in range(len(columns[0].rows)):
            heading = self.groups[place] if self.groups else ""
            if heading and (place == 0 or heading != self.groups[place - 1]):
                lines += ["\\addlinespace"] * (place > 0)
                lines.append(_row([f"\\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\\emph{{{heading}}}}}"]))
            printed = [
                each for each in zip_longest(*(column.rows[place] for column in columns), fillvalue="") if any(each)
            ]
            lines += [_row(each) for each in printed]
            lines += ["\\addlinespace[2pt]"] * (len(printed) > 1 and place + 1 < len(columns[0].rows))
        align = "".join(column.align for column in columns)
        body = "\n".join(lines)
        return f"\\begin{{tabular}}{{@{{}}{align}@{{}}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


@dataclass(frozen=True)
class _Printed:
    """A column as it is printed: for each row a few lines; its width is a good guess."""

    title: str
    align: str
    rows: Sequence[Sequence[str]]
    stays: bool
    width: float


def _printed(column: Column, shown: Sequence[str], lines: Sequence[str]) -> _Printed:
    beside = [texts for name, texts in column.beside.items() if name in shown]
    cells = ["".join(parts) for parts in zip(column.cells, *beside, strict=True)]
    texts = [_wrapped(cell) if column.align == "l" else [cell] for cell in cells]
    below = [column.below.get(name, [""] * len(cells)) for name in lines]
    width = max(_width(text) for text in (column.title, *chain(*texts)))
    width = max(width, *(SMALL * _width(text) for each in below for text in each), 0.0)
    small = [[f"{{\\footnotesize {text}}}" if text else "" for text in each] for each in below]
    under = zip(*small, strict=True) if small else [()] * len(cells)
    rows = [[*first, *more] for first, more in zip(texts, under, strict=True)]
    return _Printed(column.title, column.align, rows, column.stays, width)


def _wrapped(cell: str) -> list[str]:
    """Return text in lines that are no wider than text in a table may be."""
    lines = [""]
    for part in re.split(rf"(?<= )|(?<=-)(?=\w)|{re.escape(BREAK)}", cell):
        if lines[-1] and _width(lines[-1] + part.rstrip()) > WORDS_WIDTH:
            lines.append("")
        lines[-1] += part
    return lines


def _blocks(columns: Sequence[_Printed]) -> Iterator[list[_Printed]]:
    """Yield the columns in as many parts as the page needs, those that say what a row is in each."""
    first = [column for column in columns if column.stays]
    part = [*first]
    for column in columns:
        if column.stays:
            continue
        if len(part) > len(first) and _total([*part, column]) > TEXT_WIDTH:
            yield part
            part = [*first]
        part.append(column)
    yield part


def _total(columns: Sequence[_Printed]) -> float:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def _row(cells: Sequence[str]) -> str:
    """Return a line of a tabular; a bracket or star at its start would belong to the line before."""
    text = " & ".join(cells)
    return f"{'{}' * text.startswith(('[', '*'))}{text} \\\\"


_NO_WIDTH = re.compile(r"\\(?:textbf|emph|textsuperscript|footnotesize|allowbreak|strut|raggedright)(?:\{\})?|\$|[{}]")
_NARROW, _WIDE = frozenset(" .,:;'|!()[]/ijltfrI-"), frozenset("mwMWOQ%@&+=<>")


def _width(latex: str) -> float:
    """Return about how wide LaTeX prints a text in its small size, in points, rather too much than too little."""
    plain = re.sub(r"\\[A-Za-z]+(?:\{\})?", "+", _NO_WIDTH.sub("", latex.replace("$-$", "+")))
    plain = re.sub(r"\\(.)", r"\1", plain)
    points = sum(
        3.6 if char in _NARROW else 8.2 if char in _WIDE or ord(char) > 0x24F else 6.9 if char.isupper() else 4.9
        for char in plain
    )
    return points * (1.15 if "\\textbf" in latex else 1.0)


def including(name: str, caption: str, notes: Sequence[str] = ()) -> str:
    """Return what includes a figure that is as wide as a page, as LaTeX; ``caption`` and ``notes`` are text."""
    comments = "".join(f"% {escaped(note)}\n" for note in notes)
    return (
        "% Needs \\usepackage{graphicx}\n"
        f"% In one column: figure without *, \\columnwidth, and {name}-column.pdf\n{comments}"
        f"\\begin{{figure*}}\n\\centering\n\\includegraphics[width=\\textwidth]{{{name}.pdf}}\n"
        f"\\caption{{{breakable(caption)}}}\n\\end{{figure*}}\n"
    )
