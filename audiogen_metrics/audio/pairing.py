"""Pair the clips of two sets by clip id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from audiogen_metrics.audio.files import AUDIO

PairingMode = Literal["auto", "id", "none"]
"""``auto``: pair what matches; ``id``: every clip must match; ``none``: the sets are unpaired."""


@dataclass(frozen=True)
class Pairing:
    """Clip ids in both sets, and those in one only; all sorted."""

    paired: tuple[str, ...]
    gen_only: tuple[str, ...]
    ref_only: tuple[str, ...]

    def near_misses(self, gen: str = "gen", ref: str = "ref") -> str:
        """Say how many clips would pair but for one detail of their names; an empty text if none would.

        Such clips are never paired: on many systems ``Dog.wav`` and ``dog.wav`` are two files.

        Parameters
        ----------
        gen, ref
            What the sets are called.

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
        """Say how many clips have no partner, which are the first of them, and which would nearly have one."""
        names = [f"{gen} {clip!r}" for clip in self.gen_only] + [f"{ref} {clip!r}" for clip in self.ref_only]
        shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
        return "; ".join(filter(None, [f"{len(names)} clips have no partner: {shown}", self.near_misses(gen, ref)]))

    def warnings(self, gen: str = "gen", ref: str = "ref", skipped: int = 0) -> list[str]:
        """Return what to know where some clips pair and some do not.

        Parameters
        ----------
        gen, ref
            What the sets are called.
        skipped
            How many had a partner that could not be used.
        """
        if not (self.paired and (self.gen_only or self.ref_only)):
            return []
        why = f"; {skipped} because the partner could not be used" if skipped else ""
        return [f"not in KL: {self.unmatched(gen, ref, most=3)}{why}"]


def pair(gen_ids: Iterable[str], ref_ids: Iterable[str]) -> Pairing:
    """Match two sets of clip ids.

    Examples
    --------
    >>> pair(["dog", "rain"], ["rain", "wind"])
    Pairing(paired=('rain',), gen_only=('dog',), ref_only=('wind',))
    """
    gen, ref = set(gen_ids), set(ref_ids)
    return Pairing(tuple(sorted(gen & ref)), tuple(sorted(gen - ref)), tuple(sorted(ref - gen)))


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
