"""A real training by transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainingArguments

from audiogen_metrics.integrations.transformers import ScoreCallback
from tests.integrations.training import Noise, assert_logged, evaluation, events, folders, history, references

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class ForTrainer(nn.Module):
    """A model as the Trainer wants it: its loss in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Noise()
        self.drawn: list[float] = []

    def forward(self, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        assert self.model.training
        self.drawn.append(float(torch.rand(())))
        return {"loss": self.model.loss(noise)}


def train(ref: Path, output: Path, **changes: Any) -> tuple[Trainer, ForTrainer, ScoreCallback]:
    torch.manual_seed(3)
    model = ForTrainer()
    batches = torch.randn(24, 4000, generator=torch.Generator().manual_seed(0))
    arguments = TrainingArguments(
        output_dir=str(output / "theirs"),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=0.5,
        optim="sgd",
        logging_steps=2,
        save_strategy="no",
        report_to="tensorboard",
        disable_tqdm=True,
        use_cpu=True,
        seed=3,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=[{"noise": batch} for batch in batches])
    callback = ScoreCallback(evaluation(model.model, ref, output / "scores", **changes), trainer)
    trainer.add_callback(callback)
    trainer.train()
    return trainer, model, callback


@pytest.mark.slow
def test_trainer(tmp_path: Path) -> None:
    ref = references(tmp_path / "ref")
    trainer, model, callback = train(ref, tmp_path)
    board = events(tmp_path / "theirs")
    assert_logged(board, tmp_path / "scores", [2, 4, 6])
    assert sorted(board["train/loss"]) == [2, 4, 6]  # logging the scores takes nothing from what the trainer logs
    assert callback.last is not None
    logged = [entry for entry in trainer.state.log_history if "eval_fd_yamnet" in entry]
    assert [entry["step"] for entry in logged] == [2, 4, 6]
    assert logged[-1]["eval_fd_yamnet"] == callback.last.scalars()["fd_yamnet"]
    values = {entry["step"]: entry["scores"]["fd_yamnet"] for entry in history(tmp_path / "scores")}
    best = min(values, key=values.__getitem__)
    assert folders(tmp_path / "scores", "checkpoint") == [best]
    kept = load_file(tmp_path / "scores" / f"{best:07d}" / "checkpoint" / "model.safetensors")
    again = Noise()
    again.gain.data.copy_(kept["model.gain"])
    outcome = evaluation(again, ref, tmp_path / "again", page=False).run(best, again)
    assert outcome.scalars()["fd_yamnet"] == pytest.approx(values[best], rel=1e-9)
    _, undisturbed, _ = train(ref, tmp_path / "without", every=100)
    assert undisturbed.drawn == model.drawn
    assert torch.equal(undisturbed.model.gain, model.model.gain)
