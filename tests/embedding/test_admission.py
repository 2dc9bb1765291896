"""Threads hold together what they may, and none of them waits forever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from audiogen_metrics.embedding.admission import Admission, load_ahead


@pytest.mark.parametrize("amounts", [[4, 3, 3, 5, 100, 1, 1, 10, 9, 100, 2, 2] * 5, [11] * 30, [0, 1] * 20])
def test_no_more_than_the_bound_beside_what_is_due(amounts: list[int]) -> None:
    admission, seen = Admission(10), []

    def work(name: int) -> int:
        admission.enter(name, amounts[name])
        seen.append((name, admission.held))
        time.sleep(0.0005)
        admission.settle(name, min(amounts[name], 4))
        return name

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(work, name) for name in range(len(amounts))]
        for name, future in enumerate(futures):
            with admission.due(name):
                assert future.result(timeout=20) == name
    assert admission.held == 0
    assert len(seen) == len(amounts)
    assert all(held <= 10 + max(amounts) for _, held in seen)


def test_a_large_thing_waits_until_it_is_due() -> None:
    admission = Admission(10)
    admission.enter("small", 3)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(admission.enter, "large", 50)
        assert not _is_done(large)
        with admission.due("large"):
            large.result(timeout=20)
            other = pool.submit(admission.enter, "other", 1)
            assert not _is_done(other)
        other.result(timeout=20)
    assert admission.held == 4


def test_whoever_waits_when_it_closes_is_sent_away() -> None:
    admission = Admission(10)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admission.enter, "large", 50)
        assert not _is_done(waiting)
        admission.close()
        with pytest.raises(CancelledError):
            waiting.result(timeout=20)


def _is_done(future: Future[None]) -> bool:
    time.sleep(0.05)
    return future.done()


@pytest.mark.parametrize("workers", [None, 0, 1, 4])
def test_what_is_loaded_ahead_comes_in_order(workers: int | None) -> None:
    admission, threads = Admission(10), set()

    def load(number: int) -> int:
        admission.enter(number, number % 13)
        threads.add(threading.current_thread())
        time.sleep(0.001 * (number % 3))
        return 2 * number

    found = []
    for value in load_ahead(range(40), load, admission, int, workers=workers, batch=3):
        assert admission.held <= 10 + 12
        found.append(value)
    assert found == list(range(0, 80, 2))
    assert admission.held == 0
    assert (threading.current_thread() in threads) == (workers == 0)


def test_an_error_of_a_thread_ends_the_loading() -> None:
    admission, seen = Admission(10), []

    def load(number: int) -> int:
        seen.append(number)
        admission.enter(number, 1)
        if number == 5:
            raise ValueError(number)
        return number

    ahead = load_ahead(range(10_000), load, admission, int, workers=2)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="5"):
        next(ahead)
    assert len(seen) < 20
    with pytest.raises(CancelledError):
        admission.enter(-1, 100)
