"""Triangles and singular values of float64 matrices, by the fastest engine for their device.

On a CPU that is the OpenBLAS of numpy and scipy, which is about as fast on every vendor's processors; torch's
MKL takes up to a third longer on AMD's. On other devices, and for small matrices, it is torch. The algorithms are
always the same: Householder's reflections, and bidiagonalisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from audiogen_metrics.errors import NumericsError

LARGE = 10**9
"""Multiplications, rows × columns², from which a QR decomposition by scipy is worth the import: 0.1 s."""

PANEL = 128
"""Columns whose reflections are applied together."""


def triangle(rows: torch.Tensor) -> torch.Tensor:
    """Return the R of the QR decomposition of ``rows`` ``(n, d)``, ``(min(n, d), d)``: ``RᵀR = rowsᵀ rows``."""
    count, dimension = rows.shape
    if rows.device.type != "cpu" or count < dimension or count * dimension**2 < LARGE:
        factor: torch.Tensor = torch.linalg.qr(rows, mode="r").R
        return factor
    from scipy.linalg import lapack

    columns = np.array(rows.detach().numpy(), order="F")
    reduced, _, failed = lapack.dgeqrt(min(PANEL, dimension), columns, overwrite_a=1)
    if failed:
        raise NumericsError(f"the QR decomposition failed ({failed})", fix="Check the embeddings")
    return torch.from_numpy(np.triu(reduced[:dimension]))


def compact(rows: torch.Tensor) -> torch.Tensor:
    """Return ``rows`` ``(n, d)``, or fewer with the same ``rowsᵀ rows``: as many as there are columns that are not 0.

    Columns of zeros, which belong to units that are always 0, are left out of the decomposition.
    """
    silent = (rows[:1] == 0).all(0).nonzero()[:, 0]
    silent = silent[~rows[:, silent].any(0)]
    count, dimension = rows.shape
    if count <= max(dimension - len(silent), 1):
        return rows
    if not len(silent):
        return triangle(rows)
    live = torch.ones(dimension, dtype=torch.bool, device=rows.device)
    live[silent] = False
    if not bool(live.any()):
        return rows[:1]
    factor = triangle(rows[:, live])
    found = factor.new_zeros(len(factor), dimension)
    found[:, live] = factor
    return found


def nuclear_norm(left: torch.Tensor, right: torch.Tensor) -> float:
    """Return the sum of the singular values of ``left rightᵀ``."""
    with _converging():
        if left.device.type != "cpu":
            return float(torch.linalg.svdvals(left @ right.T).sum())
        return float(np.linalg.svd(left.detach().numpy() @ right.detach().numpy().T, compute_uv=False).sum())


def singular_vectors(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ``U (k, r)``, ``s (r,)`` and ``V (m, r)`` with ``U diag(s) Vᵀ = left rightᵀ``, ``r = min(k, m)``."""
    with _converging():
        if left.device.type != "cpu":
            u, s, vh = torch.linalg.svd(left @ right.T, full_matrices=False)
        else:
            product = left.detach().numpy() @ right.detach().numpy().T
            u, s, vh = map(torch.from_numpy, np.linalg.svd(product, full_matrices=False))
        return u, s, vh.T


@contextmanager
def _converging() -> Iterator[None]:
    """Raise NumericsError where numpy does not converge, as with an infinite product, and silence its warning."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except (RuntimeError, np.linalg.LinAlgError) as error:
        raise NumericsError(f"singular values did not converge ({error})", fix="Check the embeddings") from error
