"""transformers, imported when a network of its is first built."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from audiogen_metrics.errors import MissingDependencyError


def transformers_module(name: str) -> ModuleType:
    """Return a module of transformers, such as ``models.clap.modeling_clap``.

    Raises
    ------
    MissingDependencyError
        transformers is not installed, or cannot be imported.
    """
    fix = "pip install 'audiogen-metrics[clap]'"
    if importlib.util.find_spec("transformers") is None:
        raise MissingDependencyError("the package transformers is not installed", fix=fix)
    try:
        with broken_torchaudio_hidden():
            return importlib.import_module(f"transformers.{name}")
    except Exception as error:
        raise MissingDependencyError(f"transformers cannot be imported ({error})", fix=fix) from error


@contextmanager
def broken_torchaudio_hidden() -> Iterator[None]:
    """Hide a torchaudio that cannot be imported while transformers looks which packages there are.

    It imports torchaudio wherever that is installed, though nothing here needs it; one that does not fit this torch
    raises on import, and would take transformers down with it.
    """
    hidden = "torchaudio" not in sys.modules and not _can_be_imported("torchaudio")
    if hidden:
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # how Python marks what is not to be found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            looks = importlib.import_module("transformers.utils.import_utils").is_torchaudio_available
            looks.cache_clear()
            looks()  # what it sees now it remembers
            yield
    finally:
        if hidden:
            del sys.modules["torchaudio"]


def _can_be_imported(name: str) -> bool:
    if importlib.util.find_spec(name) is None:
        return True  # nothing to hide
    try:
        importlib.import_module(name)
    except Exception:
        # What a failed import leaves behind would look like the package.
        for left in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            del sys.modules[left]
        return False
    return True
