"""Keep what took long to draw: p and what chance alone gives, by all that shapes them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from audiogen_metrics.metrics.measuring.chance import Chance
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import write_atomically

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Raised by hand whenever a change of code changes what is drawn: outdates what was kept."""

WORTH_KEEPING = 0.05
"""Seconds above which a result is kept."""


def kept_chance(rows: torch.Tensor, described: str, make: Callable[[], Chance]) -> Chance:
    """Return what chance gives, as it was kept or as it is made now.

    Parameters
    ----------
    rows
        All features that it is drawn from.
    described
        Everything else that shapes it.
    make
        Draws it.
    """
    content = hashlib.blake2b(rows.cpu().numpy().tobytes(), digest_size=20)
    content.update(f"{version('audiogen-metrics')} {VERSION} {described}".encode())
    file = cache_dir() / "chance" / f"{content.hexdigest()}.json"
    with suppress(OSError, ValueError, TypeError):
        return Chance(**json.loads(file.read_text()))
    start = time.monotonic()
    made = make()
    if time.monotonic() - start > WORTH_KEEPING:
        with suppress(OSError):  # the embeddings' cache has said that nothing can be kept there
            write_atomically(file, json.dumps(asdict(made)).encode())
    return made
