"""What a metric is: one class that says all there is to say about it. See "How to add a metric" in CONTRIBUTING.md."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.errors import InsufficientDataError, UsageError
from audiogen_metrics.metrics.values import FeatureSource, Measurement, Reported, ScoreInterval

if TYPE_CHECKING:
    import torch

    from audiogen_metrics.backbones.base import Output
    from audiogen_metrics.citations import Citation
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.functional.extrapolation import Extrapolation
    from audiogen_metrics.metrics.measuring.measured import Measured
    from audiogen_metrics.metrics.measuring.pool import RowPool
    from audiogen_metrics.metrics.measuring.rivals import Rivals

__all__ = ["FeatureSource", "Measurement", "Metric", "Reported", "ScoreInterval", "choice", "option"]

Side = Literal["gen", "ref"]

Needs = Literal["moments", "rows", "pairs"]
"""What a metric needs to know of its sets: ``moments``, mean and covariance, which a stream and a statistics file keep;
``rows``, each clip's own; ``pairs``, the two rows of each clip id."""

T = TypeVar("T", int, float, "int | None")


@dataclass(frozen=True)
class Range:
    """Least and largest value of an option, both included, and its meaning."""

    least: float
    most: float
    meaning: str


@dataclass(frozen=True)
class Choice:
    """Names that an option may have, and its meaning."""

    names: tuple[str, ...]
    meaning: str


def choice(default: str, *others: str, meaning: str) -> Any:
    """Declare a field of a metric that has one of a few names."""
    return field(default=default, metadata={"option": Choice((default, *others), meaning)})


def option(default: T, least: float, most: float = math.inf, *, meaning: str) -> T:
    """Declare a field of a metric that a protocol or a user may set."""
    return field(default=default, metadata={"option": Range(least, most, meaning)})


@dataclass(frozen=True)
class Metric(ABC):
    """A metric: what it is called, what it looks at, how it is computed and how sure it is.

    A subclass sets the class attributes and gives `compute`; its fields are its options, declared by `option`. It has
    no state: sets come in, numbers go out. All that lists, refuses or offers metrics asks these attributes.

    Attributes
    ----------
    name
        As in ``-m fd,kl``; score ids begin with it.
    symbol
        What its torchmetrics class is called: ``FD``. By default the name of the class itself.
    title
        The field's full name.
    reading
        One line for people.
    output
        Which output of a backbone it is computed on.
    window_logits
        Whether it takes windows that are class logits; other metrics on windows take embeddings.
    higher_is_better
        Direction.
    sides
        Which sets it looks at.
    needs
        What it must know of them; see `Needs`.
    span
        Least and largest value that there can be; intervals end there.
    worst
        Value of a generator that gets everything wrong, where there is a bound; else None.
    prompted
        Whether it needs the prompts of the generated clips, and a backbone that reads texts.
    unbiased
        Whether it is 0 on average between two draws of one distribution, however small.
    on_request
        Whether every protocol computes it when asked by name, on the backbone that gives its output there; False for
        what only some protocols have, as their source does.
    home
        The protocol whose recipe others take when they are asked for it by name and have no backbone with its output.
    extrapolates
        Whether its value at infinite n is a line in 1 / n.
    citation
        The work to cite.
    """

    name: ClassVar[str]
    symbol: ClassVar[str]
    title: ClassVar[str]
    reading: ClassVar[str]
    output: ClassVar[Output]
    window_logits: ClassVar[bool] = False
    higher_is_better: ClassVar[bool]
    sides: ClassVar[tuple[Side, ...]] = ("gen", "ref")
    needs: ClassVar[Needs] = "rows"
    span: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    worst: ClassVar[float | None] = None
    prompted: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    on_request: ClassVar[bool] = True
    home: ClassVar[str] = ""
    extrapolates: ClassVar[bool] = False
    citation: ClassVar[Citation | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "symbol" not in vars(cls):
            cls.symbol = cls.__name__

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, allowed = getattr(self, entry.name), entry.metadata["option"]
            if value is None and entry.default is None:
                continue
            if isinstance(allowed, Choice):
                if value not in allowed.names:
                    raise UsageError(f"{self.name} {entry.name}={value}", fix=f"Use {' or '.join(allowed.names)}")
                continue
            kind, word = (Real, "number") if isinstance(entry.default, float) else (Integral, "whole number")
            number = isinstance(value, kind) and not isinstance(value, bool)
            if not number or not allowed.least <= value <= allowed.most:
                upto = f" to {allowed.most:g}" if math.isfinite(allowed.most) else " on"
                raise UsageError(f"{self.name} {entry.name}={value}", fix=f"Use a {word} from {allowed.least:g}{upto}")

    @property
    def options(self) -> dict[str, int | float | str | None]:
        """The options by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @abstractmethod
    def compute(self, gen: FeatureSource, ref: FeatureSource) -> Measurement:
        """Return the score of two sets; a metric that looks at gen only leaves ``ref`` alone.

        Raises
        ------
        InsufficientDataError
            Too few clips, or features that are not known.
        """

    def leave_one_out(self, gen: FeatureSource, ref: FeatureSource, side: Side) -> torch.Tensor:
        """Return the score without each clip of one side, ``(clips of that side,)`` float64.

        Intervals, the influence of clips and the comparison of two systems follow from it; without it, groups of clips
        are left out instead, and the influence of single clips is not known.
        """
        raise InsufficientDataError(f"what single clips do to {self.name} is not known")

    def comparisons(self, gen: int, ref: int, *, ci: bool) -> int:
        """Return how many pairs of rows are compared for so many rows, with an interval or without.

        0 for a metric whose time grows with the rows and not with their pairs.
        """
        return 0

    @classmethod
    def fits_statistics(cls) -> bool:
        """Tell whether a statistics file can be its reference: moments and logits are what such a file keeps."""
        return "ref" in cls.sides and (cls.needs == "moments" or cls.output == "logits")

    def whole(self) -> Metric:
        """Return the metric as a study asks it, of whole sets: IS with one split."""
        return self

    def variants(self) -> Mapping[str, Metric]:
        """Return the metric with other options, by name: the choices on which evaluators differ."""
        return {}

    @classmethod
    def leaves_one_out(cls) -> bool:
        """Tell whether the metric has a `leave_one_out`."""
        return cls.leave_one_out is not Metric.leave_one_out

    def scorer(self, pool: RowPool) -> Callable[[Places, Places], float]:
        """Return the score as a function of which clips of a pool are gen and which are ref.

        Permutation tests and intervals that leave out groups of clips ask it many times. A metric that can compute
        something once for the whole pool does so here; the score may then be off by a thousandth of the variance.
        """

        def score(gen: Places, ref: Places) -> float:
            return self.compute(pool.part(gen), pool.part(ref)).value

        return score

    def rounding(self, pool: RowPool) -> float:
        """Return how far rounding may move what `scorer` gives for parts of a pool."""
        return 1e-9

    def interval(self, measured: Measured) -> ScoreInterval:
        """Return the 95 % interval: by the jackknife over clips, or else over groups of clips, with Student's t.

        Where the reference's clips are not known, only their statistics, it is taken as exact.

        Raises
        ------
        InsufficientDataError
            Too few clips.
        """
        from audiogen_metrics.functional.uncertainty import interval

        sides: list[Side] = ["gen"]
        ref: Literal["sampled", "exact"] | None = None
        if "ref" in self.sides:
            try:
                measured.ref.counts(self.output)
                sides, ref = ["gen", "ref"], "sampled"
            except InsufficientDataError:
                ref = "exact"
        found = interval(measured.measurement.value, measured.spread(sides))
        low, high = max(found.low, self.span[0]), min(found.high, self.span[1])
        return ScoreInterval(found.standard_error, low, high, ref, measured.doubts(sides))

    def difference_interval(self, rivals: Rivals) -> ScoreInterval:
        """Return the interval of the difference between two systems' scores, at the level of ``rivals``.

        Where they have the same prompts, each leaves both systems together, which takes its difficulty out. One that
        says 95 % where another level was asked for gives no verdict between more than two systems.
        """
        from audiogen_metrics.functional.uncertainty import interval

        a, b = rivals.a, rivals.b
        if rivals.paired:
            parts = [a.spread(["gen"] if rivals.exact is not None else self.sides, b)]
        else:
            with_ref = "ref" in self.sides and rivals.exact is None
            parts = [a.spread(["gen"]), b.spread(["gen"]), *([a.spread(["ref"], b)] if with_ref else [])]
        found = interval(rivals.difference, *parts, level=rivals.level)
        return ScoreInterval(found.standard_error, found.low, found.high, level=rivals.level)

    def contest(self, rivals: Rivals) -> Callable[[Places, Places], float]:
        """Return a statistic of the difference between two systems as a function of which of their clips are whose.

        The permutation test of `agm compare` asks it. It should be studentised, the difference over its standard error,
        so that it tests for one expected score and not for one distribution; here it is the difference itself.
        """
        pool = rivals.pool
        if rivals.exact is not None:
            fixed = rivals.a.ref
            return lambda a, b: self.compute(pool.part(a), fixed).value - self.compute(pool.part(b), fixed).value
        score = self.scorer(pool)
        ref = pool.places(2) if "ref" in self.sides else None

        def difference(a: Places, b: Places) -> float:
            return score(a, a if ref is None else ref) - score(b, b if ref is None else ref)

        return difference

    @classmethod
    def tests_chance(cls) -> bool:
        """Tell whether the score compares two distributions, so that clips may be dealt out to both at random."""
        return cls.sides == ("gen", "ref") and cls.needs != "pairs"

    def extrapolate(self, gen: FeatureSource, ref: FeatureSource, seed: int) -> Extrapolation:
        """Return the line of the score over 1 / n, for a metric that `extrapolates`."""
        raise InsufficientDataError(f"{self.name} has no value at infinite n")

    def warnings(self, score: Reported) -> Sequence[str]:
        """Return what to know before a score of this metric is believed; it has a value."""
        return ()

    def explain(self, score: Reported) -> str:
        """Return what a score of this metric says, in a sentence or two; it has a value."""
        return f"{'Higher' if self.higher_is_better else 'Lower'} is better."


def problem_of(name: str, kind: type[Metric]) -> str | None:
    """Return what keeps a class from being the metric called ``name``, or None."""
    lacking = [each for each in ("name", "title", "reading", "output", "higher_is_better") if not hasattr(kind, each)]
    if lacking:
        return f"it does not say its {', '.join(lacking)}"
    if kind.name != name or not re.fullmatch("[a-z][a-z0-9_]*", name):
        return f"it calls itself {kind.name!r}: both names must be one, of small letters, digits and underscores"
    if inspect.isabstract(kind):
        return f"it has no {', '.join(sorted(kind.__abstractmethods__))}"
    if any(isinstance(value, Field) for value in vars(kind).values()):
        return "its options need @dataclass(frozen=True)"
    taken = {"backbone", "protocol", "ref", "streaming", *(each.name for each in fields(Preprocessing))}
    clash = sorted(taken & {each.name for each in fields(kind)})
    return f"options may not be called {', '.join(clash)}" if clash else None
