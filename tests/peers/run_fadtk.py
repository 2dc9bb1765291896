"""Run fadtk 1.1.0 on VGGish over two folders, in an environment of its own: ``CHECKPOINT GEN REF OUT``.

``OUT.json`` gets its distance between the folders, that to its own statistics of FMA-Pop, and versions; ``OUT.npz`` the
rows of both folders as it keeps them.

Its own classes load, embed and score: audio through its resampler and the 16-bit files that it keeps, float16
embeddings on the disk, statistics file by file. What is replaced, because it could not start otherwise:

- torch.hub.load gives the packaged torchvggish's front end and network with the given checkpoint;
- torchaudio.load and save, which need torchcodec, read and write with soundfile; samples are rounded to 16 bits as the
  backends do that torchaudio prefers for writing, sox and ffmpeg (soundfile, left alone, would round down).
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio

from tests.peers.run_peers import _load, _vggish


def _save(path: str, waveform: torch.Tensor, rate: int, **_options: Any) -> None:
    integers = waveform.mul(2**15).round().clamp(-(2**15), 2**15 - 1).short()
    soundfile.write(path, integers.numpy().T, rate, subtype="PCM_16")


def main(checkpoint: Path, gen: Path, ref: Path, out: Path) -> None:
    """Embed and score as its command does; fadtk keeps its own files beside the clips."""
    torch.set_num_threads(1)
    torch.hub.load = lambda *_args, **_options: _vggish(checkpoint)
    torchaudio.load, torchaudio.save = _load, _save
    from fadtk.fad import FrechetAudioDistance
    from fadtk.model_loader import VGGishModel

    fad = FrechetAudioDistance(VGGishModel(), audio_load_worker=1)
    rows = {}
    for name, folder in (("gen", gen), ("ref", ref)):
        for file in sorted(folder.glob("*.wav")):
            fad.cache_embedding_file(file)
        rows[name] = np.concatenate([np.load(path) for path in sorted(folder.glob("embeddings/vggish/*.npy"))])
    found = {"fad": float(fad.score(ref, gen)), "fad_fma_pop": float(fad.score("fma_pop", gen))}
    versions = {name: version(name) for name in ("fadtk", "torch", "torchaudio", "scipy", "torchvggish")}
    out.with_suffix(".json").write_text(json.dumps(found | {"versions": versions}, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(out.with_suffix(".npz"), **rows)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
