"""Several metrics as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

import torch
from torchmetrics import MetricCollection

from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import UsageError
from audiogen_metrics.functional.validation import Array
from audiogen_metrics.metrics.definition import Side
from audiogen_metrics.objects.base import MISSING, AudioMetric, Missing
from audiogen_metrics.objects.batch import Batch, Waveforms
from audiogen_metrics.objects.taking import Texts
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.registry import unknown_name
from audiogen_metrics.results import Score, ScoreReport
from audiogen_metrics.run_options import ScoreOptions

if TYPE_CHECKING:
    from audiogen_metrics.audio.files import ClipSet
    from audiogen_metrics.backbones.base import Backbone


class MetricSuite(MetricCollection):
    """Metrics that see the same clips, with one forward pass per backbone; results by score id.

    It is a `torchmetrics.MetricCollection` that names its members by score id and never merges their states. It may be
    part of another collection: there, too, each batch goes through each backbone once.

    Parameters
    ----------
    metrics
        `FD`, `FAD`, `IS`, `KL`, each score id once.
    on_missing
        What ``compute`` does about a score that cannot be computed from the clips so far, such as an inception score of
        fewer clips than splits: ``"omit"`` it with a warning, so that the training and the other scores go on;
        ``"raise"`` an error with the reason; or return ``"nan"`` with a warning. A member with its own choice keeps it.
    prefix, postfix
        Texts around the keys of results, as in `torchmetrics.MetricCollection`.

    Raises
    ------
    UsageError
        Two metrics have one score id, or a metric does not work on audio.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import FD, IS, MetricSuite
    >>> suite = MetricSuite([FD(protocol="yamnet"), IS(protocol="yamnet")])
    >>> list(suite.keys())
    ['fd_yamnet', 'is_yamnet']
    >>> suite.update(gen=batch, ref=references, sample_rate=16000, ids=names)  # doctest: +SKIP
    >>> suite.compute()  # doctest: +SKIP
    {'fd_yamnet': tensor(29.68), 'is_yamnet': tensor(2.11)}
    """

    def __init__(
        self,
        metrics: Sequence[AudioMetric],
        *,
        on_missing: Missing = "omit",
        prefix: str | None = None,
        postfix: str | None = None,
    ) -> None:
        if on_missing not in MISSING:
            raise unknown_name("on_missing", on_missing, [*MISSING])
        members: dict[str, Any] = {}
        for metric in metrics:
            if not isinstance(metric, AudioMetric):
                raise UsageError(
                    f"{type(metric).__name__} does not work on audio", fix="Put both into a MetricCollection"
                )
            if metric.score_id in members:
                raise UsageError(f"two metrics have the score id {metric.score_id!r}", fix="Keep one of them")
            members[metric.score_id] = metric
        super().__init__({}, prefix=prefix, postfix=postfix, compute_groups=False)
        # One by one: a dict of metrics would be sorted by name.
        for name, metric in members.items():
            self[name] = metric
            metric.inherit(on_missing)
        self.on_missing: Missing = on_missing

    def __getitem__(self, key: str, copy_state: bool = True) -> AudioMetric:
        """Return a metric by its score id, or by its name if it is the only one: ``suite["fd"]``."""
        found = self._ids_of(key)
        if len(found) != 1:
            why = f"{len(found)} metrics are called {key!r}" if found else f"there is no metric {key!r}"
            raise KeyError(f"{why}; choose one of {', '.join(found or self.members)}")
        return cast("AudioMetric", super().__getitem__(found[0], copy_state))

    def __contains__(self, key: object) -> bool:
        """Tell whether a metric has this score id or this name."""
        return bool(self._ids_of(str(key)))

    def _ids_of(self, key: str) -> list[str]:
        bare = key.removeprefix(self.prefix or "").removesuffix(self.postfix or "")
        if bare in self._modules:
            return [bare]
        return [name for name, metric in self.members.items() if metric.metric_name == bare]

    def clone(self, prefix: str | None = None, postfix: str | None = None) -> Self:
        """Return a copy with everything that was added; the backbones are shared."""
        return cast("Self", super().clone(prefix, postfix))

    @property
    def members(self) -> dict[str, AudioMetric]:
        """The metrics by score id."""
        return {name: metric for name, metric in self._modules.items() if isinstance(metric, AudioMetric)}

    def update(  # type: ignore[override]  # ModuleDict's has another meaning, which MetricCollection's lacks too
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        *,
        gen_embeddings: Array | None = None,
        ref_embeddings: Array | None = None,
        gen_logits: Array | None = None,
        ref_logits: Array | None = None,
        gen_ratings: Array | None = None,
        ref_ratings: Array | None = None,
        prompts: Texts | None = None,
        gen_similarity: Array | None = None,
    ) -> None:
        """Add clips to one or both sets of all members; if one member cannot take them, nothing is added.

        Each batch is converted, checked and embedded once.

        Parameters
        ----------
        gen, ref, sample_rate, ids
            As in `FD.update`.
        gen_embeddings, ref_embeddings, gen_logits, ref_logits, gen_ratings, ref_ratings
            Features instead of waveforms, for the members that take them.
        prompts, gen_similarity
            As in ``CLAPScore.update``, for the members that need prompts.

        Raises
        ------
        DataError, UsageError
            As in `FD.update`.
        """
        ready: dict[str, Array | None] = {
            "gen_embeddings": gen_embeddings,
            "ref_embeddings": ref_embeddings,
            "gen_logits": gen_logits,
            "ref_logits": ref_logits,
            "gen_ratings": gen_ratings,
            "ref_ratings": ref_ratings,
            "gen_similarity": gen_similarity,
        }
        batches: dict[Side, Batch | None] = {
            "gen": None if gen is None else Batch(gen, sample_rate, "gen"),
            "ref": None if ref is None else Batch(ref, sample_rate, "ref"),
        }
        for metric in self.members.values():
            own = {side: ready.get(f"{side}_{metric.ready_as}") for side in batches}
            metric.sound(batches, own, sample_rate, ids, prompts)
        super().update(**batches, sample_rate=sample_rate, ids=ids, prompts=prompts, **ready)

    def compute(self) -> dict[str, torch.Tensor]:
        """Return the scores of everything added so far, on all processes together, by score id.

        Raises
        ------
        DataError, NumericsError
            As in ``FD.compute``, with ``on_missing="raise"``.
        """
        return {name: value for name, value in super().compute().items() if isinstance(value, torch.Tensor)}

    def compute_scores(
        self, *, ci: bool = False, draws: int | None = None, extrapolate: bool = False, seed: int = 0
    ) -> dict[str, Score]:
        """Return the scores of ``compute`` as `Score` objects, with n, standard deviation and details.

        A score that cannot be computed has its reason instead of a value, whatever ``on_missing`` is.

        Parameters
        ----------
        ci, draws, extrapolate, seed
            As in `FD.compute_score`.
        """
        asked = {"ci": ci, "draws": draws, "extrapolate": extrapolate, "seed": seed}
        return {self._set_name(name): metric._score(asked, tolerant=True) for name, metric in self.members.items()}

    @takes(ScoreOptions)
    def score(self, gen: ClipSet, ref: ClipSet | None = None, **options: Unpack[ScoreOptions]) -> ScoreReport:
        """Score a folder as `audiogen_metrics.score` does; what ``update`` has added stays as it is.

        Parameters
        ----------
        gen, ref
            As in `audiogen_metrics.score`; without ``ref``, the reference of all members' constructors.

        Raises
        ------
        UsageError
            The metrics have several protocols, while a report has one; or a member needs a reference and has none.
        DataError, InsufficientDataError, MissingWeightsError
            As in `audiogen_metrics.score`. A score that cannot be computed is an error only with
            ``on_missing="raise"``; a missing network is always an error, since the members are named.
        """
        from audiogen_metrics.evaluation.networks import Networks
        from audiogen_metrics.evaluation.run import score_recipes

        members = self.members.values()
        protocols = {metric.protocol for metric in members}
        if len(protocols) != 1:
            raise UsageError(f"metrics of the protocols {sorted(protocols)}", fix="Score each protocol's apart")
        needy = [metric for metric in members if "ref" in metric.definition.sides]
        known = {metric.reference_path for metric in needy}
        chosen = ref if ref is not None or len(known) != 1 else known.pop()
        if needy and chosen is None:
            raise UsageError(
                f"{', '.join(metric.score_id for metric in needy)}: no one reference is given",
                fix="Pass ref, or give all members one folder or statistics file as theirs",
            )
        for metric in members:
            options = metric.score_options(options, own_reference=ref is None)
        return score_recipes(
            gen,
            chosen,
            [metric.recipe for metric in members],
            lambda: Networks(self._backbones()),
            get_protocol(protocols.pop()),
            by_name=self.on_missing == "raise",
            weights={name: path for metric in members for name, path in metric.given_weights.items()},
            **options,
        )

    def _backbones(self) -> dict[str, Backbone]:
        """Return the members' backbones by name; UsageError if two different ones have one name."""
        users: dict[str, AudioMetric] = {}
        for metric in self.members.values():
            user = users.setdefault(metric.recipe.backbone, metric)
            if user.runner.backbone is not metric.runner.backbone:
                raise UsageError(
                    f"{user.score_id} and {metric.score_id} have different networks called {metric.recipe.backbone!r}",
                    fix="Score them apart, as a report has one network of each name",
                )
        return {name: metric.runner.backbone for name, metric in users.items()}

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse, as each metric does."""
        raise UsageError(
            "a suite has no values of a single batch", fix="Call update(…) for each batch and compute() at the end"
        )
