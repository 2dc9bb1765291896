"""``agm score GEN REF``."""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics import distributed
from audiogen_metrics.cli.common import (
    Subparsers,
    add_extraction_options,
    add_format_options,
    add_metrics_option,
    add_processes_option,
    add_protocol_option,
    check_processes,
    extraction_arguments,
    note_said,
    page_as_result,
    say,
    say_warning,
    write_result,
)
from audiogen_metrics.cli.parsing import at_least, output_file, plot_file
from audiogen_metrics.errors import CheckFailedError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.protocols import METRICS, get_protocol, split_names
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.report.html import write_page
from audiogen_metrics.report.tables import to_csv, to_latex, to_markdown
from audiogen_metrics.results import ScoreReport

if TYPE_CHECKING:
    from audiogen_metrics.embedding.evidence import Evidence

_CHECK = re.compile(
    r"\s*(?P<score>\w+)\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}

FORMATS: dict[str, Callable[[ScoreReport], str]] = {
    "table": lambda report: f"{report}\n",
    "json": ScoreReport.to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
}

WARN_ON_STDERR = ("json", "csv", "latex", "html")
"""Formats whose text does not show the warnings to somebody who looks at it."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "score",
        help="score a folder of generated audio against a folder of references",
        description="Score a folder of generated audio against a folder of references, or their statistics. "
        "Clips pair by clip id: the path below the folder, without suffix.",
        allow_abbrev=False,
    )
    parser.add_argument("gen", metavar="GEN", help="folder of generated audio")
    parser.add_argument("ref", metavar="REF", help="folder of reference audio, or a file made by agm stats build")
    add_metrics_option(
        parser, f"comma-separated: {','.join(METRICS)}, or all; named metrics must be computable (default: what can be)"
    )
    add_protocol_option(parser)
    add_extraction_options(parser)
    parser.add_argument(
        "--pairing",
        choices=["auto", "id", "none"],
        default="auto",
        help="auto: pair what matches; id: every clip must match; none: no KL (default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=at_least(1), metavar="N", help="score the first N clips of each set only, paired ones first"
    )
    parser.add_argument("--strict", action="store_true", help="a file that must be skipped is an error")
    parser.add_argument(
        "--no-ci", action="store_true", help="leave out 95 %% intervals and the reference's own noise floor"
    )
    parser.add_argument(
        "--extrapolate",
        type=plot_file,
        metavar="PLOT",
        help="also what FD and FAD would be at infinite n of gen, and the fit as .svg or .png",
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="'ID>X'",
        help="exit with 5 if this holds, for example 'fad_vggish>5' (repeatable)",
    )
    parser.add_argument(
        "--html",
        type=output_file,
        metavar="FILE",
        help="also write a page with players, map, classes, worst and best clips",
    )
    add_processes_option(parser)
    add_format_options(parser, [*FORMATS, "html"])
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score, write the result, check the bounds."""
    page_as_result(arguments)
    protocol, metrics = get_protocol(arguments.protocol), arguments.metrics
    if metrics is not None and "all" in (names := split_names(metrics)):
        metrics = [*protocol.recipes, *(name for name in names if name != "all")]
    recipes = protocol.select(metrics)
    if arguments.extrapolate is not None and not any(recipe.metric in ("fd", "fad") for recipe in recipes):
        raise UsageError("there is no FD or FAD to extrapolate", where="--extrapolate", fix="Name one with -m")
    checks = [Check.parse(text, [recipe.score_id for recipe in recipes]) for text in arguments.fail_if]
    several = check_processes(arguments)
    seen: list[Evidence] = []
    report = score(
        arguments.gen,
        arguments.ref,
        metrics=metrics,
        protocol=arguments.protocol,
        pairing=arguments.pairing,
        limit=arguments.limit,
        strict=arguments.strict,
        ci=not arguments.no_ci,
        extrapolate=arguments.extrapolate is not None,
        distributed=several and distributed.join(),
        observe=seen.append,
        **extraction_arguments(arguments),
    )
    failed = [text for check in checks if (text := check.failure(report)) is not None]
    if distributed.rank() == 0:
        show(report, arguments, seen)
    if failed:
        raise CheckFailedError("; ".join(failed))
    return 0


def show(report: ScoreReport, arguments: argparse.Namespace, seen: Sequence[Evidence]) -> None:
    """Write a report where it was asked for, and what to know of it on stderr."""
    for name, summary in (("gen", report.gen), ("ref", report.ref)):
        say(f"{name}: scored {summary.scored} of {summary.found} clips in {summary.path}")
    if arguments.format in WARN_ON_STDERR:
        for warning in report.warnings:
            say_warning(warning)
    elif arguments.output is None:
        note_said(report.problems)
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        files.append(lambda: write_page(report, seen[0], arguments.html))
    if arguments.extrapolate is not None:
        files.append(lambda: draw_fits(seen[0], arguments.extrapolate))
    text = "" if arguments.format == "html" else FORMATS[arguments.format](report)
    write_result(text, arguments.output, arguments.format, files)


def draw_fits(evidence: Evidence, path: Path) -> None:
    """Draw every Fréchet score over 1 / n, with its line."""
    from audiogen_metrics.confidence import fit_size
    from audiogen_metrics.report.plots import Curve, Panel, draw

    panels = []
    for recipe in evidence.recipes:
        if recipe.metric in ("fd", "fad"):
            fit = fit_size(recipe, evidence.gen.features(recipe), evidence.ref.features(recipe))
            x = [1 / size for size in fit.sizes]
            line = [fit.value, fit.value + fit.slope * x[-1]]
            points = Curve("subsets", 0, x, fit.distances, fit.distances, fit.distances)
            fitted = Curve("line", 1, [0, x[-1]], line, line, line)
            title = f"{fit.value:.4g} at infinite n, R² {fit.r_squared:.3f}"
            panels.append(Panel(title, "1 / n", recipe.score_id, [points, fitted]))
    draw([panels], path)


@dataclass(frozen=True)
class Check:
    """A bound that must not be crossed: ``fad_vggish>5`` fails if the score is above 5, or has no value."""

    score_id: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str, score_ids: list[str]) -> Check:
        """Read a check; UsageError if it is malformed or about a score that is not computed."""
        match = _CHECK.fullmatch(text)
        if match is None:
            raise UsageError(f"cannot read the check {text!r}", where="--fail-if", fix="Write it like 'fad_vggish>5'")
        if match["score"] not in score_ids:
            raise unknown_name("score", match["score"], score_ids)
        return cls(match["score"], match["sign"], float(match["bound"]))

    def failure(self, report: ScoreReport) -> str | None:
        """Return what failed, or None."""
        value = report[self.score_id].value
        if value is None:
            return f"{self.score_id} has no value ({report[self.score_id].reason})"
        if _SIGNS[self.sign](value, self.bound):
            return f"{self.score_id} = {value:.6g} is {self.sign} {self.bound:g}"
        return None
