"""Pages that come from the code itself, written before each build: they cannot go out of date."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from sphinx.application import Sphinx

from audiogen_metrics.cli.main import EXIT_CODES, build_parser
from audiogen_metrics.protocols import METRICS, PROTOCOLS


def command_line() -> Iterator[str]:
    """Yield the lines of the command-line reference."""
    yield from (f"{EXIT_CODES.replace(chr(10), ' ').capitalize()}.", "")
    yield from _command(build_parser(), level=2)


def _command(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if level > 2:
        yield from (f"{'#' * (level - 1)} {parser.prog}", "", parser.description or "", "", "```text")
        yield from (parser.format_usage().removeprefix("usage: ").rstrip(), "```", "")
    for action in parser._actions:
        if not groups and not isinstance(action, argparse._HelpAction):
            names = ", ".join(action.option_strings) or action.metavar or action.dest
            text = (action.help or "") % {"default": action.default, "prog": parser.prog}
            choices = f" One of {', '.join(map(str, action.choices))}." if action.choices else ""
            yield from (f"`{names}`", f": {text}.{choices}", "")
    for group in groups:
        for child in group.choices.values():
            yield from _command(child, level + 1)


def protocols() -> Iterator[str]:
    """Yield the lines of the list of protocols."""
    for protocol in PROTOCOLS.values():
        yield from (
            f"## {protocol.name}",
            "",
            f"{protocol.summary[0].upper()}{protocol.summary[1:]}.",
            "",
            f"Source: {protocol.source}.",
            "",
        )
        if protocol.caveat:
            yield from (f"**{protocol.caveat}.**", "")
        yield from (f"- Known defect, kept on purpose: {defect}." for defect in protocol.defects)
        yield from ("", "| score | backbone | audio | statistic |", "|---|---|---|---|")
        for recipe in protocol.recipes.values():
            options = {"is": f"{recipe.splits} splits, seed {recipe.seed}", "kl": f"eps {recipe.eps:g}"}
            statistic = f"{METRICS[recipe.metric].title}, {options.get(recipe.metric, METRICS[recipe.metric].output)}"
            audio = ", ".join(
                f"{name} {value}" for name, value in vars(recipe.preprocessing).items() if value is not None
            )
            yield f"| `{recipe.score_id}` | `{recipe.backbone}` | {audio.replace('_', ' ')} | {statistic} |"
        yield ""


def write(app: Sphinx) -> None:
    """Write all generated parts."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    for name, lines in (("cli.md", command_line()), ("protocols.md", protocols())):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the parts when a build begins."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
