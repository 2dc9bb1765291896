"""Published network weights: where they may lie, and how they are fetched.

Files are read in `audiogen_metrics.backbones.pretrained`, not here.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from audiogen_metrics.backbones.published import BESIDE, OF_THE_PAPER, WEIGHTS, WeightsEntry, weights_name
from audiogen_metrics.errors import MissingWeightsError, UsageError, option
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path, at_home
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.settings import cache_dir, require_lasting_cache
from audiogen_metrics.writing import remove_left_behind, unwritable, write_atomically, written_whole

__all__ = ["fetch", "find", "weights_dir"]

_DISK = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
    | {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)
"""Error numbers that concern the folder, not the download."""


def offline() -> bool:
    """Tell whether ``AGM_OFFLINE`` forbids downloads."""
    return os.environ.get("AGM_OFFLINE", "0") not in {"", "0"}


def weights_dir() -> Path:
    """Return the folder of downloads: ``AGM_WEIGHTS_DIR``, or ``weights`` in the cache folder. It may not exist yet."""
    chosen = os.environ.get("AGM_WEIGHTS_DIR")
    return at_home(chosen, "AGM_WEIGHTS_DIR").absolute() if chosen else cache_dir() / "weights"


def candidates(entry: WeightsEntry) -> list[Path]:
    """Return the files that may be ``entry``, in the order in which they are tried; most do not exist.

    This library's own folders come first, then those of panns-inference, audioldm_eval, torch hub (torchvggish, fadtk,
    PaSST), laion_clap, fadtk and the Hugging Face hub's client, with the names that each gives a file, so that 300 MB
    are not downloaded twice.
    """
    own = [weights_dir(), cache_dir() / "weights"]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    torch_home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch")
    others: list[Path] = []
    for other in ("~/panns_data", "~/.cache/audioldm_eval/ckpt", torch_home / "hub" / "checkpoints"):
        with contextlib.suppress(UsageError):  # without a home folder, there is nothing in it
            others.append(at_home(other))
    others += _packages()
    # torch hub and wget take the last part of the address, in which "=" is "%3D".
    names = dict.fromkeys((entry.file_name, quote(entry.file_name)))
    found = [folder / name for folder in (*own, *others) for name in names]
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or Path(cache) / "huggingface") / "hub"
    with contextlib.suppress(UsageError):
        found += [path for url in entry.urls for path in _snapshots(at_home(hub), url)]
    return [*dict.fromkeys(found)]


def _packages() -> list[Path]:
    """Return the folders of installed packages that keep weights beside their code, without importing them."""
    folders = []
    for package, inside in (("laion_clap", ""), ("fadtk", ".model-checkpoints"), ("kadtk", ".model-checkpoints")):
        spec = importlib.util.find_spec(package)
        folders += [Path(place, inside) for place in (spec and spec.submodule_search_locations) or ()]
    return folders


def _snapshots(hub: Path, url: str) -> list[Path]:
    """Return where the hub's client keeps the file of an address on the hub."""
    match = re.fullmatch(r"https://huggingface\.co/([^/]+)/([^/]+)/resolve/([^/]+)/(.+)", url)
    if match is None:
        return []
    owner, name, revision, path = map(unquote, match.groups())
    return [hub / f"models--{owner}--{name}" / "snapshots" / revision / path]


def find(entry: WeightsEntry) -> Path:
    """Return the first file on this machine that is ``entry``, by its digest, without downloading.

    Raises
    ------
    MissingWeightsError
        The file is not here; the message names files in its place that have another content.
    """
    return find_all([entry])[0]


def find_all(entries: Sequence[WeightsEntry]) -> list[Path]:
    """Return the files of several entries, as `find` does; the error names all missing ones."""
    found, missing, rejected = [], [], []
    for entry in entries:
        problems = {path: examine(entry, path) for path in candidates(entry)}
        path = next((path for path, problem in problems.items() if problem is None), None)
        if path is not None:
            found.append(path)
        else:
            missing.append(entry)
            rejected += [f"{path} {problem}" for path, problem in problems.items() if problem]
    if not missing:
        return found
    names = [entry.name for entry in missing]
    given = [name for name in names if name not in BESIDE.values()]
    raise MissingWeightsError(
        f"the weights {', '.join(entry.file_name for entry in missing)} are not on this machine"
        + "".join(f"; {reason}" for reason in rejected),
        where=", ".join(names),
        fix=f"Download them: agm weights fetch {' '.join(names)}"
        + f"; or use a file you have: {option('weights', dict.fromkeys(given, 'FILE'))}" * bool(given)
        + f"; or score without them: {option('protocol', 'yamnet')} (its scores are not comparable)"
        * ({*names} <= OF_THE_PAPER),
    )


def examine(entry: WeightsEntry, path: Path, *, memo: bool = True) -> str | None:
    """Return None if ``path`` is ``entry``, ``""`` if the file is missing, otherwise what is wrong with it.

    Parameters
    ----------
    entry, path
        The expected weights, and the file.
    memo
        Use the digest of an earlier run if the file has not changed since, and record the digest of the first file if
        no digest is published.
    """
    try:
        size = path.stat().st_size
        if entry.size is not None and size != entry.size:
            return f"has {size} bytes, not {entry.size}"
        digest = sha256_of(path, memo=memo)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if entry.sha256 is not None:
        return None if digest == entry.sha256 else f"has the SHA-256 {digest[:12]}…, not {entry.sha256[:12]}…"
    note = trust_note(entry)
    trusted = read_json(note).get("sha256")
    if trusted is None and memo:
        write_json(note, {"sha256": digest, "file": str(path)})
    if trusted in {None, digest}:
        return None
    first = f"the first file used here had {str(trusted)[:12]}…, as {note} says"
    return f"has the SHA-256 {digest[:12]}…, and {first} (delete that to trust another)"


def trust_note(entry: WeightsEntry) -> Path:
    """Return the file that records the digest of the first file, for an entry without a published digest."""
    return cache_dir() / "weights" / "trusted" / f"{entry.name}.json"


def fetch(entry: WeightsEntry, *, progress: bool | None = None) -> Path:
    """Download ``entry`` into `weights_dir` and return the file; a verified file that is there already is kept.

    The file appears under its name only when it is whole and its digest is right. An interrupted download leaves
    nothing behind, and the next one starts from the beginning.

    Parameters
    ----------
    entry
        Weights to download.
    progress
        Show a progress bar on stderr; None shows it on a terminal only.

    Raises
    ------
    MissingWeightsError
        The machine is offline, or every address failed; the message says why.
    UsageError
        The folder cannot be written.
    """
    target = weights_dir() / entry.file_name
    if examine(entry, target) is None:
        return target
    if offline():
        raise MissingWeightsError(
            "nothing is downloaded while AGM_OFFLINE is set",
            where=entry.name,
            fix=f"Unset it, or use a file you have: {option('weights', {entry.name: 'FILE'})}",
        )
    if not os.environ.get("AGM_WEIGHTS_DIR"):
        require_lasting_cache()
    remove_left_behind(target)
    failures = []
    for url in entry.urls:
        try:
            with written_whole(target) as part:
                _download(url, part, entry.size or entry.limit, sys.stderr.isatty() if progress is None else progress)
                problem = examine(entry, part, memo=False)
                if problem is not None:
                    raise OSError(f"the file {problem or 'vanished'}")
            examine(entry, target)  # without a published digest, this file is trusted from now on
            return target
        except OSError as error:  # requests' errors are OSErrors too
            if error.errno in _DISK:
                raise unwritable(error, target.parent, "Set AGM_WEIGHTS_DIR to another folder") from error
            failures.append(f"{url}: {error}")
    raise MissingWeightsError(
        "download failed (" + "; ".join(failures) + ")",
        where=entry.name,
        fix=f"Try again, or download it yourself and pass {option('weights', {entry.name: 'FILE'})}",
    )


def _download(url: str, part: Path, limit: int, progress: bool) -> None:
    import pooch  # type: ignore[import-untyped]  # it ships no types

    with part.open("wb") as file:
        target = _Bounded(file, limit)
        pooch.HTTPDownloader(progressbar=progress, chunk_size=2**20, timeout=30)(url, target, None)


class _Bounded:
    """A file with a largest size, since a server may send bytes without end."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self.flush = file.flush

    def write(self, content: bytes) -> None:
        """Write; OSError beyond the limit."""
        if self._file.tell() + len(content) > self._limit:
            raise OSError(f"the server sends more than {self._limit} bytes")
        self._file.write(content)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a cache file; empty if the file is missing or damaged, as a cache may be."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object to a cache file; a folder that cannot be written only costs time."""
    with contextlib.suppress(OSError):
        write_atomically(path, json.dumps(content).encode())


def parse_weights(values: list[str]) -> dict[str, Path]:
    """Return the files given as ``--weights NAME=FILE``, by backbone.

    Raises
    ------
    UsageError
        ``=`` is missing, a name is unknown or repeated, or the file is missing or a folder.

    Examples
    --------
    >>> parse_weights(["vggish"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    audiogen_metrics.errors.UsageError: --weights vggish: not of the form NAME=FILE. For example --weights vggish=...
    """
    from audiogen_metrics.backbones import BACKBONES

    files: dict[str, Path] = {}
    known = sorted({*WEIGHTS.names(), *map(weights_name, BACKBONES.names())}) if values else []
    for value in values:
        where = f"--weights {value}"
        # File names may have "=" too ("Cnn14_mAP=0.431.pth"), names of backbones do not.
        name, equals, file = value.partition("=")
        if not (name and equals and file):
            entry = WEIGHTS.get(name if name in WEIGHTS.names() else "vggish")
            example = f"For example --weights {entry.name}={entry.file_name}"
            raise UsageError("not of the form NAME=FILE", where, example)
        if name.startswith("hf:"):
            raise UsageError(
                "a network of transformers is given by its name", where, "Write hf:/FOLDER where it is used"
            )
        if name not in known:
            raise unknown_name("weights", name, known)
        if name in files:
            raise UsageError(f"a second file for {name}", where, f"Give one; the first was {files[name]}")
        path = as_path(file).absolute()
        if not path.exists():
            raise UsageError("there is no such file", where)
        if path.is_dir() and name in WEIGHTS.names():
            raise UsageError("is a folder, not a file", where)
        files[name] = path
    return files
