"""Every metric of every protocol on the examples, on seeded random checkpoints.

``python -m tests.golden.write FILE`` writes what the present code gives; ``tests/test_golden.py`` compares with
``scores.json``, written before the faults of docs/reliability.md were mended; since then only FAD of audioldm-0.0.3 and
2023-02 moved, on lossy files, KID of av-benchmark, which takes all clips now, intervals, and all of clap, whose short
clips are repeated now and keep their DC. On the machine that wrote
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
from audiogen_metrics.audio.files import scan
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.published import weights_name
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols import PROTOCOLS
from tests.checkpoints import write_audiobox, write_panns, write_vggish

NETWORKS = ("panns-cnn14-16k", "vggish", "clap", "audiobox-aesthetics", "yamnet")
"""Networks that are here. PaSST and Wavegram-LogMel-CNN14 take minutes for 80 clips, and a checkpoint of LAION's CLAP
0.7 GB; ``tests/peers/golden`` holds what these give, and tests/test_recipes.py scores a few clips on them."""

EXAMPLES = Path(__file__).parents[2] / "examples"


def recipes(protocol: str) -> list[Recipe]:
    """Return what a protocol computes, and what it can on request, on the networks that are here."""
    chosen = PROTOCOLS[protocol]
    every = [*chosen.recipes.values(), *chosen.on_request.values()]
    return [recipe for recipe in every if weights_name(recipe.backbone) in NETWORKS]


WEIGHED = tuple(name for name in PROTOCOLS if recipes(name))
"""Protocols of which something can be computed here."""


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
    chosen = recipes(protocol)
    needed = {weights_name(recipe.backbone) for recipe in chosen}
    captions = {clip.clip_id: f"the sound of {clip.clip_id}" for clip in scan(EXAMPLES / "generated").clips}
    report = score(
        EXAMPLES / "generated",
        EXAMPLES / "reference",
        protocol=protocol,
        metrics=[PROTOCOLS[protocol].name_of(recipe) for recipe in chosen],
        prompts=captions if any(recipe.definition.prompted for recipe in chosen) else None,
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
