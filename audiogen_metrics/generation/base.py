"""What a system that generates audio is asked, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from audiogen_metrics.audio.files import canonical_id
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.options import whole
from audiogen_metrics.writing import below

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


LONGEST_SECONDS = 86_400.0
"""Of a clip: a day."""


@dataclass(frozen=True)
class Request:
    """One clip to make.

    Parameters
    ----------
    clip_id
        Name of the clip: its path below the folder without suffix. It pairs the clip with its reference, and is
        brought into Unicode's form NFC for that.
    prompt
        Text that describes the sound; ``""`` asks for nothing in particular. None if ``audio`` is given.
    audio
        A recording to imitate, for systems that take one.
    seconds
        Length.
    seed
        Of the run; 0 or more. The clip's own stream is drawn from it and the clip id, so that a clip does not depend
        on what is made before or beside it.
    candidate
        Which of several candidates of the clip; each has a stream of its own.
    """

    clip_id: str
    prompt: str | None = None
    audio: Path | None = None
    seconds: float = 10.0
    seed: int = 0
    candidate: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip_id", canonical_id(self.clip_id))
        below(Path(), self.clip_id)
        if (self.prompt is None) == (self.audio is None):
            raise UsageError("needs a prompt or a recording, and not both", where=self.clip_id)
        if not 0 < self.seconds <= LONGEST_SECONDS:
            raise UsageError(f"cannot last {self.seconds} seconds", where=self.clip_id)
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        object.__setattr__(self, "candidate", whole("candidate", self.candidate, 0))

    def stream(self, candidate: int | None = None) -> int:
        """Return the seed, 63 bits, of this candidate of the clip, or of another one."""
        name = f"{self.seed}/{self.candidate if candidate is None else candidate}/{self.clip_id}"
        return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 1


@dataclass(frozen=True)
class Generated:
    """A clip: float32 ``(time,)``, and what is worth noting about how it came about (JSON values)."""

    waveform: npt.NDArray[np.float32]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Generator(Protocol):
    """A system that makes clips."""

    sample_rate: int
    """Of what it makes, in Hz."""

    batch_size: int
    """Requests it likes to get at a time."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that shapes the sound besides the request, as JSON values: model, weights digests, sampling."""
        ...

    def generate(self, requests: Sequence[Request]) -> Sequence[Generated]:
        """Return one clip per request, in order."""
        ...


class FunctionGenerator:
    """A `Generator` around a function of one request.

    Parameters
    ----------
    function
        Takes a `Request` and returns a waveform, float ``(time,)`` in [−1, 1]: an array, or a tensor of any device.
    sample_rate
        Of its waveforms, in Hz.
    settings
        What tells this system from others: JSON values, recorded in the manifest and in results.

    Examples
    --------
    >>> import numpy as np
    >>> def hum(request):
    ...     time = np.arange(int(request.seconds * 16000)) / 16000
    ...     return 0.1 * np.sin(2 * np.pi * 50 * time)
    >>> generator = FunctionGenerator(hum, 16000, {"system": "hum"})
    >>> generator.generate([Request("a", "mains hum", seconds=0.5)])[0].waveform.shape
    (8000,)
    """

    batch_size = 1

    def __init__(self, function: Callable[[Request], Any], sample_rate: int, settings: Mapping[str, Any]) -> None:
        self.sample_rate = sample_rate
        self.settings: dict[str, Any] = dict(settings)
        self._function = function

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Return one clip per request; DataError if the function returns anything but a finite waveform."""
        import numpy as np

        clips = []
        for request in requests:
            returned = self._function(request)
            if hasattr(returned, "detach"):  # a tensor, whose device and precision NumPy may not know
                returned = returned.detach().float().cpu()
            try:
                waveform = np.asarray(returned, dtype=np.float32)
            except (TypeError, ValueError) as error:
                what, fix = (
                    f"the generator returned a {type(returned).__name__}",
                    "Return a waveform (time,) in [−1, 1]",
                )
                raise DataError(what, where=request.clip_id, fix=fix) from error
            if waveform.ndim != 1 or not waveform.size or not np.isfinite(waveform).all():
                raise DataError(
                    f"the generator returned shape {waveform.shape}, or values that are not finite",
                    where=request.clip_id,
                    fix="Return a waveform (time,) in [−1, 1]",
                )
            clips.append(Generated(waveform))
        return clips
