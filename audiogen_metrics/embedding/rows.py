"""Rows of clips, wherever they came from: one array for each output, in a temporary file where it is large."""

from __future__ import annotations

import math
import mmap
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice, pairwise
from threading import Lock
from typing import IO, Any

import numpy as np
import torch

from audiogen_metrics.backbones.base import Output
from audiogen_metrics.embedding.cache import ClipFeatures
from audiogen_metrics.errors import DataError, InsufficientDataError
from audiogen_metrics.functional.blocks import Block, Places, clip_parts, runs

IN_MEMORY = 2**26
"""Bytes of one output that are kept in memory; with more, its rows go to a temporary file (64 MB)."""

BLOCK_BYTES = 2**25
"""Bytes of rows that are read at a time (32 MB); at least one clip."""

CLIPS_AT_ONCE = 1024
"""Clips whose features are joined at a time."""

SEVERAL: frozenset[Output] = frozenset(["windows"])
"""Outputs of which a clip has any number of rows; of all others it has one."""


class Rows:
    """Rows of clips by output, one array each. Clips are added at the end and known by their places.

    An array of more than 64 MB is a file in the system's folder for temporary files, where the system allows it without
    a name, so that nothing of it is left behind, however the process ends.
    """

    def __init__(self) -> None:
        self._columns: dict[Output, _Column] = {}
        self._starts: dict[Output, array[int]] = {}
        self._clips = 0

    def __len__(self) -> int:
        """Return the number of clips."""
        return self._clips

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Names of the outputs that each clip has."""
        return tuple(self._columns)

    def add(self, clips: Iterable[ClipFeatures]) -> None:
        """Add clips, all of them with the same outputs.

        Raises
        ------
        DataError
            Outputs, widths or types that differ from those of other clips, or no room for the file.
        """
        remaining = iter(clips)
        while several := [*islice(remaining, CLIPS_AT_ONCE)]:
            for clip in several:
                if self._columns and clip.keys() != self._columns.keys():
                    known = ", ".join(sorted(self._columns))
                    raise DataError(f"a clip has {', '.join(sorted(clip))}, where others have {known}")
                for output, rows in clip.items() if not self._columns else ():
                    self._begin(output, _Column(rows.shape[output in SEVERAL :], rows.dtype))
            for output, column in self._columns.items():
                parts = [clip[output] for clip in several]
                column.append(torch.cat(parts) if output in SEVERAL else torch.stack(parts))
                self._count(output, map(len, parts))
            self._clips += len(several)

    def extend(self, other: Rows) -> None:
        """Add the clips of other rows."""
        for output, column in other._columns.items():
            if output not in self._columns:
                self._begin(output, _Column(column.shape, column.dtype))
            for rows, counts in other.blocks(output, np.arange(len(other))):
                self._columns[output].append(rows)
                self._count(output, counts)
        self._clips += len(other)

    def __getstate__(self) -> dict[str, object]:
        """Return what travels to another process: the rows themselves, not their files."""
        columns = {output: column.whole() for output, column in self._columns.items()}
        return {"columns": columns, "starts": self._starts, "clips": self._clips}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._columns, self._starts, self._clips = {}, state["starts"], state["clips"]
        for output, rows in state["columns"].items():
            self._columns[output] = _Column(rows.shape[1:], rows.dtype)
            self._columns[output].append(rows)

    def clip(self, place: int) -> ClipFeatures:
        """Return the features of one clip, without copying them."""
        found: ClipFeatures = {}
        for output, column in self._columns.items():
            whole = column.whole()
            if output in SEVERAL:
                starts = self._starts[output]
                found[output] = whole[starts[place] : starts[place + 1]]
            else:
                found[output] = whole[place]
        return found

    def counts(self, output: Output, places: Places) -> list[int]:
        """Return how many rows of an output the clips at some places have."""
        if output not in self._starts:
            return [1] * len(places)
        starts = np.frombuffer(self._starts[output], dtype=np.int64)
        counts: list[int] = (starts[places + 1] - starts[places]).tolist()
        return counts

    def whole(self, output: Output) -> torch.Tensor:
        """Return all rows of an output, without copying them."""
        return self._column(output).whole()

    def take(self, output: Output, places: Places) -> torch.Tensor:
        """Return a copy of the rows of the clips at some places."""
        column = self._column(output)
        if output in SEVERAL:
            starts = np.frombuffer(self._starts[output], dtype=np.int64)
            places = runs(starts[places], starts[places + 1] - starts[places])
        return column.take(places)

    def blocks(self, output: Output, places: Places) -> Iterator[Block]:
        """Yield copies of the rows of the clips at some places, a few clips at a time, with the rows of each clip."""
        counts = np.asarray(self.counts(output, places), dtype=np.int64)
        for part in clip_parts(counts, BLOCK_BYTES // max(1, self._column(output).row_bytes)):
            yield self.take(output, places[part]), counts[part].tolist()

    def arranged(self, places: Places) -> Rows:
        """Return the clips at some places as rows of their own, in this order; itself where that is its own order."""
        if len(places) == len(self) and bool((places == np.arange(len(self))).all()):
            return self
        found = Rows()
        found._clips = len(places)
        for output, column in self._columns.items() if len(places) else ():
            found._begin(output, _Column(column.shape, column.dtype))
            for rows, counts in self.blocks(output, places):
                found._columns[output].append(rows)
                found._count(output, counts)
        return found

    def _begin(self, output: Output, column: _Column) -> None:
        self._columns[output] = column
        if output in SEVERAL:
            self._starts[output] = array("q", [0])

    def _count(self, output: Output, counts: Iterable[int]) -> None:
        if output in SEVERAL:
            starts = self._starts[output]
            starts.extend(accumulate(counts, initial=starts.pop()))

    def _column(self, output: Output) -> _Column:
        if output not in self._columns:
            raise InsufficientDataError(f"there are no {output} of these clips", fix="Take a backbone that gives them")
        return self._columns[output]


class _Column:
    """Rows of one shape and type, that come one below the other."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape = shape
        self.dtype = dtype
        self._parts: list[torch.Tensor] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._lock = Lock()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * self.dtype.itemsize

    def append(self, rows: torch.Tensor) -> None:
        """Add rows at the end."""
        if (rows.shape[1:], rows.dtype) != (self.shape, self.dtype):
            raise DataError(
                f"rows of shape {tuple(rows.shape[1:])} and type {rows.dtype} do not go with others, of shape "
                f"{tuple(self.shape)} and type {self.dtype}",
                fix="Compute all clips in one way",
            )
        if self._file is None and self._bytes + rows.nbytes <= IN_MEMORY:
            self._parts.append(rows)
        else:
            self._write(rows)
        self._bytes += rows.nbytes

    def whole(self) -> torch.Tensor:
        """Return all rows; those in a file come into memory as they are read."""
        if self._file is not None and not self._parts:
            with self._lock:
                self._file.flush()
                mapping = mmap.mmap(self._file.fileno(), self._bytes, access=mmap.ACCESS_COPY)
            self._parts = [torch.frombuffer(mapping, dtype=self.dtype).view(-1, *self.shape)]
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    def take(self, places: Places) -> torch.Tensor:
        """Return a copy of some rows, in this order. Of a file, nothing else stays in memory."""
        if self._file is None:
            return self.whole()[torch.from_numpy(places)]
        taken = torch.empty((len(places), *self.shape), dtype=self.dtype, device="cpu")
        buffer, size = taken.numpy().reshape(-1).view(np.uint8).data, self.row_bytes
        begins = np.flatnonzero(np.diff(places, prepend=-2) != 1)
        with self._lock:
            for start, stop in pairwise([*begins.tolist(), len(places)]):
                self._file.seek(int(places[start]) * size)
                self._file.readinto(buffer[start * size : stop * size])  # type: ignore[attr-defined]
        return taken

    def _write(self, rows: torch.Tensor) -> None:
        try:
            with self._lock:
                if self._file is None:
                    self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as its rows)
                    weakref.finalize(self, self._file.close)
                    for part in self._parts:
                        self._file.write(part.contiguous().numpy().data)
                self._file.seek(0, 2)
                self._file.write(rows.contiguous().numpy().data)
        except OSError as error:
            raise DataError(
                f"the features of many clips cannot be kept ({error.strerror})",
                where=tempfile.gettempdir(),
                fix="Set TMPDIR to a folder with more room",
            ) from error
        self._parts = []
