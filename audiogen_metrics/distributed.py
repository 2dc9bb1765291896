"""Several processes that embed one list of clips together; see ``score(distributed=True)``.

Only files' features and small facts travel, so gloo is enough, also between processes that compute on GPUs.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from audiogen_metrics.errors import DataError, LostProcessError, UsageError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others. They meet after each block of clips, not only at the end."""

BLOCK = 256
"""Clips that each process embeds between two meetings."""


def launched() -> int:
    """Return how many processes ``torchrun`` or its like has started, by the environment; 1 if none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join() -> bool:
    """Join the other processes if there are any, and tell whether there are.

    Raises
    ------
    LostProcessError
        They did not all come.
    UsageError
        The environment does not say where they meet.
    """
    if launched() == 1:
        return False
    import torch.distributed as dist

    if not dist.is_initialized():
        try:
            with _losses():
                dist.init_process_group("gloo", timeout=TIMEOUT)
        except ValueError as error:
            raise UsageError(f"WORLD_SIZE is {launched()}, but {error}", fix="Start it by torchrun") from error
        atexit.register(leave)
    return True


def leave() -> None:
    """Leave the group, if there is one. Left to the end of the interpreter, its threads can abort the process."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number; 0 reports."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def count() -> int:
    """Return the number of processes.

    Raises
    ------
    UsageError
        There is no process group.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError("there is no process group", fix="Call torch.distributed.init_process_group first")
    return dist.get_world_size()


def all_gather(value: T) -> list[T]:
    """Return every process's value, in the order of their numbers, to all of them."""
    import torch.distributed as dist

    gathered: list[Any] = [None] * count()
    with _losses():
        dist.all_gather_object(gathered, value, group=_group())
    return gathered


def gather(value: T) -> list[T]:
    """Return every process's value to the first one, and nothing to the others."""
    import torch.distributed as dist

    gathered: list[Any] = [None] * count() if rank() == 0 else []
    with _losses():
        dist.gather_object(value, gathered or None, group=_group())
    return gathered


def from_first(compute: Callable[[], T]) -> T:
    """Return to all processes what ``compute`` gives in the first one; all raise what it raises there."""
    import torch.distributed as dist

    found: list[Any] = [None]
    with together():
        if rank() == 0:
            found = [compute()]
    with _losses():
        dist.broadcast_object_list(found, group=_group())
    value: T = found[0]
    return value


@contextmanager
def together() -> Iterator[None]:
    """Wait at the end of the block for all processes; an error of one is raised by all."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    for raised_anywhere in all_gather(error):
        if raised_anywhere is not None:
            raise error or raised_anywhere


def require_equal(value: str, what: str) -> None:
    """Raise DataError in all processes unless they have the same value."""
    if len(set(all_gather(value))) > 1:
        raise DataError(f"processes differ in {what}", fix="Give all of them the same files, weights and options")


@contextmanager
def _losses() -> Iterator[None]:
    """Say what it means if a collective operation fails."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            f"another process has ended, or did not answer within {TIMEOUT.total_seconds():g} s",
            where=f"process {rank()}",
            fix="Its own message says why; what was embedded is in the cache",
        ) from error


@cache
def _group() -> ProcessGroup | None:
    """Return the default group, None, if it can carry objects without a GPU, else one that can."""
    import torch.distributed as dist

    if "gloo" in dist.get_backend():
        return None
    return cast("ProcessGroup", dist.new_group(backend="gloo", timeout=TIMEOUT))
