"""The paper's tables and figures in small: ``python -m benchmarks.paper_tiny OUT``, from the project's folder.

Builds sets in the shape of ESC-50 and UrbanSound8K from the recordings in examples/, then runs both tables and both
figures with the tiny random model and the embedded backbone. The numbers mean nothing but that the machinery works.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audiogen_metrics.cli.main import main
from tests.datasets import miniatures

CLASSES = (
    "dog",
    "rain",
    "crying_baby",
    "clock_tick",
    "siren",
    "crow",
    "wind",
    "engine",
    "church_bells",
    "hen",
    "frog",
    "sheep",
)
TRAINING = ("steps=40", "eval_every=10", "batch_size=4", "learning_rate=0.003", "warmup=5", "ema=0.9", "seconds=2.56")


def run(out: Path, *options: str) -> int:
    """Build the sets below ``out`` once, and run the benchmark into ``out/results``."""
    esc50, urbansound8k = out / "ESC-50", out / "UrbanSound8K"
    if not (esc50 / "meta" / "esc50.csv").exists():
        miniatures.esc50(esc50, CLASSES, per_class=3)
    if not (urbansound8k / "metadata" / "UrbanSound8K.csv").exists():
        miniatures.urbansound8k(urbansound8k, per_class=12)
    arguments = ["bench", "all", "-o", str(out / "results"), "--device", "cpu"]
    arguments += ["--root", f"esc50={esc50}", "--root", f"urbansound8k={urbansound8k}"]
    arguments += ["--split", "esc50=paper:12", "--split", "urbansound8k=paper:12"]
    arguments += ["--model", "tiny-random", "--protocol", "yamnet", "--steps", "5", "--seconds", "2"]
    arguments += ["--repeats", "2", "--fractions", "0:1:0.25", *(f"--train={setting}" for setting in TRAINING)]
    return main([*arguments, *options])


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), *sys.argv[2:]))
