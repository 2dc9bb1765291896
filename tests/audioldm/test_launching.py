"""Started by accelerate: the same training as by torchrun, and what its configuration may not ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from audiogen_metrics.audioldm.devices import make_accelerator
from audiogen_metrics.errors import UsageError
from tests.audioldm.test_finetuning import assert_same_to_the_bit, evaluated

ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
PLAIN = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
CONFIGURATION = """compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_machines: 1
num_processes: 2
machine_rank: 0
gpu_ids: all
mixed_precision: bf16
use_cpu: false
"""


def run(command: list[str], tmp_path: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AGM_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"last_step": 6') <= 1
    return done.stderr


@pytest.mark.slow
def test_accelerate_trains_as_torchrun_does(tiny: Path, sounds: Path, tmp_path: Path) -> None:
    """Two processes on a CPU: --cpu starts one, --multi_gpu two, which --device cpu keeps there."""
    (tmp_path / "accelerate.yaml").write_text(CONFIGURATION)
    agm = ["-m", "audiogen_metrics", "finetune"]
    launchers = {
        "torchrun": [*TORCHRUN, "29541"],
        "flags": [*ACCELERATE, "--multi_gpu", "--num_processes", "2", *PLAIN, "--main_process_port", "29542"],
        "file": [*ACCELERATE, "--config_file", str(tmp_path / "accelerate.yaml"), "--main_process_port", "29543"],
    }
    said = {}
    for name, launcher in launchers.items():
        values = vars(evaluated(tiny, sounds, tmp_path / name))
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
        said[name] = run([*launcher, *agm, str(path), "--processes", "2"], tmp_path)
    for name in ("flags", "file"):
        assert_same_to_the_bit(tmp_path / "torchrun", tmp_path / name)
        ours, theirs = ((tmp_path / each / "history.jsonl").read_text() for each in (name, "torchrun"))
        assert ours == theirs
    assert "ACCELERATE_MIXED_PRECISION=bf16 has no effect: --precision no counts" in said["file"]
    assert "no effect" not in said["flags"]


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_networks_are_not_split_over_processes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(UsageError, match=f"{name}: accelerate is told to use .* each process needs the whole network"):
        make_accelerator("cpu", "no")


@pytest.mark.slow
def test_accumulation_is_the_run_s_own() -> None:
    """In a process of its own: what accelerate knows lasts as long as the process."""
    code = (
        "from audiogen_metrics.audioldm.devices import make_accelerator\n"
        "assert make_accelerator('cpu', 'no').gradient_accumulation_steps == 1"
    )
    environment = {**os.environ, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4 has no effect: accumulation is a setting of the run" in done.stderr
    assert "ACCELERATE_DYNAMO_BACKEND=INDUCTOR has no effect" in done.stderr


@pytest.mark.slow
def test_every_process_can_write_a_random_model(tmp_path: Path) -> None:
    """Of several processes transformers lets only the first one write; the model has been without weights then."""
    code = tmp_path / "write.py"
    code.write_text(
        "import os, sys\nimport torch.distributed as dist\n"
        "from audiogen_metrics.audioldm import write_tiny\n"
        "dist.init_process_group('gloo')\n"
        "write_tiny(sys.argv[1] + '/' + os.environ['RANK'])\ndist.destroy_process_group()\n"
    )
    run([*TORCHRUN, "29544", str(code), str(tmp_path)], tmp_path)
    first, second = (
        {path.relative_to(tmp_path / rank): path.read_bytes() for path in (tmp_path / rank).rglob("*.*")}
        for rank in ("0", "1")
    )
    assert first == second
    assert any("text_encoder" in path.parts and path.suffix == ".safetensors" for path in first)
