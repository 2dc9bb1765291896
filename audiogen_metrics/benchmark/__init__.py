"""The paper's tables and figures as plans, one command each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.lazy import handing_on

if TYPE_CHECKING:
    from audiogen_metrics.benchmark.running import Benchmark
    from audiogen_metrics.benchmark.settings import BenchSettings

__all__ = ["BenchSettings", "Benchmark"]


if not TYPE_CHECKING:  # a checker that saw this would take any name
    __getattr__ = handing_on(
        __name__,
        {"BenchSettings": "audiogen_metrics.benchmark.settings", "Benchmark": "audiogen_metrics.benchmark.running"},
    )
