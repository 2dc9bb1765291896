"""What every probe is: parameters drawn from a seeded stream, and a pure function that applies them."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.declaring import Option, with_parameters
from audiogen_metrics.errors import UsageError
from audiogen_metrics.options import whole

__all__ = ["Clip", "Probe", "setting"]

Waveform: TypeAlias = npt.NDArray[np.float32]
P = TypeVar("P")
K = TypeVar("K", bound=type)
T = TypeVar("T", bool, int, float, str)


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip as probes see it: mono.

    Parameters
    ----------
    clip_id
        Its id in the set; seeds its random stream.
    waveform
        ``(time,)`` float32, full scale ±1. Corrupted clips may exceed full scale.
    sample_rate
        Hz.
    events
        First sample of each event, ascending from 0, if the clip is a sequence of events; otherwise empty.
    """

    clip_id: str
    waveform: Waveform
    sample_rate: int
    events: tuple[int, ...] = ()

    @classmethod
    def from_audio(cls, clip_id: str, audio: Audio, channel: Literal["first", "mean"] = "mean") -> Clip:
        """Return decoded audio as a clip: the ``"mean"`` of its channels, or the ``"first"``."""
        samples = audio.samples
        mono = samples[:, 0] if channel == "first" or samples.shape[1] == 1 else samples.mean(axis=1)
        return cls(clip_id, np.ascontiguousarray(mono, dtype=np.float32), audio.sample_rate)

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.waveform) / self.sample_rate

    @property
    def power(self) -> float:
        """Mean square of the samples; 0 for an empty clip."""
        return float(np.mean(np.square(self.waveform, dtype=np.float64))) if len(self.waveform) else 0.0

    def sounding(self, waveform: npt.NDArray[np.floating[Any]]) -> Clip:
        """Return this clip with other samples."""
        return replace(self, waveform=waveform.astype(np.float32))


def clip_rng(seed: int, clip_id: str, purpose: str) -> np.random.Generator:
    """Return the random stream of one clip for one purpose (a probe's name); it does not depend on what else runs.

    Raises
    ------
    UsageError
        A negative seed.
    """
    seed = whole("seed", seed, 0)
    names = [int.from_bytes(hashlib.blake2b(name.encode()).digest()) for name in (clip_id, purpose)]
    return np.random.default_rng(np.random.SeedSequence([seed, *names]))


def draw_seed(rng: np.random.Generator) -> int:
    """Return a seed for what `Probe.apply` draws itself, since arrays do not fit into a manifest."""
    return int(rng.integers(2**32))


def between(mild: float, worst: float, severity: float) -> float:
    """Return the value at ``severity`` on the straight line from ``mild`` (0) to ``worst`` (1)."""
    return mild + (worst - mild) * severity


def between_ratios(mild: float, worst: float, severity: float) -> float:
    """Return the value at ``severity`` in equal ratios from ``mild`` (0) to ``worst`` (1); both positive."""
    return mild * math.pow(worst / mild, severity)


@dataclass(frozen=True)
class Setting:
    """A setting of a probe, from which validation, the command line, docstrings and the gallery follow.

    Parameters
    ----------
    default
        Value if the setting is not given; it also tells the type.
    unit
        Physical unit; empty for a plain number.
    low, high
        Range, both ends included; None leaves an end open.
    choices
        Permitted words.
    meaning
        What it does.
    """

    default: bool | float | str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Type, unit, range and default in words."""
        default = f"{self.default:g}" if isinstance(self.default, float) else str(self.default).lower()
        return type(self.default).__name__, self.unit or "–", self.range, default

    @property
    def range(self) -> str:
        """The range in words."""
        if self.choices:
            return " or ".join(self.choices)
        if self.low is None and self.high is None:
            return "any"
        low = "−∞" if self.low is None else f"{self.low:g}"
        return f"≥ {low}" if self.high is None else f"{low} to {self.high:g}"

    def problem(self, value: object) -> str | None:
        """Return what is wrong with a value, or None."""
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "is not true or false"
        if isinstance(self.default, str):
            return None if value in self.choices else "is unknown"
        kinds = (int,) if isinstance(self.default, int) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            return "is not a whole number" if kinds == (int,) else "is not a finite number"
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        return None if low <= value <= high else "is out of range"


def setting(
    default: T,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    *,
    meaning: str = "",
) -> T:
    """Declare a field of a probe that users may set, by the arguments of `Setting`."""
    return field(default=default, metadata={"setting": Setting(default, unit, low, high, choices, meaning)})


def settings_of(owner: Any) -> dict[str, Setting]:
    """Return the settings of a probe or front end (object or class) by field name."""
    return {entry.name: entry.metadata["setting"] for entry in fields(owner) if "setting" in entry.metadata}


def with_settings(kind: K) -> K:
    """Give a class that becomes a dataclass the docstring that its settings make."""
    inherited = getattr(kind, "__dataclass_fields__", {})
    options: dict[str, Option] = {}
    for name, entry in (inherited | vars(kind)).items():
        default = entry.default if isinstance(entry, Field) else entry
        if isinstance(entry, Field) and "setting" in entry.metadata:
            declared = entry.metadata["setting"]
            options[name] = Option(meaning=f"{' • '.join(declared.cells)}: {declared.meaning}")
        elif is_dataclass(default) and not isinstance(default, type):
            options[name] = Option(meaning=f"The front end; `{type(default).__name__}`.")
    kind.__doc__ = with_parameters(kind.__doc__, options) if options else kind.__doc__
    return kind


def check_settings(owner: Any, where: str) -> None:
    """Raise UsageError for a setting that is out of its range."""
    for name, allowed in settings_of(owner).items():
        problem = allowed.problem(getattr(owner, name))
        if problem:
            unit = f" {allowed.unit}" if allowed.unit else ""
            raise UsageError(
                f"{getattr(owner, name)!r} {problem}", where=f"{where}.{name}", fix=f"Allowed: {allowed.range}{unit}"
            )


@dataclass(frozen=True)
class Probe(ABC, Generic[P]):
    """One kind of damage. Its fields are its settings; subclasses are frozen dataclasses.

    A subclass gives `draw` and `corrupt`, and is registered under its name in `PROBES`. Nothing depends on the order
    of clips, on batches or on workers, and the global random state is neither read nor written.

    Attributes
    ----------
    name
        Registered name; part of the entropy of every clip's random stream.
    version
        Raised by hand whenever a change of code changes corrupted clips.
    dose
        Name of the drawn parameter that follows severity; empty if all are independent of it.
    needs_pool
        Whether it takes other clips of the set: pass ``pool``.
    needs_events
        Whether it takes sequences of events: see `audiogen_metrics.probes.sequences`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    dose: ClassVar[str] = ""
    needs_pool: ClassVar[bool] = False
    needs_events: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        with_settings(cls)

    def __post_init__(self) -> None:
        check_settings(self, self.name)

    @abstractmethod
    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> P:
        """Return the parameters for ``0 < severity ≤ 1``: a frozen dataclass of JSON values."""

    @abstractmethod
    def corrupt(self, clip: Clip, parameters: P) -> Clip:
        """Return the corrupted clip, a pure function of its arguments."""

    def sample(self, rng: np.random.Generator, clip: Clip, severity: float) -> P | None:
        """Return the parameters for a clip; at severity 0 None, which leaves the clip alone.

        Parameters
        ----------
        rng
            The clip's own stream: `clip_rng`.
        clip
            The clip to be corrupted.
        severity
            In [0, 1].

        Raises
        ------
        UsageError
            A severity out of range.
        """
        if not 0 <= severity <= 1:
            raise UsageError(f"severity {severity} is out of range", where=self.name, fix="Pass a number from 0 to 1")
        return self.draw(rng, clip, severity) if severity > 0 else None

    def apply(self, clip: Clip, parameters: P | None) -> Clip:
        """Return the clip corrupted with these parameters; for None, the same object."""
        return clip if parameters is None else self.corrupt(clip, parameters)

    def __call__(self, clip: Clip, severity: float, seed: int = 0) -> Clip:
        """Return the clip corrupted at this severity, as `sample` and `apply` do with the clip's own stream."""
        return self.apply(clip, self.sample(clip_rng(seed, clip.clip_id, self.name), clip, severity))

    def measure(self, clip: Clip, parameters: P, corrupted: Clip) -> dict[str, float]:  # noqa: ARG002
        """Return what is recorded beside the parameters; empty unless the probe is inexact."""
        return {}

    @property
    def settings(self) -> dict[str, Any]:
        """All settings, given or by default, as JSON values."""
        nested = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: getattr(self, name) for name in settings_of(self)} | {
            name: {part: getattr(value, part) for part in settings_of(value)}
            for name, value in nested.items()
            if is_dataclass(value) and settings_of(value)
        }
