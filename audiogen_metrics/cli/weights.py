"""``agm weights``: list, fetch, verify and locate the weights of networks."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiogen_metrics.backbones.hub import PREFIX, HubName, Snapshot, fetch_hub, locate, used
from audiogen_metrics.backbones.licences import Terms, terms_of_entry, terms_of_snapshot
from audiogen_metrics.backbones.published import WEIGHTS, WeightsEntry
from audiogen_metrics.backbones.weights import candidates, examine, fetch, find, weights_dir
from audiogen_metrics.cli.common import Subparsers, say, write_result
from audiogen_metrics.errors import AudiogenMetricsError, MissingWeightsError
from audiogen_metrics.rendering import FORMATS
from audiogen_metrics.text import byte_size
from audiogen_metrics.writing import json_text

_NAME = "a name of agm weights list, or hf:OWNER/NAME[@revision=SHA]"


def add_parser(subparsers: Subparsers) -> None:
    """Add ``weights`` and its sub-commands to the command line."""
    parser = subparsers.add_parser("weights")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser(
        "list",
        help="list all published weights, and the networks of the hub that were used here: size, digest, licences, and "
        "where they are on this machine",
        allow_abbrev=False,
    )
    listing.add_argument(
        "--commercial", action="store_true", help="list only those whose licences are known to allow commercial use"
    )
    listing.add_argument(
        "--format", choices=FORMATS["Facts"], default="table", help="format of the result (default: %(default)s)"
    )
    fetching = actions.add_parser("fetch", help="download what is not here yet, and print where all of it is")
    fetching.add_argument("names", nargs="+", metavar="NAME", help=_NAME)
    verifying = actions.add_parser(
        "verify", help="hash weights on this machine again, and compare with their known digests"
    )
    verifying.add_argument("names", nargs="*", metavar="NAME", help=f"{_NAME} (default: everything that is here)")
    locating = actions.add_parser(
        "path", help="print the file that is used for a name, or a network's folder for one of the hub"
    )
    locating.add_argument("name", metavar="NAME", help=_NAME)


def run(arguments: argparse.Namespace) -> int:
    """Run ``agm weights``; return the exit code."""
    if arguments.action == "list":
        return _list(arguments.format, getattr(arguments, "commercial", False))
    if arguments.action == "fetch":
        return _fetch(arguments.names)
    if arguments.action == "verify":
        return _verify(arguments.names)
    name = arguments.name
    print(locate(HubName.parse(name)).folder if name.startswith(PREFIX) else find(WEIGHTS.get(name)))
    return 0


def _list(form: str, commercial: bool) -> int:
    rows = [
        row
        for row in (*map(_row, map(WEIGHTS.get, WEIGHTS.names())), *_hub_rows())
        if not commercial or row[1].commercial
    ]
    if form == "json":
        told = [
            row | {"code": terms.code, "licence": terms.weights, "commercial": terms.commercial} for row, terms in rows
        ]
        write_result(json_text(told) + "\n", None, "json")
        return 0
    cells = [("name", "size", "sha256", "licence of weights", "of code", "commercial use", "file")]
    for row, terms in rows:
        size = byte_size(row["size"]) if row["size"] is not None else "unknown"
        digest = f"{row['sha256'][:12]}…" if row["sha256"] else "not published"
        cells.append((row["name"], size, digest, terms.weights, terms.code, terms.answer, row["path"] or "missing"))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"\nFor a machine without a connection, download these elsewhere and put them into {weights_dir()}:")
    for row, _ in rows:
        if "file_name" in row:
            digest = row["sha256"] or "no published digest: the first file is trusted".ljust(64)
            print("\n".join([f"{digest}  {row['file_name']}", *(f"    {url}" for url in row["urls"])]))
    print("\nWhere each file is looked for, in this order: agm weights list --format json")
    return 0


def _row(entry: WeightsEntry) -> tuple[dict[str, Any], Terms]:
    path = _place(entry)
    places = {"path": str(path) if path else None, "looked_for": [str(place) for place in candidates(entry)]}
    return asdict(entry) | places, terms_of_entry(entry)


def _hub_rows() -> list[tuple[dict[str, Any], Terms]]:
    """Return a row for each network of the hub that was used here; one whose files are gone says so."""
    rows = []
    for name in used():
        row: dict[str, Any] = {"name": str(name), "size": None, "sha256": None, "path": None}
        terms = Terms("unknown", "unknown", None)
        try:
            snapshot = locate(name)
            digests, terms = snapshot.digests(), terms_of_snapshot(snapshot)
        except AudiogenMetricsError as error:
            rows.append((row | {"problem": str(error)}, terms))
            continue
        size = sum(file.stat().st_size for file in snapshot.weights)
        first = digests[snapshot.weights[0].name]
        rows.append((row | {"size": size, "sha256": first, "files": digests, "path": str(snapshot.folder)}, terms))
    return rows


def _place(entry: WeightsEntry) -> Path | None:
    try:
        return find(entry)
    except MissingWeightsError:
        return None


def _fetch(names: list[str]) -> int:
    known = {name: None if name.startswith(PREFIX) else WEIGHTS.get(name) for name in names}
    for name, entry in known.items():
        print(_fetch_hub(HubName.parse(name)) if entry is None else _fetch_entry(entry))
    return 0


def _fetch_entry(entry: WeightsEntry) -> Path:
    path = _place(entry)
    if path is not None:
        say(f"{entry.name}: here already")
        return path
    say(f"{entry.name}: {entry.licence}; please cite {entry.citation}")
    return fetch(entry)


def _fetch_hub(name: HubName) -> Path:
    try:
        snapshot = locate(name)
        snapshot.digests()
        say(f"{name.files}: here already")
    except MissingWeightsError:
        snapshot = fetch_hub(name)
    terms = terms_of_snapshot(snapshot)
    say(f"{name.files}: revision {snapshot.revision}; {terms.weights}; commercial use: {terms.answer}")
    return snapshot.folder


def _verify(names: list[str]) -> int:
    """Print one line per file; fail for a wrong one, and for a name without any."""
    code = 0
    hub = [HubName.parse(name) for name in names if name.startswith(PREFIX)] if names else used()
    published = [name for name in names if not name.startswith(PREFIX)] if names else WEIGHTS.names()
    for entry in map(WEIGHTS.get, published):
        verdicts = {path: examine(entry, path, memo=False) for path in candidates(entry)}
        present = {path: problem for path, problem in verdicts.items() if problem != ""}
        for path, problem in present.items():
            print(f"{entry.name}  {problem or 'ok'}  {path}")
            if problem:
                code = MissingWeightsError.exit_code
        if not present and names:
            print(f"{entry.name}  missing")
            code = MissingWeightsError.exit_code
    for name in hub:
        try:
            snapshot: Snapshot = locate(name)
            for file in snapshot.digests(memo=False):
                print(f"{name.files}  ok  {snapshot.folder / file}")
        except MissingWeightsError as error:
            print(f"{name.files}  {error}")
            code = MissingWeightsError.exit_code
    return code
