"""From an edited mel-spectrogram back to a waveform, and the probes that go this way."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np

from audiogen_metrics.probes.base import Clip, Probe, setting
from audiogen_metrics.probes.mel import (
    SPECVQGAN,
    Analysis,
    Matrix,
    MelFrontEnd,
    Spectrum,
    analyse,
    band_edges,
    filterbank,
)
from audiogen_metrics.probes.mel import istft as to_waveform
from audiogen_metrics.probes.mel import stft as to_spectrum


class Seeded(Protocol):
    """Parameters with a seed for what is drawn while they are applied."""

    @property
    def seed(self) -> int:
        """The seed."""


S = TypeVar("S", bound=Seeded)


@dataclass(frozen=True)
class MelProbe(Probe[S], Generic[S]):
    """A probe that edits the mel-spectrogram and goes back to a waveform at the front end's rate."""

    method: str = setting("phase", choices=("phase", "griffinlim"), meaning="how the spectrogram becomes a waveform.")
    iterations: int = setting(32, "iterations", low=1, meaning="number of iterations of griffinlim.")
    overload: str = setting(
        "keep",
        choices=("keep", "scale"),
        meaning="whether a waveform that exceeds full scale stays so or is scaled down to it.",
    )
    mel: MelFrontEnd = SPECVQGAN

    @abstractmethod
    def edit(self, source: Analysis, parameters: S) -> tuple[Analysis, Matrix]:
        """Return the analysis to start from, whose frames may be moved or silenced, and the target M'."""

    def corrupt(self, clip: Clip, parameters: S) -> Clip:
        """Return the clip resynthesised from the edited mel-spectrogram."""
        source, target = self.edit(analyse(clip, self.mel), parameters)
        rng = np.random.default_rng(parameters.seed)
        samples = len(source.clip.waveform)
        if self.method == "griffinlim":
            waveform = griffin_lim(target, self.mel, samples, rng, self.iterations)
        else:
            waveform = to_waveform(scale_bands(source, target, rng), self.mel, samples)
        peak = np.abs(waveform).max(initial=1) if self.overload == "scale" else 1
        return source.clip.sounding(waveform / peak)

    def measure(self, clip: Clip, parameters: S, corrupted: Clip) -> dict[str, float]:
        """Return the mean re-analysis error |mel(out) − M'| on the scale [0, 1], and the peak of the waveform."""
        _, target = self.edit(analyse(clip, self.mel), parameters)
        error = np.abs(analyse(corrupted, self.mel).mel - target).mean()
        return {"reanalysis_error": float(error), "peak": float(np.abs(corrupted.waveform).max(initial=0))}


def scale_bands(source: Analysis, target: Matrix, rng: np.random.Generator) -> Spectrum:
    """Return the STFT of ``source`` with its bands scaled towards the mel-spectrogram ``target``: ``phase``.

    Cells that do not change leave the STFT as it is. A changed cell scales it by the ratio of mel magnitudes, in
    decibels, interpolated between the centres of bands. Where a cell has no sound to scale, magnitude is added with
    random phase. Bins outside the bands follow the nearest band down but not up: a boosted lowest band must not boost
    the rumble below it, which is not in the mel-spectrogram.
    """
    front_end, magnitudes = source.front_end, source.magnitudes
    wanted = front_end.unscale(target)
    changed = target != source.mel
    audible = magnitudes > front_end.nothing
    ratios = np.maximum(wanted, front_end.nothing) / np.maximum(magnitudes, front_end.nothing)
    per_bin = filterbank(front_end).sum(axis=1, keepdims=True)
    added = np.where(changed & ~audible, wanted / per_bin, 0.0)
    to_bins = interpolation(front_end)
    gains = np.exp(to_bins @ np.log(np.where(changed & audible, ratios, 1.0)))
    outside = (front_end.frequencies < front_end.low_hz) | (front_end.frequencies > front_end.high_hz)
    gains[outside] = np.minimum(gains[outside], 1.0)
    phases = np.exp(2j * np.pi * rng.random(source.stft.shape))
    spectrum: Spectrum = source.stft * gains + (to_bins @ added) * phases
    return spectrum


@lru_cache(maxsize=8)
def interpolation(front_end: MelFrontEnd) -> Matrix:
    """Return the weights ``(bins, bands)`` that interpolate per-band values over the FFT's bins."""
    centres = band_edges(front_end)[1:-1]
    return np.stack([np.interp(front_end.frequencies, centres, band) for band in np.eye(len(centres))], axis=1)


def griffin_lim(
    target: Matrix, front_end: MelFrontEnd, samples: int, rng: np.random.Generator, iterations: int
) -> Matrix:
    """Return a waveform ``(samples,)`` for a mel-spectrogram on the scale [0, 1]: Griffin and Lim, 1984.

    Magnitudes are the least-squares solution through the filterbank, made non-negative; phases start at random.
    """
    magnitudes = np.maximum(0, np.linalg.pinv(filterbank(front_end)) @ front_end.unscale(target))
    phases = np.exp(2j * np.pi * rng.random(magnitudes.shape))
    waveform = to_waveform(magnitudes * phases, front_end, samples)
    for _ in range(iterations):
        phases = np.exp(1j * np.angle(to_spectrum(waveform, front_end)))
        waveform = to_waveform(magnitudes * phases, front_end, samples)
    return waveform
