"""The toolkit of the kernel audio distance."""

from __future__ import annotations

from dataclasses import replace

from audiogen_metrics.metrics.mmd import KernelAudioDistance, WindowedKernelAudioDistance
from audiogen_metrics.metrics.recipe import Recipe
from audiogen_metrics.protocols.definition import Protocol, recipes
from audiogen_metrics.protocols.fadtk import AUDIO, CLAP_AUDIO

PROTOCOLS = (
    Protocol(
        name="kadtk",
        summary="KAD as kadtk computes it: the kernel is as wide as the evaluated set",
        source="YoonjinXD/kadtk 1.1.0",
        recipes=recipes(
            Recipe(
                "kad_panns_wavegram",
                KernelAudioDistance(bandwidth="gen"),
                "panns-wavegram-logmel-cnn14",
                replace(AUDIO, sample_rate=32_000),
            ),
            Recipe(
                "kad_passt",
                KernelAudioDistance(bandwidth="gen"),
                "passt-kadtk",
                replace(AUDIO, sample_rate=32_000),
                added=True,
            ),
            Recipe(
                "kad_windows_vggish",
                WindowedKernelAudioDistance(bandwidth="gen"),
                "vggish-float16",
                replace(AUDIO, minimum_samples=16_000),
                added=True,
            ),
            Recipe(
                "kad_windows_clap_laion_music",
                WindowedKernelAudioDistance(bandwidth="gen"),
                "clap-laion-music-hop1",
                CLAP_AUDIO,
                added=True,
            ),
        ),
        defects=(
            "a kernel as wide as the evaluated set is wider for a set that is more varied",
            "embeddings are rounded to float16 there, and so are those of PaSST, VGGish and CLAP here",
        ),
    ),
)
