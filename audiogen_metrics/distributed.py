"""Several processes that embed one list of clips together; see ``score(distributed=True)``.

Only files' features and small facts travel, so gloo is enough, also between processes that compute on GPUs.
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from audiogen_metrics.errors import DataError, LostProcessError, UsageError, spoken
from audiogen_metrics.settings import whole_number

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store
    from torch.distributed import ProcessGroup

    from audiogen_metrics.company import Company, Place

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""How long what the processes say to each other may take once all of them are there."""

MEETING_SECONDS = 60
"""How long a process waits at the start for the others to come; ``AGM_GROUP_TIMEOUT`` says otherwise."""

PARTING_SECONDS = 5
"""How long a process that stops waits for the others to hear why."""

PATIENCE_SECONDS = 3.5
"""After this much waiting at the start, it is said."""

LAUNCHER = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK"),
    *("ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RUN_ID"),
)
"""What ``torchrun`` tells the processes that it starts, and what their own subprocesses inherit."""

BLOCK = 256
"""Clips that each process embeds between two meetings."""


def launched() -> int:
    """Return how many processes ``torchrun`` or its like has started, by the environment; 1 if none.

    Raises
    ------
    UsageError
        ``WORLD_SIZE`` is not a number of processes.
    """
    count = whole_number("WORLD_SIZE")
    if count == 0:
        raise UsageError("WORLD_SIZE is 0", fix="Unset WORLD_SIZE, or set it to the number of processes")
    return count or 1


def place() -> tuple[int, int]:
    """Return this process's number by the environment, and how many there are.

    Raises
    ------
    UsageError
        ``RANK`` and ``WORLD_SIZE`` do not fit together.
    """
    number, processes = whole_number("RANK"), launched()
    if processes == 1:
        return 0, 1
    if number is None or number >= processes:
        raise UsageError(
            f"RANK is {'not set' if number is None else number}, but WORLD_SIZE is {processes}",
            fix="Start it by torchrun, or unset WORLD_SIZE",
        )
    return number, processes


def run_alone() -> None:
    """Forget what a launcher has said, for this process and what it starts."""
    for name in LAUNCHER:
        os.environ.pop(name, None)


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
    if not is_joined():
        number, processes = place()
        store = meet()
        import torch.distributed as dist

        with _losses():
            dist.init_process_group("gloo", store=store, rank=number, world_size=processes, timeout=TIMEOUT)
            _meet_again()
        atexit.register(leave)
    return True


def is_joined() -> bool:
    """Tell whether this process is one of a process group."""
    if "torch" not in sys.modules:
        return False  # importing it takes seconds, in which nobody knows what this process is waiting for
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


@cache
def _alone() -> str:
    """Return how the user of the moment runs without the processes that the environment speaks of."""
    return spoken("audiogen_metrics.distributed.run_alone()", "--processes 1")


def meet() -> Store:
    """Wait until every process that the environment speaks of is there, and return what they share.

    A subprocess of a training script inherits ``WORLD_SIZE`` without being one of several: nobody else comes. All that
    is written into the store of that training has a prefix of its own, and is taken back.

    Raises
    ------
    LostProcessError
        They did not all come within ``AGM_GROUP_TIMEOUT`` seconds, 60 if it is not set.
    UsageError
        The environment does not say where they meet.
    """
    number, processes = place()
    seconds = whole_number("AGM_GROUP_TIMEOUT") or MEETING_SECONDS
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    origin = f"WORLD_SIZE={processes} and RANK={number} come from the environment; {_alone()} runs alone"
    waiting = f"waiting at {where} for the rest of {processes} processes, at most {seconds} s. {origin}"
    notice = threading.Timer(PATIENCE_SECONDS, lambda: print(f"agm: {waiting}", file=sys.stderr, flush=True))
    notice.daemon = True
    notice.start()
    end = time.monotonic() + seconds
    from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]  # public, but not in its list

    try:
        shared, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))
        ours = PrefixStore("audiogen-metrics", shared)
        # The store outlives this command; what an earlier one has left there must not look like an answer to this one.
        store: Store = PrefixStore(str(ours.add(f"turn/{number}", 1)), ours)
        store.set(f"here/{number}", "")
        if not _all_here(store, processes, end):
            store.delete_key(f"here/{number}")
            ours.add(f"turn/{number}", -1)
            raise RuntimeError("their names are not in the store")
    except ValueError as error:
        raise UsageError(
            f"WORLD_SIZE is {processes}, but {error}",
            fix=f"Start it by torchrun, or alone by {_alone()}",
        ) from error
    except RuntimeError as error:
        raise LostProcessError(
            f"the rest of {processes} processes did not come to {where} within {seconds} s ({_first_line(error)})",
            where=f"process {number}",
            fix=f"{origin}; AGM_GROUP_TIMEOUT=SECONDS waits longer",
        ) from error
    finally:
        notice.cancel()
    _met.append(store)
    return store


_met: list[Store] = []
"""Where processes have met. Without torchrun, the first process answers what others ask there, while this is kept."""


def stop(error: Exception) -> None:
    """Tell the processes that this one has met, and that wait for it, why it stops."""
    if not _met or isinstance(error, LostProcessError):
        return
    number, processes = place()
    with suppress(RuntimeError):  # they have gone too
        _met[-1].set("stopped", pickle.dumps(_portable(error)).hex())
        _met[-1].set(f"heard/{number}", "")
        for *_, company in _known:
            company.part()
        everybody, end = [f"heard/{each}" for each in range(processes)], time.monotonic() + PARTING_SECONDS
        # Without torchrun, the first process is the one that the others ask.
        while number == 0 and not _met[-1].check(everybody) and time.monotonic() < end:
            time.sleep(0.05)


def require_others() -> None:
    """Raise what has stopped another process of those that have met."""
    if (error := _told()) is not None:
        raise error


def _told() -> Exception | None:
    """Return what has stopped another process, if it has said so."""
    try:
        if not _met or not _met[-1].check(["stopped"]):
            return None
        _met[-1].set(f"heard/{place()[0]}", "")
        return cast("Exception", pickle.loads(bytes.fromhex(_met[-1].get("stopped").decode())))
    except RuntimeError:
        return None  # nobody is left to ask


def is_first_to(say: str) -> bool:
    """Tell whether no other process of those that have met has said this yet."""
    store = _met[-1] if _met else None
    try:
        if store is None and is_joined():  # by others, such as accelerate
            from torch.distributed.distributed_c10d import _get_default_store

            store = _get_default_store()
        return store is None or store.add(f"said/{say}", 1) == 1
    except RuntimeError:
        return True  # nobody is left to ask


def _all_here(store: Store, processes: int, end: float) -> bool:
    names = [f"here/{number}" for number in range(processes)]
    while not store.check(names):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def leave() -> None:
    """Leave the group, if there is one. Left to the end of the interpreter, its threads can abort the process."""
    import torch.distributed as dist

    _forget()
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Return this process's number; 0 reports."""
    import torch.distributed as dist

    return dist.get_rank() if is_joined() else 0


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
    with _meeting() as group:
        dist.all_gather_object(gathered, value, group=group)
    return gathered


def gather(value: T) -> list[T]:
    """Return every process's value to the first one, and nothing to the others."""
    import torch.distributed as dist

    gathered: list[Any] = [None] * count() if rank() == 0 else []
    with _meeting() as group:
        dist.gather_object(value, gathered or None, group=group)
    return gathered


def from_first(compute: Callable[[], T]) -> T:
    """Return to all processes what ``compute`` gives in the first one; all raise what it raises there.

    A process that is alone is the first one.
    """
    if not is_joined():
        return compute()
    import torch.distributed as dist

    found: list[Any] = [None]
    with together():
        if rank() == 0:
            found = [compute()]
    with _meeting() as group:
        dist.broadcast_object_list(found, group=group)
    value: T = found[0]
    return value


@contextmanager
def together() -> Iterator[None]:
    """Wait at the end of the block for all processes; an error of one is raised by all."""
    if not is_joined():
        yield
        return
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    for raised_anywhere in all_gather(_portable(error)):
        if raised_anywhere is not None:
            raise error or raised_anywhere


def _portable(error: Exception | None) -> Exception | None:
    """Return an error that can travel: one of others may hold what cannot, and then the rest would wait for it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def require_equal(value: str, what: str) -> None:
    """Raise DataError in all processes unless they have the same value."""
    if len(set(all_gather(value))) > 1:
        raise DataError(f"processes differ in {what}", fix="Give all of them the same files, weights and options")


@contextmanager
def _meeting() -> Iterator[ProcessGroup | None]:
    """Wait for all processes, give what they talk by, and say what it means if that fails."""
    with _losses():
        group, company = _meet_again()
        company.assemble()
        yield group


@contextmanager
def _losses() -> Iterator[None]:
    """Say what it means if a collective operation fails."""
    try:
        yield
    except LostProcessError as lost:
        raise _told() or lost from None
    except RuntimeError as error:
        raise _told() or LostProcessError(
            f"another process has ended, or did not answer within {TIMEOUT.total_seconds():g} s",
            where=f"process {rank()}",
        ) from error


_known: list[tuple[Any, ProcessGroup | None, Company]] = []
"""The default group, the group that carries objects, and the company of its processes, once they have met."""


def _meet_again() -> tuple[ProcessGroup | None, Company]:
    """Return what carries objects between the processes of the default group, and how they wait for each other.

    That is the default group, None, if it can carry objects without a GPU.
    """
    import torch.distributed as dist

    from audiogen_metrics.company import Company

    world = dist.group.WORLD
    if not _known or _known[0][0] is not world:
        _forget()
        own = "gloo" not in dist.get_backend()
        group = cast("ProcessGroup", dist.new_group(backend="gloo", timeout=TIMEOUT)) if own else None

        def from_first(place: Place | None) -> Place:
            told = [place]
            dist.broadcast_object_list(told, group=group)
            return cast("Place", told[0])

        _known.append((world, group, Company(rank(), count(), from_first)))
    return _known[0][1:]


def _forget() -> None:
    """Part from the processes of a group that has ended."""
    while _known:
        _known.pop()[-1].close()
