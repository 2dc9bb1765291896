"""Accelerate's device, which is the one that was asked for, and its processes, which all meet the same errors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from audiogen_metrics.distributed import from_first, launched, together
from audiogen_metrics.errors import UsageError, option
from audiogen_metrics.settings import resolve_device, with_index

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_CHOICE = "ACCELERATE_TORCH_DEVICE"

_SHARDED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
"""How ``accelerate launch`` says that networks are split over processes."""


def make_accelerator(device: str, precision: str) -> Any:
    """Return accelerate's `Accelerator` on a device.

    Parameters
    ----------
    device
        As in `audiogen_metrics.settings.resolve_device`. Of several processes each takes a GPU of its own.
    precision
        ``"no"``, ``"fp16"`` or ``"bf16"``.

    Raises
    ------
    UsageError
        The device is not on this machine, cannot be shared by several processes, or is not what accelerate has chosen
        before in this process; or ``accelerate launch`` is told to split networks over processes.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.utils import GradientAccumulationPlugin

    _check_launcher(precision)
    asked = resolve_device(device)
    alone = launched() == 1
    if not alone and device != "auto" and not (asked.type == "cpu" or (asked.type == "cuda" and asked.index is None)):
        raise UsageError(
            f"{device!r} cannot train in {launched()} processes", "device", "Use cuda, of which each takes one, or cpu"
        )
    patient = InitProcessGroupKwargs(timeout=timedelta(days=1))  # others wait while one scores
    try:
        with _chosen(asked if alone and asked.type != "cpu" else None):
            accelerator = Accelerator(
                mixed_precision=precision,
                cpu=asked.type == "cpu",
                kwargs_handlers=[patient],
                dynamo_backend="no",
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # the loss is divided here
            )
    except ValueError as error:
        raise UsageError(f"accelerate cannot begin ({error})", "device", "Start a new process") from error
    used = accelerator.device
    if used.type != asked.type or (alone and with_index(used) != with_index(asked)):
        raise UsageError(
            f"accelerate uses {used}, not {asked}: this process, or its environment, has chosen before",
            where="device",
            fix="Start a new process without ACCELERATE_USE_CPU",
        )
    if accelerator.num_processes != launched():
        raise UsageError(
            f"accelerate sees {accelerator.num_processes} of {launched()} processes", "device", "Start them by torchrun"
        )
    return accelerator


def _check_launcher(precision: str) -> None:
    """Refuse options of ``accelerate launch`` that a run cannot follow; say where the run's own settings count."""
    for name, what in _SHARDED.items():
        if os.environ.get(name, "").lower() in ("1", "true", "yes"):
            raise UsageError(
                f"accelerate is told to use {what}, but each process needs the whole network here",
                where=name,
                fix="Launch plain processes: accelerate launch --multi_gpu",
            )
    done = {
        "ACCELERATE_MIXED_PRECISION": (precision, f"{option('precision', precision)} counts"),
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "accumulation is a setting of the run"),
        "ACCELERATE_DYNAMO_BACKEND": ("no", "nothing is compiled"),
    }
    for name, (value, remark) in done.items():
        found = os.environ.get(name, value)
        if found.lower() != value:
            warnings.warn(f"accelerate's {name}={found} has no effect: {remark}", stacklevel=3)


@contextmanager
def _chosen(device: torch.device | None) -> Iterator[None]:
    """Tell accelerate which device to take inside the block; None lets it give each process one."""
    before = os.environ.pop(_CHOICE, None)
    if device is not None:
        os.environ[_CHOICE] = str(device)
    try:
        yield
    finally:
        os.environ.pop(_CHOICE, None)
        if before is not None:
            os.environ[_CHOICE] = before


@contextmanager
def jointly(accelerator: Any) -> Iterator[None]:
    """Wait at the end of the block for all processes, however long one takes; an error of one is raised by all."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    accelerator.wait_for_everyone()
    with together():
        if error is not None:
            raise error


def in_first(accelerator: Any, compute: Callable[[], T]) -> T:
    """Return to all processes what the first one computes, however long it takes."""
    found: list[T] = []
    with jointly(accelerator):
        if accelerator.is_main_process:
            found.append(compute())
    return from_first(lambda: found[0])
