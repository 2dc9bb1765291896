"""A sample of benchmarks/decode_parity.py that needs libsndfile only, and the classes of that grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audiogen_metrics.audio.decoding import decode
from benchmarks.decode_parity import (
    UNEXPLAINED,
    Case,
    _is_sound,
    _of_equal_length,
    _of_other_length,
    cases,
    sound,
    write,
)

EXACT = {"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_16", "ALAC_24", "DWVW_16"}
PATH = Path("clip")


def sample() -> Iterator[Case]:
    """One file of each container and codec, of another rate and layout each time."""
    seen = set()
    forms = ((16_000, 1, 1777), (44_100, 2, 31_111), (11_127, 1, 1777), (96_000, 2, 1), (48_000, 6, 1777))
    for case in cases():
        if case.writer == "libsndfile" and (case.container, case.codec) not in seen:
            rate, channels, length = forms[len(seen) % len(forms)]
            seen.add((case.container, case.codec))
            if case.container == "OGG":  # channels are coupled, and one of them has low tones only
                channels = min(channels, 2)
            yield replace(case, rate=rate, channels=channels, length=length, tagged=len(seen) % 2 == 0)


@pytest.mark.parametrize("case", list(sample()), ids=lambda case: f"{case.container} {case.codec}")
def test_what_libsndfile_writes(tmp_path: Path, case: Case) -> None:
    """Some codecs take one channel or few rates, and some containers no tags."""
    content = write(case, tmp_path)
    if content is None:
        case = replace(case, rate=16_000, channels=1, length=1777, tagged=False)
        content = write(case, tmp_path)
    assert content is not None
    audio = decode(tmp_path / f"clip{case.suffix}", content)
    assert audio.sample_rate == case.rate
    assert audio.samples.shape[1] == case.channels
    if case.codec in EXACT:
        np.testing.assert_array_equal(audio.samples, sound(case))
    else:
        assert 0 <= len(audio.samples) - case.length < 2048
        assert _is_sound(case, audio.samples) or case.length == 1


CASE = Case("libsndfile", "WAV", "PCM_16", ".wav", "", 16_000, 2, 20_000, "file", False)
NOISE = np.random.default_rng(0).normal(0, 0.1, (20_000, 6)).astype(np.float32)


def test_the_classes_of_the_grid() -> None:
    """A difference is never explained by being small alone."""

    def name(case: Case, other: np.ndarray, ours: np.ndarray = NOISE) -> str:
        if len(ours) == len(other):
            return _of_equal_length(case, ours, other, case.rate, PATH).name
        return _of_other_length(case, ours, other, case.rate, PATH).name

    surround, vorbis = replace(CASE, channels=6), replace(CASE, container="OGG", codec="VORBIS")
    assert name(CASE, NOISE) == "equal"
    assert name(CASE, NOISE + np.float32(1e-7)) == "rounding"
    assert name(CASE, NOISE + np.float32(1e-6)) == UNEXPLAINED
    assert name(vorbis, NOISE + np.float32(1e-6)) == "rounding"
    assert name(CASE, NOISE[:, [0, 2, 1, 4, 5, 3]]) == UNEXPLAINED
    assert name(surround, NOISE[:, [0, 2, 1, 4, 5, 3]]) == "order of channels"
    assert name(surround, NOISE[:, [0, 2, 1, 4, 5, 5]]) == UNEXPLAINED
    assert name(CASE, np.concatenate([NOISE, 0 * NOISE[:100]])) == "encoder's padding"
    assert name(CASE, np.concatenate([NOISE[1:], 0 * NOISE[:100]])) == UNEXPLAINED
    assert name(CASE, NOISE[:-1]) == UNEXPLAINED
    assert name(CASE, NOISE[:-1], NOISE[:-2]) == UNEXPLAINED
    cut = replace(CASE, container="MP3", codec="-b 128", rate=44_100, way="cut out of a stream")
    changed = NOISE.copy()
    changed[:3000] = 0
    assert name(cut, changed) == "beginning of a cut stream"
    changed[-1] = 0
    assert name(cut, changed) == UNEXPLAINED
