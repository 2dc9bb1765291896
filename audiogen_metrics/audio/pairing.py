"""Pair the clips of two sets by clip id."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from audiogen_metrics.audio.files import AUDIO, canonical_id
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError, option
from audiogen_metrics.options import as_path
from audiogen_metrics.tabular import column, read_records

__all__ = ["Pairing"]

PairingMode = Literal["auto", "id", "none"]
"""``auto``: pair what matches; ``id``: every clip must match; ``none``: the sets are unpaired."""


@dataclass(frozen=True)
class Pairing:
    """Clip ids in both sets, and clip ids in only one of them; all sorted."""

    paired: tuple[str, ...]
    gen_only: tuple[str, ...]
    ref_only: tuple[str, ...]

    def near_misses(self, gen: str = "gen", ref: str = "ref") -> str:
        """Say how many clips would pair except for one detail of their names; an empty text for 0 such clips.

        Such clips are never paired: on many systems ``Dog.wav`` and ``dog.wav`` are two files.

        Parameters
        ----------
        gen, ref
            Names of the sets.

        Examples
        --------
        >>> pair(["Dog", "rain"], ["dog", "rain"]).near_misses()
        "1 differs only in case (gen 'Dog', ref 'dog')"
        """
        first, second = set(self.gen_only), set(self.ref_only)
        found = []
        for what, form in _DETAILS.items():
            partners = {form(clip): clip for clip in sorted(second)}
            near = [(clip, partners[form(clip)]) for clip in sorted(first) if form(clip) in partners]
            if near:
                verb = "differs" if len(near) == 1 else "differ"
                found.append(f"{len(near)} {verb} only in {what} ({gen} {near[0][0]!r}, {ref} {near[0][1]!r})")
            first -= {clip for clip, _ in near}
            second -= {clip for _, clip in near}
        return "; ".join(found)

    def unmatched(self, gen: str = "gen", ref: str = "ref", most: int = 6) -> str:
        """Say how many clips have no partner, name the first of them, and name those that nearly have one."""
        names = [f"{gen} {clip!r}" for clip in self.gen_only] + [f"{ref} {clip!r}" for clip in self.ref_only]
        shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
        return "; ".join(filter(None, [f"{len(names)} clips have no partner: {shown}", self.near_misses(gen, ref)]))

    def warnings(self, gen: str = "gen", ref: str = "ref", skipped: int = 0) -> list[str]:
        """Return warnings if some clips pair and some do not.

        Parameters
        ----------
        gen, ref
            Names of the sets.
        skipped
            Number of clips whose partner could not be used.
        """
        if not (self.paired and (self.gen_only or self.ref_only)):
            return []
        why = f"; {skipped} because the partner could not be used" if skipped else ""
        return [f"not in KL: {self.unmatched(gen, ref, most=3)}{why}"]


def pair(gen_ids: Iterable[str], ref_ids: Iterable[str], prompts: Mapping[str, str] | None = None) -> Pairing:
    """Match two sets of clip ids: equal ones, or each generated clip with its prompt, the id of its reference.

    Examples
    --------
    >>> pair(["dog", "rain"], ["rain", "wind"])
    Pairing(paired=('rain',), gen_only=('dog',), ref_only=('wind',))
    """
    gen, ref = set(gen_ids), set(ref_ids)
    partners = {clip: clip if prompts is None else prompts.get(clip, clip) for clip in gen}
    paired = {clip for clip, partner in partners.items() if partner in ref}
    used = {partners[clip] for clip in paired}
    return Pairing(tuple(sorted(paired)), tuple(sorted(gen - paired)), tuple(sorted(ref - used)))


def no_pairs(gen_ids: Sequence[str], ref_ids: Sequence[str]) -> InsufficientDataError:
    """Return what to say of two sets that have no clip id in common, and what would pair them."""
    sets = {"gen": gen_ids, "ref": ref_ids}
    first = [f"{name} has {ids[0]!r}" if ids else f"{name} is empty" for name, ids in sets.items()]
    pattern = suggest_pairs(gen_ids, {*ref_ids})
    fix = f"Give each generated file the name of its reference, or pass {option('pairs', 'FILE')}"
    if pattern is not None:
        fix = f"Several clips of one reference: {option('pairs', pattern)}"
    shown = pair(gen_ids, ref_ids).near_misses() or ", ".join(first)
    return InsufficientDataError(f"no clip id is in both sets ({shown})", fix=fix)


def read_pairs(
    pairs: str | Path | Mapping[str, str], gen_ids: Collection[str], ref_ids: Collection[str]
) -> dict[str, str]:
    """Return the reference of each generated clip, if several clips were made for one reference.

    Parameters
    ----------
    pairs
        A pattern of generated ids in which ``{ref}`` stands for the id of the reference and ``{sample}`` for what
        tells its samples apart, such as ``{ref}_{sample}`` or ``sample_{sample}/{ref}``; a CSV file with the columns
        ``gen`` and ``ref``; or the ids themselves. Ids may be written with the suffix of an audio file.
    gen_ids, ref_ids
        All clips of both sets.

    Raises
    ------
    UsageError
        ``pairs`` is neither a pattern nor a file.
    DataError
        The file cannot be read, a clip has two references, or no clip has one.

    Examples
    --------
    >>> read_pairs("{ref}_{sample}", ["big_dog_0", "big_dog_1"], ["big_dog"])
    {'big_dog_0': 'big_dog', 'big_dog_1': 'big_dog'}
    """
    where = pairs if isinstance(pairs, (str, Path)) else "pairs"
    if isinstance(pairs, Mapping):
        stated = [*pairs.items()]
    elif "{ref}" in str(pairs):
        form = _pattern(_without_suffixes(canonical_id(str(pairs))))
        stated = [(clip, match["ref"]) for clip in gen_ids if (match := form.fullmatch(clip))]
    else:
        stated = _read_file(as_path(pairs))
    found: dict[str, str] = {}
    for gen, ref in stated:
        clip, partner = as_clip_id(gen, gen_ids), as_clip_id(ref, ref_ids)
        if found.setdefault(clip, partner) != partner:
            raise DataError(f"clip {clip!r} has the references {found[clip]!r} and {partner!r}", where=where)
    usable = {clip: ref for clip, ref in found.items() if clip in gen_ids and ref in ref_ids}
    if not usable:
        shown = next(iter(found.items()), None)
        said = "no generated clip fits it" if shown is None else f"it says {shown[0]!r} has the reference {shown[1]!r}"
        names = f"gen has {next(iter(gen_ids), None)!r}, ref {next(iter(ref_ids), None)!r}"
        raise DataError(f"no pair is in both sets: {said}; {names}", where=where, fix="Use the ids of the files")
    return dict(sorted(usable.items()))


def suggest_pairs(gen_ids: Collection[str], ref_ids: Collection[str]) -> str | None:
    """Return the pattern that pairs most generated clips, if these look like several samples of one prompt."""
    for pattern in ("{ref}_{sample}", "{ref}-{sample}", "{sample}/{ref}", "{ref}/{sample}"):
        form = _pattern(pattern)
        fitting = [clip for clip in gen_ids if (match := form.fullmatch(clip)) and match["ref"] in ref_ids]
        if 2 * len(fitting) > len(gen_ids):
            return pattern
    return None


def _pattern(text: str) -> re.Pattern[str]:
    parts = re.split(r"(\{ref\}|\{sample\})", text)
    if text.count("{ref}") != 1:
        raise UsageError(f"{text!r} has {{ref}} {text.count('{ref}')} times", fix="Write it once")
    # The reference takes as much of the name as possible: names have underscores, numbers of samples rarely have.
    forms = {"{ref}": "(?P<ref>.+)", "{sample}": "[^/]+?"}
    return re.compile("".join(forms.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _read_file(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise UsageError("is neither a file nor a pattern with {ref}", where=path, fix="Write {ref}_{sample}, say")
    rows = read_records(path, what="pairs", once=("gen", "ref"), assumed=".csv")
    gen, ref = (column(rows[0] if rows else (), (name,)) for name in ("gen", "ref"))
    if gen is None or ref is None:
        found = f": it has {', '.join(map(str, rows[0]))}" if rows else ""
        raise DataError(f"has no columns gen and ref{found}", where=path, fix="Begin it with the line: gen,ref")
    return [(str(row.get(gen) or ""), str(row.get(ref) or "")) for row in rows]


def as_clip_id(name: str, ids: Collection[str]) -> str:
    """Return a clip id as it is in a set; it may be given with its suffix."""
    clip = canonical_id(name)
    return clip if clip in ids else _without_suffixes(clip)


def _without_spaces(clip_id: str) -> str:
    return "/".join(part.strip() for part in clip_id.split("/"))


def _without_suffixes(clip_id: str) -> str:
    path = PurePosixPath(clip_id)
    while path.suffix.lower() in AUDIO:
        path = path.with_suffix("")
    return path.as_posix()


_DETAILS: Mapping[str, Callable[[str], str]] = {
    "case": str.lower,
    "spaces at the ends of a name": _without_spaces,
    "an audio suffix within the name": _without_suffixes,
}
