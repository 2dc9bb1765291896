"""The versions that a report states."""

from __future__ import annotations


def tool_versions() -> dict[str, str]:
    """Return the versions of everything that takes part in a number."""
    import platform
    from importlib.metadata import version

    from audiogen_metrics.audio.decoding import DECODER_VERSION

    packages = ("audiogen-metrics", "torch", "numpy", "soundfile")
    return {name: version(name) for name in packages} | {
        "decoder": DECODER_VERSION,
        "python": platform.python_version(),
    }
