"""A temporary file for clips that can be read only once and are needed again."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.errors import DataError

Content: TypeAlias = Callable[[], bytes | Audio]
"""A function that returns the bytes of a clip's file, or its samples."""

IN_MEMORY = 2**28
"""Bytes up to which clips are kept in memory; beyond that, they go to a temporary file (256 MB)."""


class Spool:
    """Keep clips that can be read only once, for several threads in any order; deleted when no longer used."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 (lives as long as its clips)
        self._lock = Lock()
        weakref.finalize(self, self._file.close)

    def keep(self, content: bytes) -> Content:
        """Keep the bytes of a clip's file."""
        return partial(self._bytes, self._append(content), len(content))

    def keep_samples(self, samples: npt.NDArray[np.float32], sample_rate: int) -> Content:
        """Keep a clip ``(time, channels)``."""
        return partial(self._audio, self._append(samples.tobytes()), samples.shape, sample_rate)

    def _append(self, content: bytes) -> int:
        try:
            with self._lock:
                start = self._file.seek(0, 2)
                self._file.write(content)
                self._file.flush()
                return start
        except OSError as error:
            raise DataError(
                f"clips that come one by one cannot be kept ({error.strerror})",
                where=tempfile.gettempdir(),
                fix="Set TMPDIR to a folder with more room, or pass a list, a dict or a folder",
            ) from error

    def _bytes(self, start: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)

    def _audio(self, start: int, shape: tuple[int, ...], sample_rate: int) -> Audio:
        samples = np.frombuffer(bytearray(self._bytes(start, 4 * int(np.prod(shape)))), np.float32)
        return Audio(samples.reshape(shape), sample_rate)
