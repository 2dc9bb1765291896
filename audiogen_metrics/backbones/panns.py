"""PANNs CNN14 at 16 and 32 kHz: a front end in torch, then panns-inference's network.

Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", 2020. torchlibrosa
computes the front end by convolution; here it is an FFT.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.convolution import OneByOne, Winograd, fold_batch_norm
from audiogen_metrics.backbones.frontend import power_spectrogram
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork, checked, definitions
from audiogen_metrics.errors import MissingWeightsError
from audiogen_metrics.precision import full_precision

CLASSES = 527
BANDS = 64
LABELS_FILE = "class_labels_indices.csv"
POOLED_FRAMES = 32
"""Frames that become one: five of the six blocks halve the time axis."""

HALO = 4 * POOLED_FRAMES
"""Frames on each side that affect an output frame, rounded up: a block's two convolutions reach two frames on either
side, and each block's frames are twice as long as those of the block before."""

STRIP_FRAMES = 8192
"""Frames that go through the network together: 82 s (0.6 GB). Longer clips go in strips, with a halo on each side."""

POOLS = ((2, 2), (2, 2), (2, 2), (2, 2), (2, 2), (1, 1))
"""Frames and bands of each block's maps that become one."""

TILES = (None, 4, 4, 4, 4, 2)
"""Winograd's tile in each block on a CPU. The first block has too few channels for it; the last block's maps, 2 bands
wide, would leave half of larger tiles empty."""

ONE_BY_ONE = (1, 2, 3)
"""Blocks that take clips one by one on a CPU, since a batch's maps take a quarter of a gigabyte of new memory each."""

FRONT_END = {
    "real": "spectrogram_extractor.stft.conv_real.weight",
    "imaginary": "spectrogram_extractor.stft.conv_imag.weight",
    "filterbank": "logmel_extractor.melW",
}
"""Where a checkpoint keeps its front end's constants."""


class Cnn14(PretrainedBackbone):
    """CNN14: 527 AudioSet classes, 2048-d embeddings, one row per clip.

    ``embeddings`` are those of panns-inference, the ReLU of the last but one layer; ``logits`` are the last layer
    before its sigmoid.

    Attributes
    ----------
    fft
        Window and FFT length in samples.
    hop
        Samples between frames.
    high_hz
        Upper edge of the last mel band in Hz; the lower edge of the first is 50 Hz.
    """

    outputs: ClassVar[frozenset[Output]] = frozenset({"embeddings", "logits"})
    numerics_version = 4
    chooses_products = True
    fft: ClassVar[int]
    hop: ClassVar[int]
    low_hz: ClassVar[float] = 50.0
    high_hz: ClassVar[float]

    def build(self) -> Cnn14Network:
        """Return the network, its weights still on the meta device."""
        return Cnn14Network(self.sample_rate, self.fft, self.hop, self.low_hz, self.high_hz)

    def load(self) -> Cnn14Network:
        """Return the network with its weights, and with the form of convolutions that suits the device."""
        network = cast("Cnn14Network", super().load())
        network.fold_batch_norms()
        if self.plain_cpu:
            network.suit_cpu()
        return network

    def unwrap(self, checkpoint: object, path: Path) -> Mapping[str, object]:
        """Return the network's tensors, after a check that the checkpoint was trained with this front end."""
        # A safetensors file is flat.
        state = checkpoint.get("model", checkpoint) if isinstance(checkpoint, Mapping) else None
        if not isinstance(state, Mapping):
            raise MissingWeightsError("the checkpoint has no state dict under 'model'", where=path, fix=_FORMAT)
        constants = LogMel(self.sample_rate, self.fft, self.hop, self.low_hz, self.high_hz).constants()
        stored = {name: value for name, value in state.items() if name in constants}
        tensors = checked(stored, {name: tensor.shape for name, tensor in constants.items()}, path)
        for name, expected in constants.items():
            if (tensors[name] - expected).abs().max() > 1e-3 * expected.abs().max():
                raise MissingWeightsError(f"{name} is not that of {self.name}", where=path, fix=_FORMAT)
        return {name: value for name, value in state.items() if name not in constants}

    @property
    def labels(self) -> tuple[str, ...]:
        """The 527 class names."""
        return audioset_labels()


class Cnn14At16k(Cnn14):
    """CNN14 at 16 kHz, the backbone of FD, IS and KL in the AudioLDM papers."""

    name = "panns-cnn14-16k"
    sample_rate = 16_000
    fft: ClassVar[int] = 512
    hop: ClassVar[int] = 160
    high_hz: ClassVar[float] = 8_000.0
    minimum_samples = (POOLED_FRAMES - 1) * hop


class Cnn14At32k(Cnn14):
    """CNN14 at 32 kHz, panns-inference's own default."""

    name = "panns-cnn14-32k"
    sample_rate = 32_000
    fft: ClassVar[int] = 1024
    hop: ClassVar[int] = 320
    high_hz: ClassVar[float] = 14_000.0
    minimum_samples = (POOLED_FRAMES - 1) * hop


class Cnn14Network(PretrainedNetwork):
    """Log-mel front end, then the layers of panns-inference's ``Cnn14``, long clips in strips along time.

    Its ``forward`` is replaced, because the original holds all maps of a clip, 70 kB for each frame. Strips change
    nothing else: a convolution sees one frame on either side, and maximum and mean over time come last.

    Parameters
    ----------
    sample_rate, fft, hop, low_hz, high_hz
        As for `LogMel`.
    """

    def __init__(self, sample_rate: int, fft: int, hop: int, low_hz: float, high_hz: float) -> None:
        with torch.device("meta"):  # avoids drawing 80 million random numbers
            body: Any = self.make_body()
        super().__init__(body)
        self.norm: Any = body.bn0
        self.linear: Any = body.fc1
        self.classifier: Any = body.fc_audioset
        self.log_mel: LogMel = LogMel(sample_rate, fft, hop, low_hz, high_hz)

    @staticmethod
    def make_body() -> nn.Module:
        """Return the layers after the front end."""
        nothing = dict.fromkeys(("sample_rate", "window_size", "hop_size", "fmin", "fmax"))  # only the front end's
        body: nn.Module = _definitions()["Cnn14"](mel_bins=BANDS, classes_num=CLASSES, **nothing)
        return body

    def fold_batch_norms(self) -> None:
        """Fold each batch norm into its convolution."""
        for block in self._blocks():
            self.fold_block(block)

    @staticmethod
    def fold_block(block: Any) -> None:
        """Fold both batch norms of a block into its convolutions."""
        for number in (1, 2):
            convolution, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
            setattr(block, f"conv{number}", fold_batch_norm(convolution, norm))
            setattr(block, f"bn{number}", nn.Identity())

    def suit_cpu(self) -> None:
        """Rearrange folded convolutions for a CPU: channels last, and fewer products for many channels."""
        self.body.to(memory_format=torch.channels_last)
        for block, tile in zip(self._blocks(), TILES, strict=True):
            if tile is not None:
                block.conv1, block.conv2 = Winograd(block.conv1, tile), Winograd(block.conv2, tile)
        for number in ONE_BY_ONE:
            name = f"conv_block{number}"
            setattr(self.body, name, OneByOne(getattr(self.body, name)))

    def _blocks(self) -> list[Any]:
        return [getattr(self.body, f"conv_block{number}") for number in range(1, 7)]

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        heard = self.maps(waveforms)
        embeddings = F.relu(self.linear(heard.amax(dim=2) + heard.mean(dim=2)))
        logits: torch.Tensor = self.classifier(embeddings)
        return Features(embeddings=embeddings.float(), logits=logits.float())

    def maps(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the last maps of ``(batch, time)``, averaged over bands: ``(batch, 2048, frames // 32)``."""
        return torch.cat([self.heard(strip)[:, :, kept] for strip, kept in self.strips(waveforms)], dim=2)

    def strips(self, waveforms: torch.Tensor) -> Iterator[tuple[torch.Tensor, slice]]:
        """Yield log-mel spectrograms ``(batch, frames, 64)`` along the time of ``(batch, time)``, one for short clips.

        Each comes with the slice of output frames that count; the others are affected by a strip's edge.
        """
        padded = self.log_mel.pad(waveforms)
        for first, last, kept in self.spans(self.log_mel.count(padded)):
            yield self.log_mel.of_padded(self.log_mel.span(padded, first, last)), kept

    def spans(self, frames: int) -> Iterator[tuple[int, int, slice]]:
        """Yield the first frame of each strip, the frame after its last, and the slice of output frames that count."""
        if frames <= STRIP_FRAMES:
            yield 0, frames, slice(None)
            return
        for start in range(0, frames // POOLED_FRAMES * POOLED_FRAMES, STRIP_FRAMES):
            first, last = max(0, start - HALO), min(frames, start + STRIP_FRAMES + HALO)
            skipped = (start - first) // POOLED_FRAMES
            yield first, last, slice(skipped, skipped + STRIP_FRAMES // POOLED_FRAMES)

    def heard(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return the last maps of ``(batch, frames, 64)``, averaged over bands: ``(batch, 2048, frames // 32)``."""
        return self.through(self.normed(log_mel), first=0)

    def normed(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, frames, 64)`` in the form of the first block's input, ``(batch, 1, frames, 64)``."""
        maps: torch.Tensor = self.norm(log_mel[:, None].transpose(1, 3)).transpose(1, 3)
        return maps

    def through(self, maps: torch.Tensor, first: int) -> torch.Tensor:
        """Return maps after the blocks from number ``first`` on, counted from 0, averaged over bands."""
        for block, size in list(zip(self._blocks(), POOLS, strict=True))[first:]:
            maps = block(maps, pool_size=size, pool_type="avg")
        return maps.mean(dim=3)


class LogMel(nn.Module):
    """Mel power spectrogram in dB, ``10 log10(max(S, 1e-10))``: centred frames, reflected edges, periodic Hann.

    Parameters
    ----------
    sample_rate
        Hz.
    fft, hop
        Samples per frame and between frames.
    low_hz, high_hz
        Edges of the 64 mel bands in Hz.
    """

    def __init__(self, sample_rate: int, fft: int, hop: int, low_hz: float, high_hz: float) -> None:
        super().__init__()
        self.fft = fft
        self.hop = hop
        filterbank = slaney_mel_filterbank(fft // 2 + 1, sample_rate, BANDS, low_hz, high_hz)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.filterbank: torch.Tensor

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 1 + time // hop, 64)`` in dB of ``(batch, time)``."""
        return self.of_padded(self.pad(waveforms))

    def pad(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, time)`` with half a frame more on either side."""
        return F.pad(waveforms, (self.fft // 2, self.fft // 2), mode="reflect")

    def count(self, padded: torch.Tensor) -> int:
        """Return the number of frames of a padded waveform."""
        return 1 + (padded.shape[1] - self.fft) // self.hop

    def span(self, padded: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Return the samples of a padded waveform that the frames ``first`` to ``last - 1`` cover."""
        return padded[:, first * self.hop : (last - 1) * self.hop + self.fft]

    def of_padded(self, padded: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, frames, 64)`` in dB of a padded waveform or a span of it."""
        with full_precision(padded.device):
            mel = power_spectrogram(padded, self.fft, self.hop) @ self.filterbank
            return 10 * torch.log10(mel.clamp(min=1e-10))

    def constants(self) -> dict[str, torch.Tensor]:
        """Return the front end as torchlibrosa stores it: convolution kernels of a windowed DFT, and the filters."""
        samples = torch.arange(self.fft, dtype=torch.float64, device="cpu")
        angles = 2 * math.pi / self.fft * samples[: self.fft // 2 + 1, None] * samples
        window = torch.hann_window(self.fft, dtype=torch.float64, device="cpu")
        return {
            FRONT_END["real"]: (angles.cos() * window)[:, None].float(),
            FRONT_END["imaginary"]: (-angles.sin() * window)[:, None].float(),
            FRONT_END["filterbank"]: self.filterbank,
        }


def slaney_mel_filterbank(bins: int, sample_rate: int, bands: int, low_hz: float, high_hz: float) -> torch.Tensor:
    """Return ``librosa.filters.mel`` with its defaults, transposed: ``(bins, bands)`` float32.

    Triangles are linear in Hz, spaced on Slaney's mel scale (linear to 1 kHz, logarithmic above), and have an area
    of 1.

    Parameters
    ----------
    bins
        Number of FFT bins, ``n_fft // 2 + 1``.
    sample_rate
        Rate in Hz; the last bin is at half of it.
    bands, low_hz, high_hz
        Number of bands, lower edge of the first and upper edge of the last in Hz.
    """
    frequencies = torch.linspace(0, sample_rate / 2, bins, dtype=torch.float64, device="cpu")[:, None]
    low, high = _hz_to_mel(low_hz), _hz_to_mel(high_hz)
    points = _mel_to_hz(torch.linspace(low, high, bands + 2, dtype=torch.float64, device="cpu"))
    lower, centre, upper = points[:-2], points[1:-1], points[2:]
    rising, falling = (frequencies - lower) / (centre - lower), (upper - frequencies) / (upper - centre)
    return (torch.minimum(rising, falling).clamp(min=0) * 2 / (upper - lower)).float()


_LOG_STEP = math.log(6.4) / 27
"""Slaney's scale: 27 bands from 1 to 6.4 kHz; below 1 kHz, the 15th band, they are 200/3 Hz wide."""


def _hz_to_mel(hertz: float) -> float:
    return 15 + math.log(hertz / 1000) / _LOG_STEP if hertz >= 1000 else hertz * 3 / 200


def _mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    return torch.where(mel >= 15, 1000 * torch.exp(_LOG_STEP * (mel - 15)), mel * 200 / 3)


_FORMAT = "A PANNs checkpoint is {'model': state dict, …}; agm weights list names the published files"


def conv_block(given: int, made: int) -> nn.Module:
    """Return a block of CNN14, panns-inference's own: two convolutions with batch norms, then pooling."""
    block: nn.Module = _definitions()["ConvBlock"](given, made)
    return block


@cache
def _definitions() -> dict[str, Any]:
    """Return panns-inference's classes, without torchlibrosa's front end and noise."""
    names = {"torch": torch, "nn": nn, "F": F}
    absent = dict.fromkeys(("Spectrogram", "LogmelFilterBank", "SpecAugmentation"), nn.Identity)
    return definitions("panns_inference", "models.py", {**names, **absent})


@cache
def audioset_labels() -> tuple[str, ...]:
    """Return the names of AudioSet's 527 classes in the order of the logits."""
    file = resources.files("audiogen_metrics.backbones") / "data" / LABELS_FILE
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple(row["display_name"] for row in rows)
