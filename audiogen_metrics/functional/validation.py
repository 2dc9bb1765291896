"""Check arrays that are given, and turn them into detached float64 tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike

from audiogen_metrics.errors import DataError

Array = torch.Tensor | ArrayLike


def as_tensor(values: Array, name: str) -> torch.Tensor:
    """Return ``values`` as a detached dense tensor; other arrays keep their precision.

    Reversed, read-only and foreign-endian arrays are copied, since torch refuses them.

    Raises
    ------
    DataError
        Masked entries, sparse matrices, rows of different lengths, text or objects.
    """
    if isinstance(values, torch.Tensor):
        if values.layout != torch.strided or values.is_quantized or values.is_meta:
            kind = "quantized" if values.is_quantized else "without values" if values.is_meta else "sparse"
            raise DataError(f"{name} is {kind}", fix="Pass a dense tensor of floats, as to_dense() gives")
        return values.detach()
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise DataError(f"{name} has masked entries", fix="Drop them, or fill them with numbers")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name} is not an array of numbers ({error})", fix="Pass rows of one length, on the CPU"
        ) from error
    if array.dtype.kind not in "biufc":
        raise DataError(
            f"{name} is a {type(values).__name__} of type {array.dtype}, not an array of numbers",
            fix="Pass numbers; a sparse matrix as toarray() gives it",
        )
    if array.dtype.itemsize > (16 if array.dtype.kind == "c" else 8):
        array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.as_tensor(array, device="cpu")


def float64_tensor(values: Array, name: str, ndim: int) -> torch.Tensor:
    """Return ``values`` as a detached float64 tensor of ``ndim`` dimensions, on its own device.

    Tensors on a device without float64 (MPS) are moved to the CPU.

    Raises
    ------
    DataError
        Another number of dimensions, rows without numbers, complex values, NaN or infinity; also as `as_tensor`.
    """
    tensor = as_tensor(values, name)
    if tensor.ndim != ndim:
        raise DataError(f"{name} has shape {tuple(tensor.shape)}", fix=f"It must have {ndim} dimension(s)")
    if ndim > 1 and tensor.shape[-1] == 0:
        raise DataError(f"{name} has shape {tuple(tensor.shape)}", fix="Its rows must have numbers in them")
    if tensor.is_complex():
        raise DataError(f"{name} is complex", fix="Pass real values")
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    tensor = tensor.to(torch.float64)
    if not all_finite(tensor):
        row = int((~torch.isfinite(tensor)).nonzero()[0, 0])
        raise DataError(f"{name} has a NaN or infinite value, first in row {row}", fix="Drop that row")
    return tensor


def all_finite(tensor: torch.Tensor) -> bool:
    """Tell whether all values are finite: by their sum, and one by one only if the sum is not finite."""
    return math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())
