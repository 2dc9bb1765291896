"""Studies of the metrics themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen_metrics.studies.study import Study, sanity

__all__ = ["Study", "sanity"]


if not TYPE_CHECKING:  # a checker that saw this would take any name

    def __getattr__(name: str) -> Any:
        # A study needs torch, which naming it does not.
        if name in __all__:
            from audiogen_metrics.studies import study

            return getattr(study, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
