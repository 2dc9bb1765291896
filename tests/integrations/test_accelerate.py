"""Real loops with accelerate, on one process and on two by torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tests.integrations.accelerate_run import train
from tests.integrations.training import assert_logged, events, folders, history, references

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.slow
def test_one_process(tmp_path: Path) -> None:
    ref = references(tmp_path / "ref")
    found = train(ref, tmp_path)
    assert [outcome["step"] for outcome in found["outcomes"]] == [2, 4, 6]
    assert_logged(events(tmp_path / "board"), tmp_path / "scores", [2, 4, 6])
    best = [outcome["step"] for outcome in found["outcomes"] if outcome["best"]][-1]
    assert folders(tmp_path / "scores", "checkpoint") == [best]
    assert history(tmp_path / "scores")[-1]["step"] == 6
    kept = load_file(tmp_path / "scores" / f"{best:07d}" / "checkpoint" / "model.safetensors")
    assert (float(kept["gain"]) == found["gain"]) == (best == 6)
    AcceleratorState._reset_state(reset_partial_state=True)
    without = train(ref, tmp_path / "without", every=100)
    assert without["outcomes"] == []
    assert (without["drawn"], without["gain"]) == (found["drawn"], found["gain"])
    assert torch.is_grad_enabled()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    ref = references(tmp_path / "ref")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "-m", "tests.integrations.accelerate_run", str(ref), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first["outcomes"] == second["outcomes"]
    assert len(first["outcomes"]) == 3
    assert first["gain"] == second["gain"]
    assert_logged(events(tmp_path / "board"), tmp_path / "scores", [2, 4, 6])
    assert len(history(tmp_path / "scores")) == 3
