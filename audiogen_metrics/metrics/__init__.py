"""What each metric is, one file a metric or family; every file of this folder is read, so a new one needs no list.

The torchmetrics classes live in `audiogen_metrics.objects` and can be imported from here too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from audiogen_metrics.errors import MissingDependencyError, UsageError
from audiogen_metrics.metrics.definition import Metric, problem_of
from audiogen_metrics.options import split_list
from audiogen_metrics.registry import Registry, unknown_name

if TYPE_CHECKING:
    from audiogen_metrics.citations import Citation
    from audiogen_metrics.objects import FAD as FAD
    from audiogen_metrics.objects import FD as FD
    from audiogen_metrics.objects import IS as IS
    from audiogen_metrics.objects import KAD as KAD
    from audiogen_metrics.objects import KID as KID
    from audiogen_metrics.objects import KL as KL
    from audiogen_metrics.objects import AudioMetric as AudioMetric
    from audiogen_metrics.objects import CLAPScore as CLAPScore
    from audiogen_metrics.objects import MetricSuite as MetricSuite

__all__ = ["METRICS", "Metric", "catalogue"]


def _problem(name: str, kind: Any) -> str | None:
    """Return what is wrong with a metric that another package announces, or None."""
    if not (isinstance(kind, type) and issubclass(kind, Metric)):
        return "it is not a subclass of Metric"
    taken = {"AudioMetric", "MetricSuite", *(METRICS.get(own).symbol for own in OWN)}
    if kind.symbol in taken:
        return f"its symbol {kind.symbol} is taken"
    return problem_of(name, kind)


METRICS: Registry[type[Metric]] = Registry("metric", "audiogen_metrics.metrics", _problem)
"""Every metric by name; other packages add theirs by an entry point."""


def _own() -> Iterator[type[Metric]]:
    """Yield the metrics of this folder, file by file."""
    for module in pkgutil.iter_modules(__path__):
        content = importlib.import_module(f"{__name__}.{module.name}")
        written = (kind for kind in vars(content).values() if getattr(kind, "__module__", "") == content.__name__)
        for kind in written:
            if isinstance(kind, type) and issubclass(kind, Metric) and "name" in vars(kind):
                METRICS.add(kind.name, kind)
                yield kind


OWN: tuple[str, ...] = tuple(kind.name for kind in sorted(_own(), key=lambda kind: bool(kind.home)))
"""Names of this library's metrics, in the order in which they are listed: last those with a network of their own."""


def catalogue() -> dict[str, type[Metric]]:
    """Return every metric that can be used by name, this library's first; `agm list metrics` names broken ones."""
    found = {name: METRICS.get(name) for name in OWN}
    for name in METRICS.names():
        try:
            found.setdefault(name, METRICS.get(name))
        except MissingDependencyError:
            continue
    return found


def definition_of(name: str) -> type[Metric] | None:
    """Return the metric of a report; None where the package that has computed it is not here."""
    return catalogue().get(name)


def work_of(name: str) -> Citation | None:
    """Return the work to cite for the metric of a report; None where it has none, or is not known here."""
    kind = definition_of(name)
    return None if kind is None else kind.citation


def metric_names(given: str | Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names of metrics as people write them, one by one; UsageError for one that is not known, or none at all.

    Examples
    --------
    >>> metric_names("FD, kl,", ["fd", "is", "kl"])
    ['fd', 'kl']
    """
    known = list(known)
    names = split_list(given)
    for name in names:
        if name not in known:
            raise unknown_name("metric", name, known)
    if not names:
        raise UsageError("no metrics chosen", fix=f"Choose from {', '.join(known)}")
    return names


if not TYPE_CHECKING:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module("audiogen_metrics.objects"), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
