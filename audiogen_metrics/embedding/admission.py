"""Threads that load ahead, and a bound on what they hold together, for work whose results are taken in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


class Admission:
    """Let threads hold things up to a bound; whoever is due next is let in whatever the others hold.

    So one large thing waits for the small ones and they for it, and none of them forever.

    Parameters
    ----------
    bound
        Amount that may be held together.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self._held: dict[Hashable, int] = {}
        self._due: Hashable = None
        self._closed = False
        self._changed = Condition()

    @property
    def held(self) -> int:
        """Amount that is held now."""
        return sum(self._held.values())

    def enter(self, name: Hashable, amount: int) -> None:
        """Hold an amount under a name as soon as there is room.

        Raises
        ------
        CancelledError
            Nobody will take it any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or name == self._due or self.held + amount <= self.bound)
            if self._closed:
                raise CancelledError
            self._held[name] = amount

    def settle(self, name: Hashable, amount: int) -> None:
        """Hold this amount instead of what was asked for, since it is known now."""
        with self._changed:
            self._held[name] = amount
            self._changed.notify_all()

    @contextmanager
    def due(self, name: Hashable) -> Iterator[None]:
        """Let this name in now; what it holds is free afterwards."""
        with self._changed:
            self._due = name
            self._changed.notify_all()
        yield
        with self._changed:
            self._held.pop(name, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Send away whoever waits or comes."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def load_ahead(
    items: Iterable[Item],
    load: Callable[[Item], Loaded],
    admission: Admission,
    name: Callable[[Item], Hashable],
    *,
    workers: int | None = None,
    batch: int = 1,
) -> Iterator[Loaded]:
    """Yield what ``load`` returns for each item, in order, loaded ahead by threads, a bounded number at a time.

    Parameters
    ----------
    items
        What to load.
    load
        Runs in the threads; what it holds it enters into ``admission``.
    admission
        Closed at the end.
    name
        Under which ``load`` enters an item.
    workers
        Threads; None takes one per core, at most 8; 0 loads when it is asked.
    batch
        Items that are taken together.
    """
    count = thread_count(workers)
    if count == 0:
        for item in items:
            with admission.due(name(item)):
                yield load(item)
        return
    waiting: deque[tuple[Item, Future[Loaded]]] = deque()

    def first() -> Iterator[Loaded]:
        item, future = waiting.popleft()
        with admission.due(name(item)):
            yield future.result()

    with ThreadPoolExecutor(count, thread_name_prefix="decode") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(load, item)))
                if len(waiting) > 2 * count + batch:
                    yield from first()
            while waiting:
                yield from first()
        finally:
            admission.close()
            pool.shutdown(cancel_futures=True)


def thread_count(workers: int | None) -> int:
    """Return how many threads to use: one per core, at most 8, unless it was said."""
    return min(8, os.cpu_count() or 1) if workers is None else workers
