"""How long evaluation clips are made: as the recordings are, whatever their headers and names say."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from audiogen_metrics.audioldm.evaluating import seconds_of
from audiogen_metrics.errors import DataError
from tests.datasets import miniatures


def test_a_streamed_file_is_as_long_as_it_sounds(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    miniatures.write(path, miniatures.recording(0, 1.237, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[4:8] = content[place : place + 4] = bytes(4)  # who writes into a pipe does not know the length
    path.write_bytes(content)
    assert soundfile.info(path).duration == 0
    assert seconds_of(path) == 1.24
    miniatures.write(path, miniatures.recording(0, 12.0, 16_000), 16_000)
    assert seconds_of(path) == 10.24


@pytest.mark.parametrize("name", ["x.wav", "x.raw", "x.m4a", "x", "none/x.wav"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(1000)])
def test_what_is_no_audio_is_an_error_of_the_data(tmp_path: Path, name: str, content: bytes) -> None:
    if "/" not in name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        seconds_of(tmp_path / name)
    with pytest.raises(DataError):
        seconds_of(tmp_path)
