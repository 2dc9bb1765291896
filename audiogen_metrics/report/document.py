"""The frame of every page: one document, no network, nothing beside it; tables and lists of HTML."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from audiogen_metrics.report.weighing import by_weight

Section = tuple[str, str, str]
"""Anchor, title and content, which is HTML; a section without content is left out."""

ALL_WELL = "No warnings: every file was scored, and the sets fit each other."

NOTES_SHOWN = 4
"""Notes that stand open; the others are one click away, so that the scores are on the first screen."""


def document(
    title: str,
    lead: str,
    notes: Sequence[str],
    sections: Sequence[Section],
    all_well: str = ALL_WELL,
    verdict: str = "",
) -> str:
    """Return a page as text.

    Parameters
    ----------
    title
        As text.
    lead
        HTML below it.
    notes
        What to read before anything is believed, as text; they stand in the order of their weight.
    sections
        The sections, in their order.
    all_well
        What is said if there are no notes, as text.
    verdict
        What the page comes to, in a sentence or two, as text.
    """
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    # Nothing from elsewhere is loaded, and no script runs but the page's own.
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    shown = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading, _ in shown)
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}" tabindex="-1">{escape(heading)}</h2>{content}</section>\n'
        for name, heading, content in shown
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} – audiogen-metrics</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
<a class="skip" href="#{shown[0][0]}">Skip to the scores</a>
<h1>{escape(title)}</h1>
{f'<p class="verdict">{escape(verdict)}</p>' * bool(verdict)}
<p>{lead}</p>
</header>
<main>
{_warnings(by_weight(notes)) if notes else f"<p>{escape(all_well)}</p>" * bool(all_well)}
<nav aria-label="Sections"><ul>{links}</ul></nav>
{body}</main>
<script>{script}</script>
</body>
</html>
"""


def listed(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], kinds: Sequence[str]) -> str:
    """Return a table of cells that are HTML already; the first of each row is its header."""
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>' for kind, name in zip(("", *kinds), header, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds, row[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return scrolling(
        caption,
        f"<table><caption><span>{escape(caption)}</span></caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
    )


def scrolling(name: str, content: str) -> str:
    """Return HTML that may be wider than the page, in a named region that scrolls, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">{content}</div>'


def drawing(name: str, svg: bytes, describe: str, caption: str) -> str:
    """Return an SVG file as a figure in a region called ``name``, with a text in its place and a caption.

    It is a picture of its own: the styles within it are those of matplotlib, which the page does not allow.
    """
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    image = scrolling(name, f'<img src="{source}" alt="{escape(describe)}">')
    return f'<figure class="wide">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def filter_box(words: str) -> str:
    """Return the field that filters the clips of a page, by ``words`` such as their names."""
    return (
        f'<div class="filter"><label for="filter">Filter clips by {words}</label>'
        '<input id="filter" type="search" autocomplete="off"><output id="count" for="filter"></output></div>'
    )


def _warnings(notes: Sequence[str]) -> str:
    folded = len(notes) > NOTES_SHOWN + 1
    shown, others = (notes[:NOTES_SHOWN], notes[NOTES_SHOWN:]) if folded else (notes, [])
    text = f'<h2 id="warnings">Read this first</h2>{listed(shown)}'
    if others:
        text += f"<details><summary>{len(others)} more to read</summary>{listed(others)}</details>"
    return f'<section class="warn" aria-labelledby="warnings">{text}</section>'


def _asset(name: str) -> str:
    return (files("audiogen_metrics.report") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
