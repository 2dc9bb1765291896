"""Checks that a metric of one's own keeps what this library relies on."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from audiogen_metrics.errors import CheckFailedError, DataError, InsufficientDataError, UsageError

if TYPE_CHECKING:
    from audiogen_metrics.objects.base import AudioMetric


def check_metric(metric: AudioMetric) -> None:
    """Raise unless a metric object behaves in loops, copies, checkpoints and hosts.

    The value's type and shape, equal results for equal input, independence of batches and order, too little and
    one-sided data, NaN, ``forward``, reset, pickling, cloning, checkpoints, a host cast to bfloat16. It is tried on
    ready rows, so no backbone is loaded; the metric given is left as it is.

    Parameters
    ----------
    metric
        Constructed without ``ref``.

    Raises
    ------
    CheckFailedError
        Names the first check that failed, and what would mend it.

    Examples
    --------
    >>> from audiogen_metrics import FAD
    >>> check_metric(FAD(protocol="yamnet"))
    """
    if metric._ref is not None:
        raise UsageError("the metric has a reference", fix="Construct it without ref to check it")
    with warnings.catch_warnings():
        # torchmetrics warns when compute comes before update, which is part of what is checked.
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        for check in (
            _value,
            _batches,
            _copies,
            _casts,
            _resets,
            _too_little,
            _refusals,
        ):
            check(_fresh(metric))


def _fresh(metric: AudioMetric) -> AudioMetric:
    fresh = metric.clone()
    fresh.reset()
    return fresh


def _fill(metric: AudioMetric, places: list[int], sides: tuple[str, ...] = ("gen", "ref"), spoil: bool = False) -> None:
    """Add ready rows of the clips at these places, of forty, to both sets."""
    kind = metric._output if metric._output in ("logits", "ratings") else "embeddings"
    generator = torch.Generator().manual_seed(0)
    for side in ("gen", "ref"):
        width = _axes(metric) or 6
        rows = torch.randn(40, 3, width, generator=generator, dtype=torch.float64, device="cpu")
        rows = (rows if metric._output == "windows" else rows.mean(dim=1))[places]
        if spoil:
            rows[0] = torch.nan
        if side in sides and side in metric._sides:
            metric.update(**{f"{side}_{kind}": rows}, ids=[f"clip-{place:02d}" for place in places])


def _axes(metric: AudioMetric) -> int:
    """Return how many ratings a metric's backbone gives, as far as its name says it; 0 for other outputs."""
    from audiogen_metrics.backbones import BACKBONES

    name = metric.recipe.backbone
    return len(BACKBONES.get(name).axes) if metric._output == "ratings" and name in BACKBONES.names() else 0


def _hold(holds: bool, metric: AudioMetric, what: str, fix: str) -> None:
    if not holds:
        raise CheckFailedError(what, where=metric.score_id, fix=fix)


def _raises(call: Callable[[], object], kinds: type[Exception] | tuple[type[Exception], ...]) -> bool:
    try:
        call()
    except kinds:
        return True
    return False


def _value(metric: AudioMetric) -> None:
    _fill(metric, list(range(40)))
    value = metric.compute()
    _hold(
        value.shape == () and value.dtype == torch.float64 and bool(value.isfinite()),
        metric,
        f"compute gives {value!r}",
        "Return a finite 0-d float64 tensor",
    )
    again = _fresh(metric)
    _fill(again, list(range(40)))
    _hold(float(again.compute()) == float(value), metric, "equal clips give another value", "Seed what is random")
    _hold(metric.compute_score().value == float(value), metric, "compute_score and compute differ", "Use one of both")


def _batches(metric: AudioMetric) -> None:
    whole, parts = metric, _fresh(metric)
    _fill(whole, list(range(40)))
    order = list(reversed(range(40)))
    for start in range(0, 40, 7):
        _fill(parts, order[start : start + 7])
    first, second = float(whole.compute()), float(parts.compute())
    _hold(
        abs(first - second) <= 1e-9 * max(abs(first), 1e-3),
        metric,
        f"batches and order change the value: {first!r}, {second!r}",
        "Sort by id, and merge exactly",
    )


def _copies(metric: AudioMetric) -> None:
    _fill(metric, list(range(25)))
    metric.persistent(True)
    loaded = _fresh(metric)
    loaded.load_state_dict(metric.state_dict(), strict=False)
    copies: dict[str, AudioMetric] = {
        "clone": metric.clone(),
        "pickle": pickle.loads(pickle.dumps(metric)),
        "state_dict": loaded,
    }
    _fill(metric, list(range(25, 40)))
    for name, twin in copies.items():
        _fill(twin, list(range(25, 40)))
        same = float(twin.compute()) == float(metric.compute())
        _hold(same, metric, f"{name} of a half-filled metric loses or shares state", "Keep all of it in states")


def _casts(metric: AudioMetric) -> None:
    _fill(metric, list(range(40)))
    value, twin = float(metric.compute()), metric.clone()
    nn.Sequential(twin).to(torch.bfloat16).half()
    _fill(twin, [0])  # a repeat, so that the value is computed again
    _hold(
        abs(float(twin.compute()) - value) <= 1e-9 * max(abs(value), 1e-3),
        metric,
        "a host's cast changes the value",
        "Keep states float64",
    )
    host = nn.ModuleList([metric])
    clean = not host.state_dict() and not list(host.parameters())
    _hold(clean, metric, "the host's state_dict or parameters have grown", "Keep the backbone out of the module")


def _resets(metric: AudioMetric) -> None:
    _fill(metric, list(range(40)))
    metric.reset()
    _hold(_raises(metric.compute, InsufficientDataError), metric, "a value after reset", "Forget all clips")


def _too_little(metric: AudioMetric) -> None:
    for sides in ((), ("gen",), ("ref",)):
        twin = _fresh(metric)
        _fill(twin, list(range(40)), sides)
        if sides != ("gen",) or "ref" in metric._sides:
            refused = _raises(twin.compute, InsufficientDataError)
            _hold(refused, metric, f"a value of the sides {sides}", "Raise InsufficientDataError")


def _refusals(metric: AudioMetric) -> None:
    refused = _raises(lambda: _fill(metric, [0, 1], spoil=True), DataError)
    _hold(refused, metric, "NaN is accepted", "Raise DataError in update")
    _hold(_raises(lambda: metric(gen=None), UsageError), metric, "forward gives a value", "Refuse it")
