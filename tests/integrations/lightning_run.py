"""A training by Lightning: ``python -m tests.integrations.lightning_run PACKAGE REF OUTPUT DEVICES [fail]``."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from audiogen_metrics.generation.base import FunctionGenerator, Request
from tests.integrations.training import RATE, Noise, evaluation


def train(package: str, ref: Path, output: Path, devices: int = 1, fail: bool = False, **changes: Any) -> Any:
    """Train for six steps of two batches each, with and without evaluations; return trainer and callback."""
    pl = importlib.import_module(package)
    loggers = importlib.import_module(f"{package}.loggers")
    callbacks = importlib.import_module(f"{package}.callbacks")

    from audiogen_metrics.integrations.lightning import ScoreCallback

    class Module(pl.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = Noise()
            self.drawn: list[float] = []

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            assert self.model.training
            assert not self.model.frozen.training
            self.drawn.append(float(torch.rand(())))
            return self.model.loss(batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.5)

    def sample(request: Request) -> torch.Tensor:
        if fail and request.clip_id == runs._requests[-1].clip_id:  # on one of the processes
            raise RuntimeError("one clip fails")
        return module.model.sample(request)

    pl.seed_everything(3)
    module = Module()
    module.model.frozen.eval()
    runs = evaluation(module.model, ref, output / "scores", generator=FunctionGenerator(sample, RATE, {}), **changes)
    callback = ScoreCallback(runs)
    monitored = callbacks.ModelCheckpoint(output / "theirs", monitor="eval/fd_yamnet", every_n_train_steps=2)
    several = {"strategy": "ddp", "devices": devices} if devices > 1 else {"devices": 1}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=6,
        accumulate_grad_batches=2,
        log_every_n_steps=5,
        callbacks=[monitored, callback] if changes.get("every", 2) <= 6 and not fail else [callback],
        logger=loggers.TensorBoardLogger(output / "board", name="", version=""),
        enable_checkpointing=changes.get("every", 2) <= 6 and not fail,
        enable_progress_bar=False,
        enable_model_summary=False,
        **several,
    )
    batches = torch.randn(24, 4000, generator=torch.Generator().manual_seed(0))
    trainer.fit(module, torch.utils.data.DataLoader(batches))  # type: ignore[arg-type]
    return trainer, module, callback


if __name__ == "__main__":
    torch.set_num_threads(1)
    package, ref, output, devices, *fail = sys.argv[1:]
    with warnings.catch_warnings(record=True, action="always") as caught:
        trainer, module, callback = train(package, Path(ref), Path(output), int(devices), bool(fail))
    found = {
        "scalars": callback.last.scalars("eval/"),
        "problem": callback.last.problem,
        "is_best": callback.last.is_best,
        "gain": float(module.model.gain),
        "steps": trainer.global_step,
        "warnings": [str(each.message) for each in caught if each.category is UserWarning],
    }
    Path(output, f"rank{trainer.global_rank}.json").write_text(json.dumps(found))
