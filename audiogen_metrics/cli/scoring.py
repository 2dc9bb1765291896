"""``agm score GEN REF``."""

from __future__ import annotations

import argparse
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics import distributed
from audiogen_metrics.audio.files import printable
from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.cli.common import (
    Subparsers,
    add_format_options,
    add_processes_option,
    check_processes,
    chosen_columns,
    note_said,
    page_as_result,
    parse_settings,
    say,
    say_warning,
    say_what_is_lacking,
    show,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.cli.parsing import output_file, plot_file
from audiogen_metrics.errors import CheckFailedError, UsageError
from audiogen_metrics.evaluation import score
from audiogen_metrics.evaluation.opening import lacks
from audiogen_metrics.options import as_path, split_list
from audiogen_metrics.protocols import Protocol, get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.rendering import FORMATS, HUB, WITHOUT_WARNINGS
from audiogen_metrics.report.fits import draw_fits
from audiogen_metrics.report.hub import check_fields
from audiogen_metrics.report.tables import LATEX_COLUMNS, LATEX_PARTS, clips_to_csv
from audiogen_metrics.run_options import RankingOptions, SystemOptions
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.metrics.recipe import Recipe
    from audiogen_metrics.ranking import Ranking
    from audiogen_metrics.results import ScoreReport

_CHECK = re.compile(
    r"\s*(?P<score>\w+)\s*(?P<sign><=|>=|<|>)\s*(?P<bound>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}

SCORE_COLUMNS = ", ".join((*LATEX_COLUMNS, *LATEX_PARTS)) + " (default: all that are known)"


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "score",
        description="Score a folder of generated audio against a folder of references, or their statistics: "
        "agm score GEN REF, or agm score GEN ... --ref REF, which gives one table of several systems and says which of "
        "them differ beyond chance. Three or more folders need no --ref where no score that is asked for takes one. "
        "Clips pair by clip id: the path below the folder, without suffix.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="GEN",
        help="folder or tar shard of generated audio; a second one is the reference, if --ref does not name it: a "
        "folder, a shard, a file of agm stats build, or others' statistics: an .npz or fadtk's stats folder, with "
        "::NAME behind it for one of several. Without a reference, only metrics that need none are computed",
    )
    parser.add_argument(
        "--ref", metavar="REF", help="the reference; every GEN is then a folder of generated audio, scored against it"
    )
    add_options(parser, RankingOptions, ", or all; named metrics must be computable (default: what can be)")
    parser.add_argument(
        "--commercial",
        action="store_true",
        help="refuse networks whose licences do not allow commercial use, or are not known to",
    )
    parser.add_argument(
        "--differences",
        type=output_file,
        metavar="FILE",
        help="for several systems: also write the difference of every pair in every score as CSV",
    )
    parser.add_argument(
        "--extrapolate",
        nargs="?",
        const=True,
        default=False,
        type=plot_file,
        metavar="PLOT",
        help="also say what FD and FAD would be at infinite n of gen; PLOT draws the fit as .pdf, .svg or .png",
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
        help="also write a page with players, map, classes, worst and best clips; of several systems with their "
        "intervals, differences, worst and best clips",
    )
    parser.add_argument(
        "--hub",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for eval-results and model-index: what the scores do not tell, such as dataset_id=OWNER/NAME, task_id, "
        "model_name (repeatable)",
    )
    parser.add_argument(
        "--per-clip",
        type=output_file,
        metavar="FILE",
        help="also write the scores that are means over clips (KL, CLAP, PQ, ...) of each clip as CSV, which agm "
        "correlate reads",
    )
    add_processes_option(parser)
    add_format_options(parser, FORMATS["ScoreReport"], f"{SCORE_COLUMNS}; of several systems n, score ids, group, ci95")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score, write the result, check the bounds."""
    page_as_result(arguments)
    known = _for_hub(arguments)
    protocol, metrics = get_protocol(arguments.protocol), arguments.metrics
    if arguments.format == "av-benchmark" and protocol.name != arguments.format:
        raise UsageError(
            f"{protocol.name} is not av-benchmark's recipe, so its scores have no names there",
            where="--format",
            fix="Write --protocol av-benchmark",
        )
    systems, ref = _sets(arguments.folders, arguments.ref, _alone(protocol, metrics))
    given = {"ref": ref is not None, "prompts": arguments.prompts is not None}
    every = metrics is None or "all" in split_list(metrics)
    served = protocol.select(None, arguments.backbone if every else None)
    own = [recipe for recipe in served if not lacks(recipe, **given)]
    if metrics is not None and "all" in (names := split_list(metrics)):
        metrics = [*map(protocol.name_of, own), *(name for name in names if name != "all")]
    recipes = own if metrics is None else protocol.select(metrics, arguments.backbone)
    if arguments.extrapolate and not any(recipe.definition.extrapolates for recipe in recipes):
        fix = "Name FD or FAD with -m" if ref is not None else "Pass a reference: FD and FAD need one"
        raise UsageError("nothing here can be extrapolated", where="--extrapolate", fix=fix)
    if arguments.commercial:
        _require_commercial(recipes, parse_weights(arguments.weights))
    several_systems = len(systems) > 1
    columns = (
        chosen_columns(arguments, ("n", *(recipe.score_id for recipe in recipes)), ("group", "ci95"))
        if several_systems
        else chosen_columns(arguments, LATEX_COLUMNS, LATEX_PARTS)
    )
    checks = [Bound.parse(text, [recipe.score_id for recipe in recipes]) for text in arguments.fail_if]
    if len(systems) > 1 and isinstance(arguments.extrapolate, Path):
        raise UsageError("a plot of the extrapolation is about one system", fix="Score one folder at a time")
    if len(systems) > 1 and arguments.format not in FORMATS["Ranking"]:
        raise UsageError("holds one system", where=f"--format {arguments.format}", fix="Score one folder at a time")
    if len(systems) == 1 and (arguments.differences or arguments.permutations is not None):
        option = "--differences" if arguments.differences else "--permutations"
        raise UsageError("only several systems are compared", where=option, fix="Pass their folders, and --ref REF")
    if arguments.no_ci and (arguments.differences or arguments.permutations is not None):
        other = "--differences" if arguments.differences else "--permutations"
        raise UsageError("leaves out what tells systems apart", where="--no-ci", fix=f"Leave out it or {other}")
    several = check_processes(arguments)
    options = {
        **arguments_of(arguments, RankingOptions if several_systems else SystemOptions),
        "metrics": metrics,
        "extrapolate": bool(arguments.extrapolate),
        "distributed": several and distributed.join(),
    }
    seen: list[Evaluation] = []
    ranking: Ranking | None = None
    if len(systems) == 1:
        reports = {"": score(systems[0], ref, observe=seen.append, **options)}
    else:
        from audiogen_metrics.ranking import score_systems

        ranking = score_systems(systems, ref, **options)
        reports = {**ranking.reports}
    failed = [
        f"{label}: {text}" if label else text
        for label, report in reports.items()
        for check in checks
        if (text := check.failure(report)) is not None
    ]
    if distributed.rank() == 0:
        metrics_served = {recipe.metric for recipe in served}
        unserved = [recipe.score_id for recipe in protocol.recipes.values() if recipe.metric not in metrics_served]
        if metrics is None and unserved:
            say(f"{arguments.backbone} does not give what {', '.join(unserved)} would need")
        say_what_is_lacking(served, **given, by_name=metrics is not None)
        if ref is not None and arguments.ref is None and _alone(protocol, metrics):
            say(
                f"{printable(ref)} is taken as the reference, which no score here looks at; "
                "agm compare tells two systems apart without one"
            )
        if given["prompts"] and not any(recipe.definition.prompted for recipe in recipes):
            say("prompts: shown beside clips on the page; for the CLAP score, name it too: -m all,clap")
        if ranking is None:
            _show_one(reports[""], arguments, seen[0], {**columns, **known})
        else:
            _show_several(ranking, arguments, columns)
    if failed:
        raise CheckFailedError("; ".join(failed))
    return 0


def _alone(protocol: Protocol, metrics: Sequence[str] | None) -> bool:
    """Tell whether all that is asked for looks at generated audio alone."""
    named = ["all"] if metrics is None else split_list(metrics)
    recipes = [*protocol.recipes.values()] if "all" in named else []
    if named != ["all"]:
        recipes += protocol.select([name for name in named if name != "all"])
    return all("ref" not in recipe.definition.sides for recipe in recipes)


def _require_commercial(recipes: Sequence[Recipe], given: Mapping[str, Path]) -> None:
    """Raise UsageError unless the licences of all networks allow commercial use; unknown ones do not."""
    from audiogen_metrics.backbones.licences import not_commercial

    refused = not_commercial([recipe.backbone for recipe in recipes], given)
    if refused:
        raise UsageError(
            f"commercial use is not allowed, or not known to be, by the licence of {', '.join(refused)}",
            where="--commercial",
            fix="Choose networks that agm weights list --commercial names, or leave the flag out",
        )


def _sets(folders: Sequence[str], ref: str | None, alone: bool) -> tuple[list[str], str | None]:
    """Return the generated sets and the reference: ``GEN [REF]``, or ``GEN… --ref REF``; ``alone`` needs none."""
    names = ["GEN", "REF"] if ref is None and len(folders) == 2 else ["GEN"] * len(folders)
    for folder, name in [*zip(folders, names, strict=True), *([] if ref is None else [(ref, "--ref")])]:
        as_path(folder, name)
    if ref is not None or len(folders) == 1:
        return [*folders], ref
    if len(folders) > 2:
        if alone:
            return [*folders], None
        raise UsageError(
            f"{len(folders)} folders, and which is the reference is not said", fix=f"Write --ref {folders[-1]}"
        )
    return [folders[0]], folders[1]


def _for_hub(arguments: argparse.Namespace) -> dict[str, str]:
    """Return what ``--hub`` says; UsageError if the format needs something else."""
    known = parse_settings(arguments.hub, "--hub")
    if arguments.format in HUB:
        check_fields(arguments.format, known)
    elif known:
        formats = " or ".join(f"--format {name}" for name in HUB)
        raise UsageError(f"the format {arguments.format} has no place for it", where="--hub", fix=f"Write {formats}")
    return known


def _show_one(report: ScoreReport, arguments: argparse.Namespace, seen: Evaluation, options: Mapping[str, Any]) -> None:
    """Write a report where it was asked for, and what to know of it on stderr."""
    for name, summary in report.inputs().items():
        say(f"{name}: {'scored ' * (summary.scored is not None)}{summary.share} in {summary.path}")
    _warn(report.warnings, report.problems, arguments)
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        from audiogen_metrics.report.html import write_page

        files.append(lambda: write_page(report, seen, arguments.html))
    if arguments.per_clip is not None:
        files.append(lambda: written(clips_to_csv({"": seen}), arguments.per_clip))
    if isinstance(arguments.extrapolate, Path):
        files.append(lambda: draw_fits(seen, arguments.extrapolate))
    if arguments.format in HUB:
        for left in [score for score in report.scores.values() if score.value is None]:
            say(f"{left.id} has no value and is left out: {left.reason}")
    show(report, arguments, files, **options)


def _show_several(ranking: Ranking, arguments: argparse.Namespace, options: Mapping[str, Any]) -> None:
    """Write the table of several systems where it was asked for, and what to know of it on stderr."""
    from audiogen_metrics.ranking.tables import warnings_of

    inputs = {label: report.gen for label, report in ranking.reports.items()}
    inputs |= {"ref": ranking.first.ref} if ranking.first.ref is not None and "ref" not in inputs else {}
    for name, summary in inputs.items():
        say(f"{name}: {'scored ' * (summary.scored is not None)}{summary.share} in {summary.path}")
    problems = [problem for report in ranking.reports.values() for problem in report.problems]
    _warn(warnings_of(ranking), problems, arguments)
    files: list[Callable[[], object]] = []
    if arguments.html is not None:
        files.append(lambda: ranking.to_html(arguments.html))
    if arguments.per_clip is not None:
        files.append(lambda: ranking.clips_to_csv(arguments.per_clip))
    if arguments.differences is not None:
        files.append(lambda: ranking.differences_to_csv(arguments.differences))
    show(ranking, arguments, files, **options)


def _warn(warnings: Sequence[str], problems: Sequence[str], arguments: argparse.Namespace) -> None:
    """Say warnings that the result does not show on stderr."""
    if arguments.format in WITHOUT_WARNINGS:
        for warning in warnings:
            say_warning(warning)
    elif arguments.output is None:
        note_said(problems)


@dataclass(frozen=True)
class Bound:
    """A bound that must not be crossed: ``fad_vggish>5`` fails if the score is above 5, or has no value."""

    score_id: str
    sign: str
    bound: float

    @classmethod
    def parse(cls, text: str, score_ids: list[str]) -> Bound:
        """Read a check; UsageError if it is malformed or about a score that is not computed."""
        match = _CHECK.fullmatch(text)
        if match is None:
            raise UsageError(f"cannot read the check {text!r}", where="--fail-if", fix="Write it like 'fad_vggish>5'")
        if match["score"] not in score_ids:
            raise unknown_name("score", match["score"], score_ids)
        return cls(match["score"], match["sign"], float(match["bound"]))

    def failure(self, report: ScoreReport) -> str | None:
        """Return what has failed, or None."""
        value = report[self.score_id].value
        if value is None:
            return f"{self.score_id} has no value ({report[self.score_id].reason})"
        if _SIGNS[self.sign](value, self.bound):
            return f"{self.score_id} = {value:.6g} is {self.sign} {self.bound:g}"
        return None
