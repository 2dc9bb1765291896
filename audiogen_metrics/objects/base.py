"""What all metric objects share: accumulate two sets, over batches and processes, and score them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.embedding.reference import MACHINE_SETTINGS, GivenFeatures, ReferenceStatistics
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingWeightsError, UsageError
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array, float64_tensor
from audiogen_metrics.metrics.definition import FeatureSource, Side
from audiogen_metrics.metrics.definition import Metric as Definition
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.objects.runner import Runner, Waveforms, as_clips, check_sample_rate, shared_runner, unloaded
from audiogen_metrics.objects.state import (
    HELD_CLIPS,
    Clips,
    Folded,
    check_ids,
    decode_ids,
    encode_ids,
    fold_clips,
    refuse_repeats,
    summarise,
)
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.results import Score

if TYPE_CHECKING:
    from audiogen_metrics.audio.files import AudioFolder
    from audiogen_metrics.embedding.extraction import ExtractionOptions

Reference = str | Path | Array | Mapping[str, Array] | GaussianStatistics

_PARTS = ("rows", "counts", "ids")
_FOLDED_PARTS = ("folded_rows", "folded_counts", "folded_ids")


class AudioMetric(Metric):
    """Base of `FD`, `FAD`, `IS`, `KL` and all other metric objects, which share their arguments and their ways in.

    Folders go through `score`; waveforms and ready embeddings or logits through ``update`` and ``compute``.
    Everything of `torchmetrics.Metric` works: reset, clone, pickle, `MetricCollection`, several processes,
    Lightning. The backbone is neither a submodule nor part of any state: it is loaded when first needed, shared
    by all metrics of the process, and follows the metric's device. State is float64, whatever the host is cast to.

    Parameters
    ----------
    protocol
        Named recipe; see ``agm list protocols``.
    backbone
        Another backbone than the protocol's: a registered name, or a `Backbone`
        (see `audiogen_metrics.backbones.from_callable`). The score id then ends in its name.
    ref
        The reference set, which survives ``reset``: a folder, a statistics file, ready embeddings or logits
        ``(n, d)``, the same by clip id, or `GaussianStatistics`. None takes it from ``update(ref=…)``.
    streaming
        Keep a factor of the scatter matrix, at most ``(1 + d)²`` numbers, instead of all rows. Same numbers to
        1e-11. Only Fréchet distances can; by default `FAD` does.
    **kwargs
        Options of the metric, such as ``subset_size`` of `KID`; the rest is passed to `torchmetrics.Metric`:
        ``process_group``, ``dist_sync_fn``, ``sync_on_compute``, …

    Raises
    ------
    UsageError
        Names or combinations that do not exist.
    DataError
        A reference that is not there, or was made with another protocol, preprocessing or backbone.
    InsufficientDataError
        A statistics file that does not hold what the metric needs of its reference.
    """

    is_differentiable = False
    full_state_update = False

    metric_name: ClassVar[str]
    streams_by_default: ClassVar[bool] = False

    def __init__(
        self,
        protocol: str = "audioldm",
        backbone: str | Backbone | None = None,
        ref: Reference | None = None,
        streaming: bool | None = None,
        **kwargs: Any,
    ) -> None:
        known = get_protocol(protocol).select([self.metric_name])[0].definition.options
        options = {name: kwargs.pop(name) for name in known if name in kwargs}
        super().__init__(**kwargs)
        self.protocol = get_protocol(protocol).name
        self.recipe = _recipe(protocol, self.metric_name, backbone, options)
        self.streaming = self.streams_by_default if streaming is None else streaming
        if self.streaming and self.definition.needs != "moments":
            raise UsageError(f"{self.recipe.score_id} needs all rows", fix="Leave out streaming=True")
        self._backbone = self.recipe.backbone if backbone is None else backbone
        self._told = "" if isinstance(self._backbone, str) else _told(self._backbone)
        self._runner: Runner | None = None
        self._processes = 1
        self._shares: dict[Side, Sequence[int]] = {}
        self._last: Score | None = None
        self._ref = None if ref is None or "ref" not in self._sides else self._open(ref)
        for side in self._sides:
            for part in _PARTS + (_FOLDED_PARTS if self.streaming else ()):
                self.add_state(self._state_name(side, part), default=[], dist_reduce_fx="cat")

    @property
    def definition(self) -> Definition:
        """What the metric is, with its options."""
        return self.recipe.definition

    @property
    def score_id(self) -> str:
        """Metric and backbone, as in reports: ``fad_vggish``."""
        return self.recipe.score_id

    @property
    def runner(self) -> Runner:
        """The backbone on this metric's device, shared with other metrics."""
        if self._runner is None:
            self._runner = shared_runner(self._backbone, self.device)
            if isinstance(self._ref, ReferenceStatistics):
                settings = self._runner.backbone.settings
                self._ref.select(self.recipe, self.protocol, settings)
                for difference in self._ref.machine_differences([settings]):
                    warnings.warn(difference, stacklevel=2)
        return self._runner

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add clips to one or both sets."""
        raise NotImplementedError

    def compute(self) -> torch.Tensor:
        """Return the score of everything added so far, on all processes together, as a 0-d float64 tensor.

        Raises
        ------
        InsufficientDataError
            One of the two sets has no clips, or too few.
        DataError
            Ids that are missing or stand for two different clips.
        """
        from audiogen_metrics.evaluation import compute

        gen = self._required("gen", self._collect("gen"))
        ref = self._required("ref", self._reference()) if "ref" in self._sides else None
        self._check_sets(gen, ref)
        self._last = self._scored(compute(self.recipe, gen, ref))
        return torch.tensor(self._last.value, dtype=torch.float64, device=self._state_device)

    def compute_score(self) -> Score:
        """Return the same as ``compute`` with its n, standard deviation and details."""
        self.compute()
        assert self._last is not None
        return self._last

    def score(
        self,
        gen: str | Path,
        ref: str | Path | None = None,
        *,
        batch_size: int = 16,
        workers: int | None = None,
        ci: bool = True,
        cache: bool = True,
        verify: bool = False,
        progress: bool = False,
    ) -> Score:
        """Score a folder as `audiogen_metrics.score` does; what ``update`` has accumulated is left alone.

        Parameters
        ----------
        gen
            Folder of generated audio.
        ref
            Folder of references or statistics file; None takes the ``ref`` of the constructor.
        batch_size, workers, ci, cache, verify, progress
            As in `audiogen_metrics.score`.

        Raises
        ------
        DataError, InsufficientDataError, MissingWeightsError, UsageError
            As in `audiogen_metrics.score`. Files that had to be skipped are a warning.
        """
        from audiogen_metrics.audio.files import AudioFolder, scan
        from audiogen_metrics.embedding.extraction import ExtractionOptions
        from audiogen_metrics.evaluation import evaluate, scored
        from audiogen_metrics.evaluation.evaluation import Asked
        from audiogen_metrics.metrics.measuring.measured import Measured

        options = ExtractionOptions(batch_size, workers, cache, verify, progress)
        chosen: AudioFolder | ReferenceStatistics | FeatureSource | None = None
        if "ref" in self._sides:
            chosen = self._ref if ref is None else self._open(ref)
            if chosen is None:
                raise UsageError(f"{self.score_id} needs a reference", fix="Pass ref to score or to the constructor")
        ready = None if chosen is None or isinstance(chosen, (AudioFolder, ReferenceStatistics)) else chosen
        evaluation = evaluate(
            scan(gen),
            None if ready is not None else chosen,  # type: ignore[arg-type]
            [self.recipe],
            {self.recipe.backbone: self.runner.backbone},
            get_protocol(self.protocol),
            options,
            Asked(by_name=True, ci=ci),
        )
        for side in (evaluation.gen, evaluation.ref):
            if isinstance(side, FolderSide):
                _warn_of_skipped(side)
        if ready is None:
            return evaluation.scores[self.score_id]
        measured = Measured(self.definition, evaluation.gen.features(self.recipe), ready)
        return self._scored(scored(self.recipe, measured, ci=ci))

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: a distance of one batch means nothing, and torchmetrics would compute it at every step."""
        raise UsageError(
            f"{type(self).__name__} has no value of a single batch",
            fix="Call update(…) for each batch and compute() at the end",
        )

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot a value, or several, by default that of ``compute``; see `torchmetrics.Metric.plot`."""
        return self._plot(val, ax)

    def reset(self) -> None:
        """Forget all clips; ``ref`` of the constructor and the backbone stay."""
        super().reset()
        self._last = None

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the clips of another metric, or of its state."""
        super().merge_state(incoming_state)
        self._mark_updated()

    def extra_repr(self) -> str:
        """Return what tells two metrics apart."""
        return f"{self.score_id}, protocol={self.protocol!r}, streaming={self.streaming}"

    @property
    def _output(self) -> Literal["embeddings", "windows", "logits"]:
        return self.definition.output

    @property
    def _sides(self) -> tuple[Side, ...]:
        return self.definition.sides

    @property
    def _state_device(self) -> torch.device:
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def _state_name(self, side: Side, part: str) -> str:
        # Compute groups of a MetricCollection share the states of metrics whose states have equal names and
        # values after one batch: equal names are only for metrics that would take every batch alike.
        kind = f"{self.recipe} {getattr(self._backbone, 'autocast', None)} {self.streaming}{self._told}"
        return f"{self.score_id}_{hashlib.blake2b(kind.encode(), digest_size=4).hexdigest()}_{side}_{part}"

    def _add(
        self,
        waveforms: Mapping[Side, Waveforms | None],
        ready: Mapping[Side, Array | None],
        sample_rate: int | None,
        ids: Sequence[str] | str | None,
    ) -> None:
        """Add what is given to each side; nothing is added unless all of it is sound."""
        batches: dict[Side, Clips] = {}
        for side in waveforms:
            given, rows = waveforms[side], ready[side]
            if given is not None and rows is not None:
                raise UsageError(f"{side} is given twice, as waveforms and ready-made", fix="Pass one of them")
            if side == "ref" and self._ref is not None and not (given is None and rows is None):
                raise UsageError("the reference was given to the constructor", fix="Leave ref out of update")
            if side not in self._sides:
                continue
            if given is not None:
                batches[side] = self._from_waveforms(side, given, check_sample_rate(sample_rate), ids)
            elif rows is not None:
                batches[side] = self._from_rows(side, rows, ids)
        if all(value is None for value in (*waveforms.values(), *ready.values())):
            raise UsageError("there is nothing to add", fix="Pass gen, ref, or ready embeddings or logits")
        self._check_batches(batches)
        for side, batch in batches.items():
            self._check_width(side, batch)
        for side, batch in batches.items():
            self._append(side, batch)

    def _from_waveforms(self, side: Side, waveforms: Waveforms, sample_rate: int, ids: Any) -> Clips:
        clips = as_clips(waveforms, sample_rate, side)
        names = check_ids(ids, len(clips), f"{side} clips")
        features = self.runner.features(clips, sample_rate, self.recipe.preprocessing)
        blocks = [clip[self._output] for clip in features]
        if self._output != "windows":
            blocks = [block[None] for block in blocks]
        counts = torch.tensor([len(block) for block in blocks], dtype=torch.int64, device="cpu")
        return Clips(torch.cat(blocks), counts, names)

    def _from_rows(self, side: Side, rows: Array, ids: Any) -> Clips:
        """Read ready embeddings or logits ``(clips, d)``; for windows see `EmbeddingMetric`."""
        checked = float64_tensor(rows, f"{side}_{self._output}", ndim=2)
        names = check_ids(ids, len(checked), f"{side} rows")
        return Clips(checked, torch.ones(len(checked), dtype=torch.int64, device="cpu"), names)

    def _check_batches(self, batches: Mapping[Side, Clips]) -> None:
        """Raise DataError where pairs are needed for batches of unequal size without ids: later pairs would shift."""
        sizes = {side: len(batch.ids) for side, batch in batches.items() if not any(batch.ids)}
        if self.definition.needs == "pairs" and len(sizes) == 2:
            self._require_equal(sizes["gen"], sizes["ref"])

    def _check_sets(self, gen: FeatureSource, ref: FeatureSource | None) -> None:
        """Raise DataError where pairs are needed for sets that cannot be paired by order of arrival."""
        named = [getattr(source, "named", True) for source in (gen, ref)]
        if self.definition.needs != "pairs" or ref is None or all(named):
            return
        if any(named):
            without, with_ids = ("ref", "gen") if named[0] else ("gen", "ref")
            raise DataError(
                f"{without} clips have no ids, and {with_ids} clips have: they cannot be paired",
                fix="Pass ids to every update, equal for the two clips of a pair",
            )
        self._require_equal(len(gen), len(ref))

    def _require_equal(self, gen: int, ref: int) -> None:
        if gen != ref:
            raise DataError(
                f"{gen} gen and {ref} ref clips without ids: pairs by order of arrival would be shifted",
                fix=f"Pass ids to every update; clips without a partner are then left out of {self.definition.symbol}",
            )

    def _check_width(self, side: Side, batch: Clips) -> None:
        width = batch.rows.shape[1]
        known = [rows.shape[1] for name in self._sides for rows in _listed(self._state(name, "rows")) if len(rows)]
        if known and known[0] != width:
            raise DataError(f"{side} rows have dimension {width}, and earlier ones {known[0]}", fix="Use one backbone")

    def _append(self, side: Side, batch: Clips) -> None:
        device = self._state_device
        # Batches without rows would be indistinguishable from no batch at all.
        if batch.ids:
            self._state(side, "rows").append(batch.rows.to(device))
            self._state(side, "counts").append(batch.counts.to(device))
            self._state(side, "ids").append(encode_ids(batch.ids).to(device))
        if self.streaming:
            self._fold(side)

    def _fold(self, side: Side) -> None:
        """Fold rows away once there are more than twice as many as folding leaves."""
        blocks = self._state(side, "rows")
        if (
            sum(map(len, blocks)) <= 2 * (1 + blocks[0].shape[1])
            or sum(map(len, self._state(side, "counts"))) <= HELD_CLIPS
        ):
            return
        held, folded = fold_clips(*self._gathered(side))
        counts = torch.tensor([folded.stands_for], dtype=torch.int64, device=folded.rows.device)
        values = (held.rows, held.counts, encode_ids(held.ids), folded.rows, counts, encode_ids(folded.ids))
        for part, value in zip(_PARTS + _FOLDED_PARTS, values, strict=True):
            setattr(self, self._state_name(side, part), [value.to(self._state_device)])

    def _state(self, side: Side, part: str) -> Any:
        return getattr(self, self._state_name(side, part))

    def _gathered(self, side: Side) -> tuple[Clips, Folded]:
        """Return all clips of one side, on this process or, while synced, on all."""
        rows, counts, ids = (_listed(self._state(side, part)) for part in _PARTS)
        clips = Clips(
            torch.cat(rows) if rows else torch.zeros(0, 0, dtype=torch.float64, device="cpu"),
            torch.cat(counts) if counts else torch.zeros(0, dtype=torch.int64, device="cpu"),
            decode_ids(torch.cat(ids)) if ids else [],
        )
        parts = [_listed(self._state(side, part)) for part in _FOLDED_PARTS] if self.streaming else [[], [], []]
        folded = torch.cat(parts[0]) if parts[0] else clips.rows.new_zeros(0, 1 + clips.rows.shape[1])
        stands_for = sum(int(part.sum()) for part in parts[1])
        return clips, Folded(folded, stands_for, decode_ids(torch.cat(parts[2])) if parts[2] else [])

    def _collect(self, side: Side) -> GivenFeatures | None:
        clips, folded = self._gathered(side)
        if self._is_synced and self._processes > 1 and self._output == "logits" and not all(clips.ids):
            raise DataError(
                f"{self.score_id} on {self._processes} processes needs to know which clip is which",
                fix="Pass ids to every update",
            )
        if self._is_synced and self._processes > 1 and not any(clips.ids):
            refuse_repeats(clips, self._shares[side])
        return summarise(clips, folded, self._output == "logits")

    def _open(self, ref: Reference) -> AudioFolder | ReferenceStatistics | FeatureSource:
        """Look at a reference as far as that is cheap, so that a mistake shows at once."""
        from audiogen_metrics import evaluation

        if isinstance(ref, (str, Path)):
            opened = evaluation.open_reference(ref)
            if isinstance(opened, ReferenceStatistics):
                opened.select(self.recipe, self.protocol)
                opened.require(self.recipe)
            return opened
        if isinstance(ref, GaussianStatistics):
            if self.definition.needs != "moments":
                raise UsageError(
                    f"{self.score_id} needs {self._output}, not statistics", fix=f"Pass the reference's {self._output}"
                )
            return GivenFeatures((), gaussian=ref, size=ref.count)
        ids = list(ref) if isinstance(ref, Mapping) else None
        rows = np.stack([np.asarray(row) for row in ref.values()]) if isinstance(ref, Mapping) else ref
        clips = self._from_rows("ref", rows, ids)
        empty = Folded(clips.rows.new_zeros(0, 1 + clips.rows.shape[1]), 0, [])
        given = summarise(clips, empty, self._output == "logits")
        if given is None:
            raise InsufficientDataError("the reference is empty", fix="Pass at least two rows")
        return given

    def _reference(self) -> FeatureSource | None:
        from audiogen_metrics.embedding.extraction import ExtractionOptions

        if self._ref is None:
            return self._collect("ref")
        source = self._resolve(self._ref, ExtractionOptions())
        if not isinstance(self._ref, ReferenceStatistics):
            self._ref = source
        return source

    def _resolve(
        self, ref: AudioFolder | ReferenceStatistics | FeatureSource, options: ExtractionOptions
    ) -> FeatureSource:
        from audiogen_metrics.audio.files import AudioFolder

        if isinstance(ref, AudioFolder):
            return self._embed(ref, "ref", options)
        if isinstance(ref, ReferenceStatistics):
            settings = None if self._runner is None else self._runner.backbone.settings
            return ref.select(self.recipe, self.protocol, settings)
        return ref

    def _embed(self, folder: AudioFolder, side: Side, options: ExtractionOptions) -> FeatureSource:
        backbones = {self.recipe.backbone: self.runner.backbone}
        embedded = FolderSide.extract(side, folder, [self.recipe], backbones, options)
        _warn_of_skipped(embedded)
        return embedded.features(self.recipe)

    def _required(self, side: Side, source: FeatureSource | None) -> FeatureSource:
        if source is None:
            otherwise = ", or pass ref to the constructor" if side == "ref" else ""
            raise InsufficientDataError(
                f"{self.score_id} has no {side} clips", fix=f"Call update({side}=…) first{otherwise}"
            )
        return source

    def _scored(self, score: Score) -> Score:
        """Return a score that has a value; raise its reason if it has none."""
        if score.value is None:
            raise InsufficientDataError(score.reason or "there is no score", where=score.id)
        return score

    def _mark_updated(self) -> None:
        """Note that states came in by another way than update, so that compute neither warns nor recalls."""
        self._computed = None
        self._update_count = max(1, self._update_count)

    @contextmanager
    def sync_context(self, *args: Any, should_unsync: bool = True, **kwargs: Any) -> Iterator[None]:
        """Gather the states of all processes, and give them back also when the score cannot be computed."""
        self.sync(*args, **kwargs)
        try:
            yield
        finally:
            self.unsync(should_unsync=self._is_synced and should_unsync)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Compute anew where there are several processes: one that recalls its value while another gathers hangs it."""
        recalling = super()._wrap_compute(compute)

        @wraps(compute)
        def computing(*args: Any, **kwargs: Any) -> Any:
            if self.distributed_available_fn():
                self._computed = None
            return recalling(*args, **kwargs)

        return computing

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        """Gather states; a process without clips takes part with empty tensors of the right width and type."""
        group = process_group or self.process_group
        width = max((rows.shape[1] for side in self._sides for rows in _listed(self._state(side, "rows"))), default=0)
        clips = [sum(map(len, _listed(self._state(side, "counts")))) for side in self._sides]
        mine = torch.tensor([width, *clips], dtype=torch.int64, device=self._state_device)
        widths, *shares = zip(*(gathered.tolist() for gathered in dist_sync_fn(mine, group=group)), strict=True)
        self._shares = dict(zip(self._sides, shares, strict=True))
        known = {*widths} - {0}
        if len(known) > 1:
            raise DataError(f"processes have rows of dimensions {sorted(known)}", fix="Use one backbone on all of them")
        self._processes = len(widths)
        for side in self._sides:
            for part, empty in _empty_parts(max(known, default=0)).items():
                if part in _PARTS or self.streaming:
                    state = _listed(self._state(side, part)) or [empty.to(self._state_device)]
                    setattr(self, self._state_name(side, part), state)
        super()._sync_dist(dist_sync_fn, process_group=process_group)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], exclude_state: Sequence[str] = "") -> AudioMetric:
        """Follow the host to another device, and to no other type: states stay float64."""
        torch.nn.Module._apply(self, fn)
        device = fn(torch.zeros(1, dtype=torch.float32, device=self.device)).device
        if device != self.device:
            self._device = device
            self._runner = None
        for name in set(self._defaults) - set(exclude_state):
            state = getattr(self, name)
            moved = [tensor.to(self._state_device) for tensor in _listed(state)]
            setattr(self, name, moved if isinstance(state, list) else moved[0])
        if self._computed is not None:
            self._computed = self._computed.to(self._state_device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take over states that were saved; the lists of the checkpoint are copied, not shared."""
        found = [name for name in self._defaults if prefix + name in state_dict]
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in found:
            setattr(self, name, [tensor.to(self._state_device) for tensor in _listed(getattr(self, name))])
        if any(getattr(self, name) for name in found):
            self._mark_updated()

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        backbone = state["_backbone"]
        return {**state, "_runner": None, "_backbone": backbone if isinstance(backbone, str) else unloaded(backbone)}


def _warn_of_skipped(side: FolderSide) -> None:
    skipped = side.summary().skipped
    if skipped:
        named = "; ".join(f"{clip['clip']}: {clip['reason']}" for clip in skipped[:3])
        warnings.warn(f"{side.name}: skipped {len(skipped)} of {len(side.folder.clips)} files ({named})", stacklevel=3)


def _recipe(protocol: str, metric: str, backbone: str | Backbone | None, options: Mapping[str, Any]) -> Recipe:
    """Return the protocol's recipe for a metric with its options, moved to another backbone if one is given."""
    from audiogen_metrics.evaluation import require_output

    recipe = get_protocol(protocol).select([metric])[0]
    recipe = replace(recipe, definition=replace(recipe.definition, **options))
    name = recipe.backbone if backbone is None else backbone
    kind = BACKBONES.get(name) if isinstance(name, str) else name
    if kind.name != recipe.backbone:
        audio = recipe.preprocessing
        shortest = audio.minimum_samples * kind.sample_rate // audio.sample_rate
        # A protocol that does not pad leaves short clips out; another backbone does not change that.
        shortest = max(shortest, kind.minimum_samples) if audio.minimum_samples else 0
        recipe = replace(
            recipe,
            score_id=f"{metric}_{kind.name.replace('-', '_')}",
            backbone=kind.name,
            preprocessing=replace(audio, sample_rate=kind.sample_rate, minimum_samples=shortest),
        )
    require_output(recipe, kind)
    return recipe


def _told(backbone: Backbone) -> str:
    """Return what tells a backbone from others of its name, on any machine; nothing where its weights are not here."""
    try:
        settings = backbone.settings
    except MissingWeightsError:
        return ""
    return " ".join(f"{name}={settings[name]}" for name in sorted(settings.keys() - MACHINE_SETTINGS))


def _listed(state: Any) -> list[torch.Tensor]:
    """Return the tensors of a list state, which is one tensor while it is synced."""
    return [state] if isinstance(state, torch.Tensor) else list(state)


def _empty_parts(width: int) -> dict[str, torch.Tensor]:
    return {
        "rows": torch.zeros(0, width, dtype=torch.float64, device="cpu"),
        "counts": torch.zeros(0, dtype=torch.int64, device="cpu"),
        "ids": torch.zeros(0, dtype=torch.uint8, device="cpu"),
        "folded_rows": torch.zeros(0, 1 + width, dtype=torch.float64, device="cpu"),
        "folded_counts": torch.zeros(0, dtype=torch.int64, device="cpu"),
        "folded_ids": torch.zeros(0, dtype=torch.uint8, device="cpu"),
    }
