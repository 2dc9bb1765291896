"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path

TEMPORARY = ".tmp"

FREE_SPACE = "Free space, or choose another folder"

LEFT_BEHIND_SECONDS = 86_400
"""A temporary file of this age was left by a killed process."""

_OWN_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/self/fd/(\d+)")


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` as `written_whole` does.

    Behind a symbolic link, its target is replaced; a device or pipe is written to, as it cannot be replaced, and so
    is what this process has open already: ``/dev/stdout``, or a shell's ``>(command)``.
    """
    own = _OWN_DESCRIPTOR.fullmatch(str(path))
    if own is not None:
        name, *numbers = own.groups()
        descriptor = ["stdin", "stdout", "stderr"].index(name) if name else int(next(filter(None, numbers)))
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    if path.is_symlink():
        path = path.resolve()
    with written_whole(path) as part:
        part.write_bytes(content)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary file beside ``target`` to be written; it takes its place at the end, or goes after an error.

    It has the permissions of the process's umask, whatever writes it, and is on the disk before it gets its name.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{_beginning(target)}{uuid.uuid4().hex}{TEMPORARY}")
    try:
        part.touch()
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def is_temporary(file: Path) -> bool:
    """Tell whether a file is one that `written_whole` gives: being written, or left behind by a killed process."""
    return file.name.startswith(".") and file.name.endswith(TEMPORARY)


def remove_left_behind(target: Path) -> None:
    """Remove what processes that were killed while they wrote a file have left beside it."""
    with suppress(OSError):  # of a folder that cannot be used; writing into it says why
        for file in target.parent.iterdir():
            ours = is_temporary(file) and file.name.startswith(_beginning(target))
            if ours and time.time() - file.stat().st_mtime > LEFT_BEHIND_SECONDS:
                file.unlink()


def _beginning(target: Path) -> str:
    return f".{target.name[:40]}."


def json_text(content: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Return strict JSON for files and results, without a newline at its end.

    ``default`` makes plain data of anything else. Raises ValueError for NaN and infinity.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=default)


def encoded(text: str) -> bytes:
    """Return text in UTF-8, with escapes for lone surrogates, which stand for file names that are not Unicode."""
    return text.encode("utf-8", "backslashreplace")


def written(text: str, path: str | Path | None) -> str:
    """Return a result that is text, and write it as `write_result` does if a path is given."""
    if path is not None:
        write_result(path, encoded(text))
    return text


def write_result(path: str | Path, content: bytes) -> None:
    """Write a result where the user asked for it, whole or not at all.

    Raises
    ------
    UsageError
        It cannot be written there.
    """
    with writing(path, "Name a file in a folder that can be written"):
        write_atomically(as_path(path), content)


@contextmanager
def writing(where: str | Path, fix: str = FREE_SPACE, what: str = "", but: str = "") -> Iterator[None]:
    """Raise what `unwritable` returns where the file system refuses to write something in the block."""
    try:
        yield
    except OSError as error:
        raise unwritable(error, where, fix, what, but) from error


def unwritable(error: Exception, where: str | Path, fix: str = FREE_SPACE, what: str = "", but: str = "") -> UsageError:
    """Return the error for something that cannot be written.

    Parameters
    ----------
    error
        What the file system or a library has raised.
    where, fix
        The file or folder, and what the user can do.
    what
        What is written, if not all of the file or folder: ``"the state "``.
    but
        What is not lost: ``"; the one before it is kept"``.
    """
    return UsageError(f"{what}cannot be written ({getattr(error, 'strerror', None) or error}){but}", where, fix)


def below(folder: Path, name: str, suffix: str = "") -> Path:
    """Return the path of a file below ``folder`` that is called after a clip.

    Raises
    ------
    DataError
        The name is empty, or would lead out of the folder: a table may come from anyone.
    """
    path = PurePath(name)
    if path.anchor or {"", ".", ".."} & set(name.split("/")) or ".." in path.parts or "\0" in name:
        raise DataError(f"{name!r} is not a path below a folder", fix="Use a name such as dog/0001")
    return folder / f"{name}{suffix}"


def link(source: Path, target: Path) -> None:
    """Give a file a second name without a second copy, where the file system can; else copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        return  # another process was faster; writing here would write into the source
    except OSError:
        write_atomically(target, source.read_bytes())
