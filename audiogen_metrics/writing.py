"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import uuid
from pathlib import Path, PurePath

from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import as_path

_OWN_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/self/fd/(\d+)")


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, flush it to the disk and rename it into place.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def written(text: str, path: str | Path | None) -> str:
    """Return a result that is text, and write it as `write_result` does if a path is given."""
    if path is not None:
        # Names that are no Unicode come as lone surrogates, which UTF-8 cannot hold.
        write_result(path, text.encode("utf-8", "backslashreplace"))
    return text


def write_result(path: str | Path, content: bytes) -> None:
    """Write a result where the user asked for it, whole or not at all.

    Raises
    ------
    UsageError
        It cannot be written there.
    """
    try:
        write_atomically(as_path(path), content)
    except OSError as error:
        raise UsageError(
            f"cannot be written ({error.strerror})", where=path, fix="Name a file in a folder that can be written"
        ) from error


def below(folder: Path, name: str, suffix: str = "") -> Path:
    """Return the path of a file below ``folder`` that is called after a clip.

    Raises
    ------
    DataError
        The name would lead out of the folder, or is none: a table may come from anyone.
    """
    path = PurePath(name)
    if path.anchor or {"", ".", ".."} & set(name.split("/")) or ".." in path.parts or "\0" in name:
        raise DataError(f"{name!r} is no path below a folder", fix="Use a name such as dog/0001")
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
