"""Studies of the metrics themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.lazy import handing_on

if TYPE_CHECKING:
    from audiogen_metrics.studies.result import Study
    from audiogen_metrics.studies.study import sanity

__all__ = ["Study", "sanity"]


if not TYPE_CHECKING:  # a checker that saw this would take any name
    # A study needs torch, which naming it does not.
    __getattr__ = handing_on(
        __name__, {"Study": "audiogen_metrics.studies.result", "sanity": "audiogen_metrics.studies.study"}
    )
