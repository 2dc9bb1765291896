"""The paper's tables and figures as plans, one command each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.lazy import handing_on

if TYPE_CHECKING:
    from audiogen_metrics.benchmark.plans import Cell, Plan, make_plan
    from audiogen_metrics.benchmark.running import Benchmark, Result
    from audiogen_metrics.benchmark.settings import BenchSettings

__all__ = ["BenchSettings", "Benchmark", "Cell", "Plan", "Result", "make_plan"]


if not TYPE_CHECKING:  # a checker that saw this would take any name
    __getattr__ = handing_on(
        __name__,
        {
            "BenchSettings": "audiogen_metrics.benchmark.settings",
            "Benchmark": "audiogen_metrics.benchmark.running",
            "Cell": "audiogen_metrics.benchmark.plans",
            "Plan": "audiogen_metrics.benchmark.plans",
            "Result": "audiogen_metrics.benchmark.running",
            "make_plan": "audiogen_metrics.benchmark.plans",
        },
    )
