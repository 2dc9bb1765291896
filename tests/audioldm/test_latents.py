"""Training clips: what is cached is not decoded again, and processes share the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen_metrics.audioldm import latents
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.latents import TrainingClips
from audiogen_metrics.datasets.base import DatasetClip
from audiogen_metrics.datasets.folder import read_folder
from audiogen_metrics.errors import DataError
from tests.places import REFERENCE

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

EXAMPLES = REFERENCE


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return nine real recordings, of which some are longer than what the denoiser sees."""
    root = tmp_path_factory.mktemp("sounds")
    for file in sorted(path for path in EXAMPLES.rglob("*") if path.is_file())[::4][:9]:
        (root / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, root / file.parent.name / file.name)
    return root


@pytest.fixture(autouse=True)
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are decoded, in any order."""
    monkeypatch.setenv("AGM_CACHE_DIR", str(tmp_path / "cache"))
    names: list[str] = []
    decode = latents.decode

    def noted(path: Path, content: bytes) -> Any:
        names.append(path.name)
        return decode(path, content)

    monkeypatch.setattr(latents, "decode", noted)
    return names


def prepare(model: AudioLDM, clips: list[DatasetClip], condition: Any = "text") -> TrainingClips:
    return TrainingClips(model, clips, condition, seconds=1.28)


def same(one: Any, other: Any) -> bool:
    pairs = zip(one, other, strict=True)
    return one.keys() == other.keys() and all(a == b and torch.equal(one[a], other[b]) for a, b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["text", "audio"])
def test_a_second_start_decodes_nothing(model: AudioLDM, sounds: Path, decoded: list[str], condition: str) -> None:
    clips = list(read_folder(sounds).clips)
    first = prepare(model, clips, condition)
    assert sorted(decoded) == sorted(clip.path.name for clip in clips if clip.path)
    assert 0 < first.cropped < len(clips)
    decoded.clear()
    # Also where the files have other names: content is what counts.
    moved = sounds.parent / f"moved-{condition}"
    shutil.copytree(sounds, moved)
    again = prepare(model, list(read_folder(moved).clips), condition)
    assert decoded == []
    assert same(again._moments, first._moments)
    assert same(again._conditions, first._conditions)
    assert (again.digests, again.cropped) == (first.digests, first.cropped)
    # Of a damaged entry the clip is decoded, and no other.
    file = sorted(first.folder.glob("*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:-1])
    healed = prepare(model, clips, condition)
    assert len(decoded) == 1
    assert same(healed._moments, first._moments)


def test_all_that_cannot_be_used_is_named_in_order(model: AudioLDM, sounds: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sounds, tmp_path / "own"))
    (root / "a.wav").write_text("<html>404</html>")
    (root / "zz.wav").write_bytes(b"")
    shutil.copy(sorted(path for path in sounds.rglob("*") if path.is_file())[0], root / "b.wav")
    clips = list(read_folder(root).clips)
    (root / "b.wav").unlink()
    with pytest.raises(DataError, match=r"3 of 12 clips cannot be used: a \(.*\), b \(cannot be read.*\), zz \("):
        prepare(model, clips)


@pytest.mark.slow
@pytest.mark.usefixtures("decoded")
def test_processes_share_the_clips(model: AudioLDM, tiny: Path, sounds: Path, tmp_path: Path) -> None:
    """Each decodes its own, in blocks; both have all, to the bit as one has; an error of one is that of both."""
    broken = Path(shutil.copytree(sounds, tmp_path / "broken"))
    bad = sorted(path for path in broken.rglob("*") if path.is_file())[1]
    bad.write_text("<html>404</html>")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["-m", "tests.audioldm.sharing", *map(str, (tiny, sounds, broken, tmp_path))]
    done = subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    processes = [json.loads((tmp_path / f"process-{rank}.json").read_text()) for rank in (0, 1)]
    found = [torch.load(tmp_path / f"clips-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for condition in ("text", "audio"):
        alone = prepare(model, list(read_folder(sounds).clips), condition)
        names = [clip.path.name for clip in alone.clips if clip.path]
        for rank in (0, 1):
            # Of the second condition only the long ones are known, and those that fit need CLAP.
            own = {name for index, name in enumerate(names) if index % 2 == rank}
            fits = {name for index, name in enumerate(names) if index in alone._moments}
            decoded = processes[rank]["decoded"]
            assert sorted(decoded[condition]) == sorted(own if condition == "text" else own & fits)
            assert decoded[f"{condition} again"] == []
            for turn in (condition, f"{condition} again"):
                moments, conditions, digests = found[rank][turn]
                assert same(moments, alone._moments)
                assert same(conditions, alone._conditions)
                assert list(digests.items()) == list(alone.digests.items())
    (error,) = {each["error"] for each in processes}
    assert error.startswith(f"data: 1 of 9 clips cannot be used: {bad.parent.name}/{bad.stem} (")
