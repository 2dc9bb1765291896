"""The base of all metric objects: accumulate two sets, over batches and processes, and score them."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, cast

import torch

from audiogen_metrics import distributed
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.declaring import takes
from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError, UsageError
from audiogen_metrics.metrics.definition import FeatureSource
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.objects.choices import chosen_recipe, identity_of, weights_file
from audiogen_metrics.objects.referring import Reference, Referring, warn_of_skipped
from audiogen_metrics.objects.runner import Runner
from audiogen_metrics.objects.taking import BadClip
from audiogen_metrics.options import whole
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import Score
from audiogen_metrics.run_options import ScoreOptions

if TYPE_CHECKING:
    from audiogen_metrics.audio.files import ClipSet

Missing = Literal["raise", "omit", "nan"]
"""What ``compute`` does about a score that cannot be computed from the clips so far."""

MISSING: tuple[Missing, ...] = ("raise", "omit", "nan")

Ready = Literal["embeddings", "logits", "ratings", "similarity"]
"""Arguments that ``update`` takes in place of waveforms."""


ELSEWHERE = {
    "device": "Move it: metric.to(device)",
    "weights": "Pass weights=FILE where the metric is made",
    "protocol": "Pass protocol=NAME where the metric is made",
    "metrics": "Make a MetricSuite of them",
}
"""By option of `audiogen_metrics.score` that objects do not have, what to do instead."""


class AudioMetric(Referring):
    """Base of `FD`, `FAD`, `IS`, `KL` and all other metric objects, which share their arguments.

    `score` takes folders; ``update`` and ``compute`` take waveforms, or embeddings or logits that you have already.
    Everything of `torchmetrics.Metric` works: reset, clone, pickle, `MetricCollection`, several processes,
    Lightning. The backbone is neither a submodule nor part of any state: it is loaded when first needed, shared
    by all metrics of the process, and follows the metric's device. States are float64, whatever the host is cast to.

    Parameters
    ----------
    protocol
        Named recipe; see ``agm list protocols``.
    backbone
        Another backbone than the protocol's: a registered name, or a `Backbone`
        (see `audiogen_metrics.backbones.from_callable`). The score id then ends in its name.
    ref
        The reference set, which survives ``reset``: a folder, a statistics file of this library or of others,
        embeddings or logits ``(n, d)``, the same by clip id, or `GaussianStatistics`. None takes it from
        ``update(ref=…)``. A folder is embedded at the first ``compute``, through the cache; several processes share the
        work.
    streaming
        Keep a factor of the scatter matrix, at most ``(1 + d)²`` numbers, instead of all rows. Scores are the same to
        1e-11. Only Fréchet distances can do this; `FAD` does it by default.
    weights
        File for the backbone, in the published format, with any digest, which the score records. Or files by
        backbone name, as `audiogen_metrics.score` takes them. None takes the published file from this machine.
    batch_size
        Largest number of clips per forward pass; None chooses it by their length.
    on_missing
        What ``compute`` does about a score that cannot be computed from the clips so far, such as an inception score of
        fewer clips than splits: ``"raise"`` an error with the reason, ``"omit"`` the score with a warning (``compute``
        returns None), or return ``"nan"`` with a warning. None means the choice of the `MetricSuite`, by default
        ``"omit"``, and ``"raise"`` without a suite. Use ``"nan"`` in a plain `MetricCollection`, whose values are
        logged as they are.
    trust_reference
        Take others' statistics that do not name their network, or whose audio was prepared in another way, on trust.
    on_bad_clip
        What ``update`` does about a clip that cannot be scored, because its samples or features are NaN or infinite or
        it is too short: ``"raise"`` an error, adding nothing of the batch, or ``"omit"`` this clip with a warning;
        scores then say how many were left out.
    **kwargs
        Options of the metric, such as ``subset_size`` of `KID`; others are passed to `torchmetrics.Metric`:
        ``process_group``, ``dist_sync_fn``, ``sync_on_compute``, …

    Raises
    ------
    UsageError
        Names or combinations that do not exist.
    DataError
        The reference is missing, or was made with another protocol, preprocessing or backbone.
    InsufficientDataError
        The statistics file lacks what the metric needs of its reference.
    MissingWeightsError
        The weights file is missing.
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
        self.recipe: Recipe = chosen_recipe(protocol, self.metric_name, backbone, options)
        self._backbone = self.recipe.backbone if backbone is None else backbone
        self._weights = weights_file(self._backbone, weights)
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
        told = identity_of(self._backbone, self._weights)
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
    def missing(self) -> Missing:
        """What ``compute`` does about a score that cannot be computed: the metric's choice, or its suite's."""
        return self.on_missing or self._inherited

    def inherit(self, on_missing: Missing) -> None:
        """Take a suite's choice, unless this metric has its own."""
        self._inherited = on_missing

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add clips to one or both sets."""
        raise NotImplementedError

    def compute(self) -> torch.Tensor:
        """Return the score of everything added so far, on all processes together, as a 0-d float64 tensor.

        ``on_missing`` decides about a score that cannot be computed: an error, or None or NaN with a warning.

        Raises
        ------
        InsufficientDataError
            One of the two sets is empty or too small.
        DataError
            Ids are missing or stand for two different clips.
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
            # Inside another collection, a suite returns an empty dict, which leaves the score out. None is returned by
            # choice only, so that callers need not test for it.
            return {} if getattr(self, "_from_collection", False) else None  # type: ignore[return-value]
        return torch.tensor(math.nan if value is None else value, dtype=torch.float64, device=self._state_device)

    def compute_score(
        self, *, ci: bool = False, draws: int | None = None, extrapolate: bool = False, seed: int = 0
    ) -> Score:
        """Return the score of ``compute`` with its n, standard deviation and details.

        Parameters
        ----------
        ci, draws, extrapolate, seed
            As in `audiogen_metrics.score`.

        Raises
        ------
        DataError, NumericsError
            As in ``compute``. Unless ``on_missing`` is ``"raise"``, a score without a value has its reason instead.
        """
        asked = {"ci": ci, "draws": draws, "extrapolate": extrapolate, "seed": seed}
        return self._score(asked, tolerant=self.missing != "raise")

    def _score(self, asked: Mapping[str, Any], *, tolerant: bool) -> Score:
        """Return the score of everything added so far; if tolerant, with a reason in place of a missing value."""
        self._asked, self._tolerant, self._computed = asked, tolerant, None
        try:
            self.compute()
        finally:
            self._asked, self._tolerant = {}, False
        assert self._last is not None
        if self._last.value is None:
            self._computed = None  # compute() computes its own value
        return self._last

    def _computed_score(self) -> Score:
        from audiogen_metrics.evaluation.one_score import compute

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
        """Score a folder as `audiogen_metrics.score` does; what ``update`` has added stays as it is.

        Parameters
        ----------
        gen, ref
            As in `audiogen_metrics.score`; without ``ref``, the reference of the constructor.

        Raises
        ------
        DataError, InsufficientDataError, MissingWeightsError, UsageError
            As in `audiogen_metrics.score`. A warning names skipped files.
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
        """Return a copy with everything that was added; the backbone is shared."""
        return cast("Self", super().clone())

    def reset(self) -> None:
        """Forget all clips, but keep the constructor's ``ref`` and the backbone."""
        super().reset()
        self._last = None

    def extra_repr(self) -> str:
        """Return what tells two metrics apart."""
        return f"{self.score_id}, protocol={self.protocol!r}, streaming={self.streaming}"

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


AudioMetric.__init__.__doc__ = AudioMetric.__doc__  # help(FD) shows what the constructor takes, not torch's words
