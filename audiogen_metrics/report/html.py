"""A report as one page that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from audiogen_metrics.report import drawings
from audiogen_metrics.report.document import Section, document, filter_box, listed, table
from audiogen_metrics.report.reading import in_sentence
from audiogen_metrics.report.scores import scores_of, verdict
from audiogen_metrics.results import InputSummary, ScoreReport
from audiogen_metrics.writing import written

if TYPE_CHECKING:
    from audiogen_metrics.audio.files import ClipSet
    from audiogen_metrics.evaluation.evaluation import Evaluation
    from audiogen_metrics.report.chance import Variety
    from audiogen_metrics.report.diagnosis import Classes, ClipDiagnosis, Diagnosis, Influence
    from audiogen_metrics.report.media import Album, Media
    from audiogen_metrics.report.projection import Projection

__all__ = ["score_html"]

AUDIO_BYTES = 24 * 2**20
"""Audio in a page, as MP3, before it is written as text, which adds a third."""

CLASSES_SHOWN = 10
INFLUENCE_SHOWN = 10

PLAYED_SECONDS = 10
"""Longest copy of a clip in a page."""


def score_html(gen: ClipSet, ref: ClipSet | None, path: str | Path, **options: Any) -> ScoreReport:
    """Score two sets as `audiogen_metrics.score` does, and write the page about it.

    Parameters
    ----------
    gen, ref
        As in `audiogen_metrics.score`.
    path
        Where the page goes, whole or not at all.
    options
        Further options of `audiogen_metrics.score`.

    Raises
    ------
    UsageError
        The page cannot be written; and whatever `audiogen_metrics.score` raises.

    Examples
    --------
    >>> from audiogen_metrics.report.html import score_html
    >>> report = score_html("generated", "reference", "report.html", protocol="yamnet")  # doctest: +SKIP
    """
    from audiogen_metrics.evaluation import score

    seen: list[Evaluation] = []
    report = score(gen, ref, **options, observe=seen.append)
    write_page(report, seen[0], path)
    return report


def write_page(report: ScoreReport, evaluation: Evaluation, path: str | Path) -> None:
    """Write the page about a report and what stands behind it; UsageError if it cannot be written."""
    from audiogen_metrics.report.diagnosis import diagnose
    from audiogen_metrics.report.media import Album

    written(page(report, (diagnose(evaluation), Album(AUDIO_BYTES, PLAYED_SECONDS))), path)


def page(report: ScoreReport, shown: tuple[Diagnosis, Album] | None = None) -> str:
    """Return the page as text: what the report holds, and what is shown of the sets behind it, if they are at hand."""
    sets = report.inputs()
    provenance = provenance_of(sets, report.backbones, report.versions)
    sections = (
        ("scores", "Scores", scores_of(report)),
        *(_MISSING if shown is None else _behind(*shown)),
        ("provenance", "Provenance", provenance + REPEAT),
        ("cite", "Cite", listed(map(str, report.citations()))),
    )
    notes = ([report.caveat] if report.caveat else []) + list(report.warnings)
    lead = " against ".join(map(size_of, sets.values()))
    lead += f", protocol <b>{escape(report.protocol)}</b>, on {escape(report.device)}."
    return document(" against ".join(map(_name, sets.values())), lead, notes, sections, verdict=verdict(report))


def _behind(diagnosis: Diagnosis, album: Album) -> tuple[Section, ...]:
    """Return the sections about the sets themselves."""
    return (
        ("map", "Where the sets lie", _map(diagnosis.projection)),
        ("clips-by-value", _order(diagnosis)[0], _distribution(diagnosis)),
        ("influence", "What single clips do", _influence(diagnosis.influence)),
        ("classes", "What is heard", _classes(diagnosis.classes)),
        ("clips", "Clips", _clips(diagnosis, album)),
        ("not-shown", "Not shown", listed(diagnosis.notes)),
    )


_MISSING: tuple[Section, ...] = (
    (
        "not-shown",
        "Not shown",
        "<p>This page was made of a report alone. Players, the map of the sets, the classes and what single clips do "
        "need the clips: <code>agm score GEN REF --html FILE</code> writes a page with them, and so does "
        "<code>audiogen_metrics.report.html.score_html(gen, ref, path)</code>.</p>",
    ),
)


def _name(summary: InputSummary) -> str:
    return Path(summary.path).name or summary.path


def size_of(summary: InputSummary) -> str:
    """Return how many clips of which folder, and how long they are, as HTML."""
    length = f" ({_duration(summary.seconds)})" if summary.seconds else ""
    return f"{summary.clips}{length} of {escape(summary.path)}"


def _duration(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"


def _map(projection: Projection | None) -> str:
    if projection is None:
        return ""
    first, second = (f"{share:.0%}" for share in projection.shares)
    drawn = f"{len(projection.gen.points)} gen and {len(projection.ref.points)} ref clips drawn"
    describe = (
        f"Map of both sets on two principal axes of the {projection.backbone} embeddings: {drawn}; "
        f"gen has {projection.spread:.2f} times the variance of ref."
    )
    return (
        f"<figure>{drawings.scatter(projection, describe)}<figcaption>{_key()} "
        f"Two principal axes of both sets' embeddings ({escape(projection.backbone)}), {first} and {second} of the "
        f"variance; crosses are means, ellipses two standard deviations; {drawn}. What lies on the "
        f"other axes is not on the map.</figcaption></figure><p>In all dimensions the generated set has "
        f"<b>{projection.spread:.2f}</b> times the variance of the reference"
        f"{_variety(projection.variety)}.</p>"
    )


def _variety(variety: Variety | None) -> str:
    if variety is None:
        return "; whether that is beyond chance is not known: the clips of a set are not known, or are too few"
    verdict = "no difference in variety beyond chance"
    if variety.beyond_chance:
        verdict = f"{'less' if variety.ratio < 1 else 'more'} variety"
    return f" (95 % interval {variety.low:.2f} to {variety.high:.2f}, p = {variety.p:.3g}): {verdict}"


def _key() -> str:
    return '<span class="key gen"></span>gen (discs) <span class="key ref"></span>ref (squares).'


def _order(diagnosis: Diagnosis) -> tuple[str, str]:
    """Return the heading and the unit of the number that clips are ordered by."""
    if diagnosis.order == "divergence":
        return "Divergence by clip", "nats"
    if diagnosis.order == "rating":
        return f"{diagnosis.rated_by} by clip", ""
    return "Distance to the nearest reference clip", ""


def _distribution(diagnosis: Diagnosis) -> str:
    if not diagnosis.values:
        return ""
    heading, unit = _order(diagnosis)
    counts, width = drawings.bins(diagnosis.values)
    low = diagnosis.values[0]
    rows = [
        (f"{low + place * width:.3g} to {low + (place + 1) * width:.3g}", f"{count}")
        for place, count in enumerate(counts)
    ]
    describe = f"{heading}: histogram of {len(diagnosis.values)} clips, the numbers are in the table below."
    what = "KL of each generated clip to its reference" if diagnosis.order == "divergence" else heading
    return (
        f"<figure>{drawings.histogram(diagnosis.values, unit, describe)}"
        f"<figcaption>{escape(what)}; the dashed line is the median.</figcaption></figure>"
        f"<details><summary>The histogram as a table</summary>"
        f"{table(what, (heading.lower(), 'clips'), rows, ('number',))}</details>"
    )


def _influence(influence: Influence | None) -> str:
    if influence is None:
        return ""
    clips = list(influence.by_clip.items())
    shown = min(INFLUENCE_SHOWN, len(clips) // 2)
    columns = ""
    for caption, part in (("raise it most", clips[:shown]), ("lower it most", clips[::-1][:shown])):
        rows = [(escape(clip), f"{change:+.3g}") for clip, change in part]
        columns += f"<div>{table(f'Clips that {caption}', ('clip', 'change'), rows, ('number',))}</div>"
    return (
        f"<p>How much more each clip adds to <code>{escape(influence.score_id)}</code> than the average clip does: how "
        f'much further the score falls without it, computed exactly.</p><div class="columns">{columns}</div>'
    )


def _classes(classes: Classes | None) -> str:
    if classes is None:
        return ""
    number = f"{classes.gen} pairs" if classes.paired else f"n = {classes.gen} and {classes.ref}"
    shown = classes.beyond_chance
    missed = [share for share in shown[:CLASSES_SHOWN] if share.gen < share.ref]
    invented = [share for share in shown[: -CLASSES_SHOWN - 1 : -1] if share.gen > share.ref]
    if not shown:
        return (
            f"<p>No class differs beyond chance at this n ({number}). What the classifier gives each class on average "
            "does differ a little, as it does between any two samples.</p>"
        )
    largest = max(max(share.gen, share.ref) for share in missed + invented)
    tables = ""
    for caption, shares in (("Most missed classes", missed), ("Most invented classes", invented)):
        rows = [
            (
                escape(share.label),
                f"{share.ref:.1%}",
                f"{share.gen:.1%}",
                f"{share.p:.3g}",
                drawings.bars(share.gen, share.ref, largest),
            )
            for share in shares
        ]
        if rows:
            header = ("class", "ref", "gen", "p", "ref over gen")
            tables += f"<div>{table(caption, header, rows, ('number', 'number', 'number', ''))}</div>"
    return (
        f"<p>Mean probability that the classifier gives a class, over all clips of a set ({number}). Missed classes "
        "are heard less in gen than in ref, invented ones more. Only classes beyond chance are listed: p is how often "
        f'chance makes any class differ as much. {_key()}</p><div class="columns">{tables}</div>'
    )


def _clips(diagnosis: Diagnosis, album: Album) -> str:
    lists = clip_lists(diagnosis, album)
    return clip_filter(album) + lists if lists else ""


def clip_lists(diagnosis: Diagnosis, album: Album, heading: str = "h3") -> str:
    """Return the worst and the best clips to hear, without what goes before all such lists of a page."""
    if not diagnosis.worst:
        return ""
    units = {"divergence": "KL to its reference", "rating": in_sentence(diagnosis.rated_by)}
    unit = units.get(diagnosis.order or "", "distance to the nearest reference clip")
    # Generated clips first: they are what the page is about, should the space for audio run out.
    for clip in diagnosis.worst + diagnosis.best:
        album.of(clip.file)
    influenced = "" if diagnosis.influence is None else diagnosis.influence.score_id
    lists = ""
    for name, clips in (("Worst", diagnosis.worst), ("Best", diagnosis.best)):
        if clips:
            cards = "".join(_card(clip, rank, unit, influenced, album) for rank, clip in enumerate(clips, 1))
            lists += f'<{heading}>{name} {len(clips)} by {unit}</{heading}><ol class="clips" role="list">{cards}</ol>'
    return lists


def clip_filter(album: Album) -> str:
    """Return what goes before the lists of clips of a page, once they are made."""
    left_out = (
        f" {album.left_out} clips have no player: the page holds at most {AUDIO_BYTES >> 20} MB of audio."
        * bool(album.left_out)
    )
    return (
        f"<p>Players hold MP3 copies for listening: mono, the first {PLAYED_SECONDS} s. Scores are of the files."
        f"{left_out}</p>" + filter_box("name, prompt or class")
    )


def _card(clip: ClipDiagnosis, rank: int, unit: str, influenced: str, album: Album) -> str:
    sides = media_of("gen", clip.clip_id, album.of(clip.file), clip.gen_classes)
    if clip.ref_file is not None:
        sides += media_of("ref", PurePosixPath(clip.ref_file.clip_id).name, album.of(clip.ref_file), clip.ref_classes)
    nearest = clip.nearest
    words = [clip.clip_id, *clip.captions, *(label for label, _ in clip.gen_classes + clip.ref_classes)]
    if nearest is not None:
        words.append(nearest.clip_id)
        if nearest.file == clip.ref_file:
            sides += f"<p>Nearest reference clip: its own, distance {nearest.distance:.3g}.</p>"
        else:
            sides += media_of(
                "nearest ref", nearest.clip_id, album.of(nearest.file), (), f"distance {nearest.distance:.3g}"
            )
    influence = "" if clip.influence is None else f"; adds <b>{clip.influence:+.3g}</b> to {escape(influenced)}"
    return (
        f'<li data-text="{escape(" ".join(words))}"><h4>{rank}. {escape(clip.clip_id)}</h4>{quoted(clip.captions)}'
        f"<p>{unit}: <b>{clip.value:.4g}</b>{influence}</p>{sides}</li>"
    )


def quoted(captions: Sequence[str]) -> str:
    """Return what a clip should sound like, in quotation marks; nothing where that is not known."""
    return f"<p>{' '.join(f'<q>{escape(caption)}</q>' for caption in captions)}</p>" if captions else ""


def media_of(name: str, clip_id: str, media: Media, classes: Sequence[tuple[str, float]], remark: str = "") -> str:
    """Return what can be heard and seen of one clip."""
    heard = ", ".join(f"{label} {value:.0%}" for label, value in classes)
    label = escape(f"{name}: {clip_id}")
    about = "; ".join(filter(None, (clip_id if name == "nearest ref" else "", remark, heard)))
    text = f'<div class="side"><p><b>{name}</b> {escape(about)}</p>'
    if media.picture is not None:
        seconds = min(media.seconds, PLAYED_SECONDS)
        text += f'<img src="{media.picture}" alt="Spectrogram of {label}, {seconds:.1f} s" loading="lazy">'
    if media.audio is not None:
        text += f'<audio controls preload="none" src="{media.audio}" aria-label="{label}"></audio>'
    if media.problem is not None:
        text += f"<p>{escape(media.problem)}</p>"
    return text + "</div>"


def provenance_of(
    sets: Mapping[str, InputSummary], backbones: Mapping[str, Mapping[str, Any]], versions: Mapping[str, str]
) -> str:
    """Return tables of the sets, what was skipped, the backbones and the versions of all that took part."""
    found = [
        (
            name,
            escape(summary.path),
            summary.share.removesuffix(" clips"),
            str(summary.ignored),
            _duration(summary.seconds),
            summary.digest,
        )
        for name, summary in sets.items()
    ]
    header = ("set", "folder", "clips scored", "other files", "length", "list SHA-256")
    text = table("The sets", header, found, ("", "number", "number", "number", "hash"))
    origins = [
        (name, escape(what), escape(said)) for name, each in sets.items() for what, said in each.statistics.items()
    ]
    if origins:
        text += table("Where others' statistics come from", ("set", "what", "as found"), origins, ("", "hash"))
    skipped = [
        (name, escape(entry["clip"]), escape(entry["reason"]), escape(entry.get("fix", "")))
        for name, summary in sets.items()
        for entry in (*summary.skipped, *(entry for entries in summary.left_out.values() for entry in entries))
    ]
    if skipped:
        text += table("Clips that were skipped", ("set", "clip", "reason", "what helps"), skipped, ("", "", ""))
    settings = [
        (escape(name), escape(str(backbone.get("weights_sha256", "–"))), escape(_others(backbone)))
        for name, backbone in backbones.items()
    ]
    text += table("Backbones", ("backbone", "weights SHA-256", "settings"), settings, ("hash", ""))
    parts = [(escape(name), escape(version)) for name, version in versions.items()]
    return text + table("Versions", ("part", "version"), parts, ("",))


REPEAT = (
    "<p>The JSON report (<code>agm score --format json</code>) also holds the hash of every file and all options; "
    "<code>agm verify report.json</code> computes the scores again and says what differs.</p>"
)


def _others(backbone: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in backbone.items() if name not in ("name", "weights_sha256")}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
