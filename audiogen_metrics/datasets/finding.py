"""Where the audio is that metadata name: each folder is listed once, and names are matched in memory."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from audiogen_metrics.audio.files import AUDIO, DECODABLE, UNDECODABLE, canonical_id
from audiogen_metrics.errors import DataError

__all__ = ["AudioByName", "AudioByPath"]

SEGMENT_NAMES = (
    "{id}, {id}_{start}, {id}_{start}_{end} or {id}_000030, with or without Y before it, "
    "the times as 30, 30.0, 30.00, 30.000 or 30000"
)
"""What `names_of_segment` returns, for people."""

_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
"""What the system says of a path that leads to no folder."""


class Listing:
    """The files of one folder, listed when the first is asked for.

    A folder that may be entered but not listed still gives the files that are asked for as their names are spelt.

    Parameters
    ----------
    folder
        It need not be there: no files, then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._problem: OSError | None = None

    def file(self, name: str) -> Path | None:
        """Return the file that opens under this name; None if there is none."""
        path = self.folder / name
        if name in self._names:
            return path
        # A file system may take other letters for the same: it is asked where names differ by their case alone.
        doubtful = self._problem is not None or _comparable(name).casefold() in self._folded
        return path if doubtful and os.path.isfile(path) else None  # noqa: PTH113 (no error for odd names)

    def spelt_like(self, name: str) -> Path | None:
        """Return the file whose name is another Unicode form of this one, or has other spaces at its ends."""
        self.require()
        found = self._comparables.get(_comparable(name))
        return None if found is None else self.folder / found

    def called(self, stem: str, suffixes: Collection[str]) -> Path | None:
        """Return the file of this name, whatever its suffix, its Unicode form and the spaces at its ends.

        Of several, what can be decoded goes first.

        Parameters
        ----------
        stem
            What precedes the suffix.
        suffixes
            That count, in lower case; a file's own may be in capitals.
        """
        self.require()
        names = self._comparable_stems.get(_comparable(stem), ())
        found = next((name for name in names if _parts(name)[1].lower() in suffixes), None)
        return None if found is None else self.folder / found

    def first(self, stems: Iterable[str]) -> Path | None:
        """Return the first audio file with one of these names without suffix; those that can be decoded go first."""
        self.require()
        known = self._stems
        found = next((known[stem][0] for stem in stems if stem in known), None)
        return None if found is None else self.folder / found

    def require(self) -> None:
        """Raise DataError for a folder that cannot be listed."""
        if self._names or self._problem is None:
            return
        reason = self._problem.strerror
        raise DataError(f"cannot list the folder ({reason})", self.folder, "Allow it to be listed") from self._problem

    @cached_property
    def _names(self) -> frozenset[str]:
        try:
            with os.scandir(self.folder) as entries:
                return frozenset(entry.name for entry in entries if _is_file(entry))
        except ValueError:  # a zero byte in its name
            return frozenset()
        except OSError as error:
            if error.errno not in _NOWHERE:
                self._problem = error
            return frozenset()

    @cached_property
    def _comparables(self) -> Mapping[str, str]:
        return {_comparable(name): name for name in sorted(self._names, reverse=True)}

    @cached_property
    def _folded(self) -> frozenset[str]:
        return frozenset(name.casefold() for name in self._comparables)

    @cached_property
    def _stems(self) -> Mapping[str, Sequence[str]]:
        return self._grouped(str)

    @cached_property
    def _comparable_stems(self) -> Mapping[str, Sequence[str]]:
        return self._grouped(_comparable)

    def _grouped(self, form: Callable[[str], str]) -> Mapping[str, Sequence[str]]:
        """Return the audio files by a form of their names without suffix."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            stem, suffix = _parts(name)
            if suffix.lower() in AUDIO:
                groups[form(stem)].append(name)
        for names in groups.values():
            names.sort(key=_rank)
        return groups


class Listings:
    """Folders as `Listing`, each made once; what reads a dataset shares one of these."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str], Listing] = {}

    def __call__(self, folder: Path, below: str = "") -> Listing:
        """Return the listing of a folder, or of one that a table names relative to it."""
        if (folder, below) not in self._known:
            place = folder / below
            self._known[folder, below] = self._known.setdefault((place, ""), Listing(place))
        return self._known[folder, below]


class AudioByPath:
    """The audio files that a table names, also where the table spells their names a little differently.

    As written; else in another Unicode form or without spaces at the ends of the name; else with backslashes as
    separators; else with the suffix of a format that must be converted first.
    """

    def __init__(self) -> None:
        self._listings = Listings()

    def __call__(self, folder: Path, name: str) -> Path | None:
        """Return the file of this name below, or relative to, a folder; None if there is none.

        Raises
        ------
        DataError
            It is not there as written, and its folder cannot be listed.
        """
        return next(filter(None, self._found(folder, name)), None)

    def _found(self, folder: Path, name: str) -> Iterator[Path | None]:
        for spelt in dict.fromkeys((name, name.strip(), name.strip().replace("\\", "/"))):
            head, slash, last = spelt.rpartition("/")
            if last in {"", ".", ".."}:
                continue
            listing = self._listings(folder, head + slash)
            yield listing.file(last)
            yield listing.spelt_like(last)
            stem, suffix = _parts(last)
            if suffix.lower() in AUDIO:
                yield listing.called(stem, UNDECODABLE)
            else:  # FSD50K's table names 64760 where the file is 64760.wav
                yield listing.called(last, DECODABLE | UNDECODABLE)


class AudioByName:
    """The audio files of some folders by their names without suffix; what can be decoded goes first.

    Parameters
    ----------
    folders
        In the order in which they are looked through.
    listings
        Shared by what looks into the same folders.
    """

    def __init__(self, *folders: Path, listings: Listings | None = None) -> None:
        self.folders = folders
        self._listed = [*map(listings or Listings(), folders)]

    def __call__(self, *names: str) -> Path | None:
        """Return the first file of these names, in the order of the folders; None if there is none.

        Raises
        ------
        DataError
            A folder cannot be listed.
        """
        return next(filter(None, (listing.first(names) for listing in self._listed)), None)


def names_of_segment(video: str, start: float, end: float) -> list[str]:
    """Return what people call the audio of a part of a video, without suffix.

    AudioCaps' ``Y{id}``, ``{id}_{start}``, and with the end; DCASE's ``Y{id}_30.000_40.000``; VGGSound's
    ``{id}_000030``; and milliseconds, as some programs write that fetch the audio.

    Parameters
    ----------
    video
        Id of the video.
    start, end
        In seconds.
    """
    times = [f"_{start:g}", f"_{start:g}_{end:g}", f"_{int(start)}_{int(end)}"]
    times += [f"_{start:.{digits}f}_{end:.{digits}f}" for digits in (1, 2, 3)]
    times += [f"_{1000 * start:.0f}_{1000 * end:.0f}", f"_{int(start):06d}", f"_{int(start):06d}_{int(end):06d}"]
    times.insert(1, f"_{int(start)}")
    return [f"Y{video}", video, *(f"{head}{video}{time}" for time in dict.fromkeys(times) for head in ("", "Y"))]


def sought(names: str, folders: Iterable[Path]) -> str:
    """Return what was looked for and where, for `Dataset.looked_for`."""
    return f"{names}; in {', '.join(map(str, dict.fromkeys(folders)))}"


def _comparable(name: str) -> str:
    return canonical_id(name).strip()


def _parts(name: str) -> tuple[str, str]:
    """Return a file's name without its suffix, and that; what follows the last dot of a hidden file is one, too."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and suffix else (name, "")


def _rank(name: str) -> tuple[bool, str, str]:
    suffix = _parts(name)[1]
    return suffix.lower() not in DECODABLE, suffix, name


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:  # a link to itself leads nowhere; what may not be looked at is there, and reading it fails
        return error.errno not in _NOWHERE
