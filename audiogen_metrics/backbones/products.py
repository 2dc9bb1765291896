"""Products of float32 matrices on a CPU by the faster engine: torch's own, or oneDNN.

Torch multiplies by MKL, which uses AVX-512 only on Intel's processors, and convolves by oneDNN, which uses it on all:
on a Zen 5, 254 · 10⁹ operations a second instead of 94 to 111. Torch has no public way to multiply plain float32
tensors by oneDNN, so operators of torch's own compiler are called here, after a test that they exist and are right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.errors import UsageError
from audiogen_metrics.precision import full_precision

Engine = Literal["torch", "onednn"]
Multiply = Callable[..., torch.Tensor]

VARIABLE = "AGM_PRODUCTS"
"""Environment variable that names the engine; if it is empty or not set, `engine` chooses."""

LEAST = 8_000_000
"""Multiplications from which on a product goes to oneDNN; below, a call of 17 µs takes as long as it saves."""

ZEN_5 = 26
"""Number of AMD's first family of processors that computes with the full width of AVX-512."""

TILES_TOGETHER = 64
"""Rows of each product of `Grouped`. oneDNN lays weights out for a number of rows; another number would need another
layout, which takes 20 times the time of the product."""

_NO_CHANGE: tuple[str, list[float], str] = ("none", [], "")
"""Operation that oneDNN applies after a product: the identity."""

_EXACT = 1e-6
"""Largest difference of a trial product from torch's, relative to the largest value."""


def engine() -> Engine:
    """Return the engine for products of float32, which is always the same on one machine.

    ``AGM_PRODUCTS`` names it. By default it is oneDNN on AMD's processors from Zen 5 on if torch multiplies by MKL and
    oneDNN's operators exist and give the same values; otherwise it is torch.

    Raises
    ------
    UsageError
        ``AGM_PRODUCTS`` is something else, or names oneDNN where it cannot be used.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted not in ("", "torch", "onednn"):
        raise UsageError(f"{VARIABLE}={wanted}", fix="Set it to torch or onednn, or unset it")
    if wanted == "torch" or (not wanted and not suits_onednn()):
        return "torch"
    if onednn_works():
        return "onednn"
    if wanted:
        raise UsageError(f"{VARIABLE}=onednn, which this torch {torch.__version__} cannot use", fix=f"Unset {VARIABLE}")
    return "torch"


@cache
def suits_onednn() -> bool:
    """Return whether oneDNN multiplies much faster than torch's own product on this machine.

    A Zen 4 does an operation of AVX-512 in two halves. Networks gain 4 to 8 % there, too little to embed everything
    again.
    """
    return (
        torch.backends.mkl.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and processor_maker() == "AuthenticAMD"
        and processor_family() >= ZEN_5
    )


def processor_maker() -> str:
    """Return the maker of the processor, such as ``GenuineIntel``; empty if the system does not tell."""
    # Windows: "AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD".
    return _told_by_linux("vendor_id") or os.environ.get("PROCESSOR_IDENTIFIER", "").rpartition(",")[2].strip()


def processor_family() -> int:
    """Return the number of the processor's family; 0 if the system does not tell."""
    by_windows = re.search(r"Family (\d+)", os.environ.get("PROCESSOR_IDENTIFIER", ""))
    told = _told_by_linux("cpu family") or (by_windows[1] if by_windows else "")
    return int(told) if told.isdecimal() else 0


def _told_by_linux(name: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


@cache
def onednn_works() -> bool:
    """Return whether both of oneDNN's operators exist and give torch's values."""
    cpu = torch.device("cpu")
    drawn = torch.Generator(cpu).manual_seed(0)
    with full_precision(cpu), torch.inference_mode():
        rows, weight = (torch.randn(size, 96, generator=drawn, dtype=torch.float32, device=cpu) for size in (80, 48))
        columns = torch.randn(TILES_TOGETHER, 3, 32, generator=drawn, dtype=torch.float32, device=cpu)
        weights = torch.randn(3, 32, 48, generator=drawn, dtype=torch.float32, device=cpu)
        try:
            found = [_by_onednn(rows, weight, None), Grouped()(columns, weights)]
        except (AttributeError, RuntimeError, NotImplementedError, TypeError):
            return False
        exact = [rows @ weight.T, torch.einsum("tpi,pio->tpo", columns, weights)]
        return all(
            bool((ours - theirs).abs().max() <= _EXACT * theirs.abs().max())
            for ours, theirs in zip(found, exact, strict=True)
        )


def linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return ``rows @ weight.T + bias``, by oneDNN if possible and faster: ``(..., out)`` of ``(..., in)``."""
    if rows.numel() * len(weight) >= LEAST and is_plain(rows, weight):
        return _by_onednn(rows, weight, bias)
    return F.linear(rows, weight, bias)


def batched(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return ``torch.bmm`` of ``(products, rows, in)`` and ``(products, in, out)`` by oneDNN, one after the other."""
    if rows[0].numel() * weight.shape[2] < LEAST or not is_plain(rows, weight):
        return torch.bmm(rows, weight)
    return torch.stack([_by_onednn(some, matrix.T, None) for some, matrix in zip(rows, weight, strict=True)])


def is_plain(*tensors: torch.Tensor) -> bool:
    """Return whether oneDNN's operators take these tensors: float32 on the CPU, without gradients."""
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    fits = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    return fits and not wanted and not torch.is_autocast_enabled("cpu")


def _by_onednn(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, *_NO_CHANGE)
    return found


class Grouped:
    """Products of 64 rows with each of several matrices: one grouped 1×1 convolution.

    The weights as oneDNN lays them out are kept from one call to the next, and left out of copies.
    """

    def __init__(self) -> None:
        self._laid_out: tuple[torch.Tensor, int, torch.Tensor] | None = None

    def __call__(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Return ``(64, products, out)`` of rows ``(64, products, in)`` and weights ``(products, in, out)``."""
        count, products, channels = rows.shape
        maps = rows.reshape(1, count, 1, products * channels).permute(0, 3, 1, 2)
        once = ([0, 0], [1, 1], [1, 1], products)
        laid_out = self._weights(weight)
        found: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(maps, laid_out, None, *once, *_NO_CHANGE)
        return found.permute(0, 2, 3, 1).reshape(count, products, -1)

    def _weights(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights as oneDNN wants them for this many threads."""
        threads = torch.get_num_threads()
        if self._laid_out is None or self._laid_out[0] is not weight or self._laid_out[1] != threads:
            products, channels, _ = weight.shape
            plain = weight.transpose(1, 2).reshape(-1, channels, 1, 1).to_mkldnn()
            size = [1, products * channels, TILES_TOGETHER, 1]
            lay_out: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self._laid_out = weight, threads, lay_out(plain, [0, 0], [1, 1], [1, 1], products, size)
        return self._laid_out[2]

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state, since the weights in oneDNN's layout cannot be copied."""
        return {"_laid_out": None}


class Multiplies(nn.Module):
    """A module that multiplies matrices by ``multiply`` instead of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply: Multiply = F.linear

    def by_onednn(self) -> None:
        """Multiply by oneDNN from now on."""
        self.multiply = linear


class Linear(nn.Linear):
    """A linear layer that multiplies by oneDNN."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``(..., out)`` of ``(..., in)``."""
        return linear(rows, self.weight, self.bias)


def use_onednn(network: nn.Module) -> None:
    """Make linear layers and other modules that multiply use oneDNN; parameters and their names stay."""
    for module in network.modules():
        if isinstance(module, Multiplies):
            module.by_onednn()
        elif type(module) is nn.Linear:
            module.__class__ = Linear  # changes the layer in place, since others may refer to it or have hooked it
