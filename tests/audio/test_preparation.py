"""From decoded audio to a backbone's waveform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio.functional

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preparation import Preprocessing, prepare, resample
from audiogen_metrics.errors import AudioFileError

STEREO = np.stack([np.linspace(0, 1, 8000), np.full(8000, 0.5)], axis=1).astype(np.float32)


def test_channels_and_dc() -> None:
    audio = Audio(STEREO, 16_000)
    first = prepare(audio, Preprocessing(16_000, "first", remove_dc=False))
    mean = prepare(audio, Preprocessing(16_000, "mean", remove_dc=False))
    np.testing.assert_array_equal(first, STEREO[:, 0])
    np.testing.assert_allclose(mean, STEREO.mean(1), rtol=1e-6)
    centred = prepare(audio, Preprocessing(16_000, "first"))
    np.testing.assert_allclose(centred, STEREO[:, 0] - STEREO[:, 0].mean(), atol=1e-6)


def test_padding_is_on_the_right_and_only_where_short() -> None:
    audio = Audio(STEREO, 16_000)
    padded = prepare(audio, Preprocessing(16_000, remove_dc=False, minimum_samples=9000))
    assert padded.shape == (9000,)
    np.testing.assert_array_equal(padded[:8000], STEREO[:, 0])
    assert not padded[8000:].any()
    assert prepare(audio, Preprocessing(16_000, minimum_samples=100)).shape == (8000,)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_resampler_is_torchaudios_to_the_bit(rate: int) -> None:
    waveform = torch.randn(rate // 3, generator=torch.Generator().manual_seed(rate))
    expected = torchaudio.functional.resample(waveform, rate, 16_000)
    assert torch.equal(resample(waveform, rate, 16_000, "torchaudio"), expected)


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


def test_torchaudio_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from audiogen_metrics.audio.preparation import _resampler
    from audiogen_metrics.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "torchaudio.transforms", None)
    with pytest.raises(MissingDependencyError, match="torchaudio cannot be loaded beside torch"):
        _resampler.__wrapped__(7919, 16_000)
