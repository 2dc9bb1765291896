"""``agm cache info``."""

from __future__ import annotations

import argparse
import json

from audiogen_metrics.cli.common import Subparsers, add_format_options, write_result


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "cache", help="look at the cached embeddings", description="Look at the cached embeddings."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = actions.add_parser("info", help="where the cache is and what it holds", allow_abbrev=False)
    add_format_options(info, ["table", "json"])
    info.set_defaults(run=run_info)


def run_info(arguments: argparse.Namespace) -> int:
    """Print place, clips and size of the cache, by backbone and preprocessing."""
    from audiogen_metrics.embedding.cache import embeddings_folder, summarise

    spaces = summarise(embeddings_folder())
    if arguments.format == "json":
        content = {"folder": str(embeddings_folder()), "spaces": spaces}
        write_result(json.dumps(content, indent=2) + "\n", arguments.output)
        return 0
    lines = [f"{embeddings_folder()}\n"]
    lines += [
        f"    {space['name']}: {space['clips']} clips, {space['shards']} shards, {int(space['bytes']) / 2**20:.1f} MB\n"
        for space in spaces
    ]
    write_result("".join(lines if spaces else [*lines, "    empty\n"]), arguments.output)
    return 0
