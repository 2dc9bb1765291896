"""``agm selftest``: are the numbers of this installation those that others have published?"""

from __future__ import annotations

import argparse

from audiogen_metrics.cli.common import Subparsers, add_format_options, show
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.errors import CheckFailedError, MissingDependencyError, MissingWeightsError
from audiogen_metrics.rendering import FORMATS
from audiogen_metrics.run_options import SelftestOptions


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "selftest",
        description="Make 24 seeded clips, score them on every network whose weights are on this machine, and compare "
        "with the values that others have published for these clips, within 3e-4 of each. What cannot be computed is "
        "listed with what it needs; nothing is downloaded. Exits with 5 if anything differs.",
        allow_abbrev=False,
    )
    add_options(parser, SelftestOptions)
    parser.add_argument(
        "--fma-pop",
        metavar="FILE",
        help="stats/fma_pop.npz of fadtk 1.1.0, the reference of one answer (default: that of an installed fadtk)",
    )
    parser.add_argument(
        "--audio",
        metavar="FOLDER",
        help="also resample the files of this folder by this library and by torchaudio and resampy, and compare every "
        "sample; those come with the extra reference",
    )
    add_format_options(parser, FORMATS["Selftest"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write what was found; raise where something differs, or where nothing could be compared."""
    from audiogen_metrics.selftest import selftest

    found = selftest(fma_pop=arguments.fma_pop, audio=arguments.audio, **arguments_of(arguments, SelftestOptions))
    show(found, arguments)
    if found.differences:
        count = len(found.differences)
        raise CheckFailedError(f"{count} difference{'s' * (count > 1)}: {'; '.join(found.differences)}")
    if not found.found:
        raise MissingWeightsError(
            "no known answer can be computed on this machine",
            fix="Install the network that comes with pip: pip install 'audiogen-metrics[yamnet]'",
        )
    if found.resamplers is not None and not found.resamplers.rows:
        raise MissingDependencyError(
            "neither torchaudio nor resampy can be imported",
            where="--audio",
            fix="Install them: pip install 'audiogen-metrics[reference]'",
        )
    return 0
