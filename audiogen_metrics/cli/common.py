"""Options and output that subcommands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from audiogen_metrics import distributed
from audiogen_metrics.cli.parsing import at_least, result_file
from audiogen_metrics.cli.streams import ESCAPED, READABLE, portable_json
from audiogen_metrics.errors import UsageError
from audiogen_metrics.rendering import Renderable, render
from audiogen_metrics.report.latex import choose
from audiogen_metrics.settings import listening
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import write_atomically, writing

if TYPE_CHECKING:
    from audiogen_metrics.metrics.recipe import Recipe

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_processes_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--processes``."""
    parser.add_argument(
        "--processes",
        type=at_least(1),
        metavar="N",
        help="1 runs alone, whatever WORLD_SIZE in the environment says; N makes sure that torchrun has started N "
        "(default: those that it has started)",
    )


def check_processes(arguments: argparse.Namespace) -> bool:
    """Tell whether other processes belong to this run; UsageError if ``--processes`` says something else."""
    if arguments.processes == 1:
        distributed.run_alone()
    count = distributed.launched()
    if arguments.processes not in (None, count):
        raise UsageError(
            f"asks for {arguments.processes} processes, and {count} are started",
            where="--processes",
            fix=f"Start them: torchrun --nproc-per-node {arguments.processes} -m audiogen_metrics ...",
        )
    return count > 1


def add_format_options(parser: argparse.ArgumentParser, formats: Sequence[str], columns: str = "") -> None:
    """Add ``--format`` and ``-o``, and ``--columns`` where there are ``columns`` of a LaTeX table to choose among."""
    parser.add_argument(
        "--format", choices=formats, help=f"format of the result (default: that of FILE's suffix, else {formats[0]})"
    )
    if columns:
        parser.add_argument("--columns", metavar="LIST", help=f"columns of a LaTeX table, comma-separated: {columns}")
    add_output_option(parser)
    parser.set_defaults(formats=formats)


def chosen_columns(arguments: argparse.Namespace, columns: Iterable[str], parts: Iterable[str] = ()) -> dict[str, Any]:
    """Return the columns that ``--columns`` chooses, as `render` takes them; UsageError for unknown ones."""
    if arguments.columns is None:
        return {}
    if arguments.format != "latex":
        raise UsageError("only a LaTeX table has them", where="--columns", fix="Add --format latex")
    return {"columns": choose(arguments.columns, columns, parts)}


def add_output_option(parser: argparse.ArgumentParser) -> None:
    """Add ``-o`` for a result that is text."""
    parser.add_argument(
        "-o", "--output", type=result_file, metavar="FILE", help="write the result to FILE, not to stdout (-: stdout)"
    )


def say(text: object) -> None:
    """Print one line on stderr."""
    print(escaped(text), file=sys.stderr)


def say_warning(message: object, *_: object, **__: object) -> None:
    """Print a warning on stderr, in one of several processes; takes what `warnings.showwarning` is given."""
    note_said([str(message)])
    text = f"warning: {' '.join(str(message).splitlines())}"
    if distributed.is_first_to(text):
        say(text)


def say_what_is_lacking(recipes: Iterable[Recipe], *, ref: bool, prompts: bool, by_name: bool = False) -> None:
    """Say which scores are not computed without a reference or prompts."""
    from audiogen_metrics.evaluation.opening import lacks

    needy: dict[str, dict[str, None]] = {}
    for recipe in recipes:
        needy.setdefault(lacks(recipe, ref=ref, prompts=prompts), {})[recipe.score_id] = None
    if not ref:
        lacking = f"; {', '.join(needy['a reference'])} would need one" if "a reference" in needy else ""
        say(f"no reference: what looks at generated audio alone is computed{lacking}")
    if "prompts" in needy and not by_name:
        say(f"no prompts: {', '.join(needy['prompts'])} would need them")


_problems: dict[str, bool] = {}
"""Trouble of this machine that the command has met, and whether it has been said."""


@contextmanager
def saying_problems() -> Iterator[None]:
    """Report trouble of this machine, such as a cache that cannot be written, once for the command in the block."""
    _problems.clear()
    try:
        with listening(lambda problem: _problems.setdefault(problem, False)):
            yield
    finally:
        for problem in [problem for problem, is_said in _problems.items() if not is_said]:
            say_warning(problem)


def note_said(problems: Iterable[str]) -> None:
    """Note that the command's result has said this."""
    _problems.update(dict.fromkeys(_problems.keys() & set(problems), True))


def page_as_result(arguments: argparse.Namespace) -> None:
    """Take ``-o FILE.html`` for ``--html FILE.html``; UsageError for a page without a file."""
    if arguments.format == "html":
        if arguments.output is None:
            raise UsageError("a page needs a file", where="--format html", fix="Add -o FILE.html")
        arguments.html, arguments.output = arguments.html or arguments.output, None


def parse_settings(pairs: list[str], flag: str = "--set") -> dict[str, str]:
    """Read ``NAME=VALUE`` pairs of a flag; UsageError for anything else, or for a name that is set twice."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"{pair!r} is not NAME=VALUE", where=flag)
        if name in settings:
            raise UsageError(f"{name} is set twice", where=flag)
        settings[name] = value
    return settings


def show(
    found: Renderable, arguments: argparse.Namespace, files: Iterable[Callable[[], object]] = (), **options: Any
) -> None:
    """Write a result in the format that was asked for, where it was asked for, as `write_result` does.

    A page is among ``files``; the other options go to `render`.
    """
    form = arguments.format
    write_result("" if form == "html" else render(found, form, **options), arguments.output, form, files)


def write_result(
    text: str, output: Path | None, form: str = "table", files: Iterable[Callable[[], object]] = ()
) -> None:
    """Write a result: files first, then stdout. What cannot be written does not keep the rest from being written.

    Parameters
    ----------
    text
        The result.
    output
        Its file, whole or not at all, in UTF-8; None is stdout.
    form
        What the text is in, by the name of ``--format``; JSON stays JSON on a stdout of any encoding.
    files
        Functions that write what else was asked for, such as a page.

    Raises
    ------
    UsageError
        Something could not be written. The result is on stdout if it is in no file.
    Exception
        Whatever else one of the functions has raised, after the rest is written and the other errors are said.
    """
    failures: list[BaseException] = []

    def attempt(write: Callable[[], object]) -> bool:
        try:
            write()
        except (Exception, KeyboardInterrupt) as error:
            failures.append(error)
            return False
        return True

    def write_file() -> None:
        assert output is not None
        with writing(output, "", but="; the result is on stdout instead"):
            write_atomically(output, text.encode("utf-8", ESCAPED if form == "json" else READABLE))

    def print_it() -> None:
        sys.stdout.write(portable_json(text) if form == "json" else text)
        sys.stdout.flush()

    for write in files:
        attempt(write)
    if output is None or not attempt(write_file):
        attempt(print_it)
    _raise(failures)


def _raise(failures: Sequence[BaseException]) -> None:
    """Raise these errors as one; where they are of several kinds, the first that is not a mistake of the user."""
    if not failures:
        return
    worst = next((failure for failure in failures if not isinstance(failure, UsageError)), None)
    if worst is None:
        raise UsageError("; ".join(map(str, failures)))
    for other in failures:
        if other is not worst:
            say(f"agm: error: {str(other) or type(other).__name__}")
    raise worst


def add_caption_option(parser: argparse.ArgumentParser, default: str | None, help_text: str) -> None:
    """Add the choice among several captions of a clip."""
    parser.add_argument("--caption", choices=["first", "all", "random"], default=default, help=help_text)
