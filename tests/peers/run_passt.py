"""Run hear21passt 0.0.26 on clips, in an environment of its own: ``CHECKPOINT IN.npz OUT.npz``.

The package is taken as it is; it finds the checkpoint where torch hub would have put it. ``IN.npz`` holds clips at
32 kHz, one array each; ``OUT.npz`` gets, by clip, ``mel``, ``layers`` (the class token behind the patches and behind
each layer), ``logits`` and ``embedding``: of a clip of up to ten seconds with zeros behind it, and of a longer one what
``get_scene_embeddings`` makes of it; ``as_is`` are both of a clip without zeros. ``seconds`` are those of a call for
all clips of ten seconds together, the first and the fastest of three.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

WINDOW = 320_000


def load(checkpoint: Path) -> Any:
    """Return hear21passt's model with the checkpoint's weights."""
    with tempfile.TemporaryDirectory() as folder:
        hub = Path(folder) / "hub" / "checkpoints"
        hub.mkdir(parents=True)
        (hub / "passt-s-f128-p16-s10-ap.476-swa.pt").symlink_to(checkpoint)
        os.environ["TORCH_HOME"] = folder
        from hear21passt.base import get_basic_model

        return get_basic_model(mode="all").eval()


def main(checkpoint: Path, given: Path, out: Path) -> None:
    """Embed every clip by itself, and those of ten seconds together."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        model = load(checkpoint)
        with np.load(given) as content:
            clips = {name: torch.from_numpy(content[name])[None] for name in content.files}
        found: dict[str, np.ndarray] = {}
        layers: list[torch.Tensor] = []
        model.net.blocks[0].register_forward_pre_hook(lambda _module, rows: layers.append(rows[0][0, 0]))
        for block in model.net.blocks:
            block.register_forward_hook(lambda _module, _given, rows: layers.append(rows[0, 0]))
        for name, clip in clips.items():
            padded = torch.nn.functional.pad(clip, (0, max(0, WINDOW - clip.shape[1])))
            layers.clear()
            joint = model.get_scene_embeddings(padded)
            found[f"{name}.logits"], found[f"{name}.embedding"] = joint[0, :527].numpy(), joint[0, 527:].numpy()
            if clip.shape[1] <= WINDOW:
                found[f"{name}.layers"] = torch.stack(layers).numpy()
                found[f"{name}.mel"] = model.mel(padded)[0].numpy()
                found[f"{name}.as_is"] = model(clip)[0].numpy()
        batch = torch.cat([clip for clip in clips.values() if clip.shape[1] == WINDOW])
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            model(batch)
            seconds.append(time.perf_counter() - start)
    np.savez(out, seconds=np.array([seconds[0], min(seconds)]), **found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
