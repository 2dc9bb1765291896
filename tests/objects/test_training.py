"""The training-loop example runs, learns, and keeps its metrics out of its weights."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from audiogen_metrics import FAD, FD, IS, KL, MetricSuite
from audiogen_metrics.evaluation import reference_statistics
from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def example() -> Any:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("training_loop", EXAMPLES / "training_loop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_improve(example: Any) -> None:
    history = example.main(epochs=2, batch=5)
    assert [list(scores) for scores in history] == 3 * [["fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"]]
    assert all(math.isfinite(value) for scores in history for value in scores.values())
    for name in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        assert history[-1][name] < history[0][name]


def test_metrics_stay_out_of_the_model(example: Any) -> None:
    model = example.Vocoder()
    names, waveforms = example.recordings(EXAMPLES / "reference")
    model.eval()
    with torch.inference_mode():
        model.validation_step(names[:12], waveforms[:12])
    before = model.scores.compute()
    assert {name.split(".")[0] for name in model.state_dict()} == {"gains"}
    model.to(torch.bfloat16).train()
    model.scores.update(ref=waveforms[:1], sample_rate=example.RATE, ids=names[:1])  # a repeat: compute anew
    after = model.scores.compute()
    assert all(float(after[name]) == pytest.approx(float(before[name]), rel=1e-9) for name in before)


class Crossings(TorchFunctionMode):
    """Counts what would be copies from a device to the host, each of which makes the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        to_host = function is torch.Tensor.to and any(str(given) == "cpu" for given in args[1:])
        self.count += to_host or function is torch.Tensor.cpu
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Reference statistics of the examples, in a file."""
    file = tmp_path_factory.mktemp("statistics") / "reference.stats"
    reference_statistics(EXAMPLES / "reference", protocol="yamnet", metrics=["fd", "fad"]).save(file)
    return file


def test_a_batch_waits_for_the_device_as_often_as_one_clip(statistics: Any) -> None:
    waveforms = 0.1 * torch.randn(6, 16_000, generator=torch.Generator().manual_seed(0))
    loaded = FD(protocol="yamnet")
    loaded.update(gen=waveforms, sample_rate=16_000)  # a network is brought to its device once, and shared
    crossings = []
    for batch in (waveforms[:1], waveforms[1:]):
        suite = MetricSuite([metric(protocol="yamnet", ref=statistics) for metric in (FD, FAD)])
        with Crossings() as counted:
            suite.update(gen=batch, sample_rate=16_000)
        crossings.append(counted.count)
    assert crossings[0] == crossings[1]


@pytest.mark.parametrize("metric", [FD, FAD])
def test_batches_against_statistics_from_a_file_give_the_score_of_the_whole(
    example: Any, statistics: Any, metric: Any
) -> None:
    names, waveforms = example.recordings(EXAMPLES / "generated")
    loop = metric(protocol="yamnet", ref=statistics)
    whole = metric(protocol="yamnet", ref=statistics)
    for start in range(0, len(names), 7):
        part = slice(start, start + 7)
        loop.update(gen=waveforms[part], sample_rate=example.RATE, ids=names[part])
    whole.update(gen=waveforms, sample_rate=example.RATE, ids=names)
    assert float(loop.compute()) == pytest.approx(float(whole.compute()), rel=1e-5)
    assert loop.compute_score().n_gen == len(names)


@pytest.mark.slow
def test_transformers_trainer_hands_over_padded_clips(tmp_path: Path) -> None:
    """It gathers clips of unequal length as one array, filled up with −100."""
    transformers = pytest.importorskip("transformers", reason="the extra 'audioldm' is not installed")
    pytest.importorskip("accelerate", reason="the extra 'audioldm' is not installed")
    clips = [
        0.1 * torch.randn(16_000 + 1_600 * (index % 4), generator=torch.Generator().manual_seed(index))
        for index in range(12)
    ]

    class Halving(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, clip: Any, labels: Any) -> Any:
            made = clip * self.gain
            return {"loss": (made - labels).square().mean(), "made": made}

    def scored(gen: Any, ref: Any) -> Any:
        suite = MetricSuite([metric(protocol="yamnet") for metric in (FD, FAD, KL, IS)])
        suite.update(gen=gen, ref=ref, sample_rate=16_000)
        return {name: float(value) for name, value in suite.compute().items()}

    shapes = []

    def metrics(prediction: Any) -> Any:
        shapes.append(prediction.predictions.shape)
        return scored(prediction.predictions, prediction.label_ids)

    trainer = transformers.Trainer(
        model=Halving(),
        args=transformers.TrainingArguments(
            str(tmp_path), per_device_eval_batch_size=1, report_to=[], use_cpu=True, disable_tqdm=True
        ),
        eval_dataset=[{"clip": clip, "labels": clip} for clip in clips],
        compute_metrics=metrics,
    )
    found = trainer.evaluate()
    assert shapes == [(12, 20_800)]
    expected = scored([0.5 * clip for clip in clips], clips)
    assert {name: found[f"eval_{name}"] for name in expected} == pytest.approx(expected, rel=1e-9)
