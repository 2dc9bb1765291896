"""The packages of the extras clap and audioldm, imported when first used."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Literal

from audiogen_metrics.backbones.transformers import broken_torchaudio_hidden
from audiogen_metrics.errors import MissingDependencyError

Extra = Literal["clap", "audioldm"]

NEEDED = {"clap": ("transformers",), "audioldm": ("diffusers", "transformers", "accelerate", "peft")}
"""By extra, the packages without which nothing of it runs."""

_IMPORTED = {
    "clap": ("transformers.models.clap.modeling_clap",),
    "audioldm": ("transformers.models.clap.modeling_clap", "diffusers.models"),
}


def require(extra: Extra = "audioldm") -> None:
    """Import what CLAP alone needs, or all of AudioLDM.

    Raises
    ------
    MissingDependencyError
        The extra is not installed, or cannot be imported.
    """
    missing = [name for name in NEEDED[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{'CLAP' if extra == 'clap' else 'AudioLDM'} needs {', '.join(missing)}",
            fix=f"Install the extra: pip install 'audiogen-metrics[{extra}]'",
        )
    try:
        with broken_torchaudio_hidden():
            for name in _IMPORTED[extra]:
                importlib.import_module(name)
    except Exception as error:
        raise MissingDependencyError(
            f"{' or '.join(name.partition('.')[0] for name in _IMPORTED[extra])} cannot be imported ({error})",
            fix=f"Install versions that fit each other: pip install -U 'audiogen-metrics[{extra}]'",
        ) from error
