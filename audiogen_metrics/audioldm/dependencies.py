"""The packages of the extra, imported when first used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from audiogen_metrics.errors import MissingDependencyError

NEEDED = ("diffusers", "transformers", "accelerate", "peft")


def require() -> None:
    """Import what AudioLDM needs.

    transformers imports torchaudio wherever that is installed, though nothing here needs it; one that does not fit
    this torch raises on import and would take AudioLDM down. Such a torchaudio is hidden while transformers looks.

    Raises
    ------
    MissingDependencyError
        The extra is not installed, or cannot be imported.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"AudioLDM needs {', '.join(missing)}", fix="Install the extra: pip install 'audiogen-metrics[audioldm]'"
        )
    hidden = "torchaudio" not in sys.modules and not _can_be_imported("torchaudio")
    if hidden:
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # how Python marks what is not to be found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            looks = importlib.import_module("transformers.utils.import_utils").is_torchaudio_available
            looks.cache_clear()
            looks()  # what it sees now it remembers
            for name in ("transformers.models.clap.modeling_clap", "diffusers.models"):
                importlib.import_module(name)
    except Exception as error:
        raise MissingDependencyError(
            f"diffusers or transformers cannot be imported ({error})",
            fix="Install versions that fit each other: pip install -U 'audiogen-metrics[audioldm]'",
        ) from error
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


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what diffusers and transformers log about keys, and a progress bar for every file.

    What matters of it is raised as an error here. The host's own settings are restored.
    """
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    both = (diffusers_logging, transformers_logging)
    before = [(logging, logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in both]
    try:
        for logging in both:
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        yield
    finally:
        for logging, verbosity, bar in before:
            logging.set_verbosity(verbosity)
            if bar:
                logging.enable_progress_bar()
