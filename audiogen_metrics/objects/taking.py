"""What ``update`` of a metric object takes: waveforms or rows, all checked before anything is added."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.backbones.published import weights_name
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.functional.validation import Array, as_tensor, float64_tensor
from audiogen_metrics.metrics.definition import Metric as Definition
from audiogen_metrics.metrics.definition import Side
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.objects.accumulating import Accumulating
from audiogen_metrics.objects.batch import Batch, Waveforms
from audiogen_metrics.objects.runner import Runner, shared_runner, unloaded
from audiogen_metrics.objects.state import Clips, check_ids

if TYPE_CHECKING:
    from audiogen_metrics.embedding.cache import ClipFeatures

Texts = Sequence[str | Sequence[str]]
"""The prompt of each clip, or its captions."""

BadClip = Literal["raise", "omit"]
"""What ``update`` does about a clip that cannot be scored."""


class Taking(Accumulating):
    """A metric that accumulates the rows of waveforms under its recipe, or rows that are given."""

    recipe: Recipe
    batch_size: int | None
    on_bad_clip: BadClip
    _backbone: str | Backbone
    _weights: Path | None
    _runner: Runner | None
    _ref: object

    @property
    def definition(self) -> Definition:
        """The definition of the metric, with its options."""
        return self.recipe.definition

    @property
    def score_id(self) -> str:
        """Metric and backbone, as in reports: ``fad_vggish``."""
        return self.recipe.score_id

    @property
    def runner(self) -> Runner:
        """The backbone on this metric's device, shared with other metrics."""
        if self._runner is None:
            self._runner = shared_runner(self._backbone, self.device, self.batch_size, self._weights)
            self._check_reference(self._runner.backbone.settings)
        return self._runner

    @property
    def _output(self) -> Output:
        return self.definition.output

    @property
    def given_weights(self) -> Mapping[str, Path]:
        """The weights file given to this metric, by backbone name; empty for the published one."""
        return {} if self._weights is None else {weights_name(self.recipe.backbone): self._weights}

    def _check_reference(self, settings: Mapping[str, Any]) -> None:
        """Compare the reference with the settings of the backbone, once that is loaded."""

    def _moved(self) -> None:
        self._runner = None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        backbone = state["_backbone"]
        return {**state, "_runner": None, "_backbone": backbone if isinstance(backbone, str) else unloaded(backbone)}

    def _add(self, batches: Mapping[Side, Clips]) -> None:
        """Add the sound clips to each side; see `sound`."""
        for side, batch in batches.items():
            self._append(side, batch)

    def sound(
        self,
        waveforms: Mapping[Side, Waveforms | Batch | None],
        ready: Mapping[Side, Array | None],
        sample_rate: int | None,
        ids: Sequence[str] | str | None,
        prompts: Texts | None = None,
    ) -> dict[Side, Clips]:
        """Return what ``update`` would add to each side, without adding it, and with the errors of ``update``."""
        batches: dict[Side, Clips] = {}
        bad: dict[Side, set[int]] = {}
        for side in waveforms:
            given, rows = waveforms[side], ready[side]
            if given is not None and rows is not None:
                raise UsageError(f"{side} is given twice, as waveforms and ready-made", fix="Pass one of them")
            if side == "ref" and self._ref is not None and not (given is None and rows is None):
                raise UsageError("the reference was given to the constructor", fix="Leave ref out of update")
            if side not in self._sides:
                continue
            if given is not None:
                batches[side], bad[side] = self._from_waveforms(side, given, sample_rate, ids, prompts)
            elif rows is not None:
                batches[side], bad[side] = self._own_rows(side, rows, ids)
        if all(value is None for value in (*waveforms.values(), *ready.values())):
            raise UsageError("there is nothing to add", fix="Pass gen, ref, or ready embeddings or logits")
        self._check_batches(batches)
        for side, places in self._left_out_of(batches, bad).items():
            batches[side] = batches[side].leave_out(places)
        for side, batch in batches.items():
            self._check_width(side, batch)
        return batches

    def _from_waveforms(
        self, side: Side, waveforms: Waveforms | Batch, sample_rate: int | None, ids: Any, prompts: Texts | None
    ) -> tuple[Clips, set[int]]:
        """Return the rows of a batch, and the places of clips that cannot be scored, which are not among the rows."""
        batch = waveforms if isinstance(waveforms, Batch) else Batch(waveforms, sample_rate, side, remembered=True)
        names = check_ids(ids, len(batch), f"{side} clips")
        features = batch.features(self.runner, self.recipe.preprocessing)
        bad = {place: found for place, found in enumerate(features) if isinstance(found, Exception)}
        if bad and self.on_bad_clip == "raise":
            raise next(iter(bad.values()))
        if bad:
            batch.warn_left_out(len(bad), next(iter(bad.values())).what)
        rows = self._rows([None if isinstance(found, Exception) else found for found in features], prompts)
        blocks = [row if row is None or self._output == "windows" else row[None] for row in rows]
        return Clips.of(blocks, names), {*bad}

    def _rows(
        self,
        features: Sequence[ClipFeatures | None],
        prompts: Texts | None,  # noqa: ARG002  # for metrics that ask what clips should sound like
    ) -> list[torch.Tensor | None]:
        """Return the rows of each clip that has features."""
        return [None if found is None else found[self._output] for found in features]

    def _own_rows(self, side: Side, rows: Array, ids: Any) -> tuple[Clips, set[int]]:
        """Copy given rows into this metric's own memory, and find those that cannot be scored.

        The memory of given rows may be filled again, or be part of a large array.
        """
        bad: set[int] = set()
        if self.on_bad_clip == "omit":
            given = as_tensor(rows, f"{side}_{self._output}")
            finite = given.flatten(1).isfinite().all(dim=1) if given.ndim > 1 else given.isfinite()
            bad = {*(~finite).nonzero().flatten().tolist()}
            shape = (-1, *[1] * (given.ndim - 1))
            rows = torch.where(finite.reshape(shape), given, torch.zeros((), dtype=given.dtype, device=given.device))
        clips = self._from_rows(side, rows, ids)
        if bad and len(clips.ids) != len(finite):
            raise DataError(f"{side} rows have NaN or infinite values", fix="Drop these rows, or give clip by clip")
        if bad:
            warnings.warn(f"{side}: {len(bad)} of {len(finite)} clips are left out: NaN or infinite", stacklevel=5)
        return replace(clips, rows=clips.rows.clone()), bad

    def _from_rows(self, side: Side, rows: Array, ids: Any) -> Clips:
        """Read given embeddings or logits ``(clips, d)``; for windows see `EmbeddingMetric`."""
        checked = float64_tensor(rows, f"{side}_{self._output}", ndim=2)
        names = check_ids(ids, len(checked), f"{side} rows")
        return Clips(checked, torch.ones(len(checked), dtype=torch.int64, device="cpu"), names)

    def _check_batches(self, batches: Mapping[Side, Clips]) -> None:
        """Raise DataError if pairs are needed for batches of unequal size without ids, as later pairs would shift."""
        sizes = {side: len(batch.ids) for side, batch in batches.items() if not any(batch.ids)}
        if self.definition.needs == "pairs" and len(sizes) == 2:
            self._require_equal(sizes["gen"], sizes["ref"])

    def _require_equal(self, gen: int, ref: int) -> None:
        if gen != ref:
            raise DataError(
                f"{gen} gen and {ref} ref clips without ids: pairs by order of arrival would be shifted",
                fix=f"Pass ids to every update; clips without a partner are then left out of {self.definition.symbol}",
            )

    def _left_out_of(self, batches: Mapping[Side, Clips], bad: Mapping[Side, set[int]]) -> Mapping[Side, set[int]]:
        """Return the places of the clips to leave out; in pairs by order of arrival, both clips."""
        unnamed = [side for side, batch in batches.items() if not any(batch.ids)]
        if self.definition.needs != "pairs" or not unnamed or not any(bad.values()):
            return bad
        if len(unnamed) < len(self._sides):
            raise DataError(
                "a clip that cannot be scored would shift the pairs by order of arrival after it",
                where=self.score_id,
                fix="Pass ids to every update, or update gen and ref together",
            )
        return dict.fromkeys(batches, set().union(*bad.values()))
