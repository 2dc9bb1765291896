"""Names that a module hands on when they are asked for, so that importing it stays light."""

from __future__ import annotations

import importlib
import sys
from types import MappingProxyType

TYPE_CHECKING = bool()  # noqa: UP018  # importing typing takes 10 ms; see the package's __init__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

UNTIL = "0.3"
"""The version in which former names of modules are gone."""


def handing_on(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module that hands on names of others.

    Parameters
    ----------
    module
        Name of the module that hands on.
    homes
        By name, the module that has it, which is imported when the name is first used.

    Examples
    --------
    >>> find = handing_on("audiogen_metrics.lazy", {"sqrt": "math"})
    >>> find("sqrt")(4)
    2.0
    >>> find("root")
    Traceback (most recent call last):
    AttributeError: module 'audiogen_metrics.lazy' has no attribute 'root'
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    return find


def moved(module: str, home: str, names: Mapping[str, str] = MappingProxyType({})) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module whose content is elsewhere, or has other names, since version 0.2.

    Every use of a name warns, by `DeprecationWarning`, and says what it is called now.

    Parameters
    ----------
    module
        Name of the module that is asked.
    home
        The module that has its content; itself, where only names have changed.
    names
        What its names are called there, where that has changed.
    """

    def find(name: str) -> Any:
        if name.startswith("__") or (home == module and name not in names):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        import warnings

        now = names.get(name, name)
        value = getattr(importlib.import_module(home), now)
        warnings.warn(
            f"{module}.{name} is now {home}.{now}; the old name goes with version {UNTIL}",
            DeprecationWarning,
            stacklevel=2,
        )
        return value

    return find
