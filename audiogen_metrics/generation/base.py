"""What a system that generates audio is asked, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from audiogen_metrics.audio.files import canonical_id
from audiogen_metrics.errors import AudiogenMetricsError, DataError, UsageError
from audiogen_metrics.options import whole
from audiogen_metrics.writing import below

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FunctionGenerator", "Generated", "Generator", "Request", "settings_of"]


LONGEST_SECONDS = 86_400.0
"""Of a clip: a day."""

LOUDEST = 100.0
"""Peak of a waveform, 40 dB above full scale; beyond it, the values are on another scale."""

MOST_CHANNELS = 8
"""Of a waveform with too many axes, to a reader of errors: a shorter axis that is longer is a batch."""


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

    def samples(self, sample_rate: int) -> int:
        """Return the length in samples, at least 1: the whole number next to ``seconds * sample_rate``.

        ``int(seconds * sample_rate)`` would be one less where the product is a hair below a whole number.

        Examples
        --------
        >>> request = Request("a", "rain", seconds=0.35)
        >>> request.samples(44_100), int(0.35 * 44_100)
        (15435, 15434)
        """
        return max(1, round(self.seconds * whole("sample_rate", sample_rate, 1)))


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


def clips_of(generator: Generator, requests: Sequence[Request]) -> Iterator[Generated]:
    """Yield what a generator makes of some requests, one clip each, waveforms as `as_waveform` returns them.

    Raises
    ------
    DataError
        Another number of clips than of requests, anything but `Generated`, or something that is not a waveform.
    """
    made = generator.generate(requests)
    clips = list(made) if isinstance(made, Iterable) else [made]
    wrong = [type(clip).__name__ for clip in clips if not isinstance(clip, Generated)]
    if wrong or len(clips) != len(requests):
        what = f"returned a {wrong[0]}" if wrong else f"returned {len(clips)} clips for {len(requests)} requests"
        raise DataError(what, where=type(generator).__name__, fix="generate() returns one Generated for each request")
    for request, clip in zip(requests, clips, strict=True):
        yield replace(clip, waveform=as_waveform(clip.waveform, request))


def as_waveform(made: Any, request: Request) -> npt.NDArray[np.float32]:
    """Return what was made for a request as float32 ``(time,)``.

    Parameters
    ----------
    made
        Floats with full scale ±1: an array, a list, or a tensor of any device and precision, with a gradient or
        without. One channel; axes of length 1 are taken away.
    request
        Named in errors.

    Raises
    ------
    DataError
        Integers, whose full scale nobody knows, floats on the scale of integers, several channels, a batch, nothing, or
        values that are not finite.

    Examples
    --------
    >>> as_waveform([[0.5, -0.5]], Request("a", "rain"))
    array([ 0.5, -0.5], dtype=float32)
    """
    import numpy as np

    where = f"{request.clip_id}{f' (candidate {request.candidate})' * bool(request.candidate)}"
    fix = "Return a waveform: floats (time,) in [−1, 1]"
    try:
        array = np.asarray(_plain(made))
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as that
            waveform = None if array.dtype.kind in "biucmMOSU" else array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"the generator returned a {type(made).__name__}", where, fix) from error
    if waveform is None or isinstance(made, np.ma.MaskedArray):
        what = f"a {type(made).__name__}" if array.dtype.kind in "fOSU" else f"values of type {array.dtype}"
        fix = f"{fix}, such as int16 / 32768" if array.dtype.kind in "iu" else fix
        raise DataError(f"the generator returned {what}", where, fix)
    if waveform.ndim == 0 or not waveform.size or not np.isfinite(waveform).all():
        what = f"no waveform but shape {waveform.shape}, or values that are not finite"
        raise DataError(f"the generator returned {what}", where, fix)
    if (peak := float(np.abs(waveform).max())) > LOUDEST:
        what = f"values of up to {peak:g}, where full scale is 1"
        raise DataError(f"the generator returned {what}", where, f"{fix}, such as int16 / 32768")
    if waveform.size != max(waveform.shape):
        raise DataError(f"the generator returned shape {waveform.shape}", where, _one_of(waveform.shape))
    return waveform.reshape(-1)


def _plain(made: Any) -> Any:
    """Return a tensor, whose device and precision NumPy may not know, as one that it does; all else as it is."""
    if not hasattr(made, "detach"):
        return made
    made = made.detach().cpu()
    return made.float() if made.is_floating_point() else made


def _one_of(shape: tuple[int, ...]) -> str:
    """Return what to do about several channels or clips."""
    if len(shape) > 2 or min(shape) > MOST_CHANNELS:
        return "Return a waveform (time,) for each request; FunctionGenerator takes batches with batch_size=N"
    axis = shape.index(min(shape))
    return (
        f"Return a waveform (time,): of {shape[axis]} channels their mean({axis}), of several clips the one asked for"
    )


class FunctionGenerator:
    """A `Generator` around a function of one request, or of several.

    Before each call the global random numbers of torch, NumPy and Python are set from the clip's own stream, and
    afterwards they go on where they were: a function of one request may draw from them, and its clip depends on nothing
    else. With ``batch_size`` they are set from the first request of the batch, and what belongs to one clip is to be
    drawn from `Request.stream`. What the function raises gets a note that names the clips.

    Parameters
    ----------
    function
        Takes a `Request` and returns a waveform as `as_waveform` takes it: floats ``(time,)`` in [−1, 1]. With
        ``batch_size`` it takes a list of requests of one length, and returns as many waveforms: a list, or an array or
        tensor ``(clips, time)``.
    sample_rate
        Of its waveforms, in Hz.
    settings
        What tells this system from others: JSON values, recorded in the manifest and in results. `settings_of` has
        those of a loaded model.
    batch_size
        Requests at a time, at most; None calls the function with one request, not with a list.

    Examples
    --------
    >>> import numpy as np
    >>> def hum(request):
    ...     time = np.arange(int(request.seconds * 16000)) / 16000
    ...     return 0.1 * np.sin(2 * np.pi * 50 * time)
    >>> generator = FunctionGenerator(hum, 16000, {"system": "hum"})
    >>> generator.generate([Request("a", "mains hum", seconds=0.5)])[0].waveform.shape
    (8000,)

    A function of several:

    >>> def hums(requests):
    ...     return np.stack([hum(request) for request in requests])
    >>> len(FunctionGenerator(hums, 16000, {}, batch_size=8).generate([Request("a", "hum"), Request("b", "hum")]))
    2
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        sample_rate: int,
        settings: Mapping[str, Any],
        *,
        batch_size: int | None = None,
    ) -> None:
        self.sample_rate: int = whole("sample_rate", sample_rate, 1)
        self.settings: dict[str, Any] = dict(settings)
        self.batch_size: int = 1 if batch_size is None else whole("batch_size", batch_size, 1)
        self._function, self._takes_lists = function, batch_size is not None

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Return one clip per request; DataError if the function returns anything but finite waveforms."""
        made, size = [], self.batch_size if self._takes_lists else 1
        for start in range(0, len(requests), size):
            batch = list(requests[start : start + size])
            pairs = zip(batch, self._called(batch), strict=True)
            made += [Generated(as_waveform(each, request)) for request, each in pairs]
        return made

    def _called(self, batch: list[Request]) -> list[Any]:
        from audiogen_metrics.generation.seeding import seeded  # torch is not needed to write requests down

        try:
            with seeded(batch[0].stream()):
                return self._several(batch) if self._takes_lists else [self._function(batch[0])]
        except Exception as error:
            if not isinstance(error, AudiogenMetricsError):
                asked = "" if batch[0].audio is None else ", which has a recording and no prompt"
                error.add_note(f"while {', '.join(request.clip_id for request in batch)} was made{asked}")
            raise

    def _several(self, batch: list[Request]) -> list[Any]:
        returned = self._function(batch)
        try:
            count = len(returned)
        except TypeError:  # also of an array without an axis
            count = None
        if count != len(batch):
            what = f"a {type(returned).__name__}" if count is None else f"{count} waveforms"
            raise DataError(
                f"the generator returned {what} for {len(batch)} requests",
                where=batch[0].clip_id,
                fix="With batch_size it takes a list of requests, and returns one waveform for each, in order",
            )
        return list(returned)


def settings_of(model: Any) -> dict[str, Any]:
    """Return what tells a loaded model from others, for the settings of a `Generator`.

    Parameters
    ----------
    model
        A torch module, such as a model of transformers, or a pipeline of diffusers, whose ``components`` are such.

    Returns
    -------
    dict
        ``model``, the name or folder that it was loaded from, if it knows; ``weights_sha256``, over the names and bytes
        of all weights as they are loaded, so that a folder that has trained on is another model, as is one in another
        precision; ``dtype`` of the weights; ``device``, its type; of a pipeline the class of its ``scheduler``.

    Raises
    ------
    UsageError
        Something without weights, or weights that cannot be read in memory: offloaded, sparse or quantized ones.

    Examples
    --------
    >>> import torch
    >>> settings = settings_of(torch.nn.Linear(2, 1))
    >>> settings["dtype"], settings["device"], len(settings["weights_sha256"])
    ('float32', 'cpu', 64)
    """
    import torch

    from audiogen_metrics.backbones.identity import identity_of

    parts = getattr(model, "components", None)
    if isinstance(model, torch.nn.Module) or not isinstance(parts, Mapping):
        parts = {"": model}
    states = {name: part.state_dict() for name, part in parts.items() if isinstance(part, torch.nn.Module)}
    weights = {
        name: {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
        for name, state in states.items()
    }
    tensors = [tensor for part in weights.values() for tensor in part.values()]
    if not tensors:
        fix = "Pass a torch module, or a pipeline of diffusers"
        raise UsageError(f"a {type(model).__name__} has no weights", where="settings_of", fix=fix)
    if any(tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided for tensor in tensors):
        fix = "Call it before weights are moved away or packed"
        raise UsageError("weights cannot be read in memory", where="settings_of", fix=fix)
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if tensor.is_floating_point()}
    scheduler = getattr(model, "scheduler", None)
    found = {
        "model": getattr(model, "name_or_path", None) or None,
        "weights_sha256": identity_of(weights, None, "settings_of"),
        "dtype": ", ".join(sorted(kinds)),
        "device": ", ".join(sorted({tensor.device.type for tensor in tensors})),
        "scheduler": None if scheduler is None else type(scheduler).__name__,
    }
    return {name: value for name, value in found.items() if value is not None}
