"""Another sound mixed in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from audiogen_metrics.errors import AudioFileError
from audiogen_metrics.probes.base import Clip, Probe, between, setting
from audiogen_metrics.probes.mel import SPECVQGAN, MelFrontEnd, analyse
from audiogen_metrics.probes.pool import Pooled
from audiogen_metrics.probes.rates import at_rate


@dataclass(frozen=True)
class InterferenceParameters:
    """Signal-to-noise ratio in dB, the interfering clip, and where in it to begin, as a share of its length."""

    snr_db: float
    interferer: str
    offset: float


@dataclass(frozen=True)
class Interference(Pooled, Probe[InterferenceParameters]):
    """Mix in a clip of an irrelevant class at a ratio of mel energies, as the paper does.

    All clips share one pool of classes, without their own class. The interferer begins at a random place and repeats
    if it is shorter. Its amplitude is proportional to severity: the ratio at severity s is ``snr_db − 20·log10(s)``.
    The clip keeps its sample rate, since the sound is added to the waveform; a silent clip stays silent.
    """

    name: ClassVar[str] = "interference"
    dose: ClassVar[str] = "snr_db"
    snr_db: float = setting(0.0, "dB", meaning="ratio of the sums of squared linear mel magnitudes at severity 1.")
    classes: int = setting(10, "classes", low=1, meaning="size of the pool of classes.")
    mel: MelFrontEnd = SPECVQGAN

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> InterferenceParameters:
        """Draw a class, one of its clips, and an offset."""
        members = self.others.irrelevant(clip.clip_id, self.classes)
        chosen = members[rng.integers(len(members))]
        interferer = chosen[rng.integers(len(chosen))]
        return InterferenceParameters(self.snr_db - 20 * math.log10(severity), interferer, rng.random())

    def corrupt(self, clip: Clip, parameters: InterferenceParameters) -> Clip:
        """Mix the interferer in."""
        interferer = excerpt(self.others.load(parameters.interferer), clip, parameters.offset)
        ratio = analyse(clip, self.mel).energy / audible(analyse(interferer, self.mel).energy, parameters.interferer)
        return added(clip, interferer, ratio, parameters.snr_db)


@dataclass(frozen=True)
class MixParameters:
    """Signal-to-interference ratio in dB, the interfering clip, and where in it to begin."""

    sir_db: float
    interferer: str
    offset: float


@dataclass(frozen=True)
class Mix(Pooled, Probe[MixParameters]):
    """Mix in any other clip of the set at a ratio of powers; it repeats if it is shorter."""

    name: ClassVar[str] = "mix"
    dose: ClassVar[str] = "sir_db"
    sir_db: float = setting(0.0, "dB", meaning="signal-to-interference ratio at severity 1.")
    mild_sir_db: float = setting(40.0, "dB", meaning="towards severity 0; linear in between.")

    def draw(self, rng: np.random.Generator, clip: Clip, severity: float) -> MixParameters:
        """Draw a clip and an offset."""
        interferer = self.others.another(rng, clip.clip_id)
        return MixParameters(between(self.mild_sir_db, self.sir_db, severity), interferer, rng.random())

    def corrupt(self, clip: Clip, parameters: MixParameters) -> Clip:
        """Mix the interferer in."""
        interferer = excerpt(self.others.load(parameters.interferer), clip, parameters.offset)
        ratio = clip.power / audible(interferer.power, parameters.interferer)
        return added(clip, interferer, ratio, parameters.sir_db)


def excerpt(interferer: Clip, target: Clip, offset: float) -> Clip:
    """Return the interferer from ``offset`` (share of its length) on, at the target's rate and length, repeated."""
    waveform = at_rate(interferer, target.sample_rate).waveform
    places = int(offset * len(waveform)) + np.arange(len(target.waveform))
    return target.sounding(waveform.take(places, mode="wrap"))


def audible(energy: float, clip_id: str) -> float:
    """Return the energy of an excerpt; AudioFileError if the excerpt is silent."""
    if energy <= 0:
        raise AudioFileError(f"the interfering clip {clip_id} is silent there", fix="Leave it out of the pool")
    return energy


def added(clip: Clip, interferer: Clip, energy_ratio: float, ratio_db: float) -> Clip:
    """Return the sum with the interferer scaled from ``energy_ratio`` to ``ratio_db``."""
    gain = math.sqrt(energy_ratio) * 10 ** (-ratio_db / 20)
    return clip.sounding(clip.waveform + np.float64(gain) * interferer.waveform)
