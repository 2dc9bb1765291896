"""How processes wait for each other, with threads in their place."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from audiogen_metrics import company
from audiogen_metrics.company import Company, Place
from audiogen_metrics.errors import LostProcessError


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Company]]:
    """Three that have met."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    told: list[Place] = []
    ready = threading.Event()

    def from_first(place: Place | None) -> Place:
        if place is not None:
            told.append(place)
            ready.set()
        assert ready.wait(30)
        return told[0]

    with ThreadPoolExecutor(3) as threads:
        found = [*threads.map(lambda number: Company(number, 3, from_first), range(3))]
    yield found
    for each in found:
        each.close()


def assemble(companies: list[Company]) -> list[BaseException | None]:
    with ThreadPoolExecutor(3) as threads:
        return [done.exception() for done in [threads.submit(each.assemble) for each in companies]]


def test_they_meet_again_and_again(three: list[Company]) -> None:
    for _ in range(20):
        assert assemble(three) == [None] * 3


@pytest.mark.parametrize("leaving", ["close", "part"])
@pytest.mark.parametrize("gone", [0, 1, 2])
def test_whoever_goes_is_named_by_those_who_wait(three: list[Company], gone: int, leaving: str) -> None:
    assert assemble(three) == [None] * 3
    getattr(three[gone], leaving)()
    begin = time.monotonic()
    errors = assemble([each for number, each in enumerate(three) if number != gone])
    assert time.monotonic() - begin < 20
    for error in errors:
        assert isinstance(error, LostProcessError)
        assert f"process {gone} " in error.what
        assert "has ended" in error.what


def test_whoever_is_late_is_named_by_the_first_that_waits(
    three: list[Company], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(company, "PATIENCE_SECONDS", 0.3)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(three[number].assemble) for number in (1, 2)]
        time.sleep(1.5)
        assert not any(done.done() for done in waiting)
        three[0].assemble()
        assert [done.exception() for done in waiting] == [None, None]
    lines = capfd.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3  # after 0.3 s, 0.6 s, 1.2 s: by one of the two
    assert all(f"waiting for process 0 on {socket.gethostname()}: still there" in line for line in lines)


def test_a_stranger_is_not_taken_for_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(company, "CONNECTING", company.CONNECTING / 30)
    strangers = []

    def from_first(place: Place | None) -> Place:
        assert place is not None
        line = socket.create_connection(("127.0.0.1", place.lines))
        line.sendall(bytes(len(place.token)) + (1).to_bytes(4, "big"))
        strangers.append(line)
        return place

    with pytest.raises(LostProcessError, match=r"process 0: the processes cannot connect"):
        Company(0, 2, from_first)
    strangers[0].close()


def test_an_address_that_nobody_listens_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "CONNECTING", company.CONNECTING / 30)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = Place("127.0.0.1", port, port, b"")
    with pytest.raises(LostProcessError, match="MASTER_ADDR"):
        Company(1, 2, lambda _: place)


def test_one_alone_waits_for_nobody() -> None:
    alone = Company(0, 1, lambda place: pytest.fail(f"asked for {place}"))
    alone.assemble()
    alone.close()
