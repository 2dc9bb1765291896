"""Options and output that subcommands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, TypeAlias

from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.parsing import at_least, output_file
from audiogen_metrics.errors import UsageError
from audiogen_metrics.protocols import PROTOCOLS
from audiogen_metrics.text import escaped
from audiogen_metrics.writing import write_atomically

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_protocol_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--protocol``."""
    parser.add_argument(
        "--protocol", default="audioldm", metavar="NAME", help=f"{', '.join(PROTOCOLS)} (default: %(default)s)"
    )


def add_metrics_option(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add ``-m``, which may be given several times."""
    parser.add_argument("-m", "--metrics", action="append", metavar="LIST", help=f"{meaning} (repeatable)")


def add_suffix_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--suffix``."""
    parser.add_argument(
        "--suffix",
        action="append",
        default=[],
        metavar="LIST",
        help="take files with these suffixes only, such as flac or flac,wav, where a folder has clips in several "
        "formats (repeatable)",
    )


def add_extraction_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that embeds audio."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (default: %(default)s)")
    parser.add_argument(
        "--batch-size",
        type=at_least(1),
        default=16,
        metavar="N",
        help="clips per forward pass, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=at_least(0), metavar="N", help="decoding threads; 0: none (default: one per core, at most 8)"
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="use this file for a backbone, whatever its digest, which goes into the report (repeatable)",
    )
    parser.add_argument("--no-cache", action="store_true", help="neither read nor write cached embeddings")
    parser.add_argument(
        "--verify", action="store_true", help="read every file again instead of trusting its size, times and inode"
    )
    add_suffix_option(parser)


def extraction_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return those options as the keyword arguments that `score` and its kin share."""
    return {
        "device": arguments.device,
        "weights": parse_weights(arguments.weights),
        "batch_size": arguments.batch_size,
        "workers": arguments.workers,
        "cache": not arguments.no_cache,
        "verify": arguments.verify,
        "progress": sys.stderr.isatty(),
        "suffixes": arguments.suffix,
    }


def add_format_options(parser: argparse.ArgumentParser, formats: list[str]) -> None:
    """Add ``--format`` and ``-o``."""
    parser.add_argument(
        "--format", choices=formats, help=f"of the result (default: that of FILE's suffix, else {formats[0]})"
    )
    parser.add_argument(
        "-o", "--output", type=output_file, metavar="FILE", help="write the result to FILE, not to stdout"
    )
    parser.set_defaults(formats=formats)


def say(text: object) -> None:
    """Print one line on stderr."""
    print(escaped(text), file=sys.stderr)


def say_warning(message: object, *_: object, **__: object) -> None:
    """Print a warning on stderr; takes what `warnings.showwarning` is given."""
    say(f"warning: {' '.join(str(message).splitlines())}")


def page_as_result(arguments: argparse.Namespace) -> None:
    """Take ``-o FILE.html`` for ``--html FILE.html``; UsageError for a page without a file."""
    if arguments.format == "html":
        if arguments.output is None:
            raise UsageError("a page needs a file", where="--format html", fix="Add -o FILE.html")
        arguments.html = arguments.html or arguments.output


def parse_settings(pairs: list[str]) -> dict[str, str]:
    """Read ``NAME=VALUE`` pairs of ``--set``; UsageError for what is none, or for a name set twice."""
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"{pair!r} is not NAME=VALUE", where="--set")
        if name in settings:
            raise UsageError(f"{name} is set twice", where="--set")
        settings[name] = value
    return settings


def write_result(text: str, output: Path | None) -> None:
    """Write a result to stdout, or whole to a file."""
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        sys.stdout.write(text)
        raise UsageError(
            f"cannot be written ({error.strerror}); the result is on stdout instead", where=output
        ) from error
