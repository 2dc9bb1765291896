"""Import transformers when one of its networks is first built."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from audiogen_metrics.errors import MissingDependencyError


def require_transformers(extra: str = "clap") -> None:
    """Raise MissingDependencyError unless transformers is installed, without importing it.

    ``extra`` is the extra that brings it.
    """
    if importlib.util.find_spec("transformers") is None:
        raise MissingDependencyError("the package transformers is not installed", fix=_install(extra))


def _install(extra: str) -> str:
    return f"pip install 'audiogen-metrics[{extra}]'"


def transformers_module(name: str, extra: str = "clap") -> ModuleType:
    """Return a module of transformers, such as ``models.clap.modeling_clap``; the package itself for an empty name.

    Raises
    ------
    MissingDependencyError
        transformers is not installed, or cannot be imported.
    """
    require_transformers(extra)
    try:
        with broken_torchaudio_hidden():
            return importlib.import_module(f"transformers.{name}".rstrip("."))
    except Exception as error:
        raise MissingDependencyError(f"transformers cannot be imported ({error})", fix=_install(extra)) from error


@contextmanager
def broken_torchaudio_hidden() -> Iterator[None]:
    """Hide a torchaudio that cannot be imported while transformers looks for installed packages.

    transformers imports torchaudio if it is installed, though nothing here needs it. A torchaudio that does not fit
    this torch raises an error on import, and transformers would fail with it.
    """
    hidden = "torchaudio" not in sys.modules and not _can_be_imported("torchaudio")
    if hidden:
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # Python's mark for a module that is not found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            looks = importlib.import_module("transformers.utils.import_utils").is_torchaudio_available
            looks.cache_clear()
            looks()  # transformers remembers the result
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
        # The remains of a failed import would look like the package.
        for left in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
            del sys.modules[left]
        return False
    return True


_SPEAKERS = ("diffusers", "transformers")


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what diffusers and transformers log about keys, and a progress bar for every file.

    What matters is raised as an error here. The host's own settings are restored.
    """
    # The package of a network is imported by now; CLAP does not need diffusers.
    speakers = [importlib.import_module(f"{name}.utils.logging") for name in _SPEAKERS if sys.modules.get(name)]
    before = [(logging, logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in speakers]
    try:
        for logging in speakers:
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        yield
    finally:
        for logging, verbosity, bar in before:
            logging.set_verbosity(verbosity)
            if bar:
                logging.enable_progress_bar()
