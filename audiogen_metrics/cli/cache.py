"""``agm cache info|prune|verify``."""

from __future__ import annotations

import argparse
import json

from audiogen_metrics.cli.common import Subparsers, add_format_options, write_result
from audiogen_metrics.cli.parsing import between
from audiogen_metrics.errors import DataError


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "cache", help="look after the cached embeddings", description="Look after the cached embeddings."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = actions.add_parser("info", help="where the cache is and what it holds", allow_abbrev=False)
    add_format_options(info, ["table", "json"])
    info.set_defaults(run=run_info)
    prune = actions.add_parser("prune", help="remove embeddings that were cached long ago", allow_abbrev=False)
    prune.add_argument(
        "--older-than",
        type=between(0),
        default=30.0,
        metavar="DAYS",
        help="remove what was written earlier; at least 1, as younger files may be in use (default: %(default)g)",
    )
    prune.add_argument("--all", action="store_true", help="remove everything, however young")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.set_defaults(run=run_prune)
    verify = actions.add_parser(
        "verify", help="read everything and report damage; exits with 3 if there is any", allow_abbrev=False
    )
    verify.set_defaults(run=run_verify)


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


def run_prune(arguments: argparse.Namespace) -> int:
    """Remove old shards and say how much that was."""
    from audiogen_metrics.embedding.cache import embeddings_folder, prune

    pruned = prune(embeddings_folder(), arguments.older_than, arguments.all, arguments.dry_run)
    done = "would remove" if arguments.dry_run else "removed"
    write_result(f"{done} {pruned.files} files, {pruned.size / 2**20:.1f} MB, in {embeddings_folder()}\n", None)
    return 0


def run_verify(_arguments: argparse.Namespace) -> int:
    """Print the damaged shards; 3 if there are any."""
    from audiogen_metrics.embedding.cache import damaged_shards, embeddings_folder, shards

    damaged = damaged_shards(embeddings_folder())
    lines = [f"damaged  {shard}: {reason}\n" for shard, reason in damaged.items()]
    lines.append(f"{len(shards(embeddings_folder())) - len(damaged)} shards are sound, {len(damaged)} damaged\n")
    if damaged:
        lines.append("Damaged shards are never used; delete them to be rid of this message\n")
    write_result("".join(lines), None)
    return DataError.exit_code if damaged else 0
