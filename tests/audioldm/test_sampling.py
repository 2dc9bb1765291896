"""Where the steps of a sampling lie."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from audiogen_metrics.audioldm.generation import AudioLDM, AudioLDMGenerator
from audiogen_metrics.audioldm.sampling import Sampling, Spacing, remarks, time_steps
from audiogen_metrics.errors import UsageError, speaking_flags
from audiogen_metrics.generation.base import Request

SPACINGS: tuple[Spacing, ...] = ("as_published", "original")


def scheduler(**changes: Any) -> Any:
    """Return AudioLDM's, as published."""
    from diffusers import DDIMScheduler

    published = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear", "clip_sample": False}
    return DDIMScheduler(**{**published, "set_alpha_to_one": False, "steps_offset": 1, **changes})


def official(steps: int) -> list[int]:
    """Return what AudioLDM's sampler goes through: every g-th of 1000, from 1."""
    return [1 + step for step in range(0, 1000, 1000 // steps)][::-1]


def test_the_original_steps_are_those_of_audioldm_wherever_its_code_runs() -> None:
    for steps in range(1, 1001):
        ours, theirs = time_steps(scheduler(), Sampling(steps, spacing="original")).tolist(), official(steps)
        if theirs[0] < 1000:
            assert ours == theirs
        else:  # where its code stops with an error: as many moves, down to the same end, over the whole schedule
            assert (ours[0], len(ours)) == (999, len(theirs) - 1)
            assert set(np.diff(ours).tolist()) <= {-(1000 // steps)}
            assert ours[-1] == 1000 // steps


def test_the_published_steps_are_those_of_diffusers_but_for_a_thousand() -> None:
    for steps in range(1, 1000):
        theirs = scheduler()
        theirs.set_timesteps(steps)
        assert torch.equal(time_steps(scheduler(), Sampling(steps)), theirs.timesteps)
    assert time_steps(scheduler(), Sampling(1000)).tolist() == list(range(999, -1, -1))
    trailing = scheduler(timestep_spacing="trailing")
    assert time_steps(trailing, Sampling(400))[0] == 999


@pytest.mark.parametrize("steps", [1, 7, 200, 300, 333, 400, 600, 1000])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_step_leads_to_the_next_one(steps: int, spacing: Spacing) -> None:
    """The scheduler reckons with one gap; a perfect prediction then takes a latent down the schedule."""
    down = scheduler()
    times = time_steps(down, Sampling(steps, spacing=spacing))
    noise, clean = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    down.alphas_cumprod = down.alphas_cumprod.double()
    down.final_alpha_cumprod = down.alphas_cumprod[0]

    def at(time: int) -> torch.Tensor:
        share = down.alphas_cumprod[time]
        return share.sqrt() * clean + (1 - share).sqrt() * noise

    latent = at(int(times[0]))
    for place, time in enumerate(times):
        torch.testing.assert_close(latent, at(int(time)), rtol=1e-9, atol=1e-9, msg=f"step {place}")
        latent = down.step(noise, time, latent).prev_sample
    torch.testing.assert_close(latent, at(0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("steps", "spacing", "said"),
    [
        (200, "as_published", []),
        (1000, "as_published", []),
        (
            400,
            "as_published",
            ["400 steps begin at t=799 of 999, below full noise. Use 250 or 500 steps, or Sampling("],
        ),
        (
            300,
            "as_published",
            ["300 steps begin at t=898 of 999, below full noise. Use 250 or 500 steps, or Sampling("],
        ),
        (2, "as_published", ["2 steps begin at t=501 of 999, below full noise. Use 10 steps or more"]),
        (2, "original", ["2 steps begin at t=501 of 999, below full noise. Use 10 steps or more"]),
        (200, "original", []),
        (400, "original", ["400 steps in AudioLDM's own spacing are 500"]),
        (1000, "original", ["1000 steps in AudioLDM's own spacing are 999"]),
    ],
)
def test_what_may_surprise_is_said(steps: int, spacing: Spacing, said: list[str]) -> None:
    found = list(remarks(scheduler(), Sampling(steps, spacing=spacing)))
    assert len(found) == len(said)
    assert all(text.startswith(start) for text, start in zip(found, said, strict=True))


def test_no_divisor_of_a_thousand_and_no_original_spacing_begins_low() -> None:
    for steps in (each for each in range(10, 1001) if 1000 % each == 0):
        assert not list(remarks(scheduler(), Sampling(steps)))
    for steps in range(10, 1001):
        assert "below full noise" not in str(list(remarks(scheduler(), Sampling(steps, spacing="original"))))
    with speaking_flags():
        assert "or agm generate --spacing original" in next(remarks(scheduler(), Sampling(30)))


def test_a_thousand_steps_are_made(model: AudioLDM) -> None:
    """Documented, and once an IndexError."""
    for spacing in SPACINGS:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="1000 steps in AudioLDM's own")
            (clip,) = model.generate(["rain"], seconds=0.1, steps=1000, eta=0.0, guidance=1.0, spacing=spacing)
        assert clip.waveform.shape == (1600,)


def test_spacing_moves_the_sound_and_is_recorded(model: AudioLDM) -> None:
    request = Request("a", "rain", seconds=0.5)
    with pytest.warns(UserWarning, match="30 steps begin at t=958 of 999"):
        (published,) = model.sample([request], Sampling(30))
    with pytest.warns(UserWarning, match="30 steps in AudioLDM's own spacing are 31"):
        (original,) = model.sample([request], Sampling(30, spacing="original"))
    assert np.abs(published.waveform - original.waveform).max() > 1e-5
    assert AudioLDMGenerator(model, Sampling(30)).settings["spacing"] == "as_published"
    # Where the two do not differ, the clips do not.
    (published,) = model.sample([request], Sampling(20))
    (original,) = model.sample([request], Sampling(20, spacing="original"))
    np.testing.assert_array_equal(published.waveform, original.waveform)


def test_more_steps_than_the_schedule_has() -> None:
    with pytest.raises(UsageError, match=r"steps: 200 steps do not fit into a schedule of 100\. Use 100 at most"):
        time_steps(scheduler(num_train_timesteps=100), Sampling(200))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": "200"},
        {"steps": 1.5},
        {"eta": "1"},
        {"guidance": float("nan")},
        {"guidance": True},
        {"spacing": "mine"},
    ],
)
def test_what_is_no_sampling(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)
    assert Sampling(steps=200.0).steps == 200  # type: ignore[arg-type]
