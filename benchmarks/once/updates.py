"""What an update of a suite takes in two checkouts: ``python -m benchmarks.once.updates --other CHECKOUT``.

They run alternately. Sixteen clips of 10 s at 48 kHz for each side, seeded random weights (YAMNet has its own), new
samples in every update. Besides the seconds of each: bytes that were hashed, batches that were converted and clips
that were resampled.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch

HERE = Path(__file__).parent
CLIPS, SECONDS, RATE = 16, 10, 48_000


def main() -> None:
    """Run both sides in turn and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--other", type=Path, required=True, metavar="CHECKOUT", help="an earlier state of this project"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="runs of each side")
    parser.add_argument("--worker", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        work(arguments.worker)
        return
    from audiogen_metrics.backbones.panns import Cnn14At16k
    from tests.checkpoints import write_panns, write_vggish

    with tempfile.TemporaryDirectory() as folder:
        write_panns(Path(folder) / "panns-cnn14-16k.pth", Cnn14At16k)
        write_vggish(Path(folder) / "vggish.pth")
        sides = {
            name: start(checkout, [*sys.argv[1:], "--worker", folder])
            for name, checkout in (("before", arguments.other), ("after", HERE.parents[1]))
        }
        for protocol in ("yamnet", "audioldm"):
            found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for number in range(arguments.pairs + 1):
                for name, side in sides.items():
                    assert side.stdin is not None
                    assert side.stdout is not None
                    side.stdin.write(f"{protocol} {number}\n")
                    side.stdin.flush()
                    found[name].append(json.loads(side.stdout.readline()))
            ratios = [after["s"] / before["s"] for before, after in zip(*found.values(), strict=True)][1:]
            for name, runs in found.items():
                told = {key: median(run[key] for run in runs[1:]) for key in runs[0]}
                print(f"{protocol} {name}:", ", ".join(f"{key} {value:.4g}" for key, value in told.items()), flush=True)
            print(f"{protocol} after / before: {median(ratios):.3f} ({', '.join(f'{one:.3f}' for one in ratios)})")
        for side in sides.values():
            side.communicate()


def start(checkout: Path, options: list[str]) -> subprocess.Popen[str]:
    """Start the worker of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, str(HERE / "updates.py"), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def work(weights: Path) -> None:
    """Update a suite for each line of the standard input, and print what that took."""
    from audiogen_metrics import FAD, FD, IS, KL, MetricSuite
    from audiogen_metrics.backbones.panns import Cnn14At16k
    from audiogen_metrics.backbones.vggish import VGGish

    cnn14 = Cnn14At16k(weights=weights / "panns-cnn14-16k.pth")
    vggish = VGGish(weights=weights / "vggish.pth")
    suites = {
        "yamnet": MetricSuite([kind(protocol="yamnet") for kind in (FD, FAD, IS, KL)]),
        "audioldm": MetricSuite([FD(backbone=cnn14), FAD(backbone=vggish), IS(backbone=cnn14), KL(backbone=cnn14)]),
    }
    noise = 0.1 * torch.randn(2, CLIPS, SECONDS * RATE, generator=torch.Generator().manual_seed(0))
    for line in sys.stdin:
        protocol, number = line.split()
        gen, ref = noise * (1 + float(number) / 1000)
        with counted() as counts:
            began = time.perf_counter()
            suites[protocol].update(gen=gen, ref=ref, sample_rate=RATE)
            seconds = time.perf_counter() - began
        print(json.dumps({"s": seconds, **counts}), flush=True)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what is hashed, converted and resampled meanwhile."""
    counts: Counter[str] = Counter({"MB hashed": 0, "batches converted": 0, "clips resampled": 0})
    real = hashlib.blake2b

    class Hash:
        def __init__(self, content: bytes = b"", **options: Any) -> None:
            self.hash = real(content, **options)

        def update(self, content: Any) -> None:
            counts["MB hashed"] += memoryview(content).nbytes / 1e6  # type: ignore[assignment]
            self.hash.update(content)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.hash, name)

    def counting(function: Callable[..., Any], what: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            counts[what] += len(result) if what == "clips resampled" and result.ndim == 2 else 1
            return result

        return call

    wrapped: list[tuple[Any, str, Any]] = [(hashlib, "blake2b", Hash)]
    preparation = importlib.import_module("audiogen_metrics.audio.preparation")
    wrapped.append((preparation, "resample", counting(preparation.resample, "clips resampled")))
    # Where batches are converted: as_clips of base, as it was before there were batches.
    for name, function in (("objects.batch", "_as_clips"), ("objects.base", "as_clips")):
        try:
            module = importlib.import_module(f"audiogen_metrics.{name}")
            wrapped.append((module, function, counting(getattr(module, function), "batches converted")))
            break
        except (ImportError, AttributeError):
            continue
    originals = [(module, name, getattr(module, name)) for module, name, _ in wrapped]
    for module, name, wrapper in wrapped:
        setattr(module, name, wrapper)
    try:
        yield counts
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


if __name__ == "__main__":
    main()
