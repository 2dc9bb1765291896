"""Processes that wait for each other: who has gone, and who is only slow."""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from weakref import WeakMethod

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not in its list

from audiogen_metrics.errors import LostProcessError

CONNECTING = timedelta(seconds=60)
"""How long the processes may take to connect."""

PATIENCE_SECONDS = 30.0
"""After this much waiting it is said who is late; and again each time that it has doubled."""

SILENCE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6}
"""When the kernel asks a silent machine whether it is there: after 20 s, six times, 5 s apart."""

_TOKEN_BYTES = 16
_NUMBER_BYTES = 4


class Place(NamedTuple):
    """Where the first process is: its address, the ports of its store and of its lines, and what lets others in."""

    address: str
    store: int
    lines: int
    token: bytes


class Company:
    """The processes of one group, as one of them sees the others.

    Each has a connection with the first. The kernel closes it with its process, however that ended, and asks a machine
    that is silent for a sign of life. So a process that has gone is known within seconds, or within a minute if its
    machine has gone as well, while one that computes, holds Python's lock or was stopped may take its time.

    Parameters
    ----------
    number, processes
        Which process this is, and how many there are.
    from_first
        Returns to every process what it is given in the first one.

    Raises
    ------
    LostProcessError
        A process does not come, or cannot be reached.
    """

    def __init__(self, number: int, processes: int, from_first: Callable[[Place | None], Place]) -> None:
        self._number, self._processes = number, processes
        self._turn = 0
        self._lines: dict[int, socket.socket] = {}
        if processes == 1:
            return
        try:
            self._open(from_first)
        except (OSError, RuntimeError) as error:
            raise LostProcessError(
                f"the processes cannot connect ({str(error).partition(chr(10))[0]})",
                where=f"process {number}",
                fix="Their machines must reach the address in MASTER_ADDR on any port",
            ) from error
        # What is forked, such as a worker that loads data, would keep the connections beyond the end of this process.
        close = WeakMethod(self.close)
        os.register_at_fork(after_in_child=lambda: (close() or _nothing)())

    def assemble(self) -> None:
        """Wait until all processes are here, and say on stderr who is late.

        Raises
        ------
        LostProcessError
            One of them has gone.
        """
        if self._processes == 1:
            return
        self._turn += 1
        here = f"turn/{self._turn}"
        self._store.set(f"turn of {self._number}", str(self._turn))
        self._store.add(here, 1)
        if self._number == 0:
            self._store.delete_key(f"turn/{self._turn - 2}")  # all have left the one before this
        begin, pause, patience = time.monotonic(), 0.001, PATIENCE_SECONDS
        while self._store.add(here, 0) < self._processes:
            self._require_all()
            waited = time.monotonic() - begin
            if waited > patience:
                patience *= 2
                self._say_who_is_late(waited)
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def part(self) -> None:
        """Tell the others that this process goes."""
        if self._processes > 1:
            self._store.set("gone", str(self._number))

    def close(self) -> None:
        """Close the connections of this process."""
        for line in self._lines.values():
            line.close()
        self._lines = {}

    def _open(self, from_first: Callable[[Place | None], Place]) -> None:
        seconds = CONNECTING.total_seconds()
        if self._number == 0:
            address = os.environ.get("MASTER_ADDR") or _own_name()
            self._store = TCPStore(address, 0, is_master=True, timeout=CONNECTING, wait_for_workers=False)
            family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
            with socket.create_server(
                ("", 0), family=family, dualstack_ipv6=family is socket.AF_INET6, backlog=self._processes
            ) as listener:
                place = Place(address, self._store.port, listener.getsockname()[1], secrets.token_bytes(_TOKEN_BYTES))
                from_first(place)
                self._accept(listener, place.token, seconds)
            threading.Thread(target=self._watch, args=[dict(self._lines)], daemon=True).start()
        else:
            place = from_first(None)
            self._store = TCPStore(place.address, place.store, timeout=CONNECTING, wait_for_workers=False)
            line = socket.create_connection((place.address, place.lines), timeout=seconds)
            self._lines[0] = _lasting(line)
            line.sendall(place.token + self._number.to_bytes(_NUMBER_BYTES, "big"))
        self._store.set(f"name of {self._number}", f"process {self._number} on {socket.gethostname()}")
        self._store.set(f"turn of {self._number}", "0")

    def _accept(self, listener: socket.socket, token: bytes, seconds: float) -> None:
        """Take the connections of all other processes; whatever does not know the token is refused."""
        end = time.monotonic() + seconds
        while len(self._lines) < self._processes - 1:
            listener.settimeout(max(0.01, end - time.monotonic()))
            line, _ = listener.accept()
            line.settimeout(5)
            try:
                said = line.recv(_TOKEN_BYTES + _NUMBER_BYTES, socket.MSG_WAITALL)
            except OSError:
                said = b""
            if said[:_TOKEN_BYTES] == token:
                self._lines[int.from_bytes(said[_TOKEN_BYTES:], "big")] = _lasting(line)
            else:
                line.close()

    def _watch(self, lines: dict[int, socket.socket]) -> None:
        """Tell all processes of one whose connection has ended; in a thread of the first process."""
        with selectors.DefaultSelector() as selector:
            for number, line in lines.items():
                selector.register(line, selectors.EVENT_READ, number)
            while selector.get_map():
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    self._store.set("gone", str(key.data))

    def _require_all(self) -> None:
        if self._store.check(["gone"]):
            gone = int(self._store.get("gone"))
        elif self._number and _is_closed(self._lines[0]):
            gone = 0
        else:
            return
        name = self._name(gone) if gone else "process 0"
        raise LostProcessError(
            f"{name} has ended, or its machine does not answer",
            where=f"process {self._number}",
        )

    def _name(self, number: int) -> str:
        return str(self._store.get(f"name of {number}").decode())

    def _say_who_is_late(self, waited: float) -> None:
        """Say who is late, in the first of the processes that wait."""
        turns = [int(self._store.get(f"turn of {number}")) for number in range(self._processes)]
        late = [number for number, turn in enumerate(turns) if turn < self._turn]
        if late and self._number == min(set(range(self._processes)) - {*late}):
            names = [self._name(number) for number in late[:3]] + ["…"] * (len(late) > 3)
            print(f"agm: {waited:.0f} s of waiting for {', '.join(names)}: still there", file=sys.stderr, flush=True)


def _own_name() -> str:
    """Return what others find this machine by."""
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return "localhost"
    return socket.gethostname()


def _nothing() -> None:
    """Stand for what has gone."""


def _lasting(line: socket.socket) -> socket.socket:
    """Return a connection whose other end the kernel asks for signs of life."""
    line.setblocking(False)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in SILENCE.items():
        if hasattr(socket, name):  # macOS lacks the first one
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return line


def _is_closed(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
