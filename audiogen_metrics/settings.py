"""What the environment decides: where files go and which device runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from audiogen_metrics.errors import UsageError

if TYPE_CHECKING:
    import torch


def cache_dir() -> Path:
    """Return the cache folder: ``AGM_CACHE_DIR``, else the platform's cache folder. It may not exist yet."""
    chosen = os.environ.get("AGM_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("audiogen-metrics", appauthor=False))


def tf32_allowed() -> bool:
    """Return whether products on CUDA may be rounded to TF32: ``AGM_TF32``, by default no.

    Raises
    ------
    UsageError
        Something else than 0 or 1.
    """
    chosen = os.environ.get("AGM_TF32") or "0"
    if chosen not in ("0", "1"):
        raise UsageError(f"AGM_TF32={chosen}", fix="Set it to 0 or 1")
    return chosen == "1"


def cache_denied() -> str:
    """Return the warning that permissions keep this user from (parts of) the cache: one text, whatever it hits."""
    folder = cache_dir()
    return (
        f"the cache in {folder} has files or folders that this user cannot use: what cannot be read is computed again, "
        "and what cannot be written (Permission denied) is not kept. Ask their owner to share them "
        f"(chmod -R a+rwX {shlex.quote(str(folder))}), or set AGM_CACHE_DIR to a folder of your own"
    )


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device for a name; ``"auto"`` takes CUDA where there is one, else the CPU.

    Raises
    ------
    UsageError
        The device does not exist here.
    """
    import torch

    if str(device) == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        # torchrun numbers the processes of each machine: each takes a GPU of its own.
        place = os.environ.get("LOCAL_RANK")
        return torch.device("cuda" if place is None else f"cuda:{int(place) % torch.cuda.device_count()}")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"unknown device {str(device)!r}", fix="Use auto, cpu, cuda, cuda:1, mps") from error
    if resolved.type == "cpu":
        return torch.device("cpu")
    try:
        # The only question that all of torch's devices answer, those without memory (meta) too.
        torch.zeros(1, device=resolved).cpu()
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        raise UsageError(f"device {str(device)!r} is not on this machine", fix="Use --device cpu or auto") from error
    return resolved
