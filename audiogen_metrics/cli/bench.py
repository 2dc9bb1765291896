"""``agm bench``: the paper's tables and figures."""

from __future__ import annotations

import argparse
import contextlib
import typing
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics import distributed
from audiogen_metrics.backbones.weights import parse_weights
from audiogen_metrics.benchmark.settings import BenchSettings
from audiogen_metrics.cli.common import Subparsers, add_processes_option, check_processes, parse_settings, say_warning
from audiogen_metrics.cli.flags import add_flags, arguments_of
from audiogen_metrics.cli.parsing import Known, output_folder
from audiogen_metrics.errors import UsageError
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.run_options import NetworkOptions

if TYPE_CHECKING:
    from audiogen_metrics.benchmark.plans import Cell, Plan
    from audiogen_metrics.benchmark.running import Benchmark

ARTEFACTS = ("table1", "table2", "figure1", "figure2", "all")


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "bench",
        description="Run the benchmark of arXiv 2303.03857: generate, train, score, and show the scores beside the "
        "published numbers. After a stop, the same command continues. It needs the extra audioldm, data and weights; "
        "--dry-run shows what would be done and what it costs.",
        allow_abbrev=False,
    )
    parser.add_argument("artefact", choices=ARTEFACTS, help="table or figure to make")
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        type=Known(_datasets),
        metavar="DATASET=FOLDER",
        help="such as esc50=/data/ESC-50; datasets are %(type)s (repeatable)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        default=Path("bench"),
        metavar="OUT",
        help="folder of the results (default: %(default)s)",
    )
    parser.add_argument(
        "--system",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a row of Table I for another system: its clips below FOLDER/DATASET (repeatable)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the cells with clips, steps and cost; run nothing"
    )
    add_flags(parser, BenchSettings)
    parser.add_argument(
        "--fractions",
        default="0:1:0.1",
        metavar="A:B:STEP",
        help="shares of the set that Figure 1 corrupts (default: %(default)s)",
    )
    parser.add_argument(
        "--columns",
        metavar="LIST",
        help="columns of the LaTeX tables, comma-separated: step, n, fd, is, kl, fad; beside or "
        "below the scores std, best, "
        "paper, difference, ci95 (default: step,fd,is,kl,fad,paper)",
    )
    add_flags(parser, NetworkOptions, "weights")
    add_processes_option(parser)
    parser.set_defaults(run=run)


def _datasets() -> list[str]:
    from audiogen_metrics.datasets import DATASETS

    return DATASETS.names()


def run(arguments: argparse.Namespace) -> int:
    """Run the plan, or print it."""
    from audiogen_metrics.benchmark.latex import chosen_columns
    from audiogen_metrics.benchmark.plans import make_plan
    from audiogen_metrics.benchmark.running import Benchmark, describe_systems

    columns = None if arguments.columns is None else chosen_columns(arguments.columns)
    settings = _settings(arguments)
    artefacts: list[Any] = list(ARTEFACTS[:-1]) if arguments.artefact == "all" else [arguments.artefact]
    systems = parse_settings(arguments.system)
    if check_processes(arguments) and not arguments.dry_run:
        distributed.meet()
    plan = make_plan(artefacts, settings, describe_systems(systems))
    for warning in dict.fromkeys(text for texts in plan.warnings.values() for text in texts):
        say_warning(warning)
    if arguments.dry_run:
        print(_describe(plan))
        return 0
    with warnings.catch_warnings():
        warnings.showwarning = say_warning
        warnings.simplefilter("once", UserWarning)
        benchmark = Benchmark(
            plan, arguments.output, weights=parse_weights(arguments.weights), systems=systems, progress=True
        )
        try:
            benchmark.run()
        except BaseException:
            with contextlib.suppress(UsageError, OSError):  # a full disk is said once
                _show(benchmark, arguments.output, columns)
            raise
        _show(benchmark, arguments.output, columns)
    return 0


def _show(benchmark: Benchmark, output: Path, columns: Sequence[str] | None) -> None:
    """Write the tables and figures of the cells that are done, if there are any, and print the files' names."""
    from audiogen_metrics.benchmark.output import write

    done = benchmark.done() if benchmark.is_main else []
    if done:
        print(*write(benchmark.plan, done, output, columns), sep="\n")


def _settings(arguments: argparse.Namespace) -> BenchSettings:
    from audiogen_metrics.cli.study import parse_doses

    given = {
        **arguments_of(arguments, BenchSettings),
        "roots": parse_settings(arguments.root),
        "splits": parse_settings(arguments.split),
        "training": _training(parse_settings(arguments.train)),
        "fractions": parse_doses(arguments.fractions, "--fractions"),
    }
    return BenchSettings(**given)


def _training(pairs: Mapping[str, str]) -> dict[str, Any]:
    from audiogen_metrics.audioldm.configuration import FineTuneConfig

    kinds = typing.get_type_hints(FineTuneConfig)
    found = {}
    for name, text in pairs.items():
        if name not in kinds:
            raise unknown_name("setting", name, sorted(kinds))
        (kind,) = [each for each in typing.get_args(kinds[name]) or (kinds[name],) if each is not type(None)][:1]
        found[name] = _value(name, text, kind)
    return found


def _value(name: str, text: str, kind: Any) -> Any:
    """Return the value that a setting's text stands for, or the text itself where the setting takes words."""
    truth = {"true": True, "false": False}
    try:
        return truth[text] if kind is bool else kind(text) if kind in (int, float) else text
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name}={text} is not of type {kind.__name__}", "--train") from error


def _describe(plan: Plan) -> str:
    from audiogen_metrics.benchmark.costs import multiply_adds

    lines = []
    total: float | None = 0.0
    for cell in plan.cells:
        clips = len((plan.recordings if cell.kind == "study" else plan.evaluation)(cell.dataset))
        cost = multiply_adds(cell, plan)
        total = None if total is None or cost is None else total + cost
        work = "unknown" if cost is None else f"{cost / 1e15:.2f} P multiply-adds" if cost else "scoring only"
        lines.append(f"{cell.title}  {clips} clips, {_steps(cell, plan)}{work}")
    if total:
        lines.append(f"together {total / 1e15:.1f} P multiply-adds: {total / 20e12 / 3600:.1f} h at 20 T a second")
    return "\n".join(lines)


def _steps(cell: Cell, plan: Plan) -> str:
    """Return how long a cell samples or trains, and whether that is as long as the paper's best needed."""
    from audiogen_metrics.benchmark.costs import evaluations, papers_best_step
    from audiogen_metrics.benchmark.settings import training_config

    if cell.kind == "generate":
        return f"{plan.settings.steps} steps, "
    if cell.kind != "finetune":
        return ""
    config = training_config(plan.settings, cell.dataset)
    theirs = papers_best_step(cell)
    short = theirs is not None and config.steps < theirs
    remark = f" (before the paper's best step, {theirs})" if short else ""
    return f"{config.steps} steps{remark}, {evaluations(config)} evaluations, "
