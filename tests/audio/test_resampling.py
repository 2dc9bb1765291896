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
@pytest.mark.parametrize(
    ("rate", "target"),
    [
        (44_100, 16_000),
        (22_050, 16_000),
        (48_000, 16_000),
        (32_000, 16_000),
        (11_025, 16_000),
        (8_000, 16_000),
        (16_000, 44_100),
        (44_101, 16_000),
        (12_345, 32_000),
    ],
)
@pytest.mark.parametrize("length", [8_000, 31_111, 300, 3])
def test_resampy_is_resampys(rate: int, target: int, length: int) -> None:
    """To the last bits in float64, also where resampy's own rounding puts a sample on the other side."""
    import resampy

    waveform = torch.randn(length, generator=torch.Generator().manual_seed(0))
    expected = resampy.resample(waveform.double().numpy(), rate, target)
    found = resample(waveform, rate, target, "resampy")
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, np.float32(expected), rtol=2e-7, atol=1e-9)


def test_a_header_that_claims_an_absurd_rate() -> None:
    with pytest.raises(AudioFileError, match="2147483647 Hz is too far from 16000 Hz"):
        resample(torch.ones(2**18), 2**31 - 1, 16_000, "resampy")
    assert len(resample(torch.ones(10_000), 15_999_999, 16_000, "resampy")) == 10


def test_too_few_samples_for_resampy() -> None:
    with pytest.raises(AudioFileError, match="2 samples at 44100 Hz are none at 16000 Hz"):
        resample(torch.ones(2), 44_100, 16_000, "resampy")


def test_refuses_rates_without_a_common_factor() -> None:
    with pytest.raises(AudioFileError, match="44101 Hz to 16000 Hz"):
        resample(torch.zeros(100), 44_101, 16_000, "torchaudio")
