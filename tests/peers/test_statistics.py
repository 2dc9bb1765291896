"""fadtk's FMA-Pop file itself: read, checked, and the distances between its networks. AGM_FADTK_WHEEL says where."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audiogen_metrics.functional import frechet_distance
from benchmarks.others_references import opened

pytestmark = [pytest.mark.peers, pytest.mark.slow]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    given = os.environ.get("AGM_FADTK_WHEEL")
    if given is not None:
        return Path(given)
    folder = tmp_path_factory.mktemp("fadtk")
    command = [sys.executable, "-m", "pip", "download", "fadtk==1.1.0", "--no-deps", "-q", "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"fadtk 1.1.0 cannot be downloaded: {done.stderr[-200:]}")
    return next(folder.glob("*.whl"))


def test_fma_pop(wheel, tmp_path):
    held = opened(wheel, tmp_path)
    assert len(held.moments) == 21

    def between(gen: str, ref: str) -> float:
        return frechet_distance(held.gaussian(gen), held.gaussian(ref)).value

    assert between("clap-laion-audio", "clap-laion-music") == pytest.approx(1.47560078, rel=1e-8)
    assert between("MERT-v1-95M", "MERT-v1-95M-11") == pytest.approx(39.7007813, rel=1e-8)
    for name in ("vggish", "clap-2023", "dac-44kHz", "MERT-v1-95M-11"):
        variance = float(held.gaussian(name).factor.square().sum())
        assert 0 <= between(name, name) < 1e-12 * variance
