"""Notes of a page: what makes its scores unusable stands first."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics import score
from audiogen_metrics.protocols import PROTOCOLS, get_protocol
from audiogen_metrics.report.weighing import REMARK, WEIGHTS, by_weight, kind_of
from tests.report.test_html import outline


def write(path: Path, sound: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, sound, rate)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sets of noise in which every kind of trouble occurs."""
    root, rng = tmp_path_factory.mktemp("troubled"), np.random.default_rng(0)
    gen, ref = root / "gen", root / "ref"
    for place in range(8):
        for folder in (gen, ref):
            write(folder / f"{place}.wav", rng.normal(0, 0.1, 16_000))
    write(gen / "silent night.wav", np.zeros(16_000))
    write(gen / "cut.wav", np.clip(rng.normal(0, 3, 16_000), -1, 1))
    write(gen / "slow.wav", rng.normal(0, 0.1, 64_000), 32_000)
    write(gen / "short.wav", rng.normal(0, 0.1, 8_000))
    shutil.copy(gen / "1.wav", gen / "again.wav")
    shutil.copy(ref / "0.wav", gen / "0.wav")
    (gen / "broken.wav").write_bytes(b"RIFF")
    return gen, ref


@pytest.mark.slow
def test_notes_stand_in_the_order_of_their_weight(troubled: tuple[Path, Path], tmp_path: Path) -> None:
    report = score(*troubled, protocol="yamnet")
    found = [kind_of(warning) for warning in report.warnings]
    # The words that tell kinds apart are those of real notes.
    assert {*found} >= {*WEIGHTS}
    notes = by_weight([report.caveat, *report.warnings])
    assert [kind_of(note) for note in notes] == sorted(map(kind_of, notes), key=[*WEIGHTS, REMARK].index)
    assert kind_of(notes[0]) == "one set twice"
    assert "silent (peak" in notes[1]
    report.to_html(tmp_path / "page.html")
    text = outline(tmp_path / "page.html").text
    places = [text.index(note) for note in notes]
    assert places == sorted(places)
    assert places[1] < text.index("more to read") < places[-1]


def test_what_a_clip_is_called_does_not_weigh() -> None:
    assert kind_of("gen: 1 of 9 clips clipped at full scale: silent night") == "samples cut off"


def test_what_a_protocol_always_says_is_a_remark() -> None:
    assert {kind_of(get_protocol(name).caveat) for name in PROTOCOLS} == {REMARK}
