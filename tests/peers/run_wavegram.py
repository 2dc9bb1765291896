"""Run Wavegram-LogMel-CNN14 of kadtk 1.1.0 on clips, in an environment of its own: ``CHECKPOINT IN.npz OUT.npz``.

Only the module that defines the network is imported. ``IN.npz`` holds clips at 32 kHz, one array each; ``OUT.npz``
gets, by clip, ``embedding`` and ``logits``, and ``seconds`` of a call for all clips of ten seconds together, the first
and the fastest of three.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch


def load(checkpoint: Path) -> Any:
    """Return kadtk's network with the checkpoint's weights, every one of which it takes."""
    folder = Path(importlib.util.find_spec("kadtk").submodule_search_locations[0]) / "models" / "panns"  # type: ignore[union-attr,index]
    package = types.ModuleType("kadtk_panns")
    package.__path__ = [str(folder)]
    sys.modules["kadtk_panns"] = package
    models = importlib.import_module("kadtk_panns.models")
    network = models.Wavegram_Logmel_Cnn14(32_000, 1024, 320, 64, 50, 14_000, 527)
    network.load_state_dict(torch.load(checkpoint, weights_only=False)["model"])
    return network.eval()


def main(checkpoint: Path, given: Path, out: Path) -> None:
    """Embed every clip by itself, and those of ten seconds together."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    network = load(checkpoint)
    found: dict[str, np.ndarray] = {}
    with np.load(given) as content, torch.no_grad():
        clips = {name: torch.from_numpy(content[name])[None] for name in content.files}
        for name, clip in clips.items():
            outputs = network(clip)
            found[f"{name}.embedding"] = outputs["embedding"][0].numpy()
            found[f"{name}.logits"] = network.fc_audioset(outputs["embedding"])[0].numpy()
        batch = torch.cat([clip for clip in clips.values() if clip.shape[1] == 320_000])
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            network(batch)
            seconds.append(time.perf_counter() - start)
    np.savez(out, seconds=np.array([seconds[0], min(seconds)]), **found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
