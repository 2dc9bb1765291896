"""What goes into a metric, and what comes out of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from audiogen_metrics.errors import InsufficientDataError, NumericsError

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.functional.blocks import Block, Places
    from audiogen_metrics.functional.statistics import GaussianStatistics


class FeatureSource(Protocol):
    """What a score needs to know of one set, wherever its features come from: a folder, a file, a metric's state."""

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips, sorted."""

    def __len__(self) -> int:
        """Return the number of clips."""

    def statistics(self, output: Output) -> GaussianStatistics:
        """Return mean and covariance of the rows of an output."""

    def rows(self, output: Output) -> torch.Tensor:
        """Return the rows of an output themselves, ``(rows, d)``."""

    def blocks(self, output: Output, clips: Places | None = None) -> Iterator[Block]:
        """Yield the rows of an output, some clips at a time, and how many rows each of these clips has.

        Of the clips at some places only, in this order, where ``clips`` says which.
        """

    def counts(self, output: Output) -> list[int]:
        """Return how many rows of an output each clip has; InsufficientDataError if that is not known."""

    def logits(self, clip_ids: Iterable[str] | None = None) -> torch.Tensor:
        """Return ``(n, classes)``: the logits of these clips in this order, or of all clips."""


class Reported(Protocol):
    """What a metric must know of one of its scores to speak of it."""

    @property
    def value(self) -> float | None:
        """The score."""

    @property
    def n_gen(self) -> int:
        """Clips of gen."""

    @property
    def n_ref(self) -> int | None:
        """Clips of the reference; None if it plays no part."""

    @property
    def details(self) -> Mapping[str, float | int]:
        """What else shapes or explains the number, by name."""


@dataclass(frozen=True)
class Measurement:
    """What a metric says of two sets.

    Parameters
    ----------
    value
        The score.
    std
        Standard deviation over its parts, such as splits; None where it has none.
    details
        What else shapes or explains the number, by name.
    by_clip
        The score of each clip, where the score is their mean; else None.
    """

    value: float
    std: float | None = None
    details: Mapping[str, float | int] = field(default_factory=dict)
    by_clip: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """Make plain numbers of what numpy and torch give; NumericsError for NaN and infinity."""
        details = {name: _plain(name, number) for name, number in self.details.items()}
        object.__setattr__(self, "value", float(_plain("value", self.value)))
        object.__setattr__(self, "std", None if self.std is None else float(_plain("std", self.std)))
        object.__setattr__(self, "details", details)


def _plain(name: str, number: Any) -> float | int:
    plain: float | int = number.item() if hasattr(number, "item") else number
    if not math.isfinite(plain):
        raise NumericsError(f"{name} is {plain}", fix="Check the embeddings and the metric")
    return plain


@dataclass(frozen=True)
class ScoreInterval:
    """A standard error and an interval, and what they make of the reference.

    Parameters
    ----------
    standard_error
        Of the score.
    low, high
        The interval of the expected score at this n.
    ref
        ``sampled`` and ``exact`` intervals are those of two different quantities: what another draw of both sets would
        give, and what another draw of gen alone would. None: the reference plays no part.
    remark
        Why it is doubtful, where it is.
    level
        Share of such intervals that hold what they are of.
    """

    standard_error: float
    low: float
    high: float
    ref: Literal["sampled", "exact"] | None = None
    remark: str = ""
    level: float = 0.95

    def __post_init__(self) -> None:
        """Raise InsufficientDataError for NaN and infinity: the score then stands without an interval."""
        if not all(map(math.isfinite, (self.standard_error, self.low, self.high))):
            raise InsufficientDataError(f"its ends are {self.low:.3g} and {self.high:.3g}")
