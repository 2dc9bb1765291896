"""Ours against the published evaluators, side by side on this machine: ``make bench``.

Both sides get the same audio and the same random checkpoints and run alternately; the table gives the median of the
ratios of neighbouring runs, since whatever else a machine does slows both runs of a pair. The times of every run go
to results/, and the table of docs/performance.md is written anew from all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from cases import Bench, Case, every  # noqa: E402
from inputs import Inputs  # noqa: E402
from page import put_table  # noqa: E402

from audiogen_metrics.backbones.products import onednn_works, processor_maker  # noqa: E402

RESULTS = HERE / "results"
BUDGET_SECONDS = 240.0
"""A comparison takes no further pair of runs once it has lasted this long."""


def main() -> None:
    """Run the comparisons and write their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, metavar="FILE", help="interpreter of the peers' environment")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), metavar="N", help="of both sides (default: all cores)"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="comparisons whose name begins so")
    parser.add_argument("--quick", action="store_true", help="a few minutes: small sizes, one pair, nothing kept")
    parser.add_argument("--table", action="store_true", help="write the table from the kept results and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    if not arguments.table:
        if arguments.peers_python is None:
            parser.error("--peers-python is needed to run")
        with tempfile.TemporaryDirectory() as folder:
            inputs = Inputs(Path(folder), seconds=3.0 if arguments.quick else 10.0)
            # Absolute, but not resolved: an environment's interpreter is a link to one outside.
            bench = Bench(arguments.peers_python.absolute(), inputs)
            for case in every(bench, arguments.quick):
                if case.name.startswith(arguments.only):
                    result = measure(case, pairs=1 if arguments.quick else case.pairs)
                    for row in rows(result):
                        print(*row, sep=" | ", flush=True)
                    if not arguments.quick:
                        RESULTS.mkdir(exist_ok=True)
                        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
                        (RESULTS / f"{case.name}.json").write_text(text, encoding="utf-8")
    if not arguments.quick:
        write_table()


def measure(case: Case, pairs: int) -> dict[str, Any]:
    """Run all sides of a case in turn, ``pairs`` times, and return everything that is to be known of it."""
    sides = {name: start() for name, start in case.sides.items()}
    runs, values = [], {}
    started = time.monotonic()
    try:
        while len(runs) < pairs and (not runs or time.monotonic() - started < BUDGET_SECONDS):
            found = {name: side.run() for name, side in sides.items()}
            runs.append({name: run["seconds"] for name, run in found.items()})
            values = {name: run["values"] for name, run in found.items()}
    finally:
        for side in sides.values():
            side.close()
    return {
        "name": case.name,
        "what": case.what,
        "size": case.size,
        "peer": case.peer,
        "targets": dict(case.targets),
        "seconds": runs,
        "values": values,
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """Describe this machine: processor, systems, versions, and the rates of a large product of matrices."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "maker": processor_maker(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "audiogen-metrics": version("audiogen-metrics"),
        "torch": torch.__version__,
        "product_gflops": {name: round(rate) for name, rate in product_rates().items()},
    }


def described(machines: Iterable[dict[str, Any]]) -> str:
    """Return processor and threads of the machines that gave a table."""
    names = {f"{one['processor']}, threads: {one['threads']}" for one in machines}
    return "Measured on: " + "; ".join(sorted(names)) + "."


def product_rates(size: int = 2048, repeats: int = 5) -> dict[str, float]:
    """Return the best rate of float32 products of square matrices by each engine, in 10⁹ operations a second."""
    matrix = torch.rand(size, size)
    engines: dict[str, Callable[[], object]] = {"torch": lambda: torch.mm(matrix, matrix)}
    if onednn_works():
        engines["onednn"] = lambda: torch.ops.mkldnn._linear_pointwise(matrix, matrix, None, "none", [], "")
    times: dict[str, list[float]] = {name: [] for name in engines}
    with torch.inference_mode():
        for _ in range(repeats):
            for name, multiply in engines.items():
                start = time.perf_counter()
                multiply()
                times[name].append(time.perf_counter() - start)
    return {name: 2e-9 * size**3 / min(found) for name, found in times.items()}


def rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the table's rows for one result: one for each side of ours."""
    theirs = [run["theirs"] for run in result["seconds"]]
    for side in result["seconds"][0]:
        if side == "theirs":
            continue
        ours = [run[side] for run in result["seconds"]]
        ratio = median(their / our for our, their in zip(ours, theirs, strict=True))
        target = result["targets"].get(side)
        yield (
            result["what"] + ("" if side == "ours" else f", {side}"),
            result["size"],
            result["peer"],
            str(len(ours)),
            f"{median(ours):.3g}",
            f"{median(theirs):.3g}",
            f"**{ratio:.3g}**" if ratio < 100 else f"**{ratio:.0f}**",
            "" if target is None else f"{target:g}" + ("" if ratio >= target else ", missed"),
            difference(result["values"][side], result["values"]["theirs"]),
        )


def difference(ours: dict[str, float | None], theirs: dict[str, float | None]) -> str:
    """Return the largest relative difference of values; those that the peer could not compute are named."""
    shared = {name: (ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())}
    relative = [
        abs(our - their) / abs(their) for our, their in shared.values() if our is not None and their is not None
    ]
    failed = [name for name, (_, their) in shared.items() if their is None]
    return "; ".join(([f"{max(relative):.0e}"] if relative else []) + [f"no {name} from the peer" for name in failed])


def write_table() -> None:
    """Put the table of all kept results into the page."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"), key=_order)]
    head = ("what", "size", "against", "pairs", "ours, s", "theirs, s", "times as fast", "target", "difference")
    compared = [result for result in results if "peer" in result]
    below = described(result["machine"] for result in compared)
    put_table("make bench", head, [row for result in compared for row in rows(result)], below=below)


def _order(path: Path) -> tuple[int, list[int], str]:
    """Sort whole evaluations first, then networks, then distances by size."""
    families = ("score", "fad", "cnn14", "vggish", "yamnet", "frechet", "inception", "kid", "import")
    family, *rest = path.stem.split("-")
    sizes = [int(part) for word in rest for part in word.split("x")[::-1] if part.isdigit()]
    return families.index(family) if family in families else len(families), sizes, path.stem


if __name__ == "__main__":
    main()
