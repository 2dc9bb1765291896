"""``agm data``: datasets of the benchmark, and one's own."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from audiogen_metrics.cli.common import (
    Subparsers,
    add_caption_option,
    add_output_option,
    say,
    say_warning,
    show,
    write_result,
)
from audiogen_metrics.cli.flags import add_flags
from audiogen_metrics.cli.parsing import Known, at_least, output_folder
from audiogen_metrics.errors import CheckFailedError, MissingDependencyError
from audiogen_metrics.rendering import FORMATS
from audiogen_metrics.run_options import EmbeddingOptions

if TYPE_CHECKING:
    from audiogen_metrics.datasets.base import Dataset, DatasetInfo


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("data", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="what is known, and how it must lie on the disk", allow_abbrev=False)
    listing.set_defaults(run=list_datasets)

    check = commands.add_parser(
        "check",
        help="decode every clip; exit code 5 if one cannot be used",
        description="Say what is there, what is missing and what is odd. NAME is a dataset of "
        "agm list datasets, or folder for your own: a folder, or a table: .csv, .tsv, .jsonl, .json or .parquet.",
        allow_abbrev=False,
    )
    _add_source(check)
    check.add_argument("--format", choices=FORMATS["Check"], default="text", help="json names every clip")
    add_output_option(check)
    check.set_defaults(run=check_dataset)

    export = commands.add_parser(
        "export", help="write prompts and references for another generator", allow_abbrev=False
    )
    _add_source(export)
    export.add_argument("-o", "--output", type=output_folder, required=True, metavar="OUT", help="new or empty folder")
    export.add_argument("--split", metavar="RULE", help="evaluation clips only: paper, paper:400, fold:5 or list:FILE")
    export.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="seed of the split and of the choice of captions (default: %(default)s)",
    )
    add_caption_option(
        export,
        "first",
        "which of several captions of a clip is taken; all writes a line for each (default: %(default)s)",
    )
    export.add_argument(
        "--template",
        default="label",
        metavar="TEXT",
        help="label, sentence, or text with {label} (default: %(default)s)",
    )
    export.set_defaults(run=export_dataset)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", type=Known(_names), help="%(type)s, or folder")
    parser.add_argument("root", metavar="ROOT", help="the folder that it unpacks to")
    add_flags(parser, EmbeddingOptions, "suffixes")


def _names() -> list[str]:
    from audiogen_metrics.datasets import DATASETS

    return DATASETS.names()


def list_datasets(_: argparse.Namespace) -> int:
    """Print every dataset with licence and layout."""
    from audiogen_metrics.datasets import DATASETS

    lines = []
    for name in DATASETS.names():
        try:
            info = DATASETS.get(name)
        except MissingDependencyError as error:
            lines.append(f"{name}: {error}\n")
            continue
        lines.append(
            f"{name}: {info.title}\n  {info.url}\n  licence: {info.licence}\n  layout: {info.layout}\n"
            f"  {info.citation}\n"
        )
    write_result("".join(lines), None)
    return 0


def check_dataset(arguments: argparse.Namespace) -> int:
    """Check a dataset; CheckFailedError if a clip cannot be used."""
    from audiogen_metrics.datasets.checking import check

    dataset, info = _open(arguments)
    found = check(dataset, info, progress=sys.stderr.isatty())
    show(found, arguments)
    if not found.is_usable:
        raise CheckFailedError(f"{found.clips - found.present} of {found.clips} clips cannot be used", arguments.root)
    return 0


def export_dataset(arguments: argparse.Namespace) -> int:
    """Write prompts and references."""
    from audiogen_metrics.datasets.checking import export
    from audiogen_metrics.datasets.splits import split_by

    dataset, _ = _open(arguments)
    for remark in dataset.remarks:
        say_warning(remark)
    if arguments.split is not None:
        split = split_by(dataset, arguments.split, arguments.seed)
        for warning in split.warnings:
            say_warning(warning)
        dataset = split.evaluation
    if dataset.lacking:
        say_warning(dataset.lacking)
    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        warnings.simplefilter("always")
        count = export(dataset, arguments.output, arguments.template, caption=arguments.caption, seed=arguments.seed)
    say(f"{arguments.output}: prompts and references of {count} clips")
    return 0


def _open(arguments: argparse.Namespace) -> tuple[Dataset, DatasetInfo | None]:
    from audiogen_metrics.datasets import DATASETS
    from audiogen_metrics.datasets.folder import open_dataset

    if arguments.name == "folder":
        return open_dataset(arguments.root, arguments.suffix), None
    return open_dataset(f"{arguments.name}={arguments.root}", arguments.suffix), DATASETS.get(arguments.name)
