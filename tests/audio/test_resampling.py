"""Sample-rate conversion against the packages whose definitions it keeps."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

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


@pytest.mark.parametrize("resampler", ["torchaudio", "torchaudio-kaiser", "resampy", "decimate", "decimate-resampy"])
def test_a_header_that_claims_an_absurd_rate(resampler: resampling.Resampler) -> None:
    with pytest.raises(AudioFileError, match="2147483647 Hz is too far from 16000 Hz"):
        resample(torch.ones(2**18), 2**31 - 1, 16_000, resampler)


def test_the_largest_ratio() -> None:
    assert len(resample(torch.ones(10_000), 15_999_999, 16_000, "resampy")) == 10


def test_too_few_samples_for_resampy() -> None:
    with pytest.raises(AudioFileError, match="2 samples at 44100 Hz leave no sample at 16000 Hz"):
        resample(torch.ones(2), 44_100, 16_000, "resampy")


FILTERS: dict[resampling.Resampler, dict[str, Any]] = {
    "torchaudio": {"zero_crossings": 6, "rolloff": 0.99},
    "torchaudio-kaiser": {"zero_crossings": 64, "rolloff": 0.9475937167399596, "beta": 14.769656459379492},
}


def by_definition(
    waveform: torch.Tensor, rate: int, target: int, index: int, zero_crossings: int, rolloff: float, beta: float = 0
) -> float:
    """Return one output in float64: the sum over the samples within its window; that of Hann without a ``beta``."""
    cutoff = min(rate, target) * rolloff
    reach = zero_crossings / cutoff
    taps = np.arange(max(0, int((index / target - reach) * rate)), len(waveform))[: int(2 * reach * rate) + 2]
    position = ((taps / rate - index / target) * cutoff).clip(-zero_crossings, zero_crossings)
    share = position / zero_crossings
    window = np.i0(beta * np.sqrt(1 - share**2)) / np.i0(beta) if beta else np.cos(share * np.pi / 2) ** 2
    return float((waveform.double().numpy()[taps] * np.sinc(position) * window).sum() * cutoff / rate)


def check_by_definition(resampler: resampling.Resampler, rate: int, target: int, tolerance: float) -> None:
    waveform = torch.randn(rate + rate // 50, generator=torch.Generator().manual_seed(rate))
    found = resample(waveform, rate, target, resampler)
    assert len(found) == -(-len(waveform) * target // rate)
    places = [*range(20), *range(target - 20, target + 20), *range(len(found) - 20, len(found))]
    expected = [by_definition(waveform, rate, target, place, **FILTERS[resampler]) for place in places]
    np.testing.assert_allclose(found[places], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("resampler", FILTERS)
@pytest.mark.parametrize(
    ("rate", "target"),
    [
        (22_254, 16_000),
        (1999, 32_000),
        pytest.param(11_127, 16_000, marks=pytest.mark.slow),
        pytest.param(44_099, 16_000, marks=pytest.mark.slow),
        pytest.param(15_999, 32_000, marks=pytest.mark.slow),
    ],
)
def test_rates_without_a_common_factor(resampler: resampling.Resampler, rate: int, target: int) -> None:
    """Up to torchaudio's own rounding of times, which are in float32."""
    check_by_definition(resampler, rate, target, 5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("resampler", FILTERS)
def test_rates_that_torchaudio_cannot_do_are_exact(resampler: resampling.Resampler) -> None:
    check_by_definition(resampler, 383_999, 16_000, 2e-6)


@pytest.mark.parametrize("resampler", FILTERS)
def test_exact_times(monkeypatch: pytest.MonkeyPatch, resampler: resampling.Resampler) -> None:
    monkeypatch.setattr(resampling, "MAX_KERNEL", 0)
    monkeypatch.setattr(resampling, "MAX_PRODUCT", 0)
    check_by_definition(resampler, 22_254, 16_000, 2e-6)
    check_by_definition(resampler, 1999, 16_000, 2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("resampler", ["torchaudio", "torchaudio-kaiser", "decimate"])
@pytest.mark.parametrize(
    ("rate", "target"), [(44_100, 16_000), (16_000, 44_100), (1201, 16_000), (4001, 16_000), (16_001, 4000)]
)
def test_kernels_by_block_give_the_same_samples_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, resampler: resampling.Resampler, rate: int, target: int
) -> None:
    waveforms = [torch.randn(length) for length in (3, rate // 3, 3 * rate + 17)]
    expected = [resample(waveform, rate, target, resampler) for waveform in waveforms]
    monkeypatch.setattr(resampling, "MAX_KERNEL", 0)
    for waveform, samples in zip(waveforms, expected, strict=True):
        assert torch.equal(resample(waveform, rate, target, resampler), samples)


@pytest.mark.parametrize("resampler", FILTERS)
@pytest.mark.parametrize(("old", "new"), [(441, 160), (1201, 800), (800, 1201), (767, 3), (3, 767)])
def test_kernels_are_those_of_a_single_product_to_the_bit(resampler: resampling.Resampler, old: int, new: int) -> None:
    """Only the windows of 64 phases at a time are computed, as one number stands outside them."""
    sinc = resampling._Sinc(old, new, **({"beta": None} | FILTERS[resampler]))
    assert torch.equal(resampling._kernels(sinc, 0, new), sinc.values((0, new), (0, sinc.taps)))


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's largest size from its kernel")
@pytest.mark.parametrize(("resampler", "rate"), [("torchaudio", 22_254), ("resampy", 191_999)])
def test_the_memory_of_odd_rates_is_bounded(resampler: str, rate: int) -> None:
    """The kernel would take 360 MB, and 2 GB to compute; resampy's blocks lay in memory with holes, of 500 MB."""
    script = (
        "import resource, torch; from audiogen_metrics.audio.resampling import resample;"
        "size = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024;"
        f"waveform = torch.randn(2 * {rate}); resample(waveform, 48_000, 16_000, {resampler!r}); before = size();"
        f"assert len(resample(waveform, {rate}, 16_000, {resampler!r})) == 32_000; print(size() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150
