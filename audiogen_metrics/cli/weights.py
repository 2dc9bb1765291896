"""``agm weights``: list, fetch, verify and locate the published network weights."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from audiogen_metrics.backbones.weights import WEIGHTS, WeightsEntry, candidates, examine, fetch, find, weights_dir
from audiogen_metrics.cli.common import Subparsers, say, write_result
from audiogen_metrics.errors import MissingWeightsError


def add_parser(subparsers: Subparsers) -> None:
    """Add ``weights`` and its sub-commands to the command line."""
    parser = subparsers.add_parser("weights", help="list, fetch and verify published network weights")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser(
        "list", help="all published weights, and where they are on this machine", allow_abbrev=False
    )
    listing.add_argument(
        "--format", choices=["table", "json"], default="table", help="of the result (default: %(default)s)"
    )
    fetching = actions.add_parser("fetch", help="download weights, unless they are here, and print their files")
    fetching.add_argument("names", nargs="+", metavar="NAME", help="of a backbone, as listed")
    verifying = actions.add_parser("verify", help="hash all weights on this machine anew")
    verifying.add_argument("names", nargs="*", metavar="NAME", help="default: all that are here")
    locating = actions.add_parser("path", help="print the file that is used for a name")
    locating.add_argument("name", metavar="NAME", help="of a backbone, as listed")


def run(arguments: argparse.Namespace) -> int:
    """Run ``agm weights``; return the exit code."""
    if arguments.action == "list":
        return _list(arguments.format)
    if arguments.action == "fetch":
        return _fetch(arguments.names)
    if arguments.action == "verify":
        return _verify(arguments.names)
    print(find(WEIGHTS.get(arguments.name)))
    return 0


def _list(form: str) -> int:
    entries = [WEIGHTS.get(name) for name in WEIGHTS.names()]
    places = {entry.name: _place(entry) for entry in entries}
    if form == "json":
        rows = [asdict(entry) | {"path": str(path) if (path := places[entry.name]) else None} for entry in entries]
        write_result(json.dumps(rows, indent=2) + "\n", None, "json")
        return 0
    cells = [("name", "size", "licence", "file")]
    for entry in entries:
        size = f"{entry.size / 1e6:.0f} MB" if entry.size is not None else "unknown"
        cells.append((entry.name, size, entry.licence, str(places[entry.name] or "missing")))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nFor a machine without connection, fetch these elsewhere and put them into {weights_dir()}:")
    for entry in entries:
        digest = entry.sha256 or "no published digest: the first file is trusted".ljust(64)
        print("\n".join([f"{digest}  {entry.file_name}", *(f"    {url}" for url in entry.urls)]))
    return 0


def _place(entry: WeightsEntry) -> Path | None:
    try:
        return find(entry)
    except MissingWeightsError:
        return None


def _fetch(names: list[str]) -> int:
    for entry in [WEIGHTS.get(name) for name in names]:
        path = _place(entry)
        if path is not None:
            say(f"{entry.name}: here already")
        else:
            say(f"{entry.name}: {entry.licence}; please cite {entry.citation}")
            path = fetch(entry)
        print(path)
    return 0


def _verify(names: list[str]) -> int:
    """Print one line per file; fail for a wrong one, and for a name without any."""
    code = 0
    for entry in [WEIGHTS.get(name) for name in names or WEIGHTS.names()]:
        verdicts = {path: examine(entry, path, memo=False) for path in candidates(entry)}
        present = {path: problem for path, problem in verdicts.items() if problem != ""}
        for path, problem in present.items():
            print(f"{entry.name}  {problem or 'ok'}  {path}")
            if problem:
                code = MissingWeightsError.exit_code
        if not present and names:
            print(f"{entry.name}  missing")
            code = MissingWeightsError.exit_code
    return code
