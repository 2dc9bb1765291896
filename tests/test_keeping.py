"""Results are kept up to a number of bytes, whatever their number."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from audiogen_metrics.keeping import ByteBoundedCache


class Maker:
    """Makes arrays of a number of bytes, and notes for which names."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.made = seconds, list[str]()

    def __call__(self, name: str, size: int) -> npt.NDArray[np.uint8]:
        self.made.append(name)
        time.sleep(self.seconds)
        return np.full(size, ord(name[0]), dtype=np.uint8)


def test_the_least_recently_used_go_first() -> None:
    kept, make = ByteBoundedCache(100), Maker()
    for name in "abca":
        assert kept(make, name, 30).tobytes() == name.encode() * 30
    kept(make, "d", 30)  # drives out b, as a was used since
    assert kept.nbytes == 90
    kept(make, "a", 30)
    assert make.made == ["a", "b", "c", "d"]
    kept(make, "b", 30)
    assert make.made == ["a", "b", "c", "d", "b"]


def test_one_large_result_drives_out_no_other() -> None:
    kept, make = ByteBoundedCache(100), Maker()
    for name in "abc":
        kept(make, name, 30)
    assert len(kept(make, "x", 101)) == 101
    for name in "abc":
        kept(make, name, 30)
    assert make.made == ["a", "b", "c", "x"]
    assert kept.nbytes == 90


def test_many_small_ones_stay() -> None:
    kept, make = ByteBoundedCache(10_000), Maker()
    for _ in range(2):
        for index in range(1000):
            kept(make, f"n{index}", 10)
    assert len(make.made) == 1000


def test_threads_wait_for_the_first_of_them() -> None:
    kept, make = ByteBoundedCache(100), Maker(seconds=0.1)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda name: kept(make, name, 40), "abababab"))
    assert sorted(make.made) == ["a", "b"]
    assert all(array is found[index % 2] for index, array in enumerate(found))


def test_an_error_is_not_kept() -> None:
    kept, attempts = ByteBoundedCache(100), list[int]()

    def fail_once(size: int) -> npt.NDArray[np.uint8]:
        attempts.append(size)
        if len(attempts) == 1:
            raise MemoryError
        return np.zeros(size, dtype=np.uint8)

    with pytest.raises(MemoryError):
        kept(fail_once, 5)
    assert len(kept(fail_once, 5)) == 5
