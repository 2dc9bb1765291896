"""``agm cache info|prune|verify``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from audiogen_metrics.cli.common import Subparsers, add_format_options, show, write_result
from audiogen_metrics.cli.parsing import between
from audiogen_metrics.errors import DataError
from audiogen_metrics.rendering import FORMATS, Facts
from audiogen_metrics.settings import require_lasting_cache


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("cache", description="Look after the cache folder.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = actions.add_parser("info", help="where the cache is and what it holds", allow_abbrev=False)
    add_format_options(info, FORMATS["Facts"])
    info.set_defaults(run=run_info)
    prune = actions.add_parser("prune", help="remove embeddings that were cached long ago", allow_abbrev=False)
    prune.add_argument(
        "--older-than",
        type=between(0),
        default=30.0,
        metavar="DAYS",
        help="remove what is older; at least 1, as younger files may be in use (default: %(default)g)",
    )
    prune.add_argument("--all", action="store_true", help="remove all embeddings, however young")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.set_defaults(run=run_prune)
    verify = actions.add_parser(
        "verify", help="read all embeddings and report damage; exits with 3 if there is any", allow_abbrev=False
    )
    verify.set_defaults(run=run_verify)


def run_info(arguments: argparse.Namespace) -> int:
    """Print place and size of the cache, by kind and, for embeddings, by backbone and preprocessing."""
    from audiogen_metrics.embedding.cache import embeddings_folder
    from audiogen_metrics.embedding.housekeeping import Amount, summarise, usage
    from audiogen_metrics.settings import cache_dir

    require_lasting_cache()
    with listing():
        kinds, spaces = usage(cache_dir()), summarise(embeddings_folder())
    total = sum(kinds.values(), Amount())
    content = {
        "cache": str(cache_dir()),
        "folder": str(embeddings_folder()),
        "spaces": spaces,
        "kinds": {kind: {"files": amount.files, "bytes": amount.size} for kind, amount in kinds.items()},
        "files": total.files,
        "bytes": total.size,
    }
    lines = [f"{cache_dir()}: {total if total.files else 'empty'}"]
    for kind, amount in kinds.items():
        if amount.files:
            lines.append(f"    {kind}: {amount}")
        for space in spaces if kind == "embeddings" else []:
            size = space["bytes"] / 2**20
            lines.append(f"        {space['name']}: {space['clips']} clips, {space['shards']} shards, {size:.1f} MB")
            lines += [f"            unreadable  {name}: {reason}" for name, reason in space["damaged"].items()]
    show(Facts(content, "\n".join(lines)), arguments)
    return 0


def run_prune(arguments: argparse.Namespace) -> int:
    """Remove old shards and say how much that was."""
    from audiogen_metrics.embedding.cache import embeddings_folder
    from audiogen_metrics.embedding.housekeeping import prune

    require_lasting_cache()
    with listing():
        pruned = prune(embeddings_folder(), arguments.older_than, arguments.all, arguments.dry_run)
    done = "would remove" if arguments.dry_run else "removed"
    write_result(f"{done} {pruned} in {embeddings_folder()}\n", None)
    return 0


def run_verify(_arguments: argparse.Namespace) -> int:
    """Print the damaged shards; 3 if there are any."""
    from audiogen_metrics.embedding.cache import embeddings_folder, shards
    from audiogen_metrics.embedding.housekeeping import damaged_shards

    require_lasting_cache()
    with listing():
        damaged, found = damaged_shards(embeddings_folder()), shards(embeddings_folder())
    lines = [f"damaged  {shard}: {reason}\n" for shard, reason in damaged.items()]
    lines.append(f"{len(found) - len(damaged)} shards are sound, {len(damaged)} damaged\n")
    if damaged:
        lines.append("Damaged shards are never used; delete them to be rid of this message\n")
    write_result("".join(lines), None)
    return DataError.exit_code if damaged else 0


@contextmanager
def listing() -> Iterator[None]:
    """Turn trouble with folders into an error that names them."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot be listed or changed ({error.strerror})",
            where=error.filename,
            fix="Run this as the owner of the cache, or set AGM_CACHE_DIR to a folder of your own",
        ) from error
