"""``agm study REF``: which damage can a metric hear?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.cli.common import (
    Subparsers,
    parse_settings,
    say,
    write_result,
)
from audiogen_metrics.cli.flags import add_options, arguments_of
from audiogen_metrics.cli.parsing import at_least, output_file, output_folder
from audiogen_metrics.errors import CheckFailedError, UsageError
from audiogen_metrics.rendering import FORMATS, render
from audiogen_metrics.run_options import StudyOptions
from audiogen_metrics.writing import json_text, written

if TYPE_CHECKING:
    from audiogen_metrics.studies.result import Study


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "study",
        description="Corrupt a growing share of a set of real recordings, score it against itself, and say for each "
        "metric and probe: responds, flat, wrong direction, or comes and goes. Run it again after an interruption to "
        "go on.",
        allow_abbrev=False,
    )
    parser.add_argument("ref", metavar="REF", help="folder of real recordings; its sub-folders are the classes")
    parser.add_argument(
        "--probes",
        metavar="LIST",
        help="comma-separated, see agm list probes (default: the paper's four and resynthesis, where the set allows)",
    )
    parser.add_argument(
        "--fractions",
        default="0:1:0.1",
        metavar="DOSES",
        help="shares of the set to corrupt, START:STOP:STEP, a comma-separated list, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--severities",
        default="none",
        metavar="DOSES",
        help="severities at which to corrupt the whole set, written like fractions (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PROBE.NAME=VALUE",
        help="a setting of a probe, such as noise.variance_ratio=0.1 (repeatable)",
    )
    parser.add_argument("--labels", type=Path, metavar="CSV", help="classes, in the columns clip_id and label")
    parser.add_argument(
        "--events", type=at_least(1), metavar="N", help="events a sequence, for probes that reorder them (default: 4)"
    )
    parser.add_argument(
        "--expect",
        action="append",
        default=[],
        metavar="PROBE.SCORE=ANSWER",
        help="exit with 5 unless this verdict is found, for example noise.fd_panns=responds (repeatable)",
    )
    add_options(parser, StudyOptions, " (default: all of the protocol)")
    parser.add_argument(
        "--format",
        choices=[form for form in FORMATS["Study"] if form != "html"],
        default="table",
        help="format of the result on stdout (default: %(default)s)",
    )
    parser.add_argument(
        "--html", type=output_file, metavar="FILE", help="also write a page: what is heard, curves, how to repeat it"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=output_folder,
        metavar="DIR",
        help="also write the page, JSON, tables and figures into DIR",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the study, write it, and check what was expected."""
    from audiogen_metrics.studies.study import Effort, sanity

    expected = [_expectation(text) for text in arguments.expect]
    effort, begun = Effort(), time.monotonic()
    study = sanity(
        arguments.ref,
        probes=arguments.probes.split(",") if arguments.probes else None,
        fractions=parse_doses(arguments.fractions, "--fractions"),
        severities=parse_doses(arguments.severities, "--severities"),
        settings=_by_probe(parse_settings(arguments.set)),
        labels=arguments.labels,
        events=arguments.events,
        effort=effort,
        **arguments_of(arguments, StudyOptions),
    )
    seconds = time.monotonic() - begun
    for name in effort.embedded:
        say(f"{name}: {effort.embedded[name]} clips embedded, {effort.recalled[name]} from the cache")
    say(f"{seconds:.1f} s")
    files: list[Callable[[], object]] = []
    if arguments.output is not None:
        cost = {"seconds": round(seconds, 1), "embedded": effort.embedded, "recalled": effort.recalled}
        files.append(lambda: _write(study, cost, arguments.output))
    if arguments.html is not None:
        files.append(lambda: study.to_html(arguments.html))
    write_result(render(study, arguments.format), None, arguments.format, files)
    failed = [text for check in expected if (text := check(study)) is not None]
    if failed:
        raise CheckFailedError("; ".join(failed))
    return 0


def _write(study: Study, cost: dict[str, Any], folder: Path) -> None:
    from audiogen_metrics.studies.files import write_study

    for file in write_study(study, folder):
        say(f"wrote {file}")
    written(json_text(cost) + "\n", folder / "cost.json")


def parse_doses(text: str, where: str) -> tuple[float, ...]:
    """Read ``0:1:0.1``, ``0,0.5,1`` or ``none``.

    Examples
    --------
    >>> parse_doses("0:1:0.25", "--fractions")
    (0.0, 0.25, 0.5, 0.75, 1.0)
    """
    if text == "none":
        return ()
    try:
        if ":" not in text:
            return tuple(float(part) for part in text.split(","))
        start, stop, step = map(float, text.split(":"))
        if step <= 0 or stop < start or (stop - start) / step > 1000:
            raise ValueError
        return tuple(round(start + place * step, 9) for place in range(round((stop - start) / step) + 1))
    except ValueError as error:
        raise UsageError(f"cannot read {text!r}", where=where, fix="Write 0:1:0.1, or 0,0.5,1, or none") from error


def _by_probe(settings: dict[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, value in settings.items():
        probe, dot, setting = name.partition(".")
        if not (dot and setting):
            raise UsageError(f"{name!r} is not PROBE.NAME", where="--set")
        found.setdefault(probe, {})[setting] = value
    return found


def _expectation(text: str) -> Callable[[Study], str | None]:
    from audiogen_metrics.registry import unknown_name
    from audiogen_metrics.studies.files import ANSWERS

    name, equals, answer = text.partition("=")
    probe, dot, score = name.partition(".")
    if not (equals and dot):
        raise UsageError(f"cannot read {text!r}", where="--expect", fix="Write it like noise.fd_panns=responds")
    if answer not in ANSWERS:
        raise unknown_name("answer", answer, list(ANSWERS))

    def check(study: Study) -> str | None:
        answers = {f.verdict.answer for f in study.findings if (f.probe, f.score) == (probe, score)}
        if not answers:
            return f"{name} was not studied"
        return None if answers == {answer} else f"{name} is {', '.join(sorted(answers))}, not {answer}"

    return check
