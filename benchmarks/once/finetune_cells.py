"""The paper's transfer study in small: {scratch, pre-trained} × {audio, text} on real recordings and a tiny model.

``python benchmarks/once/finetune_cells.py OUT`` takes some minutes on two cores. The tiny model's autoencoder and
vocoder are random, so that it can never sound like a recording; each recording is therefore compared after it has
gone through both: that is the best any denoiser could reach, and what its scores fall towards. "Pre-trained" is a run
of the same tiny model on other recordings. Whether pre-training helps here says nothing about AudioLDM; that all four
cells run, learn and are scored alike is what is shown.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audioldm.configuration import FineTuneConfig
from audiogen_metrics.audioldm.finetuning import FineTune
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.latents import training_waveform
from audiogen_metrics.audioldm.mel import log_mel
from audiogen_metrics.generation.folder import encode
from audiogen_metrics.report.plots import draw_for_print
from audiogen_metrics.report.training import panels_over_steps

SECONDS = 2.56
SAMPLES = int(SECONDS * 16_000)
COMMON = {
    "seconds": SECONDS,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "warmup": 20,
    "ema": 0.98,
    "eval_seconds": SECONDS,
    "sampling_steps": 20,
    "protocol": "yamnet",
    "device": "cpu",
}


def through_the_frame(model: AudioLDM, source: Path, target: Path) -> None:
    """Write what autoencoder and vocoder make of every recording."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        waveform = training_waveform(decode(path, path.read_bytes()), SAMPLES)
        with torch.inference_mode():
            latent = model.vae.encode(log_mel(waveform[None])).latent_dist.mean
            heard = model.vocoder(model.vae.decode(latent).sample.squeeze(1))[0, :SAMPLES]
        file = (target / path.relative_to(source)).with_suffix(".wav")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(heard.numpy(), 16_000, "wav-float"))


def halves(source: Path, target: Path) -> tuple[Path, Path]:
    """Copy every other class into one of two folders."""
    classes = sorted(path for path in source.iterdir() if path.is_dir())
    for index, label in enumerate(classes):
        shutil.copytree(label, target / ("other", "own")[index % 2] / label.name)
    return target / "other", target / "own"


def main(out: Path, source: Path, steps: int = 800) -> None:
    """Run the cells and write curves and a table below ``out``."""
    torch.set_num_threads(1)
    other, own = halves(source, out / "sounds")
    model = AudioLDM.from_pretrained("tiny-random", device="cpu")
    through_the_frame(model, own, out / "references")
    before = FineTuneConfig(
        str(other), str(out / "pretraining"), "tiny-random", "audio", steps=2 * steps, save_every=steps, **COMMON
    )
    start = FineTune(before).fit().model
    histories = {}
    for pretrained in (False, True):
        for condition in ("audio", "text"):
            name = f"{'pre-trained' if pretrained else 'scratch'}, {condition}"
            config = FineTuneConfig(
                str(own),
                str(out / name.replace(", ", "-")),
                str(start),
                condition,  # type: ignore[arg-type]
                pretrained,
                evaluation=str(out / "references"),
                steps=steps,
                eval_every=steps // 8,
                **COMMON,
            )
            done = FineTune(config).fit()
            lines = (done.folder / "history.jsonl").read_text().splitlines()
            histories[name] = [json.loads(line) for line in lines]
            print(f"{name}: best at step {done.step}: {dict(done.scores)}", flush=True)
    (out / "cells.json").write_text(json.dumps(histories, indent=2))
    caption = "Scores over the steps of the training: tiny random model, half of examples/reference, protocol yamnet."
    draw_for_print(panels_over_steps(histories), out, "cells", f"{caption} The machinery, not the paper's result.")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), Path("examples/reference"), *map(int, sys.argv[2:3]))
