"""Reports and other rows of results as CSV and Markdown."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from audiogen_metrics.errors import UsageError, option
from audiogen_metrics.results import EXACT, ScoreReport, n_ref_of
from audiogen_metrics.text import escaped

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation

COLUMNS = (
    *("score", "value", "std", "ci95_low", "ci95_high", "n_gen", "n_ref"),
    *("better", "metric", "backbone", "protocol", "reason", "ci95_ref", "remarks", "p"),
)


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
    """Return one line per score, behind a header; numbers in full, empty where there is none.

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
    header, *rows = (_line(row) for row in report.rows())
    rule = "|" + "---|" * len(report.rows()[0]) + "\n"
    sets = "; ".join(f"{name}: {summary.clips}{summary.length}" for name, summary in report.inputs().items())
    notes = "".join(f"- {markdown(note)}\n" for note in report.notes())
    text = f"{header}{rule}{''.join(rows)}\nProtocol {report.protocol}; {sets}.\n"
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
        raise UsageError("no score here is a mean over clips, so there is none of each clip", fix=fix)
    several = len(found) > 1
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(["system"] if several else []), "clip_id", *ids])
    for label, scores in found.items():
        for clip in sorted({clip for by_clip in scores.values() for clip in by_clip}):
            values = [scores.get(score_id, {}).get(clip) for score_id in ids]
            writer.writerow([*([label] if several else []), clip, *values])
    return file.getvalue()


_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "×": r"$\times$",
}


def to_latex(report: ScoreReport) -> str:
    """Return the scores as a LaTeX table with n, p where one is known, protocol and citations; BibTeX in comments.

    Examples
    --------
    >>> from audiogen_metrics.results import InputSummary, Score, ScoreReport
    >>> summary = InputSummary("gen", 4, 4, 0, 20.0, "00")
    >>> score = Score("fd_panns", "fd", "panns-cnn14-16k", 24.5, False, 4, 4)
    >>> print(to_latex(ScoreReport({"fd_panns": score}, "audioldm", summary, summary)).splitlines()[8])
    fd\\_panns $\\downarrow$ & 24.5 & -- & 4 & 4 \\\\
    """
    rows = []
    with_p = any("chance_p" in score.details for score in report.scores.values())
    for score in report.scores.values():
        value = "--" if score.value is None else f"{score.value:.4g}"
        if score.std is not None:
            value += rf" $\pm$ {score.std:.2g}"
        interval = "--" if score.ci95 is None else "[{:.4g}, {:.4g}]".format(*score.ci95)
        interval += "$^*$" * (score.ci95_ref == "exact")
        arrow = r"$\uparrow$" if score.higher_is_better else r"$\downarrow$"
        p = f"{score.details['chance_p']:.2g}" if "chance_p" in score.details else "--"
        cells = [
            f"{tex(score.id)} {arrow}",
            value,
            interval,
            *([p] if with_p else []),
            str(score.n_gen),
            n_ref_of(score, "--"),
        ]
        rows.append(" & ".join(cells) + r" \\")
    works = report.citations()
    notes = "".join(f"% {escaped(note)}\n" for note in report.notes())
    entries = "".join(f"% {line}\n" for work in works for line in work.bibtex().splitlines())
    head = rf"score & value & 95\,\% interval & {'$p$ & ' * with_p}$n$ gen & $n$ ref \\"
    caption = (
        " against ".join(f"{tex(summary.path)} ({summary.clips})" for summary in report.inputs().values())
        + f", protocol {tex(report.protocol)}"
        rf"~\cite{{{','.join(work.key for work in works)}}}."
    )
    if any(score.ci95_ref == "exact" for score in report.scores.values()):
        caption += f" $^*$: {EXACT}."
    return (
        "% Needs \\usepackage{booktabs}\n"
        f"{notes}\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n"
        f"\\begin{{tabular}}{{l{'r' * (4 + with_p)}}}\n\\toprule\n"
        f"{head}\n\\midrule\n" + "\n".join(rows) + "\n\\bottomrule\n\\end{tabular}\n\\end{table}\n" + entries
    )


def tex(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(_TEX.get(character, character) for character in escaped(text))


def records_to_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Return records of one shape as CSV: numbers in full, empty where there is none.

    Examples
    --------
    >>> print(records_to_csv([{"score": "fd_panns", "value": 24.5, "reason": None}]), end="")
    score,value,reason
    fd_panns,24.5,
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


def records_to_markdown(records: Sequence[Mapping[str, object]]) -> str:
    """Return records of one shape as a table in GitHub's Markdown, numbers to six digits.

    Examples
    --------
    >>> print(records_to_markdown([{"score": "fd_panns", "value": 24.5, "reason": None}]), end="")
    | score | value | reason |
    |---|---|---|
    | fd_panns | 24.5 |  |
    """
    rows = [tuple(_cell(value) for value in record.values()) for record in records]
    return _line(tuple(records[0])) + "|" + "---|" * len(records[0]) + "\n" + "".join(map(_line, rows))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(map(markdown, cells)) + " |\n"


_MARKUP = re.compile(r"\\(?=[!-/:-@\[-`{-~])|[`*~|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|^[#+-](?= )")
"""What GitHub's Markdown would take for markup; an underscore inside a word is none, nor a bracket without a link."""


def markdown(text: str) -> str:
    """Return text from elsewhere as GitHub's Markdown shows it, in a table too.

    Examples
    --------
    >>> print(markdown("fd_yamnet of <b>*a|b*"))
    fd_yamnet of &lt;b&gt;\\*a\\|b\\*
    """
    return _MARKUP.sub(r"\\\g<0>", html.escape(escaped(text), quote=False))
