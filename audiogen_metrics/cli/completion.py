"""``agm completion SHELL``: a script that lets a shell complete commands, flags, names and paths."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from audiogen_metrics.audio.files import AUDIO
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.cli.common import Subparsers, write_result
from audiogen_metrics.datasets import DATASETS
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.probes import PROBES
from audiogen_metrics.protocols import PROTOCOLS

SHELLS = ("bash", "zsh", "fish", "tcsh")

PROGRAMS = ("agm", "audiogen-metrics")
"""What this program is installed as; the script completes the one that has printed it."""

FOLDERS = frozenset(["GEN", "GEN_A", "GEN_B", "TRAIN", "REAL", "DIR", "FOLDER", "IN", "OUT", "ROOT", "MODEL"])
FILES = frozenset(["REF", "FILE", "REPORT", "CSV", "PLOT", "PATH", "CONFIG", "PROMPTS", "DATA", "SCORES", "RATINGS"])
"""Placeholders that stand for paths; a folder may stand for a file, as the way to one or in its place."""

NAMES: dict[str, Callable[[], list[str]]] = {
    "protocol": lambda: [*PROTOCOLS],
    "base": lambda: [*PROTOCOLS],
    "probe": PROBES.names,
    "names": WEIGHTS.names,
    "weights path name": WEIGHTS.names,
    "data check name": lambda: [*DATASETS.names(), "folder"],
    "data export name": lambda: [*DATASETS.names(), "folder"],
    "device": lambda: ["auto", "cpu", "cuda", "mps"],
    "weights": lambda: [f"{name}=" for name in WEIGHTS.names()],
    "root": lambda: [f"{name}=" for name in DATASETS.names()],
    "template": lambda: ["label", "sentence"],
    "generate seconds": lambda: ["recording"],
}
"""Names that an argument takes, by its own name or, before that, with the command's."""

LISTS: dict[str, Callable[[], list[str]]] = {
    "metrics": lambda: [*catalogue()],
    "probes": PROBES.names,
    "suffix": lambda: sorted(suffix[1:] for suffix in AUDIO),
    "tracker": lambda: _trackers(),
}
"""The same of arguments that take several with commas between them."""

_BASH_LIST = """
_agm_{name}() {{
  local last="${{1##*,}}"
  compgen -P "${{1%"$last"}}" -W "{words}" -- "$last"
}}
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "completion",
        description="Print a script that lets a shell complete commands, flags, paths and the names of metrics, "
        'protocols, probes and weights. For bash, in ~/.bashrc: eval "$(agm completion bash)".',
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="shell that the script is for")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from audiogen_metrics.cli.main import build_parser

    parser = build_parser()
    called = Path(sys.argv[0]).name
    parser.prog = called if called in PROGRAMS else PROGRAMS[0]
    for command, action in taking_values(parser):
        _describe(command, action, shtab.FILE, shtab.DIRECTORY)
    functions = [_BASH_LIST.format(name=name, words=" ".join(words())) for name, words in LISTS.items()]
    script = shtab.complete(parser, arguments.shell, preamble="".join(functions) if arguments.shell == "bash" else "")
    write_result(f"{script}\n", None)
    return 0


def taking_values(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Yield every argument that takes a value, of a parser and of its commands, each with its command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from taking_values(child, f"{command} {name}".strip())
        elif action.nargs != 0:
            yield command, action


def _trackers() -> list[str]:
    from audiogen_metrics.audioldm.configuration import TRACKERS  # which imports torch

    return [*TRACKERS]


def _describe(command: str, action: argparse.Action, file: object, folder: object) -> None:
    """Say in shtab's way what completes an argument."""
    names = NAMES.get(f"{command} {action.dest}") or NAMES.get(action.dest)
    if action.choices is not None:
        return
    if action.metavar in FOLDERS or action.metavar in FILES:
        is_folder = action.metavar in FOLDERS and command not in ("import", "score")
        action.complete = folder if is_folder else file  # type: ignore[attr-defined]
    elif action.dest in LISTS:
        words = " ".join(LISTS[action.dest]())
        action.complete = {  # type: ignore[attr-defined]
            "bash": f"_agm_{action.dest}",
            "zsh": f"_values -s , {action.dest} {words}",
            "fish": words,
            "tcsh": f"({words})",
        }
    elif names is not None:
        action.choices = names()
