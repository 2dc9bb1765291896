"""What clips should sound like: prompts and captions from the files that people have, joined to clips by their ids."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from audiogen_metrics.audio.files import AUDIO, canonical_id
from audiogen_metrics.audio.pairing import as_clip_id, pair
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path
from audiogen_metrics.tabular import METADATA, column, metadata_of, read_records, read_text

ID_COLUMNS = (
    *("clip_id", "id", "file_name", "filename", "file", "name", "fname", "slice_file_name", "audio_file_name"),
    *("audio_filename", "ytid", "youtube_id", "video_id", "audiocap_id", "audio_id", "sound_id", "track_id", "uid"),
)
"""Columns that say which clip a record is about; the first that a record has counts."""

PATH_COLUMNS = (
    *("wav", "audio", "location", "path", "audio_filepath", "audio_path", "audio_file", "filepath", "file_path"),
    "wav_path",
)
"""Columns that say where a recording lies on somebody's disk: the name of the file says which clip it is."""

PROMPT_COLUMNS = ("prompt", "caption", "text", "captions", "description")

CaptionChoice = Literal["first", "all", "random"]
"""Which of several captions of a clip count."""

Prompts = str | Path | Mapping[str, str | Sequence[str]]
"""A file, or a prompt or several captions by clip id."""

_NUMBERED = re.compile(r"(?:caption|prompt|text)[ _-]?\d+", re.IGNORECASE)
"""Columns such as Clotho's ``caption_1`` … ``caption_5``."""


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
    """Read a file of prompts as `audiogen_metrics.generation.prompts.requests_from_file` takes it, or a folder's table.

    Raises
    ------
    DataError
        Missing, empty, not what its suffix says, or a record without a prompt.
    UsageError
        Another suffix.
    """
    path = as_path(path)
    if path.is_dir():
        path = _beside(path)
    if path.suffix.lower() == ".txt":
        lines = _lines(read_text(path), path)
        return [Entry(name, (line,)) for name, line in zip(default_names(lines), lines, strict=True)]
    once = (*ID_COLUMNS, *PATH_COLUMNS, *PROMPT_COLUMNS)
    records = read_records(path, what="prompts", once=once, others=".txt, ")
    if not records:
        raise DataError("has no prompts", where=path)
    captions = [captions_in(record, f"{path}, record {number}") for number, record in enumerate(records, 1)]
    return [
        Entry(name, own, _cell(record, "seconds"))
        for record, own, name in zip(records, captions, _names(records, captions, path), strict=True)
    ]


def merged(entries: Sequence[Entry]) -> list[Entry]:
    """Return an entry per clip id with the captions of all its records, each once; the first length counts."""
    found: dict[str, Entry] = {}
    for entry in entries:
        name = canonical_id(entry.clip_id)
        known = found.setdefault(name, entry)
        texts = tuple(dict.fromkeys((*known.captions, *entry.captions)))
        found[name] = Entry(known.clip_id, texts, known.seconds or entry.seconds)
    return [*found.values()]


def choose(captions: Sequence[str], which: CaptionChoice, seed: int, clip_id: str) -> tuple[str, ...]:
    """Return the captions of a clip that count: its first, all, or one that is drawn from the seed and the clip's id.

    Examples
    --------
    >>> choose(["a dog", "barking"], "first", 0, "dog")
    ('a dog',)
    """
    if which not in get_args(CaptionChoice):
        raise UsageError(f"unknown choice {which!r}", where="caption", fix="Use first, all or random")
    if which == "random" and captions:
        stream = random.Random(hashlib.blake2b(f"{seed}/{clip_id}".encode(), digest_size=8).digest())
        return (stream.choice(captions),)
    return tuple(captions[:1] if which == "first" else captions)


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
            raise DataError(f"{own!r} is not a prompt of {clip!r}", where="prompts", fix="Use text, or a list of texts")
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


def captions_in(record: Mapping[str, Any], where: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the captions of a record; DataError if there is none.

    ``others`` are columns that will do where no column is called after a prompt.
    """
    key = column(record, PROMPT_COLUMNS)
    numbered = [name for name in record if key is None and isinstance(name, str) and _NUMBERED.fullmatch(name.strip())]
    if numbered:
        found: object = [record[name] for name in numbered if record[name] not in (None, "")]
    else:
        key = column(record, others) if key is None else key
        found = None if key is None else record[key]
    if found is None:
        raise DataError(f"has no prompt among {named(record)}", where, f"Name the column {PROMPT_COLUMNS[0]}")
    texts = as_texts(found)
    if not texts:
        raise DataError(f"{found!r} is not a prompt", where, "Use text, or a list of texts")
    return tuple(map(str.strip, texts))


def named(record: Mapping[str, Any]) -> str:
    """Return the columns of a record, for a message."""
    return ", ".join(str(name) for name in record)


def _beside(folder: Path) -> Path:
    path = metadata_of(folder)
    if path is None:
        raise DataError("is a folder without a table of prompts", folder, f"Add {METADATA[0]}, or pass a file")
    return path


def _cell(record: Mapping[str, Any], name: str) -> Any:
    key = column(record, (name,))
    return None if key is None or record[key] == "" else record[key]


def _names(records: Sequence[Mapping[str, Any]], captions: Sequence[Sequence[str]], path: Path) -> list[str]:
    """Return the clip id of every record: as written, or numbers where the columns speak of nothing but prompts."""
    # Beside the audio, as Hugging Face has it, file_name pairs a record with its recording, whatever else it says.
    wanted = (*(("file_name",) if path.name in METADATA else ()), *ID_COLUMNS)
    names = [_name(record, wanted) for record in records]
    for number, (name, record) in enumerate(zip(names, records, strict=True), 1):
        if name is None and (any(names) or not all(map(_is_of_prompts, record))):
            raise DataError(
                f"does not say which clip it is about: it has {named(record)}",
                where=f"{path}, record {number}",
                fix=f"Name the column of the clips' ids {ID_COLUMNS[0]}, and fill it; with no column but prompt and "
                "seconds, clips are numbered",
            )
    return [name or default for name, default in zip(names, default_names([own[0] for own in captions]), strict=True)]


def _is_of_prompts(name: Any) -> bool:
    found = isinstance(name, str) and (not name.strip() or _NUMBERED.fullmatch(name.strip()))
    return bool(found) or column([name], (*PROMPT_COLUMNS, "seconds")) is not None


def _name(record: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    for wanted in (*columns, *PATH_COLUMNS):
        key = column(record, (wanted,))
        value = None if key is None else record[key]
        if isinstance(value, (str, int)) and str(value).strip():
            # Of a path from another system, too.
            return _clip_id(re.split(r"[/\\]", str(value))[-1] if wanted in PATH_COLUMNS else str(value))
    return None


def _clip_id(name: str) -> str:
    path = PurePath(name)
    return name.removesuffix(path.suffix) if path.suffix.lower() in AUDIO else name


def _slug(prompt: str) -> str:
    words = re.findall(r"[a-z0-9]+", prompt.lower())
    return "".join(f"-{word}" for word in words[:6])[:48]
