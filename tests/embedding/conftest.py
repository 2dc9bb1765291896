"""Clips that are quickly embedded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import write_tone


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Three clips of one second."""
    for name in "abc":
        write_tone(tmp_path / "tones" / f"{name}.wav")
    return tmp_path / "tones"
