"""Two real processes give the numbers of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audiogen_metrics import FAD
from tests import distributed_worker as worker

# torchmetrics warns on a process that has no clips of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning"),
    pytest.mark.slow,  # two processes that import torch
]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each of two processes computed."""
    rendezvous = tmp_path_factory.mktemp("ddp") / "rendezvous"
    command = [sys.executable, "-W", "ignore", "-m", "tests.distributed_worker"]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(rendezvous), str(ROOT / "examples")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(text) for text, _ in outputs]


@pytest.fixture(scope="module")
def alone() -> Any:
    """What one process computes."""
    metrics = worker.suite()
    worker.update(metrics, list(range(30)))
    return worker.values(metrics)


@pytest.mark.parametrize("case", ["uneven", "empty", "swapped", "repeats"])
def test_two_processes_give_the_numbers_of_one(results: Any, alone: Any, case: Any) -> None:
    for rank in range(2):
        assert results[rank][case] == pytest.approx(alone, rel=1e-9)


def test_real_audio_gives_the_numbers_of_one_process(results: Any) -> None:
    assert results[0]["audio"] == results[1]["audio"]
    metrics = worker.suite()
    alone = metrics_of_all_audio(metrics)
    assert results[0]["audio"] == pytest.approx(alone, rel=1e-9)


def metrics_of_all_audio(metrics: Any) -> Any:
    import soundfile
    import torch

    from audiogen_metrics.audio.files import scan

    for side, folder in {"gen": "generated", "ref": "reference"}.items():
        for clip in scan(ROOT / "examples" / folder).clips:
            if clip.clip_id.startswith(("bd/", "drum/", "elec/")):
                samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
                metrics.update(**{side: torch.from_numpy(samples).mean(dim=1)}, sample_rate=rate, ids=[clip.clip_id])
    return worker.values(metrics)


def test_a_reference_folder_is_embedded_in_shares(results: Any) -> None:
    first, second = (result["folder"] for result in results)
    assert first["values"] == second["values"]
    assert first["values"][0] == first["values"][1]
    assert {first["n_ref"], second["n_ref"]} == {40}
    assert sorted([first["embedded"], second["embedded"]]) == [20, 20]
    metric = FAD(protocol="yamnet", ref=ROOT / "examples" / "reference")
    rows = torch.zeros(30, 6, 1024, dtype=torch.float64)
    rows[..., :12] = worker.features()[0]["gen"]["windows"]
    metric.update(gen_embeddings=rows)
    assert first["values"][0] == pytest.approx(float(metric.compute()), rel=1e-6)


def test_is_and_kl_without_ids_are_an_error_and_fd_is_not(results: Any, alone: Any) -> None:
    for rank in range(2):
        assert "is_yamnet on 2 processes" in results[rank]["nameless is"]
        assert "Pass ids" in results[rank]["nameless kl"]
        assert results[rank]["nameless fd"] == pytest.approx(alone["fd_yamnet"], rel=1e-9)


def test_repeats_that_were_folded_on_two_processes_are_an_error(results: Any) -> None:
    assert all("streaming=False" in result["folded repeats"] for result in results)


def test_clips_that_every_process_was_given_are_an_error_without_ids(results: Any) -> None:
    for result in results:
        assert "27 clips without ids are on several processes" in result["gathered fd"]
        assert "gather_for_metrics" in result["gathered fd"]
        assert "on several processes" in result["gathered fad"]  # of which most was folded away


def test_one_content_on_two_processes_is_a_warning(results: Any) -> None:
    """It may be silence, which a young generator makes often."""
    for result in results:
        assert result["single repeat"] == 23
        assert any("counts more than once" in text for text in result["single repeat warns"])


def test_another_width_on_another_process_is_an_error_and_no_hang(results: Any) -> None:
    assert all("dimensions [3, 4]" in result["widths"] for result in results)


def test_metrics_go_on_after_an_error(results: Any) -> None:
    assert not any(any(result["goes on"]) for result in results)
