"""``agm doctor``: does everything work here, and if not, what would fix it."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from functools import partial

from audiogen_metrics.cli.common import Subparsers, write_result
from audiogen_metrics.errors import AudiogenMetricsError, UsageError


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this installation",
        description="Check this installation. Exits with 4 if the core is broken; "
        "a backbone without its weights is named, and no fault.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Print one line per part; return 4 if a part that every run needs is broken."""
    from audiogen_metrics.backbones import BACKBONES

    core = [_examine(name, check) for name, check in _CORE.items()]
    backbones = [_examine(f"backbone {name}", partial(_backbone, name)) for name in BACKBONES.names()]
    write_result("".join(line for _, line in [*core, *backbones]), None)
    return 0 if all(works for works, _ in core) else 4


def _examine(name: str, check: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, f"ok       {name}: {check()}\n"
    except (AudiogenMetricsError, ImportError, OSError, RuntimeError) as error:
        return False, f"MISSING  {name}: {error}\n"


def _torch() -> str:
    import torch

    devices = ["cpu", *(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))]
    return f"{torch.__version__}, {torch.get_num_threads()} threads, devices: {', '.join(devices)}"


def _decoder() -> str:
    import soundfile

    formats = soundfile.available_formats()
    missing = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in formats]
    if missing or "OPUS" not in soundfile.available_subtypes("OGG"):
        raise RuntimeError(f"libsndfile {soundfile.__libsndfile_version__} lacks {missing or 'Opus'}")
    return f"libsndfile {soundfile.__libsndfile_version__}: WAV, FLAC, OGG (Vorbis, Opus), MP3"


def _cache() -> str:
    from audiogen_metrics.settings import cache_dir, require_lasting_cache
    from audiogen_metrics.writing import write_atomically

    require_lasting_cache()
    probe = cache_dir() / "doctor"
    try:
        write_atomically(probe, b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"cannot be written ({error.strerror})", cache_dir(), "Set AGM_CACHE_DIR to another folder"
        ) from error
    return f"{cache_dir()} (writable)"


def _backbone(name: str) -> str:
    from audiogen_metrics.backbones import BACKBONES

    return f"weights sha256 {BACKBONES.get(name)().weights_sha256[:16]}…"


_CORE: dict[str, Callable[[], str]] = {
    "python": platform.python_version,
    "torch": _torch,
    "audio decoder": _decoder,
    "cache": _cache,
}
