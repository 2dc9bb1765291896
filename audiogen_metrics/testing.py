"""Checks that a backbone or a metric of one's own keeps what this library relies on."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.errors import AudiogenMetricsError, CheckFailedError, DataError, InsufficientDataError, UsageError

if TYPE_CHECKING:
    from audiogen_metrics.objects.base import AudioMetric

__all__ = ["check_backbone", "check_metric"]

BATCH_TOLERANCE = 1e-4
"""Largest difference between a clip alone and in a batch, relative to the largest feature."""

_PLAIN: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}
_DIMENSIONS: dict[Output, int] = {"embeddings": 2, "windows": 3, "logits": 2, "ratings": 2}


def check_backbone(backbone: Backbone) -> None:
    """Raise unless a backbone may serve the metrics on its outputs.

    Shape and type of each output, equal results for equal input, independence of the rest of a batch, silence,
    the shortest clip and one below it, NaN, untouched input and random state, usable_samples, pickling.

    Parameters
    ----------
    backbone
        On the device to be checked.

    Raises
    ------
    CheckFailedError
        Names the first check that failed, and what would mend it.

    Examples
    --------
    >>> from audiogen_metrics.backbones import from_callable
    >>> network = torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 8, 64, 32),
    ...                               torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    >>> check_backbone(from_callable("tiny", network, sample_rate=16_000, minimum_samples=64))
    >>> check_backbone(from_callable("whole", lambda x: x - x.mean(), sample_rate=16_000, version="1"))
    Traceback (most recent call last):
    audiogen_metrics.errors.CheckFailedError: whole: 48000 values in embeddings for 3 s, 32000 for less. Pool over time
    """
    for check in (
        _declares,
        _shapes,
        _input_stays,
        _deterministic,
        _random_state_stays,
        _independent_of_batch,
        _silence,
        _short,
        _not_a_number,
        _usable,
        _pickles,
    ):
        check(backbone)


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


def _noise(backbone: Backbone, clips: int, samples: int | None = None) -> torch.Tensor:
    length = samples or max(2 * backbone.sample_rate, backbone.minimum_samples)
    return 0.1 * torch.randn(clips, length, generator=torch.Generator().manual_seed(0), **_PLAIN)


def _outputs(backbone: Backbone, waveforms: torch.Tensor) -> dict[Output, torch.Tensor]:
    return {name: tensor.cpu() for name, tensor in backbone(waveforms).named().items()}


def _require(holds: bool, backbone: Backbone, what: str, fix: str) -> None:
    if not holds:
        raise CheckFailedError(what, where=backbone.name, fix=fix)


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    scale = float(first.abs().max()) if first.numel() else 0.0
    return first.shape == second.shape and bool((first - second).abs().max() <= BATCH_TOLERANCE * max(scale, 1e-12))


def _declares(backbone: Backbone) -> None:
    digest = backbone.weights_sha256
    _require(
        bool(re.fullmatch(r"[0-9a-f]{64}", digest)) and digest == backbone.weights_sha256,
        backbone,
        f"weights_sha256 is {digest!r}",
        "Return the same 64 hexadecimal digits each time",
    )
    _require(
        bool(backbone.outputs) and backbone.outputs <= set(_DIMENSIONS),
        backbone,
        f"outputs are {sorted(backbone.outputs)}",
        f"Choose from {', '.join(_DIMENSIONS)}",
    )
    _require(backbone.sample_rate > 0, backbone, f"sample_rate is {backbone.sample_rate}", "Give it in Hz")


def _shapes(backbone: Backbone) -> None:
    longer = max(3 * backbone.sample_rate, backbone.minimum_samples)
    for clips in (1, 3):
        found, long = _outputs(backbone, _noise(backbone, clips)), _outputs(backbone, _noise(backbone, clips, longer))
        _require(
            found.keys() == backbone.outputs,
            backbone,
            f"gives {', '.join(sorted(found))} and declares {', '.join(sorted(backbone.outputs))}",
            "Make them agree",
        )
        for name, tensor in found.items():
            _require(
                tensor.ndim == _DIMENSIONS[name] and tensor.shape[0] == clips and tensor.dtype == torch.float32,
                backbone,
                f"{name} of {clips} clips are {tensor.dtype} {tuple(tensor.shape)}",
                f"Give float32 with {_DIMENSIONS[name]} dimensions, clips first",
            )
            _require(
                tensor.shape[-1] == long[name].shape[-1],
                backbone,
                f"{long[name].shape[-1]} values in {name} for {longer / backbone.sample_rate:g} s, "
                f"{tensor.shape[-1]} for less",
                "Pool over time",
            )
    if backbone.labels is not None and "logits" in found:
        _require(
            len(backbone.labels) == found["logits"].shape[1],
            backbone,
            f"{len(backbone.labels)} labels for {found['logits'].shape[1]} classes",
            "Give one label per class",
        )


def _deterministic(backbone: Backbone) -> None:
    first, second = (_outputs(backbone, _noise(backbone, 2)) for _ in range(2))
    for name in first:
        _require(
            torch.equal(first[name], second[name]),
            backbone,
            f"{name} differ between two passes over the same clips",
            "Turn off dropout, dithering and random cropping",
        )


def _independent_of_batch(backbone: Backbone) -> None:
    waveforms = _noise(backbone, 3) * torch.tensor([1.0, 0.01, 5.0], **_PLAIN)[:, None]
    together = _outputs(backbone, waveforms)
    for index in range(3):
        alone = _outputs(backbone, waveforms[index : index + 1])
        for name in together:
            _require(
                _close(alone[name][0], together[name][index]),
                backbone,
                f"{name} of a clip depend on the other clips of its batch",
                "Normalise each clip by itself, and keep batch norm in evaluation mode",
            )


def _silence(backbone: Backbone) -> None:
    silence = torch.zeros(2, max(backbone.sample_rate, backbone.minimum_samples), **_PLAIN)
    for name, tensor in _outputs(backbone, silence).items():
        _require(bool(tensor.isfinite().all()), backbone, f"silence gives NaN or infinite {name}", "Floor before log")


def _short(backbone: Backbone) -> None:
    for name, tensor in _outputs(backbone, _noise(backbone, 1, backbone.minimum_samples)).items():
        _require(
            bool(tensor.isfinite().all()) and 0 not in tensor.shape,
            backbone,
            f"a clip of minimum_samples = {backbone.minimum_samples} gives no sound {name}",
            "Raise minimum_samples",
        )


def _not_a_number(backbone: Backbone) -> None:
    waveforms = _noise(backbone, 2)
    clean = _outputs(backbone, waveforms)
    waveforms[1, waveforms.shape[1] // 2] = torch.nan
    try:
        broken = _outputs(backbone, waveforms)
    except (AudiogenMetricsError, ValueError, ArithmeticError):
        return
    for name in clean:
        _require(
            bool(broken[name][1].isnan().any()),
            backbone,
            f"a clip with NaN gives finite {name}",
            "Let NaN through, or raise DataError: a broken clip must not score as a sound one",
        )
        _require(
            _close(clean[name][0], broken[name][0]),
            backbone,
            f"a clip with NaN changes the {name} of others in its batch",
            "Treat each clip by itself",
        )


def _input_stays(backbone: Backbone) -> None:
    waveforms = _noise(backbone, 2)
    before = waveforms.clone()
    found = _outputs(backbone, waveforms)
    _require(torch.equal(before, waveforms), backbone, "the input was changed", "Do not work in place on it")
    grad = any(tensor.requires_grad for tensor in found.values())
    _require(not grad, backbone, "outputs require gradients", "Freeze the parameters")


def _random_state_stays(backbone: Backbone) -> None:
    state = torch.random.get_rng_state()
    _outputs(backbone, _noise(backbone, 2))
    same = torch.equal(state, torch.random.get_rng_state())
    _require(same, backbone, "the global random state was used", "Use a torch.Generator of its own")


def _usable(backbone: Backbone) -> None:
    samples = max(2 * backbone.sample_rate, backbone.minimum_samples) + 123
    usable = backbone.usable_samples(samples)
    waveforms = _noise(backbone, 1, samples)
    _require(
        backbone.minimum_samples <= usable <= samples,
        backbone,
        f"usable_samples({samples}) is {usable}",
        "It lies between minimum_samples and its argument",
    )
    whole, cut = _outputs(backbone, waveforms), _outputs(backbone, waveforms[:, :usable])
    for name in whole:
        _require(
            _close(whole[name], cut[name]),
            backbone,
            f"{name} change when a clip of {samples} samples is cut to usable_samples = {usable}",
            "Count every sample that reaches the outputs",
        )


def _pickles(backbone: Backbone) -> None:
    from audiogen_metrics.objects.runner import unloaded

    waveforms = _noise(backbone, 1)
    try:
        twin = cast("Backbone", pickle.loads(pickle.dumps(unloaded(backbone))))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise CheckFailedError(
            f"cannot be pickled ({error})", where=backbone.name, fix="Define its class or function in a module"
        ) from error
    _require(twin.fingerprint == backbone.fingerprint, backbone, "pickling changes the fingerprint", "Keep its weights")
    first, second = _outputs(backbone, waveforms), _outputs(twin, waveforms)
    for name in first:
        _require(_close(first[name], second[name]), backbone, f"pickling changes {name}", "Keep its weights")


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
