"""What all metric objects share: accumulate two sets, over batches and processes, and score them."""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, cast

import numpy as np
import torch

from audiogen_metrics import distributed
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.backbones.pretrained import PretrainedBackbone
from audiogen_metrics.backbones.weights import WEIGHTS, beside, weights_name
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.foreign import ForeignStatistics
from audiogen_metrics.embedding.reference import MACHINE_SETTINGS, GivenFeatures, ReferenceStatistics
from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.errors import DataError, InsufficientDataError, MissingWeightsError, NumericsError, UsageError
from audiogen_metrics.functional.statistics import GaussianStatistics
from audiogen_metrics.functional.validation import Array, as_tensor, float64_tensor
from audiogen_metrics.metrics.definition import FeatureSource, Side
from audiogen_metrics.metrics.definition import Metric as Definition
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.objects.accumulating import Accumulating
from audiogen_metrics.objects.batch import Batch, Waveforms
from audiogen_metrics.objects.runner import Runner, shared_runner, unloaded
from audiogen_metrics.objects.state import Clips, Folded, check_ids, summarise
from audiogen_metrics.options import as_path, whole
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import InputSummary, Score
from audiogen_metrics.run_options import ScoreOptions

if TYPE_CHECKING:
    from audiogen_metrics.audio.files import AudioFolder, ClipSet
    from audiogen_metrics.embedding.cache import ClipFeatures

Reference = str | Path | Array | Mapping[str, Array] | GaussianStatistics

Missing = Literal["raise", "omit", "nan"]
"""What ``compute`` does about a score that the clips so far do not give."""

MISSING: tuple[Missing, ...] = ("raise", "omit", "nan")

Ready = Literal["embeddings", "logits", "ratings", "similarity"]
"""What ``update`` takes in place of waveforms."""

Texts = Sequence[str | Sequence[str]]
"""The prompt of each clip, or its captions."""

BadClip = Literal["raise", "omit"]
"""What ``update`` does about a clip that cannot be scored."""


ELSEWHERE = {
    "device": "Move it: metric.to(device)",
    "weights": "Pass weights=FILE where the metric is made",
    "protocol": "Pass protocol=NAME where the metric is made",
    "metrics": "Make a MetricSuite of them",
}
"""What takes the place of options of `audiogen_metrics.score` that objects do not have."""


class AudioMetric(Accumulating):
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
        The reference set, which survives ``reset``: a folder, a statistics file of this library or of others, ready
        embeddings or logits ``(n, d)``, the same by clip id, or `GaussianStatistics`. None takes it from
        ``update(ref=…)``. A folder is embedded at the first ``compute``, by all processes together, each a share,
        through the cache.
    streaming
        Keep a factor of the scatter matrix, at most ``(1 + d)²`` numbers, instead of all rows. Same numbers to
        1e-11. Only Fréchet distances can; by default `FAD` does.
    weights
        File to use for the backbone, in the published format; whatever its digest, it goes into the score. Or files by
        backbone name, as `audiogen_metrics.score` takes them. None takes the published file, found on this machine.
    batch_size
        Clips per forward pass, at most; None leaves it to their length.
    on_missing
        What ``compute`` does about a score that the clips so far do not give, such as an inception score of fewer
        clips than splits: ``"raise"`` its reason, ``"omit"`` it with a warning (``compute`` returns None), or return
        ``"nan"`` with a warning. None is ``"omit"`` in a `MetricSuite`, unless that says otherwise, else ``"raise"``.
        In a plain `MetricCollection`, whose values are logged as they are, take ``"nan"``.
    trust_reference
        Take others' statistics that do not say their network, or whose audio was prepared otherwise: you vouch for it.
    on_bad_clip
        What ``update`` does about a clip that cannot be scored, since its samples or features are NaN or infinite or
        it is too short: ``"raise"``, adding nothing of the batch, or ``"omit"`` this clip with a warning; scores then
        say how many were left out.
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
    MissingWeightsError
        There is no such weights file.
    """

    metric_name: ClassVar[str]
    ready_as: ClassVar[Ready] = "embeddings"
    streams_by_default: ClassVar[bool] = False

    def __init__(
        self,
        protocol: str = "audioldm",
        backbone: str | Backbone | None = None,
        ref: Reference | None = None,
        streaming: bool | None = None,
        *,
        weights: str | Path | Mapping[str, str | Path] | None = None,
        batch_size: int | None = None,
        on_missing: Missing | None = None,
        on_bad_clip: BadClip = "raise",
        trust_reference: bool = False,
        **kwargs: Any,
    ) -> None:
        known = get_protocol(protocol).select([self.metric_name])[0].definition.options
        options = {name: kwargs.pop(name) for name in known if name in kwargs}
        try:
            super().__init__(**kwargs)
        except ValueError as error:
            named = f"Options of {type(self).__name__}: {', '.join(known) or 'none'}"
            raise UsageError(str(error), fix=f"{named}; the rest is that of torchmetrics.Metric") from error
        self.protocol: str = get_protocol(protocol).name
        self.recipe: Recipe = _recipe(protocol, self.metric_name, backbone, options)
        self._backbone = self.recipe.backbone if backbone is None else backbone
        self._weights = _weights(self._backbone, weights)
        self.batch_size: int | None = None if batch_size is None else whole("batch_size", batch_size, 1)
        if on_missing not in (None, *MISSING):
            raise unknown_name("on_missing", str(on_missing), [*MISSING])
        if on_bad_clip not in ("raise", "omit"):
            raise unknown_name("on_bad_clip", str(on_bad_clip), ["raise", "omit"])
        self.on_missing: Missing | None = on_missing
        self.on_bad_clip: BadClip = on_bad_clip
        self.streaming: bool = self.streams_by_default if streaming is None else streaming
        if self.streaming and self.definition.needs != "moments":
            raise UsageError(f"{self.recipe.score_id} needs all rows", fix="Leave out streaming=True")
        self._runner: Runner | None = None
        self._inherited: Missing = "raise"
        self._asked: Mapping[str, Any] = {}
        self._tolerant = False
        self._last: Score | None = None
        told = _told(self._backbone, self._weights)
        kind = f"{self.recipe} {getattr(self._backbone, 'autocast', None)} {self.streaming}{told}{on_bad_clip}"
        self._accumulate(
            self.score_id,
            self.definition.sides,
            f"{self.score_id}_{hashlib.blake2b(kind.encode(), digest_size=4).hexdigest()}",
            logits=self._output == "logits",
            streaming=self.streaming,
        )
        self._embedded: FeatureSource | None = None
        self._ref_path = ref if isinstance(ref, (str, Path)) else None
        if trust_reference and not isinstance(ref, (str, Path)):
            raise UsageError("it is for a file of others' statistics", where="trust_reference", fix="Leave it out")
        self.trust_reference: bool = trust_reference
        self._ref = None if ref is None or "ref" not in self._sides else self._open(ref)

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
            self._runner = shared_runner(self._backbone, self.device, self.batch_size, self._weights)
            if isinstance(self._ref, ReferenceStatistics | ForeignStatistics):
                settings = self._runner.backbone.settings
                self._ref.select(self.recipe, self.protocol, settings)
                for difference in self._ref.machine_differences([settings]):
                    warnings.warn(difference, stacklevel=2)
        return self._runner

    @property
    def missing(self) -> Missing:
        """What ``compute`` does about a score that the clips do not give: its own choice, else that of its suite."""
        return self.on_missing or self._inherited

    def inherit(self, on_missing: Missing) -> None:
        """Take a suite's choice, where this metric has none of its own."""
        self._inherited = on_missing

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add clips to one or both sets."""
        raise NotImplementedError

    def compute(self) -> torch.Tensor:
        """Return the score of everything added so far, on all processes together, as a 0-d float64 tensor.

        A score that the clips do not give is raised, or is None or NaN with a warning, as ``on_missing`` says.

        Raises
        ------
        InsufficientDataError
            One of the two sets has no clips, or too few.
        DataError
            Ids that are missing or stand for two different clips.
        NumericsError
            The score cannot be trusted.
        """
        missing = self.missing
        try:
            self._last = self._computed_score()
        except (DataError, NumericsError) as error:
            if missing == "raise" and not self._tolerant:
                raise
            reason = str(type(error)(error.what, None if error.where == self.score_id else error.where, error.fix))
            self._last = self._without_value(reason)
        value = self._last.value
        if value is None and not self._tolerant and distributed.rank() == 0:
            warnings.warn(f"{self.score_id} has no value: {self._last.reason}", stacklevel=4)
        if value is None and missing == "omit":
            # By choice only, so that others need not ask. Of a suite inside another collection, which leaves out what
            # has no entries.
            return {} if getattr(self, "_from_collection", False) else None  # type: ignore[return-value]
        return torch.tensor(math.nan if value is None else value, dtype=torch.float64, device=self._state_device)

    def compute_score(
        self, *, ci: bool = False, draws: int | None = None, extrapolate: bool = False, seed: int = 0
    ) -> Score:
        """Return the same as ``compute`` with its n, standard deviation and details.

        Parameters
        ----------
        ci, draws, extrapolate, seed
            As in `audiogen_metrics.score`: with an interval and what chance alone gives, with the value at infinite n.

        Raises
        ------
        DataError, NumericsError
            As in ``compute``; unless ``on_missing`` is ``"raise"``, the score has its reason instead of a value.
        """
        asked = {"ci": ci, "draws": draws, "extrapolate": extrapolate, "seed": seed}
        return self._score(asked, tolerant=self.missing != "raise")

    def _score(self, asked: Mapping[str, Any], *, tolerant: bool) -> Score:
        """Return the score of everything added so far; tolerant of one that cannot be computed."""
        self._asked, self._tolerant, self._computed = asked, tolerant, None
        try:
            self.compute()
        finally:
            self._asked, self._tolerant = {}, False
        assert self._last is not None
        if self._last.value is None:
            self._computed = None  # compute() answers for itself
        return self._last

    def _computed_score(self) -> Score:
        from audiogen_metrics.evaluation import compute

        gen = self._required("gen", self._collect("gen"))
        ref = self._required("ref", self._reference()) if "ref" in self._sides else None
        self._check_sets(gen, ref)
        score = compute(self.recipe, gen, ref, **self._asked)
        if score.value is None:
            raise InsufficientDataError(score.reason or "there is no score", where=score.id)
        counts = {side: self._left_out(side) for side in self._sides}
        left_out = {side: count for side, count in counts.items() if count}
        details = {f"left_out_{side}": count for side, count in left_out.items()}
        remarks = [f"clips left out of {side}, since they cannot be scored: {n}" for side, n in left_out.items()]
        return replace(score, details={**score.details, **details}, remarks=(*score.remarks, *remarks))

    def _without_value(self, reason: str) -> Score:
        counts = {side: self._clips(side) for side in self._sides}
        return Score(
            self.score_id,
            self.recipe.metric,
            self.recipe.backbone,
            None,
            self.definition.higher_is_better,
            counts["gen"],
            counts.get("ref"),
            details={f"left_out_{side}": count for side in self._sides if (count := self._left_out(side))},
            reason=reason,
        )

    @takes(ScoreOptions)
    def score(self, gen: ClipSet, ref: ClipSet | None = None, **options: Unpack[ScoreOptions]) -> Score:
        """Score a folder as `audiogen_metrics.score` does; what ``update`` has accumulated is left alone.

        Parameters
        ----------
        gen, ref
            As in `audiogen_metrics.score`; without ``ref``, that of the constructor.

        Raises
        ------
        DataError, InsufficientDataError, MissingWeightsError, UsageError
            As in `audiogen_metrics.score`. Files that had to be skipped are a warning.
        """
        from audiogen_metrics.evaluation.networks import Networks
        from audiogen_metrics.evaluation.run import score_recipes

        needs_ref = "ref" in self._sides
        ready = self._ref if isinstance(self._ref, GivenFeatures) else None
        known = self._ref_path or ready if ref is None else ref
        chosen = known if needs_ref else None
        if needs_ref and chosen is None:
            raise UsageError(f"{self.score_id} needs a reference", fix="Pass ref to score or to the constructor")
        report = score_recipes(
            gen,
            chosen,
            [self.recipe],
            lambda: Networks({self.recipe.backbone: self.runner.backbone}),
            get_protocol(self.protocol),
            by_name=self.missing == "raise",
            weights=self.given_weights,
            **self.score_options(options, own_reference=not ref),
        )
        warn_of_skipped(report.inputs())
        return report[self.score_id]

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: a distance of one batch means nothing, and torchmetrics would compute it at every step."""
        raise UsageError(
            f"{type(self).__name__} has no value of a single batch",
            fix="Call update(…) for each batch and compute() at the end",
        )

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot a value, or several, by default that of ``compute``; see `torchmetrics.Metric.plot`."""
        return self._plot(val, ax)

    def clone(self) -> Self:
        """Return a copy with all that was added; the backbone is shared."""
        return cast("Self", super().clone())

    def reset(self) -> None:
        """Forget all clips; ``ref`` of the constructor and the backbone stay."""
        super().reset()
        self._last = None

    def extra_repr(self) -> str:
        """Return what tells two metrics apart."""
        return f"{self.score_id}, protocol={self.protocol!r}, streaming={self.streaming}"

    @property
    def _output(self) -> Output:
        return self.definition.output

    @property
    def reference_path(self) -> str | Path | None:
        """The folder or statistics file that this metric was made with."""
        return self._ref_path

    @property
    def given_weights(self) -> Mapping[str, Path]:
        """The weights file given to this metric, by backbone name; empty for the published one."""
        return {} if self._weights is None else {weights_name(self.recipe.backbone): self._weights}

    def score_options(self, options: ScoreOptions, *, own_reference: bool) -> ScoreOptions:
        """Return options of ``score`` with this metric's own; UsageError for one that belongs elsewhere."""
        from audiogen_metrics.evaluation.run import check_names

        for name in options:
            if name in ELSEWHERE:
                raise UsageError(f"score of an object takes no {name}", fix=ELSEWHERE[name])
        check_names(options, ScoreOptions)
        own: ScoreOptions = {} if self.batch_size is None else {"batch_size": self.batch_size}
        if own_reference and self.trust_reference:
            own["trust_reference"] = True
        return {**own, **options}

    def _add(
        self,
        waveforms: Mapping[Side, Waveforms | Batch | None],
        ready: Mapping[Side, Array | None],
        sample_rate: int | None,
        ids: Sequence[str] | str | None,
        prompts: Texts | None = None,
    ) -> None:
        """Add what is given to each side; nothing is added unless all of it is sound."""
        for side, batch in self.sound(waveforms, ready, sample_rate, ids, prompts).items():
            self._append(side, batch)

    def sound(
        self,
        waveforms: Mapping[Side, Waveforms | Batch | None],
        ready: Mapping[Side, Array | None],
        sample_rate: int | None,
        ids: Sequence[str] | str | None,
        prompts: Texts | None = None,
    ) -> dict[Side, Clips]:
        """Return what ``update`` would add to each side, adding nothing; the errors are those of ``update``."""
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
        """Return the rows of a batch, and the places of clips that cannot be scored, which have none."""
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
        """Read ready rows into memory of this metric's own, and find those that cannot be scored.

        The memory of those given may be filled again, or be part of a large array.
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
        """Read ready embeddings or logits ``(clips, d)``; for windows see `EmbeddingMetric`."""
        checked = float64_tensor(rows, f"{side}_{self._output}", ndim=2)
        names = check_ids(ids, len(checked), f"{side} rows")
        return Clips(checked, torch.ones(len(checked), dtype=torch.int64, device="cpu"), names)

    def _check_batches(self, batches: Mapping[Side, Clips]) -> None:
        """Raise DataError where pairs are needed for batches of unequal size without ids: later pairs would shift."""
        sizes = {side: len(batch.ids) for side, batch in batches.items() if not any(batch.ids)}
        if self.definition.needs == "pairs" and len(sizes) == 2:
            self._require_equal(sizes["gen"], sizes["ref"])

    def _left_out_of(self, batches: Mapping[Side, Clips], bad: Mapping[Side, set[int]]) -> Mapping[Side, set[int]]:
        """Return the places of the clips to leave out: of pairs by order of arrival, both clips."""
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

    def _open(self, ref: Reference) -> AudioFolder | ReferenceStatistics | ForeignStatistics | GivenFeatures:
        """Look at a reference as far as that is cheap, so that a mistake shows at once."""
        from audiogen_metrics import evaluation

        if isinstance(ref, (str, Path)):
            opened = evaluation.open_reference(ref, trust_reference=self.trust_reference)
            if isinstance(opened, ReferenceStatistics | ForeignStatistics):
                opened.select(self.recipe, self.protocol)
                opened.require(self.recipe)
            if isinstance(opened, ForeignStatistics):
                for warning in opened.warnings:
                    warnings.warn(warning, stacklevel=4)
            return opened
        if isinstance(ref, GaussianStatistics):
            if self.definition.needs != "moments":
                raise UsageError(
                    f"{self.score_id} needs {self._output}, not statistics", fix=f"Pass the reference's {self._output}"
                )
            return GivenFeatures((), gaussian=ref, size=ref.count, counted=ref.count is not None)
        ids = list(ref) if isinstance(ref, Mapping) else None
        rows = np.stack([np.asarray(row) for row in ref.values()]) if isinstance(ref, Mapping) else ref
        clips, bad = self._own_rows("ref", rows, ids)
        clips = clips.leave_out(bad)
        empty = Folded(clips.rows.new_zeros(0, 1 + clips.rows.shape[1]), 0, [])
        given = summarise(clips, empty, self._output == "logits")
        if given is None:
            raise InsufficientDataError("the reference is empty", fix="Pass at least two rows")
        return given

    def _reference(self) -> FeatureSource | None:
        """Return the features of the reference; those of a folder are computed once."""
        from audiogen_metrics.audio.files import AudioFolder

        if isinstance(self._ref, AudioFolder):
            several = self._is_synced and self._processes > 1 and self.process_group is None
            if self._embedded is None or (several and self._unprepared):
                self._embedded = self._embed(self._ref, together=several)
            return self._embedded
        if isinstance(self._ref, ReferenceStatistics | ForeignStatistics):
            settings = None if self._runner is None else self._runner.backbone.settings
            return self._ref.select(self.recipe, self.protocol, settings)
        return self._collect("ref") if self._ref is None else self._ref

    @property
    def _prepared(self) -> bool:
        from audiogen_metrics.audio.files import AudioFolder

        return self._embedded is not None or not isinstance(self._ref, AudioFolder)

    def _embed(self, folder: AudioFolder, *, together: bool) -> FeatureSource:
        """Return the features of the reference's clips; together, each process embeds a share and all get all."""
        from audiogen_metrics.embedding.extraction import ExtractionOptions

        options = ExtractionOptions(self.batch_size or 16, progress=sys.stderr.isatty(), distributed=together)
        backbones = {self.recipe.backbone: self.runner.backbone}
        embedded = FolderSide.extract("ref", folder, [self.recipe], backbones, options)
        if distributed.rank() == 0:
            warn_of_skipped({"ref": embedded.summary()})
        features = embedded.features(self.recipe)
        return distributed.from_first(lambda: features) if together else features

    def _required(self, side: Side, source: FeatureSource | None) -> FeatureSource:
        left_out = self._left_out(side) if source is None else 0
        if left_out:
            raise InsufficientDataError(
                f"all {left_out} {side} clips were left out, since they cannot be scored", where=self.score_id
            )
        if source is None:
            otherwise = ", or pass ref to the constructor" if side == "ref" else ""
            raise InsufficientDataError(
                f"there are no {side} clips", where=self.score_id, fix=f"Call update({side}=…) first{otherwise}"
            )
        return source

    def _moved(self) -> None:
        self._runner = None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        backbone = state["_backbone"]
        return {**state, "_runner": None, "_backbone": backbone if isinstance(backbone, str) else unloaded(backbone)}


AudioMetric.__init__.__doc__ = AudioMetric.__doc__  # help(FD) shows what the constructor takes, not torch's words


def warn_of_skipped(inputs: Mapping[str, InputSummary]) -> None:
    """Warn of files that could not be scored."""
    for name, summary in inputs.items():
        if summary.skipped:
            named = "; ".join(f"{clip['clip']}: {clip['reason']}" for clip in summary.skipped[:3])
            warnings.warn(f"{name}: skipped {len(summary.skipped)} of {summary.found} files ({named})", stacklevel=3)


def _recipe(protocol: str, metric: str, backbone: str | Backbone | None, options: Mapping[str, Any]) -> Recipe:
    """Return the protocol's recipe for a metric with its options, moved to another backbone if one is given."""
    recipes = get_protocol(protocol).select([metric])
    name = recipes[0].backbone if backbone is None else backbone
    kind = BACKBONES.get(name) if isinstance(name, str) else name
    recipe = next((each for each in recipes if each.backbone == kind.name), recipes[0])
    return replace(recipe, definition=replace(recipe.definition, **options)).on(kind)


def _weights(backbone: str | Backbone, given: str | Path | Mapping[str, str | Path] | None) -> Path | None:
    """Return the file given for a backbone; UsageError where it takes none, MissingWeightsError where there is none."""
    if isinstance(given, Mapping):
        for name in given:
            if name not in BACKBONES.names():
                WEIGHTS.get(name)
        if isinstance(backbone, str) and (others := sorted({*beside(weights_name(backbone))} & {*given})):
            fix = "Leave it out and put it beside the weights file, or score folders with audiogen_metrics.score"
            raise UsageError(f"{others[0]} cannot be given to an object", where="weights", fix=fix)
        given = given.get(weights_name(backbone)) if isinstance(backbone, str) else None
    if given is None:
        return None
    if not isinstance(backbone, str) or "weights" not in inspect.signature(BACKBONES.get(backbone)).parameters:
        name = backbone if isinstance(backbone, str) else backbone.name
        raise UsageError(f"{name} takes no weights file", where="weights", fix="Leave it out")
    path = as_path(given).absolute()
    if not path.is_file() and (issubclass(BACKBONES.get(backbone), PretrainedBackbone) or not path.is_dir()):
        raise MissingWeightsError("there is no such weights file", where=path)
    return path


def _told(backbone: str | Backbone, weights: Path | None) -> str:
    """Return what tells a backbone from others of its name, on any machine; nothing where its weights are not here."""
    if isinstance(backbone, str):
        kind: Any = BACKBONES.get(backbone)
        return "" if weights is None else str(kind("cpu", weights=weights).weights_sha256)
    try:
        settings = backbone.settings
    except MissingWeightsError:
        return ""
    return " ".join(f"{name}={settings[name]}" for name in sorted(settings.keys() - MACHINE_SETTINGS))
