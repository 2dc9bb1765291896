"""How AudioLDM samples: settings, and the time steps that they mean."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from audiogen_metrics.errors import UsageError, spoken
from audiogen_metrics.options import whole

if TYPE_CHECKING:
    import torch

Spacing = Literal["as_published", "original"]
"""``as_published``: as diffusers reads the checkpoint's scheduler; ``original``: as AudioLDM's own code."""


@dataclass(frozen=True)
class Sampling:
    """How clips are sampled. The defaults are AudioLDM's, but for candidates, of which its command line makes 3.

    Parameters
    ----------
    steps
        DDIM steps, 1 to 1000.
    guidance
        Weight of the condition against none; 1 switches guidance off and halves the work.
    eta
        Noise added at each step, 0 (deterministic) to 1.
    candidates
        Clips made for each one kept; the one most like its condition to CLAP's ear.
    negative
        Prompt to keep away from; ``""`` is the unconditional embedding.
    batch_size
        Candidates at a time, at most; halved when memory runs out. Clips do not depend on it beyond rounding.
    spacing
        Where the steps lie, as in `time_steps`. It matters where ``steps`` does not divide 1000.

    Raises
    ------
    UsageError
        A value out of range, or not a number.
    """

    steps: int = 200
    guidance: float = 2.5
    eta: float = 1.0
    candidates: int = 1
    negative: str = ""
    batch_size: int = 4
    spacing: Spacing = "as_published"

    def __post_init__(self) -> None:
        for name, most in (("steps", 1000), ("candidates", 1000), ("batch_size", 2**16)):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, most))
        for name, high in (("eta", 1.0), ("guidance", math.inf)):
            value = getattr(self, name)
            fits = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (fits and 0 <= value <= high and math.isfinite(value)):
                raise UsageError(f"{name}={value!r} is out of range", fix="eta 0 to 1, guidance ≥ 0")
        if self.spacing not in get_args(Spacing):
            raise UsageError(f"unknown spacing {self.spacing!r}", fix=f"Use {' or '.join(get_args(Spacing))}")

    @property
    def settings(self) -> dict[str, Any]:
        """What shapes the sound, as JSON values: all but the batch size."""
        return {name: value for name, value in asdict(self).items() if name != "batch_size"}


def time_steps(scheduler: Any, sampling: Sampling) -> torch.Tensor:
    """Return the time steps of a sampling, the noisiest first, and prepare the scheduler for them.

    With g = 1000 // steps, the published schedulers take 1, 1 + g, … and stop after ``steps`` of them, so that 400
    begin at 799. AudioLDM's own code goes on to the end of the schedule: 400 become 500, and begin at 999. Where its
    last one would be 1000 (g = 1, 3, 9, 27, 37, 111, 333), it stops with an error; here the steps then go down from
    999 with the same gap, as long as they are above 0. 1000 published ones are 999 to 0 for the same reason.

    Parameters
    ----------
    scheduler
        A ``DDIMScheduler`` of the checkpoint's configuration.
    sampling
        How many steps, in which spacing.

    Returns
    -------
    torch.Tensor
        Whole numbers, falling, from 0 to the schedule's length − 1.

    Raises
    ------
    UsageError
        More steps than the checkpoint's schedule has.

    Notes
    -----
    The original spacing was read in haoheliu/AudioLDM (``make_ddim_timesteps``), the published one in diffusers.

    Examples
    --------
    >>> from diffusers import DDIMScheduler  # doctest: +SKIP
    >>> time_steps(DDIMScheduler(steps_offset=1), Sampling(400, spacing="original"))[:3]  # doctest: +SKIP
    tensor([999, 997, 995])
    """
    import torch

    length = scheduler.config.num_train_timesteps
    if sampling.steps > length:
        raise UsageError(
            f"{sampling.steps} steps do not fit into a schedule of {length}", "steps", f"Use {length} at most"
        )
    scheduler.set_timesteps(sampling.steps)
    last, gap = length - 1, length // sampling.steps
    if sampling.spacing == "original":
        first = last if last % gap == 0 else 1 + last // gap * gap
        scheduler.timesteps = torch.arange(first, 0, -gap, dtype=torch.int64, device=scheduler.timesteps.device)
    scheduler.timesteps -= max(0, int(scheduler.timesteps.max()) - last)
    steps: torch.Tensor = scheduler.timesteps
    return steps


def remarks(scheduler: Any, sampling: Sampling) -> Iterator[str]:
    """Yield what somebody may not expect of the time steps: another number of them, or a start below full noise."""
    times = time_steps(scheduler, sampling)
    length, first = scheduler.config.num_train_timesteps, int(times[0])
    if sampling.spacing == "original" and len(times) != sampling.steps:
        yield f"{sampling.steps} steps in AudioLDM's own spacing are {len(times)}"
    # The first step lies one gap below the end: what counts is a loss of more, or so few steps that a gap is much.
    if length - first > min(max(length // sampling.steps, length // 100), length // 10):
        start = f"{sampling.steps} steps begin at t={first} of {length - 1}, below full noise"
        yield f"{start}. {_advice(length, sampling)}"


def _advice(length: int, sampling: Sampling) -> str:
    if sampling.steps < 10:
        return "Use 10 steps or more"
    fitting = [number for number in range(1, length + 1) if length % number == 0]
    near = [max(n for n in fitting if n <= sampling.steps), min(n for n in fitting if n >= sampling.steps)]
    use = f"Use {' or '.join(map(str, near))} steps"
    other = spoken('Sampling(spacing="original")', "agm generate --spacing original")
    if sampling.spacing == "original":
        return use
    return f"{use}, or {other}"
