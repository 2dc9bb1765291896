"""Checks that a backbone of one's own keeps what this library relies on."""

from __future__ import annotations

import pickle
import re
from typing import TYPE_CHECKING, Any, cast

import torch

from audiogen_metrics.backbones.base import Backbone, Output
from audiogen_metrics.errors import AudiogenMetricsError, CheckFailedError

if TYPE_CHECKING:
    pass

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
