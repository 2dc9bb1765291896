"""How AudioLDM samples: settings, and the time steps that they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from audiogen_metrics.declaring import documented, options_of, setting
from audiogen_metrics.errors import UsageError, spoken

if TYPE_CHECKING:
    import torch

TRAINED_SECONDS = 10.24
"""What AudioLDM was trained on."""

Spacing = Literal["as_published", "original"]
"""``as_published``: as diffusers reads the checkpoint's scheduler; ``original``: as AudioLDM's own code."""


@documented
@dataclass(frozen=True)
class Sampling:
    """How clips are sampled. The defaults are AudioLDM's, but for candidates, of which its command line makes 3.

    Raises
    ------
    UsageError
        A value out of range, or not a number.
    """

    steps: int = setting(200, "DDIM steps, 1 to 1000.", "N", help="DDIM steps, 1 to 1000", least=1, most=1000)
    guidance: float = setting(
        2.5,
        "Weight of the condition against none; 1 switches guidance off and halves the work.",
        "W",
        help="weight of the condition; 1: off",
        least=0,
    )
    eta: float = setting(1.0, "Noise added at each step, 0 (deterministic) to 1.", "E", least=0, most=1)
    candidates: int = setting(
        1,
        "Clips made for each one kept; the one most like its condition to CLAP's ear.",
        "N",
        help="make N, keep CLAP's favourite",
        least=1,
        most=1000,
    )
    negative: str = setting(
        "",
        'Prompt to keep away from; ``""`` is the unconditional embedding.',
        "TEXT",
        help="prompt to keep away from (default: none)",
    )
    batch_size: int = setting(
        4,
        "Candidates at a time, at most; halved when memory runs out. Clips do not depend on it beyond rounding.",
        "N",
        help="candidates at a time, at most",
        least=1,
        most=2**16,
    )
    spacing: Spacing = setting(
        "as_published",
        "Where the steps lie, as in `time_steps`. It matters where ``steps`` does not divide 1000.",
        help="where steps lie that do not divide 1000: as diffusers reads the published configuration, which then "
        "begins below full noise, or as AudioLDM's own code, which makes more of them",
        choices=get_args(Spacing),
    )

    def __post_init__(self) -> None:
        for name, declared in options_of(type(self)).items():
            object.__setattr__(self, name, declared.checked(name, getattr(self, name)))

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
