"""Peak memory of ``agm score`` over the number of clips: ``python benchmarks/memory.py``.

Clips of one second on YAMNet, so that features and not the network are what grows. Each run is a process of its own.
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

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "memory.json"
RATE = 16_000

SCORE = """\
import resource, sys
from audiogen_metrics.cli.main import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def main(counts: tuple[int, ...] = (200, 2000)) -> None:
    """Write peak memory in MB by number of clips in each of the two sets."""
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            folders = [write(Path(place, str(count), side), count, seed) for seed, side in enumerate(("gen", "ref"))]
            command = [sys.executable, "-c", SCORE, "score", *folders, "--protocol", "yamnet", "--no-cache"]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            # Linux counts in kilobytes, macOS in bytes.
            peaks[count] = int(done.stderr.split()[-1]) // (2**20 if sys.platform == "darwin" else 2**10)
            print(f"{count} + {count} clips: {peaks[count]} MB", flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"peak_mb": peaks}, indent=1) + "\n", encoding="utf-8")


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
