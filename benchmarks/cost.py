"""What a clip costs by arithmetic, what it takes here, and where the time goes: ``python benchmarks/cost.py``.

The networks run as their authors wrote them and as this library rearranges them, alternately, beside a large product of
matrices by the fastest engine here: the rate that this machine can reach at all. Where that is oneDNN, they also run by
torch's own products. Random weights cost what trained ones do.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from inputs import Inputs  # noqa: E402
from page import put_table  # noqa: E402
from run import described, machine, product_rates  # noqa: E402

from audiogen_metrics.backbones import BACKBONES  # noqa: E402
from audiogen_metrics.backbones.base import Backbone  # noqa: E402
from audiogen_metrics.backbones.pretrained import PretrainedBackbone  # noqa: E402
from audiogen_metrics.backbones.products import VARIABLE  # noqa: E402

CLIPS, SECONDS, REPEATS = 16, 10, 3
KINDS = {
    "matrix product": ("mm", "linear", "convolution_pointwise"),
    "convolution": ("convolution",),
    "batch norm": ("batch_norm",),
    "pooling, ReLU": ("pool", "clamp_min", "relu", "threshold", "mean", "max"),
    "front end": ("fft", "pow", "addcmul", "sqrt", "log", "clamp"),
}
"""Operators by what their names contain; the first that fits counts, the rest is ``copies and other``."""

BEFORE = "by torch's products"
FORMS = ("here", BEFORE, "as published")

Run = Callable[[torch.Tensor], object]


def main() -> None:
    """Measure every network and write results and tables."""
    waveforms = 0.1 * torch.randn(CLIPS, SECONDS * 16_000, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        inputs = Inputs(Path(folder), SECONDS)
        found = {name: measure(inputs, name, waveforms) for name in ("panns-cnn14-16k", "vggish", "yamnet")}
    here = machine()
    text = json.dumps({"machine": here, "networks": found}, indent=1) + "\n"
    (HERE / "results" / "cost.json").write_text(text, encoding="utf-8")
    put_table(
        "cost",
        (
            *("network", "operations a clip, 10⁹", "done here", "weights, MB", "s a clip", "by torch's products, s"),
            *("as published, s", "10⁹ / s", "of the fastest product"),
        ),
        [
            (
                name,
                f"{one['operations'] / 1e9:.3g}",
                f"{one['done'] / 1e9:.3g}",
                f"{one['weights'] / 1e6:.0f}",
                *(f"{median(one['times'][form]):.3g}" if form in one["times"] else "" for form in FORMS),
                f"{one['operations'] / one['seconds'] / 1e9:.0f}",
                f"{one['share']:.0%}",
            )
            for name, one in found.items()
        ],
        below=f"{described([here])} {told(found)}",
    )
    shares = [(name, form, one["profile"][form]) for name, one in found.items() for form in one["profile"]]
    kinds = [*KINDS, "copies and other"]
    put_table(
        "profile",
        ("network", "form", *kinds),
        [(name, form, *(f"{share.get(kind, 0):.0%}" for kind in kinds)) for name, form, share in shares],
        below=described([here]),
    )


def told(networks: dict[str, dict[str, Any]]) -> str:
    """Return the rates of a matrix product by each engine."""
    rates: dict[str, list[float]] = {}
    for one in networks.values():
        for rate in one["product_gflops"]:
            for engine, value in rate.items():
                rates.setdefault(engine, []).append(value)
    told = ", ".join(f"{median(values):.0f} by {engine}" for engine, values in rates.items())
    return f"A float32 product of matrices, 10⁹ operations a second: {told}."


def measure(inputs: Inputs, name: str, waveforms: torch.Tensor) -> dict[str, Any]:
    """Return operations, time and profile of one network."""
    backbone = made(inputs, name)
    ours = backbone.network
    forms: dict[str, Run] = {"as published": published(backbone), "here": ours}
    if backbone.products != "torch":
        os.environ[VARIABLE] = "torch"
        forms[BEFORE] = made(inputs, name).network
        os.environ[VARIABLE] = backbone.products
    for run in forms.values():
        run(waveforms)
    times: dict[str, list[float]] = {form: [] for form in forms}
    rates = []
    for _ in range(REPEATS):
        rates.append(product_rates())
        for form, run in forms.items():
            start = time.perf_counter()
            run(waveforms)
            times[form].append((time.perf_counter() - start) / CLIPS)
    operations = {form: count(run, waveforms[:1]) for form, run in forms.items()}
    nominal = operations["as published"]
    return {
        "operations": nominal,
        "done": operations["here"],
        "weights": sum(tensor.nbytes for tensor in [*ours.parameters(), *ours.buffers()]),
        "seconds": median(times["here"]),
        "times": times,
        "product_gflops": rates,
        "share": median(
            nominal / (1e9 * max(rate.values()) * seconds) for rate, seconds in zip(rates, times["here"], strict=True)
        ),
        "profile": {form: profiled(run, waveforms) for form, run in forms.items()},
    }


def made(inputs: Inputs, name: str) -> Backbone:
    """Return a backbone on its random checkpoint, or YAMNet."""
    weights = {} if name == "yamnet" else {"weights": inputs.weights(name)}
    backbone: Backbone = BACKBONES.get(name)("cpu", **weights)  # type: ignore[arg-type]
    return backbone


def published(backbone: Backbone) -> Run:
    """Return the network without this library's rearrangements."""
    if isinstance(backbone, PretrainedBackbone):
        return PretrainedBackbone.load(backbone).eval()
    return type("Plain", (type(backbone),), {"plain_cpu": False})("cpu").network


def count(run: Run, waveforms: torch.Tensor) -> int:
    """Return the multiplications and additions of one pass."""
    with FlopCounterMode(display=False) as counter:
        run(waveforms)
    return int(counter.get_total_flops())


def profiled(run: Run, waveforms: torch.Tensor) -> dict[str, float]:
    """Return the share of each kind of operator in the time of one pass."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        run(waveforms)
    times: Counter[str] = Counter()
    for event in recorded.key_averages():
        fits = (kind for kind, names in KINDS.items() if any(name in event.key for name in names))
        times[next(fits, "copies and other")] += event.self_cpu_time_total
    return {kind: time / times.total() for kind, time in times.items()}


if __name__ == "__main__":
    main()
