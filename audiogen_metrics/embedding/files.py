"""Files that appear whole or not at all, once or under two names."""

from __future__ import annotations

import os
from pathlib import Path

from audiogen_metrics.writing import write_atomically

__all__ = ["link", "write_atomically"]


def link(source: Path, target: Path) -> None:
    """Give a file a second name without a second copy, where the file system can; else copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        return  # another process was faster; writing here would write into the source
    except OSError:
        write_atomically(target, source.read_bytes())
