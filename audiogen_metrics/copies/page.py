"""The page: thresholds with what they promise, and copies beside their training clips, to hear."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.copies.tables import NAMES, headline, notes, pairs_of
from audiogen_metrics.report import drawings
from audiogen_metrics.report.document import document, filter_box, listed, table
from audiogen_metrics.report.html import AUDIO_BYTES, PLAYED_SECONDS, media_of, provenance_of, size_of
from audiogen_metrics.report.media import Album

if TYPE_CHECKING:
    from audiogen_metrics.copies.result import ClipMatches, Copies, Files

COPIES_SHOWN = 50
NEXT_SHOWN = 10
"""Clips below the thresholds, the most alike ones."""


def page(found: Copies, files: Files) -> str:
    """Return the page as text.

    Parameters
    ----------
    found
        The result.
    files
        Where the clips are.
    """
    album = Album(AUDIO_BYTES, PLAYED_SECONDS)
    copies, below = found.copies, sorted((clip for clip in found.clips if not clip.is_copy), key=_least_p)
    clips = _clips("Called copies", copies[:COPIES_SHOWN], found, files, album)
    clips += _clips("Below the thresholds, the most alike", below[:NEXT_SHOWN], found, files, album)
    held_out = _held_out(found, files, album)
    sets = {"gen": found.gen, "train": found.train}
    sets |= {} if found.held_out is None else {"held-out": found.held_out}
    sections = (
        ("scores", "How alike is too alike", _thresholds(found)),
        ("similarities", "How alike the clips are", _distributions(found)),
        ("clips", "Clips", _FILTER + clips if clips else ""),
        ("held-out", "The most alike real clips", held_out),
        ("not-shown", "Not shown", listed(_not_shown(len(copies), len(below), album))),
        ("provenance", "Provenance", provenance_of(sets, found.backbones, found.versions)),
    )
    lead = f"{size_of(found.gen)} against {size_of(found.train)}."
    title = f"Copies in {Path(found.gen.path).name or found.gen.path}?"
    return document(title, lead, notes(found), sections, verdict=f"{headline(found)}.")


def _least_p(clip: ClipMatches) -> float:
    return min((match.p for match in clip.matches.values()), default=1.0)


def _thresholds(found: Copies) -> str:
    rows = [
        (
            escape(NAMES[kind]),
            f"{each.similarity:.4f}",
            f"{each.false_alarms:.2%}",
            f"{each.upper:.2%}",
            f"{each.held_out}",
            f"{each.flagged} of {each.clips}",
            f"{each.expected:.1f}",
            f"{each.p:.2g}",
        )
        for kind, each in found.thresholds.items()
    ]
    header = ("measure", "threshold", "false alarms", "95 % bound", "held-out", "above", "expected", "p")
    caption = "A generated clip above a threshold is called a copy"
    return table(caption, header, rows, ("value", *["number"] * 6)) + (
        "<p>False alarms: the chance that a real clip which was not trained on, of the held-out clips' kind, lies "
        "above the threshold, at most; on average over draws of held-out clips, and for these ones up to the bound. "
        "Expected: how many generated clips would lie there if all were such clips. p: the chance of as many as there "
        "are. Mel similarity is the correlation of log-mel contours at the best time lag, embedding similarity the "
        "cosine.</p>"
    )


def _distributions(found: Copies) -> str:
    figures = ""
    for kind in found.thresholds:
        values = sorted(clip.matches[kind].similarity for clip in found.clips if kind in clip.matches)
        if not values:
            continue
        describe = f"{NAMES[kind]} of {len(values)} generated clips to their nearest training clips: histogram."
        figures += (
            f"<figure>{drawings.histogram(values, '', describe)}<figcaption>{escape(NAMES[kind].capitalize())} of "
            f"generated clips to their nearest training clips; the threshold is "
            f"{found.thresholds[kind].similarity:.4f}.</figcaption></figure>"
        )
    return figures


_FILTER = (
    f"<p>Players hold MP3 copies for listening: mono, {PLAYED_SECONDS} s. A training clip is heard from where the "
    f"generated clip begins in it.</p>{filter_box('name')}"
)


def _clips(
    heading: str, clips: tuple[ClipMatches, ...] | list[ClipMatches], found: Copies, files: Files, album: Album
) -> str:
    cards = "".join(_card(clip, rank, found, files, album) for rank, clip in enumerate(clips, 1))
    return f'<h3>{heading}</h3><ol class="clips" role="list">{cards}</ol>' if cards else ""


def _card(clip: ClipMatches, rank: int, found: Copies, files: Files, album: Album) -> str:
    sides = media_of("gen", clip.clip_id, album.of(files["gen"][clip.clip_id]), ())
    said = pairs_of(clip, found)
    for name, words in said.items():
        begin = clip.mel.offset_seconds if clip.mel is not None and clip.mel.clip_id == name else None
        media = album.of(files["train"][name], max(0.0, begin or 0.0))
        sides += media_of("train", name, media, (), f"{name}: {words}")
    verdict = f"<p>Called a copy by <b>{escape(', '.join(clip.found_by))}</b></p>" if clip.is_copy else ""
    words = " ".join([clip.clip_id, *said])
    return f'<li data-text="{escape(words)}"><h4>{rank}. {escape(clip.clip_id)}</h4>{verdict}{sides}</li>'


def _held_out(found: Copies, files: Files, album: Album) -> str:
    text = ""
    for kind, threshold in found.thresholds.items():
        cards = ""
        for clip_id, other, similarity in threshold.nearest[:3]:
            sides = media_of("held-out", clip_id, album.of(files["held_out"][clip_id]), ())
            sides += media_of(
                "train", other, album.of(files["train"][other]), (), f"{kind} {similarity:.4f} to {other}"
            )
            cards += f'<li data-text="{escape(f"{clip_id} {other}")}"><h4>{escape(clip_id)}</h4>{sides}</li>'
        text += f'<h3>By {escape(NAMES[kind])}</h3><ol class="clips" role="list">{cards}</ol>'
    return (
        "<p>These held-out clips set the thresholds. Where two of them are one recording, the threshold is higher than "
        f"it need be, and copies are missed.</p>{text}"
    )


def _not_shown(copies: int, below: int, album: Album) -> list[str]:
    found = []
    if copies > COPIES_SHOWN:
        found.append(f"{copies - COPIES_SHOWN} copies beyond the first {COPIES_SHOWN}: the table has them all")
    if below > NEXT_SHOWN:
        found.append(f"{below - NEXT_SHOWN} clips below the thresholds, less alike than those above")
    if album.left_out:
        found.append(f"{album.left_out} clips have no player: the page holds at most {AUDIO_BYTES >> 20} MB of audio")
    return found
