"""Parse the command line, run one subcommand, turn errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from audiogen_metrics import __version__, distributed
from audiogen_metrics.cli.common import say, saying_problems
from audiogen_metrics.cli.parsing import Parser
from audiogen_metrics.cli.streams import ready
from audiogen_metrics.errors import AudiogenMetricsError, DataError, speaking_flags

EXIT_CODES = """\
exit codes: 0 ok, 1 bug, 2 usage, 3 bad or insufficient data, 4 missing weights, extra or connection,
5 a requested check failed, 6 numerics, 130 interrupted"""


COMMANDS: dict[str, tuple[str, str]] = {
    "score": ("scoring", "score a folder of generated audio against a folder of references"),
    "verify": ("verify", "compute a report's scores again and say what differs"),
    "import": ("importing", "score features that other tools have written"),
    "compare": ("compare", "say which of two systems is better"),
    "copies": ("copies", "find generated clips that are copies of training clips"),
    "clap": ("clap", "measure how well clips fit their prompts"),
    "correlate": ("correlate", "measure how well a metric agrees with people's ratings"),
    "embed": ("embed", "write the embeddings of a folder to a file"),
    "stats": ("stats", "keep a reference set as one file"),
    "protocols": ("protocols", "compare protocols on the same audio"),
    "probe": ("probe", "write a corrupted copy of a folder"),
    "study": ("study", "find out which damage the metrics can hear"),
    "generate": ("generate", "make clips with AudioLDM"),
    "finetune": ("finetune", "train AudioLDM on your own sounds, scored while it trains"),
    "convert": ("convert", "make AudioLDM's own .ckpt into a folder for diffusers"),
    "data": ("data", "list, check and export datasets"),
    "bench": ("bench", "make the paper's tables and figures"),
    "list": ("listing", "list what there is"),
    "weights": ("weights", "list, fetch and verify network weights"),
    "cache": ("cache", "inspect and clean the cache folder"),
    "doctor": ("doctor", "check this installation"),
    "selftest": ("selftest", "compare the numbers of this installation with published ones"),
    "completion": ("completion", "print a script for completion by the TAB key"),
}
"""Each command's module, which is imported when it is called, and its line in the help."""


class _Subcommands(argparse._SubParsersAction):  # type: ignore[type-arg]  # generic in the stubs alone
    """The commands of `COMMANDS`, whose lines in the help stand there."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().add_parser(name, help=COMMANDS[name][1], **options)
        return parser


def build_parser(called: Collection[str] = COMMANDS.keys()) -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Parameters
    ----------
    called
        The commands whose arguments it shall know; the others have their line in the help, and are not imported.
    """
    parser = Parser(
        prog="agm",
        description="Measure audio generators with FD, FAD, IS, KL, CLAP and other scores.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"audiogen-metrics {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, action=_Subcommands)
    for name, (module, _) in COMMANDS.items():
        if name in called:
            importlib.import_module(f"audiogen_metrics.cli.{module}").add_parser(subparsers)
        else:
            subparsers.add_parser(name)
    return parser


def _trusting(parsed: argparse.Namespace) -> AbstractContextManager[None]:
    if not getattr(parsed, "trust_remote_code", False):
        return nullcontext()
    from audiogen_metrics.backbones.hub import trust_remote_code

    return trust_remote_code(True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with ready(), speaking_flags():
        try:
            try:
                words = sys.argv[1:] if arguments is None else arguments
                parser = build_parser([word for word in words if not word.startswith("-")][:1])
                if not words:
                    parser.print_help()
                    return 0
                parsed = parser.parse_args(words)
                with saying_problems(), _trusting(parsed):
                    code: int = parsed.run(parsed)
            finally:
                sys.stdout.flush()  # a full disk is an error of ours, not of the interpreter on its way out
        except AudiogenMetricsError as error:
            print(f"agm: error: {error}", file=sys.stderr, flush=True)
            distributed.stop(error)
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
    """Run the console script."""
    sys.exit(main())
