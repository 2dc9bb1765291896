"""One process of `test_latents`: prepare a share of the training clips, and write what it has decoded and got."""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from audiogen_metrics import distributed
from audiogen_metrics.audioldm import latents
from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.datasets.folder import read_folder
from audiogen_metrics.errors import AudiogenMetricsError


def main(model: str, sounds: str, broken: str, out: str) -> None:
    require()
    from audiogen_metrics.audioldm.generation import AudioLDM

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    distributed.BLOCK = 2  # several meetings for a few clips
    # Each process has a cache of its own, as on two machines: nothing comes by the disk.
    os.environ["AGM_CACHE_DIR"] = f"{out}/cache-{dist.get_rank()}"
    decoded = []
    decode = latents.decode
    latents.decode = lambda path, content: decoded.append(Path(path).name) or decode(path, content)
    opened = AudioLDM.from_pretrained(model, device="cpu")
    names, found = {}, {}
    for turn in ("text", "audio", "text again", "audio again"):
        decoded.clear()
        clips = latents.TrainingClips(
            opened, read_folder(Path(sounds)).clips, turn.split()[0], seconds=1.28, distributed=True
        )
        names[turn], found[turn] = list(decoded), [clips._moments, clips._conditions, clips.digests]
    try:
        latents.TrainingClips(opened, read_folder(Path(broken)).clips, "text", seconds=1.28, distributed=True)
        error = ""
    except AudiogenMetricsError as raised:
        error = str(raised)
    torch.save(found, f"{out}/clips-{dist.get_rank()}.pt")
    told = {"decoded": names, "error": error}
    Path(out, f"process-{dist.get_rank()}.json").write_text(json.dumps(told), encoding="utf-8")
    distributed.leave()


if __name__ == "__main__":
    main(*sys.argv[1:])
