"""What the environment decides: where files go and which device runs."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.errors import UsageError, option
from audiogen_metrics.options import at_home

if TYPE_CHECKING:
    import torch

__all__ = ["cache_dir", "resolve_device"]


def cache_dir() -> Path:
    """Return the cache folder: ``AGM_CACHE_DIR``, else the platform's cache folder. It may not exist yet.

    A user without a home folder gets a temporary one, which goes away with the process; see `require_lasting_cache`.
    """
    return _lasting() or _temporary()


def require_lasting_cache() -> None:
    """Raise UsageError if there is no folder to keep a cache in."""
    if _lasting() is None:
        raise UsageError(
            "there is no home folder to keep a cache in, so nothing is kept",
            fix="Set AGM_CACHE_DIR to a folder, and AGM_WEIGHTS_DIR if weights are to lie elsewhere",
        )


def _lasting() -> Path | None:
    chosen = os.environ.get("AGM_CACHE_DIR")
    if chosen:
        return at_home(chosen, "AGM_CACHE_DIR").absolute()
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("audiogen-metrics", appauthor=False))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # older platformdirs leave "~" as it is


@cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="audiogen-metrics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def whole_number(name: str) -> int | None:
    """Return what an environment variable says, a whole number from 0; None where it is empty or not set.

    Raises
    ------
    UsageError
        Something else.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}={text} is not a whole number", fix=f"Unset {name}, or set it to a number")
    return int(text)


def tf32_allowed(*, unless_set: bool = False) -> bool:
    """Return whether products on CUDA may be rounded to TF32: ``AGM_TF32``, or ``unless_set`` where it says nothing.

    Raises
    ------
    UsageError
        Something else than 0 or 1.
    """
    chosen = whole_number("AGM_TF32")
    if chosen is None:
        return unless_set
    if chosen > 1:
        raise UsageError(f"AGM_TF32={chosen}", fix="Set it to 0 or 1")
    return chosen == 1


def cache_trouble(error: OSError) -> str:
    """Return the warning about a cache that cannot be used: one text for all of its parts, to be said once."""
    folder = cache_dir()
    if isinstance(error, PermissionError):
        return (
            f"the cache in {folder} has files or folders that this user cannot use: what cannot be read is computed "
            "again, and what cannot be written (Permission denied) is not kept. Ask their owner to share them "
            f"(chmod -R a+rwX {shlex.quote(str(folder))}), or set AGM_CACHE_DIR to a folder of your own"
        )
    return (
        f"the cache in {folder} cannot be written ({error.strerror}); nothing is kept. "
        "Set AGM_CACHE_DIR to another folder"
    )


_listener: ContextVar[Callable[[str], object] | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Callable[[str], object]) -> Iterator[None]:
    """Have trouble of this machine told to ``listener`` inside the block: a cache that keeps nothing, short memory."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(problem: str) -> None:
    """Tell trouble of this machine to whoever is `listening`; reports have it too, mostly in their ``problems``."""
    listener = _listener.get()
    if listener is not None:
        listener(problem)


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device for a name; ``"auto"`` takes CUDA where there is one, else the CPU.

    Raises
    ------
    UsageError
        The device does not exist here.
    """
    import torch

    if str(device) == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # torchrun numbers the processes of each machine: each takes a GPU of its own.
        place = whole_number("LOCAL_RANK")
        return torch.device("cuda" if place is None else f"cuda:{place % torch.cuda.device_count()}")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"unknown device {str(device)!r}", fix="Use auto, cpu, cuda, cuda:1, mps") from error
    if resolved.type == "cpu":
        return torch.device("cpu")
    try:
        # The only question that all of torch's devices answer, those without memory (meta) too.
        torch.zeros(1, dtype=torch.float32, device=resolved).cpu()
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        raise UsageError(
            f"device {str(device)!r} is not on this machine", fix=f"Use {option('device', 'cpu')} or auto"
        ) from error
    return resolved


def with_index(device: str | torch.device) -> torch.device:
    """Return a device with its number: ``cuda`` is the current one, which is ``cuda:0`` unless somebody chose another.

    Torch holds ``cuda`` and ``cuda:0`` for two devices; a tensor on one says that it is on the other.
    """
    import torch

    found = torch.device(device)
    if found.type != "cuda" or found.index is not None or not torch.cuda.is_available():
        return found
    return torch.device("cuda", torch.cuda.current_device())
