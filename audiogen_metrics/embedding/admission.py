"""A bound on what threads hold together, for work whose results are taken in order."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from threading import Condition


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
