"""Where text leaves the program: streams of any encoding, streams that are closed, readers that have gone."""

from __future__ import annotations

import codecs
import io
import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from audiogen_metrics.writing import unwritable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

ESCAPED = "agm-escaped"
"""Error handler of encoding: what cannot be encoded becomes JSON's ``\\u2026``; JSON stays the same JSON."""

READABLE = "agm-readable"
"""Error handler of encoding: signs of our own texts become plain ASCII, everything else is escaped."""

_PLAIN = {
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "×": "x",
    "·": ".",
    "±": "+/-",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "²": "^2",
    "’": "'",
    "“": '"',
    "”": '"',
}


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign) or json.dumps(sign)[1:-1] for sign in signs), error.end


codecs.register_error(ESCAPED, _escape)
codecs.register_error(READABLE, _plain)


def portable_json(text: str) -> str:
    """Return JSON that stdout can show: as it is in UTF-8, else in ASCII, since JSON has no other encodings."""
    encoding = "utf-8" if _is_utf8(sys.stdout) else "ascii"
    return text.encode(encoding, ESCAPED).decode(encoding)


@contextmanager
def ready() -> Iterator[None]:
    """Let stdout and stderr take any text inside the block, whatever they are.

    A character that the stream's encoding lacks is written in ASCII. A reader that has gone (``agm … | head``) and a
    closed stream take everything in silence, so that files and the exit code are those of any other run.

    Raises
    ------
    UsageError
        Inside the block, where stdout cannot be written for another reason, such as a full disk.
    """
    _occupy_standard_descriptors()
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _forgiving(sys.stdout, is_result=True), _forgiving(sys.stderr, is_result=False)
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = streams


class _Forgiving(io.RawIOBase):
    """What lies below a stream; it stops writing where nobody reads.

    Parameters
    ----------
    raw
        The stream's own lowest layer; None if the stream is closed.
    is_result
        Errors other than a reader that has gone are raised. On stderr there is nobody to tell.
    """

    def __init__(self, raw: io.RawIOBase | None, is_result: bool) -> None:
        super().__init__()
        self._raw, self._is_result = raw, is_result

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return super().fileno() if self._raw is None else self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw is not None and self._raw.isatty()

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self._raw is None:
            return size
        try:
            while (written := self._raw.write(data)) is None:
                select.select([], [self._raw], [])  # somebody has made the pipe non-blocking, and it is full
            return written
        except OSError as error:
            # What is left in buffers, here and in the original stream, must not be tried again at the end.
            raw, self._raw = self._raw, None
            if self._is_result and not isinstance(error, BrokenPipeError):
                raise unwritable(error, "stdout", "Write the result to a file: -o FILE") from error
            _silence(raw)
            return size


def _forgiving(stream: TextIO | None, is_result: bool) -> TextIO:
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(_Forgiving(None, is_result)), encoding="utf-8", errors=READABLE)
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # a notebook's, or one that collects text: it takes all
    stream.flush()
    below = _Forgiving(getattr(stream.buffer, "raw", stream.buffer), is_result)
    line_buffering = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(below), encoding=stream.encoding, errors=READABLE, line_buffering=line_buffering
    )


def _occupy_standard_descriptors() -> None:
    """Open nothing in place of closed standard streams, lest the next file gets their number, and what C prints."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _silence(raw: io.RawIOBase) -> None:
    """Point the descriptor of a reader that has gone at nothing, for what C libraries and the interpreter write."""
    try:
        descriptor = raw.fileno()
    except OSError:
        return  # no stream of the operating system
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def _is_utf8(stream: TextIO) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"  # a stream that collects text has no encoding
    return codecs.lookup(encoding).name == "utf-8"
