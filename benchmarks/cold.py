"""Where the time of a cold run goes, and how far it is from the limit: ``python benchmarks/cold.py``.

`agm score` runs on folders of real sounds with random checkpoints, one thread for the networks, by each engine that
multiplies here in turn. What decoding, resampling and all else take shows as time in which no network runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from inputs import Inputs  # noqa: E402
from page import put_table  # noqa: E402
from run import described, machine, product_rates  # noqa: E402

from audiogen_metrics.backbones.products import VARIABLE, engine, onednn_works  # noqa: E402

COUNT, SECONDS, REPEATS = 24, 10, 2
NETWORKS = ("panns-cnn14-16k", "vggish")

RUN = """\
import json, sys, time
start = time.perf_counter()
from audiogen_metrics.cli.main import main
from audiogen_metrics.backbones.base import Backbone
imported, spans, real = time.perf_counter(), [], Backbone.__call__

def timed(backbone, waveforms):
    backbone.network
    begin = time.perf_counter()
    features = real(backbone, waveforms)
    spans.append((begin, time.perf_counter()))
    return features

Backbone.__call__ = timed
code = main(sys.argv[1:])
end = time.perf_counter()
busy = sum(last - first for first, last in spans)
print(json.dumps({
    "seconds": end - start, "before": spans[0][0] - start, "networks": busy,
    "waiting": spans[-1][1] - spans[0][0] - busy, "after": end - spans[-1][1],
}))
sys.exit(code)
"""
"""``agm score``, and what it did when."""

PARTS = {
    "before": "before the first batch",
    "networks": "networks run",
    "waiting": "between batches",
    "after": "after the last batch",
}


def main() -> None:
    """Run each engine in turn and write results and table."""
    torch.set_num_threads(1)
    engines = ["torch", *(["onednn"] if onednn_works() else [])]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder), SECONDS)
        once(inputs, engines[0])  # converts the weights
        rates = product_rates()
        for _ in range(REPEATS):
            for name in engines:
                runs[name].append(once(inputs, name))
    limit = operations() / 1e9 / max(rates.values())
    here = machine() | {"product_gflops": rates}
    found = {"machine": here, "clips": 2 * COUNT, "limit_seconds": limit, "chosen": engine(), "runs": runs}
    (HERE / "results" / "cold.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    put_table(
        "cold",
        ("products by", "seconds", *PARTS.values(), "limit of the products, s", "of the limit"),
        [row(name, some, limit) for name, some in runs.items()],
        below=described([here]),
    )


def row(name: str, runs: list[dict[str, float]], limit: float) -> tuple[str, ...]:
    """Return the median of an engine's runs as a row."""
    whole = median(run["seconds"] for run in runs)
    parts = [median(run[part] for run in runs) for part in PARTS]
    return (name, f"{whole:.3g}", *(f"{part:.3g}" for part in parts), f"{limit:.3g}", f"{limit / whole:.0%}")


def once(inputs: Inputs, name: str) -> dict[str, float]:
    """Run it once, with converted weights and no embeddings, and return the seconds of its parts."""
    cache = inputs.folder / "cache"
    for kept in ("embeddings", "memo"):
        shutil.rmtree(cache / kept, ignore_errors=True)
    gen, ref = inputs.clips(COUNT)
    weights = [f"--weights={network}={inputs.weights(network)}" for network in NETWORKS]
    options = ["--protocol", "audioldm-0.0.3", "--no-ci", *weights, "-o", str(inputs.folder / "report.json")]
    variables = {"PYTHONPATH": str(HERE.parent), "AGM_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", VARIABLE: name}
    command = [sys.executable, "-c", RUN, "score", str(gen), str(ref), *options]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-4000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def operations() -> float:
    """Return the multiplications and additions of all clips as the networks' authors wrote them, from cost.json."""
    kept: dict[str, Any] = json.loads((HERE / "results" / "cost.json").read_text(encoding="utf-8"))["networks"]
    return 2 * COUNT * sum(kept[name]["operations"] for name in NETWORKS)


if __name__ == "__main__":
    main()
