"""The self-test's way to FAD beside fadtk's own code: the same seeded clips, the same random VGGish.

The first test runs always, against what fadtk 1.1.0 gave; the last one runs it, where ``AGM_FADTK_PYTHON`` is a Python
with fadtk, torchaudio, torchvggish and scipy before 1.18, and writes the outputs anew with ``AGM_WRITE_GOLDEN=1``.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from audiogen_metrics.evaluation import embed_folder
from audiogen_metrics.evaluation.one_score import compute
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.selftest import selftest
from audiogen_metrics.selftest.clips import make_clips, write_clips
from tests.checkpoints import write_vggish
from tests.peers.parity import plain_frechet

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "fadtk"
PYTHON = os.environ.get("AGM_FADTK_PYTHON")

Rows = Mapping[str, npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vggish(tmp_path_factory.mktemp("weights") / "vggish.pth")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return write_clips(dict(make_clips()), tmp_path_factory.mktemp("clips"))


def theirs(stem: Path) -> tuple[dict[str, Any], Rows]:
    scores: dict[str, Any] = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(stem.with_suffix(".npz")) as content:
        return scores, {name: content[name].astype(np.float64) for name in content.files}


@pytest.mark.slow
def test_windows_and_distance_are_fadtks(folders: Mapping[str, Path], checkpoint: Path) -> None:
    """120 windows of each set, up to a step of float16, and the distance to 1e-5 of that of fadtk's rows.

    fadtk asks torchaudio's transform, which makes its filter in float64, and ours is torchaudio's function: one in a
    thousand samples goes to the other side when they are rounded to 16 bits. Its own score has the mean of each file
    rounded to float16 on the way. tests/selftest/test_selftest.py compares the self-test's value with it.
    """
    scores, rows = theirs(GOLDEN)
    recipe = get_protocol("fadtk").recipes["fad"]
    sides = {}
    for name, folder in folders.items():
        side, _ = embed_folder(folder, protocol="fadtk", weights={"vggish": checkpoint}, device="cpu", cache=False)
        sides[name] = side.features(recipe)
        mine = sides[name].rows("windows").double().numpy()
        assert mine.shape == rows[name].shape == (120, 128)
        assert np.abs(mine - rows[name]).max() <= 2 * np.spacing(np.float16(np.abs(mine).max()))
        assert np.linalg.norm(mine - rows[name]) <= 7e-4 * np.linalg.norm(rows[name])
    found = compute(recipe, sides["gen"], sides["ref"]).value
    assert found == pytest.approx(plain_frechet(rows["gen"], rows["ref"]), rel=1e-5)
    assert found == pytest.approx(scores["fad"], rel=1e-4)


@pytest.mark.peers
@pytest.mark.skipif(PYTHON is None, reason="needs an environment with fadtk: AGM_FADTK_PYTHON")
def test_outputs_are_fadtks(folders: Mapping[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [str(PYTHON), "-c", "import fadtk; print(fadtk.__path__[0])"], capture_output=True, text=True, check=True
    )
    out = tmp_path / "fadtk"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [str(PYTHON), "-m", "tests.peers.run_fadtk", str(checkpoint), *map(str, folders.values()), str(out)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    if os.environ.get("AGM_WRITE_GOLDEN"):
        for suffix in (".json", ".npz"):
            GOLDEN.with_suffix(suffix).write_bytes(out.with_suffix(suffix).read_bytes())
    fresh, committed = theirs(out), theirs(GOLDEN)
    for name, rows in committed[1].items():
        np.testing.assert_allclose(fresh[1][name], rows, rtol=0, atol=2e-3 * float(np.abs(rows).max()))
    statistics = Path(found.stdout.splitlines()[-1]) / "stats" / "fma_pop.npz"
    run = selftest(weights={"vggish": checkpoint}, fma_pop=statistics, device="cpu")
    ours = {each.answer.title: each.value for each in run.found}
    for title, key in (("FAD VGGish (fadtk)", "fad"), ("FAD VGGish (fadtk) to FMA-Pop", "fad_fma_pop")):
        assert ours[title] == pytest.approx(fresh[0][key], rel=1e-4)
