"""From decoded audio to a backbone's waveform."""

from __future__ import annotations

import numpy as np

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preparation import Preprocessing, prepare

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
