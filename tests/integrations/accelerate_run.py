"""A loop with accelerate: ``python -m tests.integrations.accelerate_run REF OUTPUT``; also by torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from audiogen_metrics.integrations.accelerate import LoopScores
from tests.integrations.training import Noise, evaluation


def train(ref: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Train for six steps and return what one process has seen."""
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=output)
    accelerator.init_trackers("board")
    torch.manual_seed(3)
    model = Noise()
    model.frozen.eval()
    scores = LoopScores(evaluation(model, ref, output / "scores", **changes), accelerator)
    batches = torch.randn(24, 4000, generator=torch.Generator().manual_seed(0))
    prepared, optimizer, loader = accelerator.prepare(
        model, torch.optim.SGD(model.parameters(), 0.5), torch.utils.data.DataLoader(batches, batch_size=2)
    )
    outcomes, drawn = [], []
    for step, batch in zip(range(1, 7), loader, strict=False):
        drawn.append(float(torch.rand(())))
        loss = (prepared(batch).std() - 0.2) ** 2
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        outcome = scores.after(step, prepared)
        assert model.training
        assert not model.frozen.training
        if outcome is not None:
            outcomes.append({"step": step, "scalars": outcome.scalars("eval/"), "best": outcome.is_best})
            assert outcome.problem == ""
    accelerator.end_training()
    return {"outcomes": outcomes, "gain": float(model.gain.detach()), "drawn": drawn, "rank": accelerator.process_index}


if __name__ == "__main__":
    torch.set_num_threads(1)
    ref, output = map(Path, sys.argv[1:])
    found = train(ref, output)
    (output / f"rank{found['rank']}.json").write_text(json.dumps(found))
