"""fadtk's FMA-Pop file itself: read, checked, and the distances between its networks. AGM_FADTK_WHEEL says where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from audiogen_metrics.functional import frechet_distance
from benchmarks.others_references import opened

WHEEL = os.environ.get("AGM_FADTK_WHEEL")

pytestmark = [pytest.mark.peers, pytest.mark.slow]


@pytest.mark.skipif(WHEEL is None, reason="needs the wheel: pip download fadtk==1.1.0 --no-deps")
def test_fma_pop(tmp_path: Path) -> None:
    held = opened(Path(str(WHEEL)), tmp_path)
    assert len(held.moments) == 21

    def between(gen: str, ref: str) -> float:
        return frechet_distance(held.gaussian(gen), held.gaussian(ref)).value

    assert between("clap-laion-audio", "clap-laion-music") == pytest.approx(1.47560078, rel=1e-8)
    assert between("MERT-v1-95M", "MERT-v1-95M-11") == pytest.approx(39.7007813, rel=1e-8)
    for name in ("vggish", "clap-2023", "dac-44kHz", "MERT-v1-95M-11"):
        variance = float(held.gaussian(name).factor.square().sum())
        assert 0 <= between(name, name) < 1e-12 * variance
