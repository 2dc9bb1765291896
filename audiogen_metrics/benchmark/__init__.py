"""The paper's tables and figures as plans, one command each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen_metrics.benchmark.plans import BenchSettings
    from audiogen_metrics.benchmark.running import Benchmark

__all__ = ["BenchSettings", "Benchmark"]


if not TYPE_CHECKING:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        if name == "BenchSettings":
            from audiogen_metrics.benchmark.plans import BenchSettings

            return BenchSettings
        if name == "Benchmark":
            from audiogen_metrics.benchmark.running import Benchmark

            return Benchmark
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
