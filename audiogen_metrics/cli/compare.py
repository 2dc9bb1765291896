"""``agm compare GEN_A GEN_B [REF]``: which of two systems is better, and how sure is that."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from audiogen_metrics.cli.common import (
    Subparsers,
    add_backbone_options,
    add_extraction_options,
    add_format_options,
    add_metrics_option,
    add_pairs_option,
    add_prompts_option,
    add_protocol_option,
    add_trust_reference_option,
    extraction_arguments,
    page_as_result,
    say_what_is_lacking,
    show,
)
from audiogen_metrics.cli.parsing import at_least, output_file
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.rendering import FORMATS

if TYPE_CHECKING:
    from audiogen_metrics.evaluation.compare import Systems


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "compare",
        description="Compare two folders of generated audio against one folder of references: the difference of every "
        "score with its 95 % interval and p, and which is better if both agree. Metrics that look at generated audio "
        "alone need no reference.",
        allow_abbrev=False,
    )
    parser.add_argument("gen_a", metavar="GEN_A", help="clips of system A")
    parser.add_argument("gen_b", metavar="GEN_B", help="clips of system B; of the same prompts if it can be")
    parser.add_argument(
        "ref",
        nargs="?",
        metavar="REF",
        help="folder of reference audio, or statistics as agm score takes them; without it, only metrics that need "
        "none are compared",
    )
    add_metrics_option(parser, " (default: those of the protocol that can be compared)")
    parser.add_argument(
        "--permutations", type=at_least(0), default=199, metavar="N", help="of the test; 0: none (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N", help="of all that is drawn (default: %(default)s)"
    )
    add_pairs_option(parser)
    add_prompts_option(parser)
    add_trust_reference_option(parser)
    add_protocol_option(parser)
    add_backbone_options(parser)
    add_extraction_options(parser)
    parser.add_argument(
        "--html",
        type=output_file,
        metavar="FILE",
        help="also write a page with the prompts where they differ most, to hear",
    )
    add_format_options(parser, FORMATS["Comparison"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and write the result."""
    from audiogen_metrics.evaluation.compare import compare

    page_as_result(arguments)

    seen: list[Systems] = []
    found = compare(
        arguments.gen_a,
        arguments.gen_b,
        arguments.ref,
        metrics=arguments.metrics,
        protocol=arguments.protocol,
        backbone=arguments.backbone,
        permutations=arguments.permutations,
        pairs=arguments.pairs,
        prompts=arguments.prompts,
        trust_reference=arguments.trust_reference,
        seed=arguments.seed,
        observe=seen.append,
        **extraction_arguments(arguments),
    )
    given = {"ref": arguments.ref is not None, "prompts": arguments.prompts is not None}
    recipes = get_protocol(arguments.protocol).select(None, None if arguments.metrics else arguments.backbone)
    say_what_is_lacking(recipes, **given, by_name=arguments.metrics is not None)
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        files.append(lambda: found.to_html(arguments.html, seen[0]))
    show(found, arguments, files)
    return 0
