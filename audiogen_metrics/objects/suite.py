"""Several metrics as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchmetrics import MetricCollection

from audiogen_metrics.errors import UsageError
from audiogen_metrics.objects.base import AudioMetric
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.results import Score, ScoreReport


class MetricSuite(MetricCollection):
    """Metrics that see the same clips, with one forward pass per backbone; results by score id.

    A `torchmetrics.MetricCollection` that names its members by score id and never merges their states. It may
    stand inside another collection: there, too, each batch goes through each backbone once.

    Parameters
    ----------
    metrics
        `FD`, `FAD`, `IS`, `KL`, each score id once.
    prefix, postfix
        Around the keys of results, as in `torchmetrics.MetricCollection`.

    Raises
    ------
    UsageError
        Two metrics with one score id, or something else than these metrics.

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
        self, metrics: Sequence[AudioMetric], *, prefix: str | None = None, postfix: str | None = None
    ) -> None:
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

    @property
    def members(self) -> dict[str, AudioMetric]:
        """The metrics by score id."""
        return {name: metric for name, metric in self._modules.items() if isinstance(metric, AudioMetric)}

    def compute_scores(self) -> dict[str, Score]:
        """Return what ``compute`` does as `Score`: with n, standard deviation and details."""
        return {name: metric.compute_score() for name, metric in self.members.items()}

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
    ) -> ScoreReport:
        """Score a folder as `audiogen_metrics.score` does; what ``update`` has accumulated is left alone.

        Parameters
        ----------
        gen, ref, batch_size, workers, ci, cache, verify, progress
            As in `audiogen_metrics.score`. References that members were constructed with are not used.

        Raises
        ------
        UsageError
            Metrics of several protocols: a report has one. Without ``ref``, members that need a reference.
        DataError, InsufficientDataError, MissingWeightsError
            As in `audiogen_metrics.score`.
        """
        from audiogen_metrics.audio.files import AudioFolder, scan
        from audiogen_metrics.embedding.extraction import ExtractionOptions
        from audiogen_metrics.evaluation import evaluate, open_reference
        from audiogen_metrics.evaluation.evaluation import Asked
        from audiogen_metrics.evaluation.run import manifest

        protocols = {metric.protocol for metric in self.members.values()}
        if len(protocols) != 1:
            raise UsageError(f"metrics of the protocols {sorted(protocols)}", fix="Score each protocol's apart")
        recipes = [metric.recipe for metric in self.members.values()]
        needy = [recipe.score_id for recipe in recipes if "ref" in recipe.definition.sides]
        if ref is None and needy:
            raise UsageError(
                f"{', '.join(needy)}: no reference is given; those that members were made with are not used here",
                fix="Pass ref",
            )
        opened = None if ref is None else open_reference(ref)
        if opened is not None and not isinstance(opened, AudioFolder):
            for recipe in recipes:
                opened.require(recipe)
        asked = Asked(by_name=True, ci=ci)
        return evaluate(
            scan(gen),
            opened,
            recipes,
            {metric.recipe.backbone: metric.runner.backbone for metric in self.members.values()},
            get_protocol(protocols.pop()),
            ExtractionOptions(batch_size, workers, cache, verify, progress),
            asked,
            manifest(gen, ref, recipes, asked, batch_size),
        ).report

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse, as each metric does."""
        raise UsageError(
            "a suite has no values of a single batch", fix="Call update(…) for each batch and compute() at the end"
        )
