"""From decoded audio to a backbone's waveform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiogen_metrics.audio.decoding import Audio, decode
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


def test_what_is_cut_off_does_not_stay_in_memory() -> None:
    cut = prepare(Audio(STEREO, 16_000), Preprocessing(16_000, maximum_samples=100))
    assert cut.shape == (100,)
    assert cut.untyped_storage().nbytes() == 400


# container, subtype
FILES = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "ULAW"),
    ("WAV", "MS_ADPCM"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("CAF", "ALAC_32"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(
    ("container", "subtype"), FILES, ids=[f"{container}-{subtype}" for container, subtype in FILES]
)
def test_sixteen_bits_of_a_file_are_libsndfiles(tmp_path: Path, container: str, subtype: str) -> None:
    """Which scales, rounds and clips (or wraps) in a way of its own for each codec."""
    path = tmp_path / "clip"
    loud = np.random.default_rng(0).normal(0, 0.5, (32_000, 2)).clip(-1, 1)
    soundfile.write(path, loud, 16_000, format=container, subtype=subtype)
    expected = soundfile.read(path, dtype="int16")[0][:, 0] / 2**15
    audio = decode(path, path.read_bytes(), integers=True)
    found = prepare(audio, Preprocessing(16_000, remove_dc=False, sixteen_bit="file"))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found, expected)
    # Nothing else hears the integers.
    floats = prepare(decode(path, path.read_bytes()), Preprocessing(16_000, remove_dc=False))
    np.testing.assert_array_equal(prepare(audio, Preprocessing(16_000, remove_dc=False)), floats)


def test_sixteen_bits_of_a_chain_are_those_of_its_links(tmp_path: Path) -> None:
    content = b""
    for name, subtype in (("a", "VORBIS"), ("b", "OPUS")):
        noise = np.random.default_rng(0).normal(0, 0.1, (32_000, 2 if name == "a" else 1))
        soundfile.write(tmp_path / name, noise, 16_000, format="OGG", subtype=subtype)
        content += (tmp_path / name).read_bytes()
    links = [soundfile.read(tmp_path / name, dtype="int16", always_2d=True)[0][:, 0] for name in "ab"]
    audio = decode(tmp_path / "chain.ogg", content, integers=True)
    assert audio.integers is not None
    np.testing.assert_array_equal(audio.integers[:, 1][32_000:], links[1])
    np.testing.assert_array_equal(audio.integers[:, 0], np.concatenate(links))


def test_floats_are_cut_off_to_sixteen_bits() -> None:
    audio = Audio(STEREO, 16_000)
    found = prepare(audio, Preprocessing(16_000, remove_dc=False, sixteen_bit="file"))
    np.testing.assert_array_equal(found, np.floor(STEREO[:, 0] * 2**15).clip(max=2**15 - 1) / 2**15)
