"""The training-loop example runs, learns, and keeps its metrics out of its weights."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from tests.conftest import EXAMPLES


@pytest.fixture(scope="module")
def example():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("training_loop", EXAMPLES / "training_loop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_improve(example):
    history = example.main(epochs=2, batch=5)
    assert [list(scores) for scores in history] == 3 * [["fd_yamnet", "fad_yamnet", "is_yamnet", "kl_yamnet"]]
    assert all(math.isfinite(value) for scores in history for value in scores.values())
    for name in ("fd_yamnet", "fad_yamnet", "kl_yamnet"):
        assert history[-1][name] < history[0][name]


def test_metrics_stay_out_of_the_model(example):
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
