"""Parse the command line, run one subcommand, turn errors into exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from audiogen_metrics import __version__
from audiogen_metrics.backbones.hub import trust_remote_code
from audiogen_metrics.cli import (
    bench,
    cache,
    clap,
    compare,
    completion,
    convert,
    copies,
    correlate,
    data,
    doctor,
    embed,
    finetune,
    generate,
    importing,
    listing,
    probe,
    protocols,
    scoring,
    selftest,
    stats,
    study,
    verify,
    weights,
)
from audiogen_metrics.cli.common import say, saying_problems
from audiogen_metrics.cli.parsing import Parser
from audiogen_metrics.cli.streams import ready
from audiogen_metrics.errors import AudiogenMetricsError, DataError, speaking_flags

EXIT_CODES = """\
exit codes: 0 ok, 1 bug, 2 usage, 3 bad or insufficient data, 4 missing weights, extra or connection,
5 a requested check failed, 6 numerics, 130 interrupted"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="agm",
        description="Measure audio generators: FD, FAD, IS and KL, exact, cached, honest about what was scored.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"audiogen-metrics {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    models = (generate, finetune, convert, data, bench)
    measures = (scoring, verify, importing, compare, copies, clap, correlate, embed, stats, protocols, probe, study)
    for command in (*measures, *models, listing, weights, cache, doctor, selftest, completion):
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with ready(), speaking_flags():
        try:
            try:
                parser = build_parser()
                if not (sys.argv[1:] if arguments is None else arguments):
                    parser.print_help()
                    return 0
                parsed = parser.parse_args(arguments)
                with saying_problems(), trust_remote_code(getattr(parsed, "trust_remote_code", False)):
                    code: int = parsed.run(parsed)
            finally:
                sys.stdout.flush()  # a full disk is an error of ours, not of the interpreter on its way out
        except AudiogenMetricsError as error:
            print(f"agm: error: {error}", file=sys.stderr)
            return error.exit_code
        except OSError as error:
            if error.filename is None:
                raise
            # What the file system says of a path is no bug: a folder that may not be entered, a name that is too long.
            say(f"agm: error: {error.filename}: cannot be used ({error.strerror})")
            return DataError.exit_code
        except KeyboardInterrupt:
            say("agm: interrupted; what was finished is kept, embeddings in the cache")
            return 130
        return code


def entry() -> None:
    """Console script."""
    sys.exit(main())
