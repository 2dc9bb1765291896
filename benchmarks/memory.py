"""Peak memory over the number of clips: ``python benchmarks/memory.py``.

Clips of one second on YAMNet, so that features and not the network are what grows. Each run is a process
of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from page import put_table

ROOT = Path(__file__).parents[1]
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
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                # Linux counts in kilobytes, macOS in bytes.
                peak[count] = int(done.stderr.split()[-1]) // (2**20 if sys.platform == "darwin" else 2**10)
                print(f"{name}, {count} + {count} clips: {peak[count]} MB", flush=True)
    text = json.dumps({"peak_mb": peaks}, indent=1) + "\n"
    (Path(__file__).parent / "results" / "memory.json").write_text(text, encoding="utf-8")
    rows = [(name, *(str(peak[count]) for count in counts)) for name, peak in peaks.items()]
    put_table("memory", ("peak, MB", *(f"{count} + {count} clips" for count in counts)), rows)


def write(folder: Path, count: int, seed: int) -> Path:
    """Write ``count`` clips of noise of different colours."""
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        noise = np.convolve(rng.normal(size=RATE), rng.uniform(size=rng.integers(1, 40)), mode="same")
        soundfile.write(folder / f"{index:06d}.wav", 0.3 * noise / np.abs(noise).max(), RATE)
    return folder


if __name__ == "__main__":
    main()
