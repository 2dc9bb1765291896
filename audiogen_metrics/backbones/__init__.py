"""Networks that turn waveforms into embeddings and logits, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiogen_metrics.lazy import handing_on
from audiogen_metrics.registry import Registry

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone
    from audiogen_metrics.backbones.custom import from_callable
    from audiogen_metrics.backbones.hub import trust_remote_code

__all__ = ["BACKBONES", "from_callable", "trust_remote_code"]

BACKBONES: Registry[type[Backbone]] = Registry("backbone", entry_point_group="audiogen_metrics.backbones")
"""All backbones; an installed package adds its own under this entry-point group, loaded on use."""

BACKBONES.add("panns-cnn14-16k", "audiogen_metrics.backbones.panns:Cnn14At16k")
BACKBONES.add("panns-cnn14-32k", "audiogen_metrics.backbones.panns:Cnn14At32k")
BACKBONES.add("panns-wavegram-logmel-cnn14", "audiogen_metrics.backbones.wavegram:WavegramLogmelCnn14")
BACKBONES.add("vggish", "audiogen_metrics.backbones.vggish:VGGish")
BACKBONES.add("vggish-float16", "audiogen_metrics.backbones.vggish:Float16VGGish")
BACKBONES.add("vggish-overlapping", "audiogen_metrics.backbones.vggish:OverlappingVGGish")
BACKBONES.add("audiobox-aesthetics", "audiogen_metrics.backbones.audiobox:AudioboxAesthetics")
BACKBONES.add("clap", "audiogen_metrics.audioldm.clap:CLAP")
BACKBONES.add("clap-laion-music-speech", "audiogen_metrics.backbones.laion_clap:MusicSpeech")
BACKBONES.add("clap-laion-music", "audiogen_metrics.backbones.laion_clap:Music")
BACKBONES.add("clap-laion-music-hop1", "audiogen_metrics.backbones.laion_clap:MusicSeconds")
BACKBONES.add("clap-laion-music-hop10", "audiogen_metrics.backbones.laion_clap:MusicTens")
BACKBONES.add("clap-laion-630k", "audiogen_metrics.backbones.laion_clap:Sounds")
BACKBONES.add("clap-laion-630k-fusion", "audiogen_metrics.backbones.laion_clap:SoundsFusion")
BACKBONES.add("passt", "audiogen_metrics.backbones.passt:PaSST")
BACKBONES.add("passt-kadtk", "audiogen_metrics.backbones.passt:Joint")
BACKBONES.add("passt-hop5", "audiogen_metrics.backbones.passt:Overlapping")
BACKBONES.add("passt-segments", "audiogen_metrics.backbones.passt:Segments")
BACKBONES.add("yamnet", "audiogen_metrics.backbones.yamnet:YAMNet")
BACKBONES.add_family("hf:", "audiogen_metrics.backbones.huggingface:named")


if not TYPE_CHECKING:  # a checker that saw this would take any name
    # What these need, listing the backbones does not: torch.
    __getattr__ = handing_on(
        __name__,
        {
            "from_callable": "audiogen_metrics.backbones.custom",
            "trust_remote_code": "audiogen_metrics.backbones.hub",
        },
    )
