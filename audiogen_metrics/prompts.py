"""What clips should sound like: prompts and captions from the files that people have, joined to clips by their ids."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from audiogen_metrics.audio.files import AUDIO
from audiogen_metrics.audio.pairing import as_clip_id, pair
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path
from audiogen_metrics.tabular import read_text, records_of

ID_COLUMNS = ("clip_id", "id", "file_name", "filename", "file", "name")
PROMPT_COLUMNS = ("prompt", "caption", "text", "captions")

Prompts = str | Path | Mapping[str, str | Sequence[str]]
"""A file, or a prompt or several captions by clip id."""


@dataclass(frozen=True)
class Entry:
    """One record of a file of prompts.

    Parameters
    ----------
    clip_id
        As written, without the suffix of an audio file; where there is none, the number and first words of the prompt.
    captions
        One or several.
    seconds
        Length as written; None where there is none.
    """

    clip_id: str
    captions: tuple[str, ...]
    seconds: Any = None


def read_entries(path: str | Path) -> list[Entry]:
    """Read a file of prompts; `audiogen_metrics.generation.requests_from_file` says which.

    Raises
    ------
    DataError
        Missing, empty, not what its suffix says, or a record without a prompt.
    UsageError
        Another suffix.
    """
    path = as_path(path)
    text = read_text(path)
    if path.suffix.lower() == ".txt":
        lines = _lines(text, path)
        return [Entry(name, (line,)) for name, line in zip(default_names(lines), lines, strict=True)]
    records = list(records_of(text, path, what="prompts", once=(*ID_COLUMNS, *PROMPT_COLUMNS), others=".txt, "))
    if not records:
        raise DataError("has no prompts", where=path)
    captions = [_captions(record, f"{path}, record {number}") for number, record in enumerate(records, 1)]
    names = default_names([own[0] for own in captions])
    return [
        Entry(_name(record) or name, own, record.get("seconds") or None)
        for record, own, name in zip(records, captions, names, strict=True)
    ]


def default_names(prompts: Sequence[str]) -> list[str]:
    """Return clip ids for prompts that have none: their number and first words.

    Examples
    --------
    >>> default_names(["A dog barks!", "rain"])
    ['0001-a-dog-barks', '0002-rain']
    """
    width = max(4, len(str(len(prompts))))
    return [f"{number:0{width}}{_slug(prompt)}" for number, prompt in enumerate(prompts, 1)]


@dataclass(frozen=True)
class Captions:
    """What the clips of a set should sound like.

    Parameters
    ----------
    by_clip
        One or several texts by clip id, of clips that have some.
    unused
        The same, of ids that no clip has.
    near
        Which would join but for a detail of their names; empty if none would.
    """

    by_clip: Mapping[str, tuple[str, ...]]
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    near: str = ""

    def warnings(self, name: str, clip_ids: Sequence[str]) -> list[str]:
        """Return what did not join of the clips of a set, by its name.

        Examples
        --------
        >>> captions_of({"dog.wav": "a dog barks"}, ["dog", "rain"]).warnings("gen", ["dog", "rain"])
        ["prompts: 1 of 2 clips of gen has none: 'rain'"]
        """
        parts = [self.near] * bool(self.near)
        alone = [clip for clip in clip_ids if clip not in self.by_clip]
        for what, names in ((f" of {len(clip_ids)} clips of {name}", alone), ("", [*self.unused])):
            has, lacks = "has" if len(names) == 1 else "have", "none" if what else "no clip"
            parts += [f"{len(names)}{what} {has} {lacks}: {_some(names)}"] * bool(names)
        return [f"prompts: {'; '.join(parts)}"] if parts else []


def captions_of(
    prompts: Prompts, clip_ids: Collection[str], partners: Mapping[str, str] | None = None, name: str = "gen"
) -> Captions:
    """Join prompts to the clips of a set.

    Parameters
    ----------
    prompts
        Several records with one id are several captions of one clip. Empty ones ask for nothing and are left out.
    clip_ids
        All clips of the set.
    partners
        The reference of each clip, where several were made for one: a clip without a prompt of its own has that of its
        reference.
    name
        What the set is called.

    Raises
    ------
    DataError
        A file that cannot be read, or no clip with a prompt.
    UsageError
        Neither a file nor prompts by clip id.

    Examples
    --------
    >>> captions_of({"dog.wav": ["a dog", "barking"]}, ["dog", "rain"]).by_clip
    {'dog': ('a dog', 'barking')}
    """
    known = {*clip_ids, *(partners or {}).values()}
    where = prompts if isinstance(prompts, (str, Path)) else "prompts"
    found: dict[str, tuple[str, ...]] = {}
    for written, texts in _given(prompts):
        clip = as_clip_id(written, known)
        found[clip] = tuple(dict.fromkeys((*found.get(clip, ()), *filter(None, map(str.strip, texts)))))
    texts_of = {clip: texts for clip, texts in found.items() if texts}
    if not texts_of:
        raise DataError("has no prompt that says anything", where=where, fix="Write one for each clip")
    sources = {clip: clip if clip in texts_of else (partners or {}).get(clip, clip) for clip in clip_ids}
    joined = pair(clip_ids, texts_of, sources)
    near = joined.near_misses(name, "prompts")
    if not joined.paired:
        shown = f"{name} has {next(iter(clip_ids), None)!r}, prompts are of {next(iter(texts_of))!r}"
        raise DataError(
            f"no clip of {name} has a prompt ({near or shown})",
            where=where,
            fix="Give every prompt the clip_id of its clip: its path below the folder, without suffix",
        )
    return Captions(
        {clip: texts_of[sources[clip]] for clip in joined.paired},
        {clip: texts_of[clip] for clip in joined.ref_only},
        near,
    )


def as_texts(own: object) -> tuple[str, ...]:
    """Return a prompt, or several captions, as a tuple; empty for what is neither."""
    texts = [own] if isinstance(own, str) else [*own] if isinstance(own, Sequence) else []
    return tuple(texts) if all(map(_is_text, texts)) else ()


def _given(prompts: Prompts) -> Iterator[tuple[str, Sequence[str]]]:
    if isinstance(prompts, (str, Path)):
        yield from ((entry.clip_id, entry.captions) for entry in read_entries(prompts))
        return
    if not isinstance(prompts, Mapping):
        raise UsageError(f"a {type(prompts).__name__}", where="prompts", fix="Pass a file, or prompts by clip id")
    for clip, own in prompts.items():
        texts = as_texts(own)
        if not (isinstance(clip, str) and texts):
            raise DataError(f"{own!r} is no prompt of {clip!r}", where="prompts", fix="Use text, or a list of texts")
        yield clip, texts


def _is_text(value: object) -> bool:
    """Return whether it is a text that can be written; half of a surrogate pair, which JSON may hold, cannot."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + ", …" * (len(names) > 3)


def _lines(text: str, path: Path) -> list[str]:
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise DataError("has no prompts", where=path)
    if "" in lines:
        raise DataError(
            f"line {lines.index('') + 1} is empty",
            where=path,
            fix="Delete the line; for an empty prompt, which asks for nothing in particular, use CSV",
        )
    return lines


def _captions(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    key = next((key for key in PROMPT_COLUMNS if key in record), None)
    if key is None or record[key] is None:
        found = ", ".join(map(str, record))
        raise DataError(f"has no prompt among {found}", where, f"Name the column {PROMPT_COLUMNS[0]}")
    texts = as_texts(record[key])
    if not texts:
        raise DataError(f"{record[key]!r} is no prompt", where, "Use text, or a list of texts")
    return tuple(map(str.strip, texts))


def _name(record: Mapping[str, Any]) -> str | None:
    key = next((key for key in ID_COLUMNS if record.get(key) not in (None, "")), None)
    if key is None:
        return Path(record["wav"]).stem if isinstance(record.get("wav"), str) else None
    name = str(record[key])
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO else name


def _slug(prompt: str) -> str:
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return "".join(f"-{word}" for word in words[:6])[:48]
