"""Make a backbone from any torch module or function."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Mapping
from typing import cast, get_args

import torch
from torch import nn

from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.identity import identity_of
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import whole

CallableResult = torch.Tensor | Mapping[str, torch.Tensor] | Features


def from_callable(
    name: str,
    function: Callable[[torch.Tensor], CallableResult],
    *,
    sample_rate: int,
    outputs: Output | Collection[Output] = "embeddings",
    minimum_samples: int = 1,
    version: str | None = None,
    labels: Collection[str] | None = None,
    device: str | torch.device = "cpu",
) -> CallableBackbone:
    """Return a backbone that calls ``function``, for ``FD(backbone=…)`` and the other metrics.

    Parameters
    ----------
    name
        Lower-case letters, digits, ``_`` and ``-``; the score id ends in it.
    function
        Takes waveforms ``(batch, time)`` float32 at ``sample_rate``, and returns a single output as a tensor, or
        several as a dict by name: ``embeddings (batch, d)``, ``windows (batch, windows, d)``,
        ``logits (batch, classes)``. A `torch.nn.Module` is copied as it is now; further training does not change it.
    sample_rate
        Rate of the waveforms in Hz.
    outputs
        Names of the outputs. FD needs ``embeddings``, FAD ``windows``, IS and KL ``logits``.
    minimum_samples
        Shortest waveform it takes.
    version
        Stands for the code of the function in the fingerprint, which keeps cached embeddings apart. Raise it whenever
        the code changes. A function needs it; a module without a version is identified by its compiled code, which
        differs between versions of Python. Weights, plain attributes and enclosed values are always hashed.
    labels
        Class names in the order of the logits.
    device
        Device of a module until a metric moves it.

    Raises
    ------
    UsageError
        The name, outputs or version would make scores ambiguous, or a module without a version has an object whose
        content cannot be hashed.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics.backbones import from_callable
    >>> levels = from_callable("levels", lambda x: x.abs().unfold(1, 100, 100).mean(2)[:, :4], sample_rate=8000,
    ...                        minimum_samples=400, version="1")
    >>> levels(torch.ones(2, 400)).embeddings.shape
    torch.Size([2, 4])
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise UsageError(f"{name!r} cannot name a backbone", fix="Use lower-case letters, digits, _ and -")
    given = frozenset[str]([outputs] if isinstance(outputs, str) else outputs)
    if not given or not given <= set(get_args(Output)):
        raise UsageError(f"outputs {sorted(given)}", fix=f"Choose from {', '.join(get_args(Output))}")
    if version is None and not isinstance(function, nn.Module):
        raise UsageError(
            "a function has no weights that tell its versions apart", where=name, fix="Pass version='1', and raise it"
        )
    sample_rate, minimum_samples = whole("sample_rate", sample_rate, 1), whole("minimum_samples", minimum_samples, 1)
    known = cast("frozenset[Output]", given)
    return CallableBackbone(name, function, sample_rate, known, minimum_samples, version, labels, device)


class CallableBackbone(Backbone):
    """What `from_callable` returns."""

    def __init__(
        self,
        name: str,
        function: Callable[[torch.Tensor], CallableResult],
        sample_rate: int,
        outputs: frozenset[Output],
        minimum_samples: int,
        version: str | None,
        labels: Collection[str] | None,
        device: str | torch.device,
    ) -> None:
        super().__init__(device)
        # What other backbones have as class attributes, an instance has here.
        vars(self).update(name=name, sample_rate=sample_rate, outputs=outputs, minimum_samples=minimum_samples)
        # A copy of a function is the function itself; modules, methods and partial functions copy what they hold.
        self._function = _copy(function, name)
        self._labels = None if labels is None else tuple(labels)
        self._version = version
        self._sha256 = identity_of(self._function, version, name)

    def load(self) -> nn.Module:
        """Return a module around the function, or around a copy of the module.

        Raises
        ------
        DataError
            Something that the function uses from outside has changed since the backbone was made.
        """
        if identity_of(self._function, self._version, self.name) != self._sha256:
            raise DataError(
                "what the function takes from globals or encloses has changed since the backbone was made",
                where=self.name,
                fix="Make the backbone again after the change",
            )
        return _Adapter(_copy(self._function, self.name), self.outputs)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the function's weights, attributes and code or version."""
        return self._sha256

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the logits."""
        return self._labels


def _copy(function: Callable[[torch.Tensor], CallableResult], name: str) -> Callable[[torch.Tensor], CallableResult]:
    try:
        return copy.deepcopy(function)
    except Exception as error:  # whatever an object's own copying may raise
        raise UsageError(
            f"cannot be copied ({error})", where=name, fix="Pass a function that calls it, with version='1'"
        ) from error


class _Adapter(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], CallableResult], outputs: frozenset[Output]) -> None:
        super().__init__()
        self.function = function
        self._outputs = outputs

    def forward(self, waveforms: torch.Tensor) -> Features:
        result = self.function(waveforms)
        if isinstance(result, Features):
            return result
        if isinstance(result, torch.Tensor):
            if len(self._outputs) > 1:
                raise DataError(
                    f"one tensor for the outputs {sorted(self._outputs)}", fix="Return a dict by output name"
                )
            result = {next(iter(self._outputs)): result}
        return Features(**{name: tensor.float() for name, tensor in result.items()})
