"""A torchmetrics metric that accumulates clips of two sets: over batches and processes, in float64, by clip id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import DataError
from audiogen_metrics.metrics.definition import Side
from audiogen_metrics.objects.state import (
    HELD_CLIPS,
    Clips,
    Folded,
    decode_ids,
    encode_ids,
    fold_clips,
    refuse_repeats,
    summarise,
)

_PARTS = ("rows", "counts", "ids", "left_out")
_FOLDED_PARTS = ("folded_rows", "folded_counts", "folded_ids")


class Accumulating(Metric):
    """The states of a metric on sets of clips, and how they travel between processes.

    Everything of `torchmetrics.Metric` works: reset, clone, pickle, `MetricCollection`, several processes, Lightning.
    States are float64, whatever the host is cast to.
    """

    is_differentiable: bool | None = False
    full_state_update: bool | None = False

    def _accumulate(self, name: str, sides: tuple[Side, ...], kind: str, *, logits: bool, streaming: bool) -> None:
        """Set up the states of these sides.

        Parameters
        ----------
        name
            Name of the metric in errors.
        sides
            ``gen``, ``ref``.
        kind
            Beginning of the states' names. Compute groups of a MetricCollection share the states of metrics whose
            states have equal names and values after one batch. So only metrics that would add every batch in the same
            way may have equal kinds.
        logits, streaming
            Whether the rows are logits, and whether they are folded.
        """
        self._name, self._sides, self._kind = name, sides, kind
        self._logits = logits
        self.streaming: bool = streaming
        self._processes = 1
        self._unprepared = False
        self._shares: dict[Side, Sequence[int]] = {}
        for side in sides:
            for part in self._parts:
                self.add_state(self._state_name(side, part), default=[], dist_reduce_fx="cat")

    @property
    def _parts(self) -> tuple[str, ...]:
        return _PARTS + (_FOLDED_PARTS if self.streaming else ())

    @property
    def _state_device(self) -> torch.device:
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def _state_name(self, side: Side, part: str) -> str:
        return f"{self._kind}_{side}_{part}"

    def _state(self, side: Side, part: str) -> Any:
        return getattr(self, self._state_name(side, part))

    def _clips(self, side: Side) -> int:
        """Return how many clips of one side have been added, repeats included."""
        folded = [decode_ids(ids) for ids in _listed(self._state(side, "folded_ids"))] if self.streaming else []
        return sum(map(len, _listed(self._state(side, "counts")))) + sum(map(len, folded))

    def _left_out(self, side: Side) -> int:
        """Return how many clips of one side were left out and never added."""
        clips, folded = self._gathered(side)
        named = {name for name in clips.left_out if name} - {*clips.ids, *folded.ids}
        return len(named) + clips.left_out.count("")

    def _check_width(self, side: Side, batch: Clips) -> None:
        width = batch.rows.shape[1]
        if not len(batch.rows):
            return
        known = [rows.shape[1] for name in self._sides for rows in _listed(self._state(name, "rows")) if len(rows)]
        if known and known[0] != width:
            raise DataError(f"{side} rows have dimension {width}, and earlier ones {known[0]}", fix="Use one backbone")

    def _append(self, side: Side, batch: Clips) -> None:
        device = self._state_device
        # A batch without rows could not be told from a missing batch.
        if batch.ids:
            self._state(side, "rows").append(batch.rows.to(device))
            self._state(side, "counts").append(batch.counts.to(device))
            self._state(side, "ids").append(encode_ids(batch.ids).to(device))
        if batch.left_out:
            self._state(side, "left_out").append(encode_ids(batch.left_out).to(device))
        if self.streaming:
            self._fold(side)

    def _fold(self, side: Side) -> None:
        """Fold rows once there are more than twice as many as folding leaves."""
        blocks = self._state(side, "rows")
        if (
            sum(map(len, blocks)) <= 2 * (1 + blocks[0].shape[1] if blocks else 1)
            or sum(map(len, self._state(side, "counts"))) <= HELD_CLIPS
        ):
            return
        held, folded = fold_clips(*self._gathered(side))
        counts = torch.tensor([folded.stands_for], dtype=torch.int64, device=folded.rows.device)
        values = (held.rows, held.counts, encode_ids(held.ids), folded.rows, counts, encode_ids(folded.ids))
        for part, value in zip(("rows", "counts", "ids", *_FOLDED_PARTS), values, strict=True):
            setattr(self, self._state_name(side, part), [value.to(self._state_device)])

    def _gathered(self, side: Side) -> tuple[Clips, Folded]:
        """Return all clips of one side, on this process or, while synced, on all."""
        rows, counts, ids, left_out = (_listed(self._state(side, part)) for part in _PARTS)
        clips = Clips(
            torch.cat(rows) if rows else torch.zeros(0, 0, dtype=torch.float64, device="cpu"),
            torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64, device="cpu"),
            decode_ids(torch.cat(ids)) if ids else [],
            decode_ids(torch.cat(left_out)) if left_out else [],
        )
        parts = [_listed(self._state(side, part)) for part in _FOLDED_PARTS] if self.streaming else [[], [], []]
        folded = torch.cat(parts[0]) if parts[0] else clips.rows.new_zeros(0, 1 + clips.rows.shape[1])
        stands_for = sum(int(part.sum()) for part in parts[1])
        return clips, Folded(folded, stands_for, decode_ids(torch.cat(parts[2])) if parts[2] else [])

    def _collect(self, side: Side) -> GivenFeatures | None:
        """Return what was added to one side, for scores; None if it is empty."""
        clips, folded = self._gathered(side)
        several = self._is_synced and self._processes > 1
        if several and self._logits and not all(clips.ids):
            raise DataError(
                f"{self._name} on {self._processes} processes needs to know which clip is which",
                fix="Pass ids to every update",
            )
        if several and not any(clips.ids):
            refuse_repeats(clips, self._shares[side])
        return summarise(clips, folded, self._logits)

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the clips of another metric, or of its state."""
        super().merge_state(incoming_state)
        self._mark_updated()

    def _mark_updated(self) -> None:
        """Note that states were not added by update, so that compute neither warns nor returns an old value."""
        self._computed = None
        self._update_count = max(1, self._update_count)

    @contextmanager
    def sync_context(self, *args: Any, should_unsync: bool = True, **kwargs: Any) -> Iterator[None]:
        """Gather the states of all processes, and restore them even if the score cannot be computed."""
        self.sync(*args, **kwargs)
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced and should_unsync)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Always compute with several processes: one that returns an old value makes the others wait for ever."""
        recalling = super()._wrap_compute(compute)

        @wraps(compute)
        def computing(*args: Any, **kwargs: Any) -> Any:
            if self.distributed_available_fn():
                self._computed = None
            found = recalling(*args, **kwargs)
            if not isinstance(found, torch.Tensor):
                self._computed = None  # a missing value is not kept
            return found

        return computing

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        """Gather states; a process without clips takes part with empty tensors of the right width and type."""
        group = process_group or self.process_group
        width = max((rows.shape[1] for side in self._sides for rows in _listed(self._state(side, "rows"))), default=0)
        clips = [sum(map(len, _listed(self._state(side, "counts")))) for side in self._sides]
        mine = torch.tensor([width, not self._prepared, *clips], dtype=torch.int64, device=self._state_device)
        widths, unprepared, *shares = zip(
            *(gathered.tolist() for gathered in dist_sync_fn(mine, group=group)), strict=True
        )
        self._shares = dict(zip(self._sides, shares, strict=True))
        known = {*widths} - {0}
        if len(known) > 1:
            raise DataError(f"processes have rows of dimensions {sorted(known)}", fix="Use one backbone on all of them")
        self._processes, self._unprepared = len(widths), any(unprepared)
        empty = _empty_parts(max(known, default=0))
        for side in self._sides:
            for part in self._parts:
                state = _listed(self._state(side, part)) or [empty[part].to(self._state_device)]
                setattr(self, self._state_name(side, part), state)
        super()._sync_dist(dist_sync_fn, process_group=process_group)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], exclude_state: Sequence[str] = "") -> Accumulating:
        """Follow the host to another device, but not to another type: states stay float64."""
        torch.nn.Module._apply(self, fn)
        device = fn(torch.zeros(1, dtype=torch.float32, device=self.device)).device
        if device != self.device:
            self._device = device
            self._moved()
        for name in set(self._defaults) - set(exclude_state):
            state = getattr(self, name)
            moved = [tensor.to(self._state_device) for tensor in _listed(state)]
            setattr(self, name, moved if isinstance(state, list) else moved[0])
        if self._computed is not None:
            self._computed = self._computed.to(self._state_device)
        return self

    @property
    def _prepared(self) -> bool:
        """Whether this process has everything that is needed besides the states."""
        return True

    def _moved(self) -> None:
        """Forget what was on the old device."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take over states that were saved; the lists of the checkpoint are copied, not shared."""
        found = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in found:
            setattr(self, name, [tensor.to(self._state_device) for tensor in _listed(getattr(self, name))])
        if any(getattr(self, name) for name in found):
            self._mark_updated()


def _listed(state: Any) -> list[torch.Tensor]:
    """Return the tensors of a list state, which is one tensor while it is synced."""
    return [state] if isinstance(state, torch.Tensor) else list(state)


def _empty_parts(width: int) -> Mapping[str, torch.Tensor]:
    return {
        "rows": torch.zeros(0, width, dtype=torch.float64, device="cpu"),
        "counts": torch.zeros(0, dtype=torch.int64, device="cpu"),
        "ids": torch.zeros(0, dtype=torch.uint8, device="cpu"),
        "left_out": torch.zeros(0, dtype=torch.uint8, device="cpu"),
        "folded_rows": torch.zeros(0, 1 + width, dtype=torch.float64, device="cpu"),
        "folded_counts": torch.zeros(0, dtype=torch.int64, device="cpu"),
        "folded_ids": torch.zeros(0, dtype=torch.uint8, device="cpu"),
    }
