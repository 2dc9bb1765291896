"""Run audiobox_aesthetics 0.0.4 on a checkpoint and clips, in an environment of its own: ``CHECKPOINT OUT CLIP…``.

The package is taken as it is; only its download is replaced by the folder of the checkpoint, and its loader, which
needs torchcodec, by soundfile.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import soundfile
import torch


def main(checkpoint: Path, out: Path, clips: list[Path]) -> None:
    """Write each clip's ratings, and the versions that made them."""
    from audiobox_aesthetics import infer

    torch.set_num_threads(1)
    network = infer.AesMultiOutput.from_pretrained(str(checkpoint.parent))
    infer.AesMultiOutput.from_pretrained = lambda _name: network
    predictor = infer.AesPredictor(None)
    found = {}
    for clip in clips:
        samples, rate = soundfile.read(clip, dtype="float32", always_2d=True)
        (found[clip.name],) = predictor.forward([{"path": torch.from_numpy(samples.T.copy()), "sample_rate": rate}])
    versions = {name: version(name) for name in ("audiobox_aesthetics", "torch", "torchaudio")}
    out.write_text(json.dumps({"versions": versions, "ratings": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(argument) for argument in sys.argv[3:]])
