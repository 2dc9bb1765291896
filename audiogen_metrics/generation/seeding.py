"""Random numbers that everybody draws from, torch's, NumPy's and Python's: kept as they are, and set for one clip."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["seeded"]


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Let what is inside draw from the global random numbers, which afterwards go on where they were.

    These are those of torch on the CPU and on all CUDA devices that are in use, of NumPy and of Python.
    """
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 - others may use it
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices, device_type="cuda"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002


@contextmanager
def seeded(stream: int) -> Iterator[None]:
    """Set the global random numbers from a seed for what is inside; afterwards they go on where they were.

    Parameters
    ----------
    stream
        A seed of at most 63 bits, such as `Request.stream` returns.

    Examples
    --------
    >>> import random
    >>> with seeded(1):
    ...     first = random.random()
    >>> with seeded(1):
    ...     first == random.random()
    True
    """
    with random_state_kept():
        torch.manual_seed(stream)
        random.seed(stream)
        np.random.seed(stream % 2**32)  # noqa: NPY002
        yield
