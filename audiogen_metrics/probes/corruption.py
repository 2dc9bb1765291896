"""A probe as a step of extraction: clips are corrupted between decoding and the backbone, and cached as such."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audiogen_metrics.audio.decoding import Audio
from audiogen_metrics.audio.preparation import Preprocessing
from audiogen_metrics.probes.base import Clip, Probe, clip_rng


@dataclass(frozen=True)
class Corruption:
    """One probe at one severity with one seed, over a whole set.

    Parameters
    ----------
    probe
        The probe, with its pool if it needs one.
    severity
        In [0, 1].
    seed
        Seed of every clip's random stream.
    company
        Hash of the other clips that the probe may draw on; empty for a probe that looks at one clip only.
    events
        First sample of each event by clip id, for a set of sequences.
    """

    probe: Probe[Any]
    severity: float
    seed: int
    company: str = ""
    events: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def space(self) -> Mapping[str, object]:
        """Everything that shapes a corrupted clip, apart from the clip itself."""
        return {
            "probe": self.probe.name,
            "version": self.probe.version,
            "settings": self.probe.settings,
            "severity": self.severity,
            "seed": self.seed,
            "company": self.company,
        }

    def key(self, clip_id: str, digest: str) -> str:
        """Return a hash of the clip's content, its id, which seeds its stream, and its events."""
        text = f"{digest} {self.events.get(clip_id, ())} {clip_id}"
        return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()

    def __call__(self, clip_id: str, audio: Audio, preprocessing: Preprocessing) -> Audio:
        """Return the corrupted clip, mono, from the channel that the protocol uses."""
        clip = Clip.from_audio(clip_id, audio, preprocessing.channel)
        if self.events:
            clip = Clip(clip_id, clip.waveform, clip.sample_rate, self.events[clip_id])
        parameters = self.probe.sample(clip_rng(self.seed, clip_id, self.probe.name), clip, self.severity)
        corrupted = self.probe.apply(clip, parameters)
        return Audio(corrupted.waveform[:, None], corrupted.sample_rate)
