"""``agm doctor``: does everything work here, and if not, what would fix it."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from audiogen_metrics import __version__
from audiogen_metrics.cli.common import Subparsers, write_result
from audiogen_metrics.errors import AudiogenMetricsError
from audiogen_metrics.text import escaped


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "doctor",
        description="Check this installation. Exits with 4 if the core is broken; "
        "a backbone whose weights are not here is named, and is not a fault.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Print one line per part; return 4 if a part that every run needs is broken."""
    from audiogen_metrics.backbones import BACKBONES

    core = [_examine(name, check) for name, check in _CORE.items()]
    with _offline():
        backbones = {name: _examine(f"backbone {name}", partial(_backbone, name)) for name in BACKBONES.names()}
    faults = [f"warning  backbone {name}: {fault}\n" for name, fault in BACKBONES.faults.items()]
    works = all(found for found, _ in core)
    verdict = _verdict({name for name, (found, _) in backbones.items() if found}) if works else "Nothing can be scored"
    lines = [line for _, line in [*core, *backbones.values()]] + faults
    write_result("".join(map(_one_line, lines)) + f"{_NEXT}\n{verdict}.\n", None)
    return 0 if works else 4


@contextmanager
def _offline() -> Iterator[None]:
    """Forbid downloads: an examination fetches nothing."""
    before = os.environ.get("AGM_OFFLINE")
    os.environ["AGM_OFFLINE"] = "1"
    try:
        yield
    finally:
        del os.environ["AGM_OFFLINE"]
        if before is not None:
            os.environ["AGM_OFFLINE"] = before


def _verdict(there: set[str]) -> str:
    """Return in one sentence what can be scored now, and what would make it more."""
    from audiogen_metrics.backbones.published import WEIGHTS, weights_name, with_what_is_beside
    from audiogen_metrics.evaluation.networks import added
    from audiogen_metrics.protocols import PROTOCOLS

    needed = {name: {recipe.backbone for recipe in protocol.recipes.values()} for name, protocol in PROTOCOLS.items()}
    spare = {name: added([*protocol.recipes.values()]) for name, protocol in PROTOCOLS.items()}
    able = [name for name, backbones in needed.items() if backbones & there and backbones - spare[name] <= there]
    default = next(iter(PROTOCOLS))
    lacking = {weights_name(backbone) for backbone in needed[default] - there}
    fetch = " ".join(sorted(with_what_is_beside(lacking) & set(WEIGHTS.names())))
    now = f"--protocol {', '.join(able)}" if able else "no protocol"
    return f"What can be scored now: {now}" + f"; for {default}, the default: agm weights fetch {fetch}" * bool(fetch)


def _one_line(line: str) -> str:
    return f"{escaped(line.rstrip())}\n"


def _examine(name: str, check: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, f"ok       {name}: {check()}\n"
    except Exception as error:  # a plug-in may raise anything
        kind = (
            ""
            if isinstance(error, (AudiogenMetricsError, ImportError, OSError, RuntimeError))
            else type(error).__name__
        )
        text = str(error).removeprefix(f"{name.removeprefix('backbone ')}: ")
        return False, f"MISSING  {name}: {kind}{': ' * bool(kind)}{text}\n"


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
    from audiogen_metrics.writing import write_atomically, writing

    require_lasting_cache()
    probe = cache_dir() / "doctor"
    with writing(cache_dir(), "Set AGM_CACHE_DIR to another folder"):
        write_atomically(probe, b"")
        probe.unlink()
    return f"{cache_dir()} (writable)"


def _backbone(name: str) -> str:
    from audiogen_metrics.backbones import BACKBONES

    return f"weights sha256 {BACKBONES.get(name)().weights_sha256[:16]}…"


_NEXT = "agm selftest tells whether its numbers are the published ones."

_CORE: dict[str, Callable[[], str]] = {
    "audiogen-metrics": lambda: __version__,
    "python": platform.python_version,
    "torch": _torch,
    "audio decoder": _decoder,
    "cache": _cache,
}
