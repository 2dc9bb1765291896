"""Flags of options that are declared elsewhere, such as in `audiogen_metrics.run_options`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.parsing import Known, at_least, between
from audiogen_metrics.declaring import Option, options_of
from audiogen_metrics.metrics import catalogue
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.run_options import SelectionOptions

_READ: dict[str, Callable[[Any], Any]] = {"weights": parse_weights}
"""How what flags were given becomes an argument, where argparse does not do it."""


def add_options(parser: argparse.ArgumentParser, family: Any, metrics: str = "") -> None:
    """Add all options of a command that computes scores.

    Parameters
    ----------
    parser
        Of the command.
    family
        Its options.
    metrics
        What to say of ``-m``; an empty text leaves it out.
    """
    known = options_of(family)
    if metrics:
        add_metrics_option(parser, metrics)
    if "protocol" in known:
        add_protocol_option(parser)
    for name in known:
        add_flags(parser, family, name)
        if name == "backbone":
            add_trust_option(parser)


def add_flags(parser: argparse.ArgumentParser, family: Any, *names: str, **other: Any) -> None:
    """Add the flags of a family of options, or of a dataclass, or of those named; ``other`` is what differs."""
    for name, declared in options_of(family).items():
        option = replace(declared, **other)
        flag = flag_of(name, option)
        if flag and (not names or name in names):
            parser.add_argument(flag, **described(option))


def add_protocol_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--protocol``."""
    default = options_of(SelectionOptions)["protocol"].default
    parser.add_argument(
        "--protocol", default=default, metavar="NAME", help=f"{', '.join(PROTOCOLS)} (default: %(default)s)"
    )


def add_metrics_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add ``-m``, which may be given several times."""
    parser.add_argument(
        "-m",
        "--metrics",
        action="append",
        type=Known(catalogue),
        metavar="LIST",
        help=f"comma-separated, of %(type)s{meaning} (repeatable)",
    )


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-remote-code``."""
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the Python files of a checkpoint hf:… of a kind that transformers does not know; read them first",
    )


def arguments_of(arguments: argparse.Namespace, family: Any) -> dict[str, Any]:
    """Return the options of a family that a command line gives, as keyword arguments."""
    given: dict[str, Any] = {}
    for name, option in options_of(family).items():
        place = dest_of(name, option)
        if name == "progress":
            given[name] = sys.stderr.isatty()
        elif hasattr(arguments, place):
            value = getattr(arguments, place)
            given[name] = not value if option.default is True else _READ.get(name, lambda same: same)(value)
    return given


def _reader(option: Option) -> Callable[[str], Any] | None:
    """Return what reads a number of this option's range, None for what is not a number."""
    if option.least is None:
        return None
    if option.type.startswith("float"):
        return between(option.least, option.most)
    return at_least(int(option.least), None if option.most is None else int(option.most))


def flag_of(name: str, option: Option) -> str:
    """Return the flag of an option, or an empty text.

    Examples
    --------
    >>> flag_of("batch_size", Option(16)), flag_of("cache", Option(True))
    ('--batch-size', '--no-cache')
    """
    if option.flag is not None:
        return option.flag
    return f"--{'no-' * (option.default is True)}{name.replace('_', '-')}"


def help_of(option: Option) -> str:
    """Return the help of a flag, as argparse takes it.

    Examples
    --------
    >>> help_of(Option(16, "Clips per ``forward`` pass, at most."))
    'clips per forward pass, at most (default: 16)'
    """
    plain = option.meaning.replace("`", "").rstrip(".")
    text = (option.help or plain[:1].lower() + plain[1:]).replace("%", "%%")
    default = option.unset or ("" if isinstance(option.default, (bool, tuple)) else option.default)
    notes = [f"default: {default}"] * (default not in ("", None)) + ["repeatable"] * option.repeated
    return f"{text} ({'; '.join(notes)})" if notes else text


def dest_of(name: str, option: Option) -> str:
    """Return where argparse puts the value of an option."""
    return (flag_of(name, option) or name).lstrip("-").replace("-", "_")


def described(option: Option) -> dict[str, Any]:
    """Return the arguments of ``add_argument`` for an option."""
    given: dict[str, Any] = {"help": help_of(option)}
    if isinstance(option.default, bool):
        return {**given, "action": "store_true"}
    if option.repeated:
        given |= {"action": "append", "default": []}
    else:
        given["default"] = option.default
    if (reader := _reader(option)) is not None:
        given["type"] = reader
    if option.choices:
        return {**given, "choices": [*option.choices]}
    return {**given, "metavar": option.metavar}
