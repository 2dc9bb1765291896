"""The page of a comparison: verdicts, intervals, and the prompts where two systems differ most, to hear."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.citations import citations
from audiogen_metrics.metrics import METRICS
from audiogen_metrics.report import drawings
from audiogen_metrics.report.document import document, filter_box, listed, table
from audiogen_metrics.report.html import AUDIO_BYTES, PLAYED_SECONDS, media_of, provenance_of, quoted, size_of
from audiogen_metrics.report.reading import chances
from audiogen_metrics.report.scores import names_of, together

if TYPE_CHECKING:
    from audiogen_metrics.evaluation.compare import Comparison, Prompt, ScoreDifference, Systems
    from audiogen_metrics.report.media import Album

PROMPTS_SHOWN = 10

_NO_PROMPTS = (
    "<p>No prompts are shown: they are ranked by a score that each clip has by itself, such as KL, and the clips of "
    "all sets must have the same names.</p>"
)

_NO_CLIPS = (
    "<p>This page was made of a comparison alone. <code>agm compare A B REF --html FILE</code> writes one with players "
    "of the clips that differ most.</p>"
)


def comparison_page(found: Comparison, systems: Systems | None) -> str:
    """Return the page as text: the comparison, and the prompts to hear if what stands behind it is at hand."""
    names, prompts = found.inputs(), "" if systems is None else _prompts(systems)
    lead = "; ".join(f"<b>{name}</b>: {size_of(summary)}" for name, summary in names.items())
    used = [(METRICS.get(difference.metric).citation, difference.backbone) for difference in found.differences]
    works = citations(used, found.protocol, found.versions.get("audiogen-metrics", "unknown"))
    sections = (
        ("scores", "Verdicts", _verdicts(found)),
        ("clips", "Where they differ most", prompts),
        ("not-shown", "Not shown", "" if prompts else _NO_PROMPTS if systems else _NO_CLIPS),
        ("provenance", "Provenance", provenance_of(names, found.backbones, found.versions)),
        ("cite", "Cite", listed(map(str, works))),
    )
    notes = ([found.caveat] if found.caveat else []) + list(found.warnings)
    title = " or ".join(Path(summary.path).name or summary.path for summary in (found.a, found.b))
    lead += f". Protocol <b>{escape(found.protocol)}</b>."
    return document(f"{title}?", lead, notes, sections, verdict=verdict(found))


def verdict(found: Comparison) -> str:
    """Return by which scores either system is better, and which cannot tell them apart."""
    names = names_of([difference.id for difference in found.differences])
    kinds: dict[str, list[str]] = {}
    for difference in found.differences:
        kinds.setdefault(_standing(difference), []).append(names[difference.id])
    return " ".join(kind.format(together(kinds[kind])) for kind in _STANDINGS if kind in kinds) or _UNDECIDED


_A_BETTER, _B_BETTER, _ALIKE, _EQUAL = _STANDINGS = (
    "A is better by {}.",
    "B is better by {}.",
    "A and B cannot be told apart at this n by {}.",
    "A and B are equal by {}.",
)

_UNDECIDED = "No score says which of the two is better."


def _standing(difference: ScoreDifference) -> str:
    """Return the sentence that a score belongs to."""
    if difference.better is not None:
        return _A_BETTER if difference.better == "A" else _B_BETTER
    if difference.equal:
        return _EQUAL
    return _UNDECIDED if difference.ci95 is None else _ALIKE


def _verdicts(found: Comparison) -> str:
    rows = [
        (
            f"{escape(METRICS.get(difference.metric).title)}<br><code>{escape(difference.id)}</code>",
            f"{difference.a:.4g}",
            f"{difference.b:.4g}",
            "higher" if difference.higher_is_better else "lower",
            f"{difference.n}",
            f"{difference.difference:+.3g}",
            "–"
            if difference.ci95 is None
            else "{:+.3g} to {:+.3g}".format(*difference.ci95)
            + drawings.interval(difference.difference, *difference.ci95),
            "–" if difference.p is None else f"{difference.p:.2g}",
            f"<b>{escape(difference.verdict)}</b>",
        )
        for difference in found.differences
    ]
    header = ("score", "A", "B", "better", "n", "A − B", "95 % interval of A − B", "p", "verdict")
    kinds = ("number", "number", "", "number", "number", "", "number", "words")
    tested = {difference.permutations for difference in found.differences if difference.permutations}
    how = (
        f"p is the share of {max(tested)} random exchanges of A's and B's clips that differ as many standard errors."
        if tested
        else "No exchanges of clips were asked for, so p comes from the standard error."
    )
    return table("Each score of both systems, and their difference", header, rows, kinds) + (
        f"<p>{how} A system is better if p is below 0.05 <em>and</em> the interval does not hold 0, the dashed mark in "
        f"the drawing. n is the number of clips of each system that are compared.{chances(len(rows))}</p>"
    )


def _prompts(systems: Systems) -> str:
    from audiogen_metrics.report.media import Album

    if systems.telling is None:
        return ""
    album = Album(AUDIO_BYTES, PLAYED_SECONDS)
    kind, prompts = systems.telling[0].metric, systems.prompts()
    count = min(PROMPTS_SHOWN, len(prompts) // 2)
    text = ""
    for name, part in (("A", prompts[:count]), ("B", prompts[::-1][:count])):
        cards = "".join(_card(prompt, kind.symbol, rank, album) for rank, prompt in enumerate(part, 1))
        if cards:
            against = " to the reference" * ("ref" in kind.sides)
            text += (
                f'<h3>{name} is ahead by {escape(kind.symbol)}{against}</h3><ol class="clips" role="list">{cards}</ol>'
            )
    if not text:
        return ""
    return f"<p>Players hold MP3 copies: mono, the first {PLAYED_SECONDS} s.</p>" + filter_box("name or prompt") + text


def _card(prompt: Prompt, symbol: str, rank: int, album: Album) -> str:
    sides = "".join(
        media_of(name, prompt.clip_id, album.of(path), (), "" if value is None else f"{symbol} {value:.3g}")
        for name, path, value in (
            ("A", prompt.a, prompt.value_a),
            ("B", prompt.b, prompt.value_b),
            ("ref", prompt.ref, None),
        )
        if path is not None
    )
    words, title = " ".join([prompt.clip_id, *prompt.captions]), f"{rank}. {escape(prompt.clip_id)}"
    return f'<li data-text="{escape(words)}"><h4>{title}</h4>{quoted(prompt.captions)}{sides}</li>'
