"""Sample-rate conversion against the packages whose definitions it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.errors import AudioFileError
from tests.audio.golden.resample import GOLDEN, RATES, noise


@pytest.mark.parametrize("rate", RATES)
def test_is_torchaudios(rate: int) -> None:
    expected = np.load(GOLDEN)[str(rate)]
    np.testing.assert_allclose(resample(noise(rate), rate, 16_000, "torchaudio"), expected, rtol=0, atol=1e-6)


def test_keeps_a_tone_and_removes_what_would_alias() -> None:
    time = torch.arange(48_000) / 48_000
    low, high = torch.sin(2 * torch.pi * 1000 * time), torch.sin(2 * torch.pi * 11_000 * time)
    expected = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    middle = slice(100, -100)
    assert (resample(low, 48_000, 16_000, "torchaudio") - expected)[middle].abs().max() < 2e-3
    assert resample(high, 48_000, 16_000, "torchaudio")[middle].abs().max() < 2e-2


def test_equal_rates_return_the_waveform_itself() -> None:
    waveform = torch.ones(10)
    assert resample(waveform, 16_000, 16_000, "torchaudio") is waveform


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_resampy_is_resampys() -> None:
    import resampy

    waveform = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    expected = resampy.resample(waveform.numpy(), 44_100, 16_000)
    np.testing.assert_array_equal(resample(waveform, 44_100, 16_000, "resampy"), expected)


def test_refuses_rates_without_a_common_factor() -> None:
    with pytest.raises(AudioFileError, match="44101 Hz to 16000 Hz"):
        resample(torch.zeros(100), 44_101, 16_000, "torchaudio")
