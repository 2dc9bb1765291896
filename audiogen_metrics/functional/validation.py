"""The one way in for arrays: checked, detached, float64."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from audiogen_metrics.errors import DataError

Array = torch.Tensor | ArrayLike


def as_tensor(values: Array) -> torch.Tensor:
    """Return ``values`` as a detached tensor; numbers that are not one yet keep their precision."""
    return values.detach() if isinstance(values, torch.Tensor) else torch.as_tensor(np.asarray(values), device="cpu")


def float64_tensor(values: Array, name: str, ndim: int) -> torch.Tensor:
    """Return ``values`` as a detached float64 tensor of ``ndim`` dimensions, on its own device.

    Tensors on a device without float64 (MPS) are moved to the CPU.

    Raises
    ------
    DataError
        Another number of dimensions, complex values, NaN or infinity.
    """
    tensor = as_tensor(values)
    if tensor.ndim != ndim:
        raise DataError(f"{name} has shape {tuple(tensor.shape)}", fix=f"It must have {ndim} dimension(s)")
    if tensor.is_complex():
        raise DataError(f"{name} is complex", fix="Pass real values")
    if tensor.device.type == "mps":
        tensor = tensor.cpu()
    tensor = tensor.to(torch.float64)
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise DataError(f"{name} has a NaN or infinite value, first in row {row}", fix="Drop that row")
    return tensor
