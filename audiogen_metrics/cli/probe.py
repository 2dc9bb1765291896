"""``agm probe IN OUT``: a corrupted copy of a folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from audiogen_metrics.cli.common import Subparsers, parse_settings, say
from audiogen_metrics.cli.flags import add_flags
from audiogen_metrics.cli.parsing import at_least, between
from audiogen_metrics.run_options import EmbeddingOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "probe",
        description="Corrupt every clip of a folder with one probe. Clips keep their ids and become mono float32 WAV; "
        "manifest.json says what was done to each. Equal seeds give equal copies, with any number of workers.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="IN", help="folder of audio")
    parser.add_argument("target", metavar="OUT", help="new or empty folder")
    parser.add_argument("--probe", required=True, metavar="NAME", help="name of the probe, as in agm list probes")
    parser.add_argument(
        "--severity", type=between(0, 1), default=1.0, metavar="S", help="from 0 (nothing) to 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="seed, 0 or more (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the probe, such as snr_db=10 or mel.hop=128 (repeatable)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="classes, in the columns clip_id and label (default: the first sub-folder of each clip)",
    )
    parser.add_argument(
        "--events",
        type=at_least(1),
        metavar="N",
        help="events in a sequence, for probes that reorder them (default: 4)",
    )
    add_flags(parser, EmbeddingOptions, "workers", "suffixes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the copy; name what was skipped on stderr."""
    from audiogen_metrics.probes.copying import CopyOptions, corrupt_folder

    manifest = corrupt_folder(
        arguments.source,
        arguments.target,
        CopyOptions(
            probe=arguments.probe,
            severity=arguments.severity,
            seed=arguments.seed,
            settings=parse_settings(arguments.set),
            labels=arguments.labels,
            events=arguments.events,
            workers=arguments.workers,
            progress=sys.stderr.isatty(),
            suffixes=arguments.suffix,
        ),
    )
    for skip in manifest["skipped"]:
        say(f"warning: skipped {skip['file'] or skip['clip_id']}: {skip['reason']}")
    for line in manifest["remedies"]:
        say(f"warning: {line}")
    total = len(manifest["clips"]) + len(manifest["skipped"])
    say(f"{arguments.target}: {len(manifest['clips'])} of {total} clips")
    return 0
