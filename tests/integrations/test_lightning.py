"""Real trainings by Lightning, on one and on two processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integrations.lightning_run import train
from tests.integrations.training import Noise, assert_logged, evaluation, events, folders, history, references


@pytest.fixture(scope="module")
def ref(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return references(tmp_path_factory.mktemp("lightning") / "ref")


@pytest.mark.slow
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_one_process(package: str, ref: Path, tmp_path: Path) -> None:
    trainer, module, callback = train(package, ref, tmp_path)
    assert trainer.global_step == 6
    assert_logged(events(tmp_path / "board"), tmp_path / "scores", [2, 4, 6])
    entries = history(tmp_path / "scores")
    values = {entry["step"]: entry["scores"]["fd_yamnet"] for entry in entries}
    best = min(values, key=values.__getitem__)
    assert folders(tmp_path / "scores", "checkpoint") == [best]
    kept = torch.load(tmp_path / "scores" / f"{best:07d}" / "checkpoint" / "checkpoint.ckpt", weights_only=False)
    assert kept["global_step"] == best
    # Lightning's own callbacks see the value.
    assert trainer.checkpoint_callback.best_model_score == pytest.approx(values[best], rel=1e-6)
    assert f"step={best}" in trainer.checkpoint_callback.best_model_path
    assert callback.last.step == 6
    # The training is the one without evaluations.
    _, undisturbed, _ = train(package, ref, tmp_path / "without", every=100)
    assert undisturbed.drawn == module.drawn
    assert torch.equal(undisturbed.model.gain, module.model.gain)


def run(ref: Path, output: Path, *more: str) -> list[dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "tests.integrations.lightning_run",
        "lightning.pytorch",
        str(ref),
        str(output),
        "2",
    ]
    done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((output / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes(ref: Path, tmp_path: Path) -> None:
    first, second = run(ref, tmp_path)
    assert first["scalars"] == second["scalars"]
    assert first["is_best"] == second["is_best"]
    assert first["problem"] == second["problem"] == ""
    assert first["gain"] == second["gain"]
    assert_logged(events(tmp_path / "board"), tmp_path / "scores", [2, 4, 6])
    assert len(history(tmp_path / "scores")) == 3
    clips = tmp_path / "scores" / "0000006" / "clips"
    assert len(list(clips.glob("*.wav"))) == len((clips / "manifest.jsonl").read_text().splitlines()) == 12
    # One process makes and scores the same clips.
    alone = Noise()
    alone.gain.data.fill_(first["gain"])
    outcome = evaluation(alone, ref, tmp_path / "alone", page=False).run(6, alone)
    assert outcome.scalars("eval/") == pytest.approx(first["scalars"], rel=1e-5)


@pytest.mark.slow
def test_a_clip_that_fails_on_one_of_two_processes(ref: Path, tmp_path: Path) -> None:
    first, second = run(ref, tmp_path, "fail")
    assert first["steps"] == second["steps"] == 6
    assert first["problem"] == second["problem"] == "RuntimeError: one clip fails"
    said = [text for text in first["warnings"] if "has failed" in text]
    assert len(said) == 3
    assert not [text for text in second["warnings"] if "has failed" in text]
    assert [entry["error"] for entry in history(tmp_path / "scores")] == ["RuntimeError: one clip fails"] * 3
