"""What the host sets in torch for its own training reaches no clip, no condition and no latent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.audioldm.sampling import Sampling
from audiogen_metrics.datasets.folder import read_folder
from audiogen_metrics.generation.base import Request
from tests.places import REFERENCE
from tests.test_host_state import HOSTS

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*random weights", "ignore::UserWarning:torch.*"
)


def made(tiny: Path, sounds: Path) -> list[Any]:
    """Return samples, conditions and likenesses of clips, and what training reads of a folder; nothing from a cache."""
    model = AudioLDM.from_pretrained(tiny, device="cpu")
    files = sorted(REFERENCE.rglob("*.wav"))[:1]
    asked = [Request("text", "rain", seconds=0.64), Request("sound", audio=files[0], seconds=0.64)]
    clips = model.sample(asked, Sampling(steps=2, candidates=2, eta=1.0))
    training = TrainingClips(model, read_folder(sounds).clips[:2], "text", seconds=0.64)
    return [
        *(torch.from_numpy(clip.waveform) for clip in clips),
        *(torch.tensor(clip.notes["clap_similarity"], dtype=torch.float64, device="cpu") for clip in clips),
        model.conditions(asked),
        training._moments,
        training._conditions,
    ]


@pytest.fixture(scope="module")
def alone(tiny: Path, sounds: Path) -> list[Any]:
    return made(tiny, sounds)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_clips_and_latents(tiny: Path, sounds: Path, alone: list[Any], host: str) -> None:
    with HOSTS[host]():
        hosted = made(tiny, sounds)
    for found, expected in zip(hosted, alone, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
