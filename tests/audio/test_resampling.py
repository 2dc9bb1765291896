"""Sample-rate conversion against the packages whose definitions it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiogen_metrics.audio import resampling
from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.errors import AudioFileError
from audiogen_metrics.keeping import ByteBoundedCache
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


@pytest.mark.parametrize("resampler", ["torchaudio", "torchaudio-kaiser", "resampy"])
def test_kernels_are_kept_up_to_a_size(monkeypatch: pytest.MonkeyPatch, resampler: resampling.Resampler) -> None:
    """Files of odd rates need large kernels: they leave room for each other, and the same samples come out."""
    kept = ByteBoundedCache(20 * 2**20)
    monkeypatch.setattr(resampling, "_KEPT", kept)
    found = {}
    for rate in (44_100, 1201, 1301, 1303, 997, 1009, 44_100):  # a prime rate: 60 MB a kernel
        found[rate] = resample(noise(rate), rate, 16_000, resampler)
        assert kept.nbytes <= kept.limit
    made = []
    original = resampling._kernels
    monkeypatch.setattr(resampling, "_kernels", lambda *arguments: (made.append(arguments), original(*arguments))[1])
    monkeypatch.setattr(resampling, "_KEPT", ByteBoundedCache(0))
    for rate, expected in found.items():
        assert torch.equal(resample(noise(rate), rate, 16_000, resampler), expected)
    assert len(made) == (0 if resampler == "resampy" else len(found))


def test_the_largest_kernel_is_kept() -> None:
    """Else a folder at such a rate would make it anew for each file."""
    assert resampling.KEPT_BYTES > 4 * resampling.MAX_KERNEL * 1.1
    assert resampling.KEPT_BYTES > 8 * resampling.MAX_PERIOD * 1.1
