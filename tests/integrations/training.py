"""What trains in these tests: noise that learns its loudness, scored on YAMNet against twelve recordings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from audiogen_metrics.generation.base import FunctionGenerator, Request
from audiogen_metrics.integrations.periodic import PeriodicEvaluation
from audiogen_metrics.results import ScoreReport
from tests.conftest import EXAMPLES

RATE = 16_000
WANTED = 0.2


class Noise(nn.Module):
    """White noise whose loudness is learnt; a part of it is frozen, another one draws at random while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.01))
        self.dropout = nn.Dropout(0.1)
        self.frozen = nn.BatchNorm1d(1, affine=False).eval()

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.gain * noise)

    def loss(self, noise: torch.Tensor) -> torch.Tensor:
        return (self(noise).std() - WANTED) ** 2

    def sample(self, request: Request) -> torch.Tensor:
        """Draw from torch's own random numbers, as most models do."""
        assert not self.training
        assert not torch.is_grad_enabled()
        return self(torch.randn(int(request.seconds * RATE)))


def references(folder: Path, count: int = 12) -> Path:
    clips = sorted(path for path in (EXAMPLES / "reference").rglob("*") if path.is_file())[:: 40 // count][:count]
    folder.mkdir(parents=True)
    for clip in clips:
        shutil.copy(clip, folder / clip.name)
    return folder


def evaluation(model: Noise, ref: Path, folder: Path, **changes: Any) -> PeriodicEvaluation:
    """Return an evaluation every two steps; clips are called after recordings, so that they pair."""
    prompts = {path.stem: f"the sound of {path.stem}" for path in sorted(ref.iterdir())}
    options = {"protocol": "yamnet", "device": "cpu", "metrics": "fd,kl"} | changes.pop("options", {})
    generator = changes.pop("generator", FunctionGenerator(model.sample, RATE, {"system": "noise"}))
    given: dict[str, Any] = {"every": 2, "seconds": 1.0, "options": options} | changes
    return PeriodicEvaluation(generator, prompts, ref, folder, **given)


def events(folder: Path) -> dict[str, dict[int, float]]:
    """Return the scalars of all TensorBoard files below a folder, by name and step."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        board = EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()
        for name in board.Tags()["scalars"]:
            assert not found.get(name, {}).keys() & {event.step for event in board.Scalars(name)}, "logged twice"
            found.setdefault(name, {}).update({event.step: event.value for event in board.Scalars(name)})
    return found


def assert_logged(board: dict[str, dict[int, float]], scores: Path, steps: list[int], prefix: str = "eval/") -> None:
    """The files of TensorBoard hold what the reports hold, in float32, and nothing else under their prefix."""
    expected: dict[str, dict[int, float]] = {}
    for step in steps:
        for name, value in ScoreReport.load(scores / f"{step:07d}" / "report.json").scalars(prefix).items():
            expected.setdefault(name, {})[step] = float(torch.tensor(value, dtype=torch.float32))
    assert {f"{prefix}fd_yamnet", f"{prefix}kl_yamnet"} <= expected.keys()
    assert {name: values for name, values in board.items() if name.startswith(prefix)} == expected


def history(scores: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (scores / "history.jsonl").read_text().splitlines()]


def folders(scores: Path, name: str) -> list[int]:
    """Return the steps whose folder holds ``clips`` or ``checkpoint``."""
    return sorted(int(path.parent.name) for path in scores.glob(f"*/{name}"))
