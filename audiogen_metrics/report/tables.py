"""Reports and other rows of results as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from audiogen_metrics.errors import UsageError, option
from audiogen_metrics.rendering import markdown, markdown_table
from audiogen_metrics.rendering import records_to_csv as records_to_csv  # moved
from audiogen_metrics.rendering import records_to_markdown as records_to_markdown
from audiogen_metrics.report.labels import labels_of
from audiogen_metrics.report.latex import Column, Table, breakable, interval, number, places, tex
from audiogen_metrics.results import ScoreReport
from audiogen_metrics.score_text import EXACT, n_ref_of

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation

__all__ = ["to_csv"]

COLUMNS = (
    *("score", "value", "std", "ci95_low", "ci95_high", "n_gen", "n_ref"),
    *("better", "metric", "backbone", "protocol", "reason", "ci95_ref", "remarks", "p"),
)

LATEX_COLUMNS, LATEX_PARTS = ("value", "ci95", "p", "n_gen", "n_ref"), ("std",)
"""What the LaTeX table of a report may show, and what may stand beside its values."""

AV_BENCHMARK: Mapping[str, tuple[str, str]] = {
    "fad_vggish": ("FD-VGG", ""),
    "fd_panns": ("FD-PANN", ""),
    "fd_passt": ("FD-PASST", ""),
    "kl_panns": ("KL-PANNS-softmax", ""),
    "kl_passt": ("KL-PASST-softmax", ""),
    "is_panns": ("ISC-PANNS-mean", "ISC-PANNS-std"),
    "is_passt": ("ISC-PASST-mean", "ISC-PASST-std"),
    "clap_laion_music_speech": ("LAION-CLAP-Score", ""),
}
"""What av-benchmark calls each score, and its standard deviation where it gives one; in its order."""


def av_benchmark(report: ScoreReport) -> dict[str, float | None]:
    """Return the scores by av-benchmark's names, None where there is no value.

    Raises
    ------
    UsageError
        A report of another protocol, whose numbers do not belong under these names.
    """
    if report.protocol != "av-benchmark":
        raise UsageError(
            f"{report.protocol} is not av-benchmark's recipe, so its scores have no names there",
            fix=f"Score with {option('protocol', 'av-benchmark')}",
        )
    content: dict[str, float | None] = {}
    for score_id, (name, spread) in AV_BENCHMARK.items():
        if score_id in report.scores:
            score = report.scores[score_id]
            content[name] = score.value
            if spread:
                content[spread] = score.std
    return content


def to_av_benchmark(report: ScoreReport) -> str:
    """Return the scores as av-benchmark's ``output_metrics.json`` holds them, null where there is no value.

    Raises
    ------
    UsageError
        A report of another protocol.
    """
    return json.dumps(av_benchmark(report), indent=4, allow_nan=False) + "\n"


def to_csv(*reports: ScoreReport) -> str:
    """Return one line per score, behind a header; numbers in full; a cell is empty where a score has no such number.

    Of several reports, the first column is the path of the generated set.

    Examples
    --------
    >>> from audiogen_metrics.results import InputSummary, Score, ScoreReport
    >>> summary = InputSummary("gen", 4, 4, 0, 20.0, "00")
    >>> score = Score("fd_panns", "fd", "panns-cnn14-16k", 24.5, False, 4, 4)
    >>> print(to_csv(ScoreReport({"fd_panns": score}, "audioldm", summary, summary)), end="")
    score,value,std,ci95_low,ci95_high,n_gen,n_ref,better,metric,backbone,protocol,reason,ci95_ref,remarks,p
    fd_panns,24.5,,,,4,4,lower,fd,panns-cnn14-16k,audioldm,,,,
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    several = len(reports) > 1
    writer.writerow(("gen", *COLUMNS) if several else COLUMNS)
    for report, score in [(each, score) for each in reports for score in each.scores.values()]:
        better = "higher" if score.higher_is_better else "lower"
        counts = (score.n_gen, score.n_ref, better, score.metric, score.backbone, report.protocol)
        uncertainty = (score.ci95_ref, "; ".join(score.remarks), score.details.get("chance_p"))
        interval = score.ci95 or (None, None)
        place = (report.gen.path,) if several else ()
        writer.writerow((*place, score.id, score.value, score.std, *interval, *counts, score.reason, *uncertainty))
    return file.getvalue()


def to_markdown(report: ScoreReport) -> str:
    """Return the table of scores with its notes, as GitHub's Markdown.

    Examples
    --------
    >>> from audiogen_metrics.results import InputSummary, Score, ScoreReport
    >>> summary = InputSummary("gen", 4, 4, 0, 20.0, "00")
    >>> score = Score("fd_panns", "fd", "panns-cnn14-16k", 24.5, False, 4, 4)
    >>> print(to_markdown(ScoreReport({"fd_panns": score}, "audioldm", summary, summary)), end="")
    | score | value | n gen | n ref | better | backbone |  |
    |---|---|---|---|---|---|---|
    | fd_panns | 24.5 | 4 | 4 | lower | panns-cnn14-16k |  |
    <BLANKLINE>
    Protocol audioldm; gen: 4 clips, 20.0 s; ref: 4 clips, 20.0 s.
    """
    header, *rows = report.rows()
    sets = "; ".join(f"{name}: {summary.clips}{summary.length}" for name, summary in report.inputs().items())
    notes = "".join(f"- {markdown(note)}\n" for note in report.notes())
    text = f"{markdown_table(header, rows)}\nProtocol {report.protocol}; {sets}.\n"
    return f"{text}\n{notes}" if notes else text


def clips_to_csv(evaluations: Mapping[str, Evaluation]) -> str:
    """Return a line per clip with the scores that are means over clips, by the label of its system; for `correlate`.

    Raises
    ------
    UsageError
        No score is a mean over clips.
    """
    found = {label: evaluation.by_clip for label, evaluation in evaluations.items()}
    ids = [*dict.fromkeys(score_id for scores in found.values() for score_id in scores)]
    if not ids:
        fix = f"Ask for one, such as {option('metrics', 'kl,clap,pq')}"
        raise UsageError("no score here is a mean over clips, so no clip has one of its own", fix=fix)
    several = len(found) > 1
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(["system"] if several else []), "clip_id", *ids])
    for label, scores in found.items():
        for clip in sorted({clip for by_clip in scores.values() for clip in by_clip}):
            values = [scores.get(score_id, {}).get(clip) for score_id in ids]
            writer.writerow([*([label] if several else []), clip, *values])
    return file.getvalue()


def to_latex(report: ScoreReport, columns: str | Iterable[str] | None = None) -> str:
    """Return the scores as a LaTeX table with n, p where one is known, protocol and citations; BibTeX in comments.

    ``columns`` chooses among value, std, ci95, p, n_gen and n_ref; None shows all that there are.

    Raises
    ------
    UsageError
        An unknown column.

    Examples
    --------
    >>> from audiogen_metrics.results import InputSummary, Score, ScoreReport
    >>> summary = InputSummary("gen", 4, 4, 0, 20.0, "00")
    >>> score = Score("fd_panns", "fd", "panns-cnn14-16k", 24.5, False, 4, 4)
    >>> print(to_latex(ScoreReport({"fd_panns": score}, "audioldm", summary, summary)).splitlines()[11])
    FD $\\downarrow$ & 24.50 & 4 & 4 \\\\
    """
    scores = [*report.scores.values()]
    labels = labels_of(report.scores)
    decimals = [places([score.value, score.std]) for score in scores]
    pairs = [*zip(scores, decimals, strict=True)]
    spreads = ["" if score.std is None else rf" $\pm$ {number(score.std, fixed)}" for score, fixed in pairs]
    exact = [score.ci95_ref == "exact" for score in scores]
    intervals = [
        (interval(score.ci95, fixed) or "--") + "$^*$" * each for (score, fixed), each in zip(pairs, exact, strict=True)
    ]
    p = [f"{score.details['chance_p']:.2g}" if "chance_p" in score.details else "--" for score in scores]
    found = [
        Column("score", "score", [tex(labels[score.id]) for score in scores], "l", stays=True),
        Column("value", "value", [number(score.value, fixed) for score, fixed in pairs], beside={"std": spreads}),
        Column("ci95", r"95\,\% interval", intervals),
        Column("p", "$p$", p),
        Column("n_gen", "$n$ gen", [str(score.n_gen) for score in scores]),
        Column("n_ref", "$n$ ref", [n_ref_of(score, "--") for score in scores]),
    ]
    used = [*(name for name, there in (("ci95", any(each.ci95 for each in scores)), ("p", {*p} != {"--"})) if there)]
    works = report.citations()
    caption = " against ".join(f"{breakable(each.path)} ({each.clips})" for each in report.inputs().values())
    caption += rf", protocol {tex(report.protocol)}~\cite{{{','.join(work.key for work in works)}}}."
    return Table(
        found,
        caption,
        {"ci95": f"$^*$: {EXACT}."} if any(exact) else {},
        ["value", "std", *used, "n_gen", "n_ref"],
        notes=[*report.notes(), *(f"{label}: {score_id}" for score_id, label in labels.items())],
        works=works,
    ).render(columns)
