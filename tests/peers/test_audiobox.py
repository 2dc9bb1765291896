"""Audiobox Aesthetics beside its authors' own code, on one random checkpoint in the published format.

The first test runs always, against what their code gave; the second runs it, where ``AGM_AUDIOBOX_PYTHON`` is a Python
with audiobox_aesthetics 0.0.4, and writes the outputs anew with ``AGM_WRITE_GOLDEN=1``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.evaluation import embed_folder
from audiogen_metrics.protocols import get_protocol
from tests.checkpoints import write_audiobox

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "audiobox.json"
PYTHON = os.environ.get("AGM_AUDIOBOX_PYTHON")

FORMS = {"short": (0.4, 48_000, 1), "three": (3.0, 16_000, 1), "ten": (10.0, 16_000, 1), "edge": (9.985, 32_000, 1),
         "stereo": (4.0, 44_100, 2), "long": (23.0, 16_000, 1)}  # fmt: skip
"""Seconds, rate and channels of each clip."""


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield write_audiobox(Path(folder))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed, (name, (seconds, rate, channels)) in enumerate(FORMS.items()):
        rng = np.random.default_rng(seed)
        time = np.arange(round(seconds * rate))[:, None] / rate
        tones = [np.sin(2 * np.pi * (pitch * time + rng.uniform(size=channels))) for pitch in rng.uniform(100, 4000, 3)]
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * time * rng.uniform(0.2, 2))
        samples = 0.1 * swell * sum(tones) + 10 ** rng.uniform(-3, -1) * rng.normal(size=(len(time), channels))
        soundfile.write(folder / f"{name}.wav", samples.clip(-1, 1), rate, "PCM_16")
    return folder


def ours(clips: Path, checkpoint: Path) -> dict[str, list[float]]:
    weights = {"audiobox-aesthetics": checkpoint}
    side, _ = embed_folder(clips, protocol="audiobox-aesthetics", weights=weights, cache=False, workers=0)
    features = side.features(get_protocol("audiobox-aesthetics").recipes["pq"])
    return {f"{clip}.wav": features.features[clip]["ratings"].tolist() for clip in features.clip_ids}


def theirs(path: Path) -> dict[str, list[float]]:
    ratings = json.loads(path.read_text(encoding="utf-8"))["ratings"]
    return {clip: [found[axis] for axis in AESTHETICS] for clip, found in ratings.items()}


@pytest.mark.slow
def test_ratings_are_what_the_authors_code_gave(clips: Path, checkpoint: Path) -> None:
    mine, known = ours(clips, checkpoint), theirs(GOLDEN)
    assert mine.keys() == known.keys() == {f"{name}.wav" for name in FORMS}
    assert np.std([*known.values()], axis=0).min() > 0.01, "clips must differ, or nothing is tested"
    for clip, ratings in known.items():
        assert mine[clip] == pytest.approx(ratings, abs=3e-5), clip


@pytest.mark.peers
@pytest.mark.skipif(PYTHON is None, reason="needs an environment with audiobox_aesthetics: AGM_AUDIOBOX_PYTHON")
def test_ratings_are_the_authors(clips: Path, checkpoint: Path, tmp_path: Path) -> None:
    files = sorted(clips.iterdir())
    command = [
        str(PYTHON),
        str(HERE / "run_audiobox.py"),
        str(checkpoint),
        str(tmp_path / "out.json"),
        *map(str, files),
    ]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    if os.environ.get("AGM_WRITE_GOLDEN"):
        GOLDEN.write_bytes((tmp_path / "out.json").read_bytes())
    mine, fresh = ours(clips, checkpoint), theirs(tmp_path / "out.json")
    differences = {clip: float(np.abs(np.subtract(mine[clip], fresh[clip])).max()) for clip in fresh}
    print(differences)
    assert max(differences.values()) <= 1e-5, differences
    assert theirs(GOLDEN).keys() == fresh.keys()
    for clip, ratings in fresh.items():
        assert theirs(GOLDEN)[clip] == pytest.approx(ratings, abs=3e-5)
