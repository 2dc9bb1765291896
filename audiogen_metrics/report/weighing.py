"""In which order the notes of a page stand: what makes its scores unusable before what only limits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

WEIGHTS: Mapping[str, str] = {
    "one set twice": r" are the same set: | clips are in \S+ with the same ",
    "silence": r"\d of \d+ clips silent ",
    "samples cut off": r"\d of \d+ clips (clipped|beyond full scale)",
    "one clip repeated": r"\d of \d+ clips exact duplicates ",
    "lengths or rates": r" clips last |: mixed (durations|sample rates)|\d of \d+ clips shorter| differ in length ",
    "too few clips": r" is biased upwards|: splits of \d+ clips: | has \d+ clips and ref \d+: ",
    "clips left out": r": skipped |skipped clips?: | left out \d+ clips|links lead nowhere|not in KL: ",
}
"""What notes are about, by what all notes of a kind say, in the order of the page; all others are remarks behind these.

A page is also made of a report that was read from a file, which holds the words of its warnings and nothing else."""

REMARK = "remark"


def kind_of(note: str) -> str:
    """Return what a note is about.

    Examples
    --------
    >>> kind_of("gen: 3 of 40 clips silent (peak below −80 dB): dog, rain, wind")
    'silence'
    >>> kind_of("compare scores of this protocol with each other only")
    'remark'
    """
    return next((kind for kind, said in WEIGHTS.items() if re.search(said, note)), REMARK)


def by_weight(notes: Iterable[str]) -> list[str]:
    """Return notes in the order of `WEIGHTS`; those of one kind stay in theirs."""
    order = [*WEIGHTS, REMARK]
    return sorted(notes, key=lambda note: order.index(kind_of(note)))
