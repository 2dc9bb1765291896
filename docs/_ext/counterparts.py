"""Which command is which Python call: the page of each links to the other. One table for both pages."""

from __future__ import annotations

PYTHON: dict[str, tuple[str, ...]] = {
    "score": ("score", "score_systems"),
    "verify": ("verify", "verify_systems"),
    "import": ("score_features",),
    "compare": ("compare",),
    "copies": ("find_copies",),
    "clap": ("audioldm.clap.clap_score",),
    "correlate": ("correlate",),
    "embed": ("evaluation.embed_folder",),
    "stats build": ("reference_statistics",),
    "stats show": ("ReferenceStatistics", "embedding.foreign.open_foreign"),
    "protocols compare": ("evaluation.protocol_sweep.compare_protocols",),
    "probe": ("probes.copying.corrupt_folder",),
    "study": ("studies.sanity",),
    "generate": ("generation.folder.generate_folder",),
    "finetune": ("audioldm.finetuning.FineTune",),
    "convert": ("audioldm.convert_checkpoint",),
    "data list": ("datasets.DATASETS",),
    "data check": ("datasets.checking.check",),
    "data export": ("datasets.checking.export",),
    "bench": ("benchmark.Benchmark",),
    "list": ("backbones.BACKBONES", "metrics.catalogue", "probes.PROBES", "protocols.PROTOCOLS", "datasets.DATASETS"),
    "weights list": ("backbones.published.WEIGHTS",),
    "weights fetch": ("backbones.weights.fetch",),
    "weights verify": (),
    "weights path": ("backbones.weights.find",),
    "cache info": ("settings.cache_dir",),
    "cache prune": (),
    "cache verify": (),
    "doctor": (),
    "selftest": ("selftest.selftest",),
    "completion": (),
}
"""By command, the names of the API that do the same; empty where Python has no function for it."""


def calls(command: str) -> str:
    """Return what the page of the command line says of a command, in Markdown."""
    names = [f"{{py:obj}}`audiogen_metrics.{name}`" for name in PYTHON[command]]
    return f"In Python: {', '.join(names)}." if names else "Python has no function for it."


def commands(name: str) -> str:
    """Return what the API page says of a name, in reStructuredText; empty where no command does the same."""
    found = [command for command, names in PYTHON.items() if name.removeprefix("audiogen_metrics.") in names]
    links = ", ".join(f":ref:`agm {command} <{label(command)}>`" for command in found)
    return f"On the command line: {links}." if links else ""


def label(command: str) -> str:
    """Return the name under which pages link to a command."""
    return f"agm {command}".replace(" ", "-")
