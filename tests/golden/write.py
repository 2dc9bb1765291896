"""Every metric of every protocol on the examples, on seeded random checkpoints.

``python -m tests.golden.write FILE`` writes what the present code gives; ``tests/test_golden.py`` compares with
``scores.json``, written before the faults of docs/reliability.md were mended; since then only FAD of audioldm-0.0.3 and
2023-02 moved, on lossy files, KID of av-benchmark, which takes all clips now, and intervals. On the machine that wrote
the file, a change of code that is about no value changes none by more than 1e-12; on another processor, convolutions
round differently.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from audiogen_metrics import score
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.protocols import PROTOCOLS
from tests.checkpoints import write_audiobox, write_panns, write_vggish

WEIGHED = tuple(name for name in PROTOCOLS if name != "fadtk-clap")
"""Protocols with a checkpoint here; ``tests/peers/golden/laion_clap.npz`` holds the large network of fadtk-clap."""

EXAMPLES = Path(__file__).parents[2] / "examples"


def write_weights(folder: Path) -> dict[str, Path]:
    """Write the checkpoints that the protocols need, by backbone name."""
    from audiogen_metrics.audioldm.tiny import write_tiny

    with warnings.catch_warnings(action="ignore"):
        tiny = write_tiny(folder / "tiny", seed=0)
    return {
        "panns-cnn14-16k": write_panns(folder / "cnn14_16k.pth", Cnn14At16k),
        "vggish": write_vggish(folder / "vggish.pth"),
        "clap": tiny / "clap",
        "audiobox-aesthetics": write_audiobox(folder / "audiobox"),
    }


def scores(weights: dict[str, Path], protocol: str) -> dict[str, float]:
    """Return each metric of a protocol on the examples: its value, and its spread where it has one, by name."""
    from audiogen_metrics.backbones.weights import weights_name

    chosen = PROTOCOLS[protocol]
    metrics = [*chosen.recipes, *chosen.on_request]
    needed = {weights_name(recipe.backbone) for recipe in chosen.select(metrics)}
    report = score(
        EXAMPLES / "generated",
        EXAMPLES / "reference",
        protocol=protocol,
        metrics=metrics,
        device="cpu",
        workers=0,
        ci=True,
        cache=False,
        weights={name: path for name, path in weights.items() if name in needed},
    )
    found: dict[str, float] = {}
    for score_id, result in report.scores.items():
        assert result.value is not None
        found[score_id] = result.value
        if result.std is not None:
            found[f"{score_id} std"] = result.std
        if result.ci95 is not None:
            found[f"{score_id} low"], found[f"{score_id} high"] = result.ci95
    return found


def main(target: Path) -> None:
    """Write all scores to ``target``."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(Path(folder))
        found = {protocol: scores(weights, protocol) for protocol in WEIGHED}
    target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
