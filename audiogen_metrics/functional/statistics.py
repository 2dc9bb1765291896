"""Gaussian statistics of a set of embeddings, kept as a factor of the covariance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from audiogen_metrics.errors import DataError, InsufficientDataError, NumericsError
from audiogen_metrics.functional.decomposition import compact, triangle
from audiogen_metrics.functional.validation import Array, all_finite, as_tensor, float64_tensor

NUMBERS_PER_BLOCK, ROWS_PER_BLOCK = 2**23, 4096
"""Numbers that are reduced at a time, so that a million embeddings need no second copy in float64, and the smallest
number of rows: with fewer than twice as many as dimensions, most of the work would repeat what is known already."""


@dataclass(frozen=True, eq=False)
class GaussianStatistics:
    """Mean and covariance of ``count`` embeddings of dimension ``d``, in float64.

    The covariance ``C`` (ddof 1) is kept as a factor ``F`` with ``FᵀF = C``. With fewer embeddings than dimensions
    that vary, the factor is the centred embeddings themselves. It is then smaller than ``C``, and lacks the error that
    a square root of a rank-deficient ``C`` would add.

    Parameters
    ----------
    mean
        ``(d,)``, float64.
    factor
        ``(k, d)`` with ``k ≤ d``, float64. ``k = 0`` for a single embedding, whose covariance is undefined.
    count
        Number of embeddings (rows), at least 1; None if it is not known, as for most published statistics.

    Examples
    --------
    >>> import torch
    >>> statistics = GaussianStatistics.from_embeddings(torch.tensor([[0.0, 0.0], [2.0, 4.0]]))
    >>> statistics.mean.tolist(), statistics.covariance.tolist(), statistics.count
    ([1.0, 2.0], [[2.0, 4.0], [4.0, 8.0]], 2)
    """

    mean: torch.Tensor
    factor: torch.Tensor
    count: int | None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise InsufficientDataError("statistics of no embeddings", fix="Pass at least one row")
        if self.mean.ndim != 1 or self.factor.ndim != 2 or self.factor.shape[1] != self.mean.shape[0]:
            raise DataError(
                f"mean {tuple(self.mean.shape)} and factor {tuple(self.factor.shape)} do not belong together",
                fix="Shapes must be (d,) and (k, d)",
            )

    @classmethod
    def from_embeddings(cls, embeddings: Array) -> GaussianStatistics:
        """Fit to the rows of ``embeddings``, ``(n, d)`` with ``n ≥ 1``.

        Raises
        ------
        DataError
            The embeddings are not two-dimensional, are empty, or have NaN or infinite values.
        """
        return cls.from_blocks([as_tensor(embeddings, "embeddings")])

    @classmethod
    def from_blocks(cls, blocks: Iterable[Array]) -> GaussianStatistics:
        """Fit to the rows of all ``blocks`` ``(n, d)`` together, in the memory of one of them.

        How they are cut changes the statistics by rounding only (1e-12).

        Raises
        ------
        DataError
            As `from_embeddings`; blocks of different widths.

        Examples
        --------
        >>> import torch
        >>> rows = torch.arange(12.0).reshape(6, 2) ** 2
        >>> streamed = GaussianStatistics.from_blocks(rows.split(4))
        >>> torch.allclose(streamed.covariance, GaussianStatistics.from_embeddings(rows).covariance, rtol=1e-12)
        True
        """
        found: GaussianStatistics | None = None
        for block in blocks:
            given = as_tensor(block, "embeddings")
            for part in _parts(given) if given.ndim == 2 else (given,):
                if part.shape[:1] != (0,):
                    found = cls._of(part) if found is None else found._with(part)
        if found is None:
            raise InsufficientDataError("there are no embeddings", fix="Pass at least one row")
        return found

    @classmethod
    def from_covariance(cls, mean: Array, covariance: Array, count: int | None) -> GaussianStatistics:
        """Take over statistics of which only mean ``(d,)`` and covariance ``(d, d)`` are known.

        The factor comes from an eigendecomposition, which loses accuracy if the covariance is rank-deficient. Prefer
        `from_embeddings` if you have the embeddings. Eigenvalues down to −1e-6 of the largest become 0: a covariance
        that was kept in float32, where each entry is off by up to 6e-8 of it, has such eigenvalues.

        Parameters
        ----------
        mean, covariance
            Floats; the whole covariance, with ddof 1, not one of its triangles.
        count
            Number of embeddings behind them; None if it is not known.

        Raises
        ------
        DataError
            Shapes that do not match, a covariance that is not symmetric, or one that is not positive
            semi-definite (an eigenvalue below −1e-6 of the largest).
        """
        mean = float64_tensor(mean, "mean", ndim=1)
        covariance = float64_tensor(covariance, "covariance", ndim=2)
        if covariance.shape != (mean.shape[0], mean.shape[0]):
            raise DataError(
                f"mean {tuple(mean.shape)} and covariance {tuple(covariance.shape)} do not belong together",
                fix="Shapes must be (d,) and (d, d)",
            )
        scale = float(covariance.abs().max()) if covariance.numel() else 0.0
        if not torch.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-6 * scale):
            raise DataError("covariance is not symmetric", fix="Pass the covariance, not a factor of it")
        try:
            eigenvalues, eigenvectors = torch.linalg.eigh(covariance / 2 + covariance.T / 2)
        except RuntimeError as error:
            raise NumericsError(f"eigenvalues did not converge ({error})", fix="Check the covariance") from error
        if not bool(eigenvalues.isfinite().all()):
            raise NumericsError("the covariance exceeds float64", fix="Check the scale of the embeddings")
        if float(eigenvalues[0]) < -1e-6 * max(float(eigenvalues[-1]), 0.0):
            raise DataError(
                f"covariance has the eigenvalue {float(eigenvalues[0]):.3g}",
                fix="A covariance has no eigenvalue below 0: compute it in float64",
            )
        return cls(mean, eigenvalues.clamp(min=0).sqrt()[:, None] * eigenvectors.T, count)

    @classmethod
    def from_folded(cls, folded: torch.Tensor, count: int) -> GaussianStatistics:
        """Take over the statistics of ``count`` embeddings that went through `fold`.

        Parameters
        ----------
        folded
            ``(k, 1 + d)``, float64: the results of `fold`, one below the other; which rows were folded together,
            and in which order, changes the statistics by rounding only (1e-12).
        count
            Number of embeddings that went in, at least 1.

        Examples
        --------
        >>> import torch
        >>> rows = torch.arange(12.0).reshape(6, 2).double() ** 2
        >>> folded = torch.cat([fold(with_ones(half)) for half in rows.split(3)])
        >>> streamed, whole = GaussianStatistics.from_folded(folded, 6), GaussianStatistics.from_embeddings(rows)
        >>> torch.allclose(streamed.covariance, whole.covariance, rtol=1e-12)
        True
        """
        if folded.ndim != 2 or folded.shape[0] < 1 or folded.shape[1] < 2:
            raise InsufficientDataError("statistics of no embeddings", fix="Pass at least one row")
        whole = triangle(folded)
        return cls(whole[0, 1:] / whole[0, 0], _scaled(whole[1:count, 1:], count), count)

    @property
    def dimension(self) -> int:
        """Dimension ``d`` of the embeddings."""
        return self.mean.shape[0]

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance ``(d, d)``, ddof 1. Raises InsufficientDataError for a single embedding."""
        self.require_covariance()
        return self.factor.T @ self.factor

    def require_covariance(self) -> None:
        """Raise InsufficientDataError unless there are the two embeddings that a covariance needs."""
        if self.count is not None and self.count < 2:
            raise InsufficientDataError(
                "the covariance of one embedding is undefined", fix="Score at least two clips or windows"
            )

    @classmethod
    def _of(cls, part: torch.Tensor) -> GaussianStatistics:
        rows = float64_tensor(part, "embeddings", ndim=2)
        count, (mean, scatter) = len(rows), centred(rows)
        del rows  # a second copy would be held through the decomposition
        return cls(mean, _scaled(scatter[:0] if count == 1 else scatter, count), count)

    def _with(self, part: torch.Tensor) -> GaussianStatistics:
        """Return the statistics with these rows added, by one decomposition."""
        rows = float64_tensor(part, "embeddings", ndim=2)
        self._require_width(rows)
        together = torch.cat([self.factor, rows.to(self.factor.device), self.mean[None]])
        del rows  # a second copy would be held through the decomposition
        mean = _centre(together[len(self.factor) : -1])
        return self._joined(mean, together, len(part))

    def merge(self, other: GaussianStatistics) -> GaussianStatistics:
        """Return the statistics of both sets together, exactly, as if fitted to all rows at once.

        Examples
        --------
        >>> import torch
        >>> rows = torch.arange(12.0).reshape(6, 2) ** 2
        >>> halves = [GaussianStatistics.from_embeddings(half) for half in rows.split(3)]
        >>> merged, whole = halves[0].merge(halves[1]), GaussianStatistics.from_embeddings(rows)
        >>> torch.allclose(merged.covariance, whole.covariance, rtol=1e-12)
        True
        """
        if self.dimension != other.dimension:
            raise DataError(
                f"statistics of dimension {self.dimension} and {other.dimension} cannot be merged",
                fix="Both must come from one backbone",
            )
        if self.count is None or other.count is None:
            raise InsufficientDataError(
                "how many embeddings are behind the statistics is not known", fix="Merge sets whose n is known"
            )
        self._require_width(other.factor)
        scatter = other.factor.to(self.factor.device) * math.sqrt(other.count - 1)
        together = torch.cat([self.factor, scatter, self.mean[None]])
        return self._joined(other.mean.to(self.mean.device), together, other.count)

    def _require_width(self, rows: torch.Tensor) -> None:
        if rows.shape[1] != self.dimension:
            raise DataError(
                f"rows of {self.dimension} and {rows.shape[1]} dimensions", fix="All must come from one backbone"
            )

    def _joined(self, mean: torch.Tensor, together: torch.Tensor, added: int) -> GaussianStatistics:
        """Return the statistics with rows added.

        Parameters
        ----------
        mean
            Mean of these rows.
        together
            The factor, a factor of these rows' scatter matrix, and room for one more row; it is overwritten.
        added
            Number of these rows.
        """
        assert self.count is not None
        count, shift = self.count + added, mean - self.mean
        together[: len(self.factor)] *= math.sqrt(self.count - 1)
        together[-1] = shift * math.sqrt(self.count * added / count)
        return type(self)(self.mean + shift * (added / count), _scaled(together, count), count)


def with_ones(rows: torch.Tensor) -> torch.Tensor:
    """Return rows ``(n, d)`` after a column of ones, ``(n, 1 + d)``, as `fold` takes them."""
    return torch.cat([rows.new_ones(rows.shape[0], 1), rows], dim=1)


def fold(rows: torch.Tensor) -> torch.Tensor:
    """Return at most ``1 + d`` rows that carry the mean and covariance of all ``rows`` ``(n, 1 + d)``.

    The result is the R of a QR decomposition of ``[1 | X]``: its first row is ``√n (1, mean)`` and the rest a
    factor of the centred scatter matrix, up to signs. Unlike a running sum of outer products, it loses nothing to
    cancellation where the mean is large compared with the spread, and does not square the condition number. Folded rows
    may be concatenated with others and folded again; see `GaussianStatistics.from_folded`.
    """
    return rows if rows.shape[0] <= rows.shape[1] else triangle(rows)


def centred(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean of rows ``(n, d)``, and the rows minus the mean: exactly 0 where a column is constant."""
    scatter = rows.clone()
    return _centre(scatter), scatter


def _centre(rows: torch.Tensor) -> torch.Tensor:
    """Subtract the mean from the rows in place, and return it."""
    mean = rows.mean(dim=0)
    candidates = (rows[0] == rows[-1]).nonzero()[:, 0]
    constant = candidates[(rows[:, candidates] == rows[0, candidates]).all(0)]
    rows -= mean
    rows[:, constant] = 0
    return mean


def _parts(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    most = max(ROWS_PER_BLOCK, NUMBERS_PER_BLOCK // max(1, rows.shape[1]))
    parts: tuple[torch.Tensor, ...] = rows.split(most)
    return parts


def _scaled(scatter: torch.Tensor, count: int) -> torch.Tensor:
    """Return a factor of the covariance, at most ``d`` rows, from any factor of the scatter matrix."""
    factor = compact(scatter) / math.sqrt(max(count - 1, 1))
    if not all_finite(factor):
        raise NumericsError("the covariance exceeds float64", fix="Check the scale of the embeddings")
    return factor
