"""Keep results of functions while they fit into a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Protocol, TypeVar, cast


class HasBytes(Protocol):
    """Something that says how much memory it takes, as tensors and arrays do."""

    @property
    def nbytes(self) -> int:
        """Number of bytes."""


T = TypeVar("T", bound=HasBytes)


class ByteBoundedCache:
    """Keep results of functions by their arguments, up to a number of bytes; the least recently used go first.

    A result that is larger than the bound is returned and not kept, so that it drives out none of the others. Threads
    that ask for one result at the same time wait for each other, so that it is made once.

    Parameters
    ----------
    limit
        int • bytes • ≥ 0: bound on all results together.

    Examples
    --------
    >>> import numpy
    >>> kept = ByteBoundedCache(1000)
    >>> kept(numpy.zeros, 100) is kept(numpy.zeros, 100)
    True
    >>> kept(numpy.zeros, 200) is kept(numpy.zeros, 200)
    False
    >>> kept.nbytes
    800
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes: int = 0
        self._kept: OrderedDict[Hashable, HasBytes] = OrderedDict()
        self._making: dict[Hashable, Lock] = {}
        self._lock = Lock()

    def __call__(self, make: Callable[..., T], *arguments: Hashable) -> T:
        """Return ``make(*arguments)``, kept or made now."""
        key = (make, arguments)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast("T", self._kept[key])
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._kept:
                    return cast("T", self._kept[key])
            try:
                made = make(*arguments)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            with self._lock:
                self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: HasBytes) -> None:
        if made.nbytes > self.limit or key in self._kept:
            return
        self._kept[key] = made
        self.nbytes += made.nbytes
        while self.nbytes > self.limit:
            self.nbytes -= self._kept.popitem(last=False)[1].nbytes
