"""Peak memory over the number of clips: ``python benchmarks/memory.py``, and ``… memory.py 1000 10000 100000``.

Clips of one second on YAMNet, so that features and not the network are what grows; with numbers, so many clips in the
cache already, whose rows no network has made (cached.py). Each run is a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from page import put_table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "memory.md"
RATE = 16_000

SCORE = """\
import resource, sys
from audiogen_metrics.cli.main import main
code = main(["score", *sys.argv[2:], "--protocol", "yamnet", "--no-ci"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

STREAM = """\
import resource, sys, torch
from audiogen_metrics import FAD
fad, generator = FAD(protocol="yamnet"), torch.Generator().manual_seed(0)
for _ in range(int(sys.argv[1]) // 100):
    gen, ref = 0.1 * torch.randn(2, 100, 16_000, generator=generator)
    fad.update(gen=gen, ref=ref, sample_rate=16_000)
fad.compute()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


CACHED = """\
import resource, sys
from audiogen_metrics.cli.main import main
code = main(["score", *sys.argv[1:], "--draws", "0"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

SETS = {"fd,fad,is,kl": ("panns-cnn14-16k", "vggish"), "fad": ("vggish",)}
"""What is computed on cached clips: metrics, and the networks of their rows."""


def main(counts: tuple[int, ...] = (200, 2000)) -> None:
    """Write peak memory in MB by number of clips in each of the two sets."""
    peaks: dict[str, dict[int, int]] = {"agm score, cold": {}, "agm score, warm": {}, "streaming FAD": {}}
    with tempfile.TemporaryDirectory() as place:
        variables = {"PYTHONPATH": str(ROOT), "AGM_CACHE_DIR": str(Path(place, "cache"))}
        for count in counts:
            folders = [write(Path(place, str(count), side), count, seed) for seed, side in enumerate(("gen", "ref"))]
            for name, peak in peaks.items():
                code = STREAM if name == "streaming FAD" else SCORE
                command = [sys.executable, "-W", "ignore", "-c", code, str(count), *folders]
                environment = {**os.environ, **variables}
                peak[count], _ = run(command, environment)
                print(f"{name}, {count} + {count} clips: {peak[count]} MB", flush=True)
    keep("memory", {"peak_mb": peaks})
    rows = [(name, *(str(peak[count]) for count in counts)) for name, peak in peaks.items()]
    put_table("memory", ("peak, MB", *(f"{count} + {count} clips" for count in counts)), rows, PAGE)


def cached(counts: list[int]) -> None:
    """Write peak memory and time of scoring so many clips a set that are in the cache already, with intervals."""
    found: dict[str, dict[int, tuple[int, float]]] = {name: {} for name in SETS}
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            variables = {"PYTHONPATH": str(ROOT), "AGM_CACHE_DIR": str(Path(place, f"cache-{count}"))}
            environment = {**os.environ, **variables}
            build = [sys.executable, ROOT / "benchmarks" / "cached.py", place, str(count)]
            subprocess.run(build, check=True, env=environment)
            folders = [Path(place, str(count), side) for side in ("gen", "ref")]
            for name, networks in SETS.items():
                weights = [f"--weights={network}={Path(place, 'weights', network)}.pth" for network in networks]
                options = ["-m", name, "--protocol", "audioldm-0.0.3", *weights]
                command = [sys.executable, "-W", "ignore", "-c", CACHED, *folders, *options]
                found[name][count] = run(command, environment)
                print(f"{name}, {count} + {count} clips: {found[name][count]}", flush=True)
    keep(
        "cached",
        {
            name: {count: {"peak_mb": each[0], "seconds": each[1]} for count, each in runs.items()}
            for name, runs in found.items()
        },
    )
    put_table("cached", ("peak and time", *(f"{count} + {count} clips" for count in counts)), table(found), PAGE)


def table(found: dict[str, dict[int, tuple[int, float]]]) -> list[tuple[str, ...]]:
    """Return the rows of the table."""
    return [
        (f"`-m {name}`", *(f"{mb} MB, {seconds:.0f} s" for mb, seconds in each.values()))
        for name, each in found.items()
    ]


def run(command: list[str | Path], environment: dict[str, str]) -> tuple[int, float]:
    """Run a program that ends by telling its peak, and return that in MB, and the seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    # Linux counts in kilobytes, macOS in bytes.
    peak = int(done.stderr.split()[-1]) // (2**20 if sys.platform == "darwin" else 2**10)
    return peak, time.perf_counter() - start


def keep(name: str, content: object) -> None:
    """Keep what was measured."""
    text = json.dumps(content, indent=1) + "\n"
    (Path(__file__).parent / "results" / f"{name}.json").write_text(text, encoding="utf-8")


def write(folder: Path, count: int, seed: int) -> Path:
    """Write ``count`` clips of noise of different colours."""
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        noise = np.convolve(rng.normal(size=RATE), rng.uniform(size=rng.integers(1, 40)), mode="same")
        soundfile.write(folder / f"{index:06d}.wav", 0.3 * noise / np.abs(noise).max(), RATE)
    return folder


if __name__ == "__main__":
    if len(sys.argv) > 1:
        cached([*map(int, sys.argv[1:])])
    else:
        main()
