"""PANNs' Wavegram-LogMel-CNN14: a CNN14 that uses the samples themselves as well as their log-mel spectrogram.

Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", 2020. The layers on
samples are written here, since panns-inference lacks them; the blocks after them are those of panns-inference.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.convolution import fold_batch_norm
from audiogen_metrics.backbones.panns import CLASSES, POOLS, Cnn14At32k, Cnn14Network, conv_block

STRIDE, POOLED, LAYERS = 5, 4, 3
"""Stride of the first layer on samples, number of outputs that each block after it joins, and number of blocks."""

BANDS = 32
"""Rows into which the last block's channels are laid out; a spectrogram has frequencies on this axis."""

COLUMN = STRIDE * POOLED**LAYERS
"""Samples of a column of the wavegram, which are those between frames of the spectrogram."""

SHORTEST = (32 * POOLED**LAYERS - 1) * STRIDE + 1
"""Samples of 32 columns, which all blocks together turn into one."""


class WavegramLogmelCnn14(Cnn14At32k):
    """Wavegram-LogMel-CNN14 at 32 kHz: 527 AudioSet classes, 2048-d embeddings, one row per clip.

    ``embeddings`` and ``logits`` are those of the same layers as CNN14's.
    """

    name = "panns-wavegram-logmel-cnn14"
    numerics_version = 1
    minimum_samples = SHORTEST

    def build(self) -> Cnn14Network:
        """Return the network, its weights still on the meta device."""
        return WavegramNetwork(self.sample_rate, self.fft, self.hop, self.low_hz, self.high_hz)


class WavegramNetwork(Cnn14Network):
    """CNN14's network, whose second block also takes a wavegram; long clips in strips along time."""

    @staticmethod
    def make_body() -> nn.Module:
        """Return the published network with its own names, without its front end."""
        return Body()

    def fold_batch_norms(self) -> None:
        """Fold each batch norm into its convolution, also those on samples."""
        super().fold_batch_norms()
        body: Any = self.body
        body.pre_conv0, body.pre_bn0 = fold_batch_norm(body.pre_conv0, body.pre_bn0), nn.Identity()
        for block in (body.pre_block1, body.pre_block2, body.pre_block3, body.pre_block4):
            self.fold_block(block)

    def maps(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the last maps of ``(batch, time)``, averaged over bands: ``(batch, 2048, columns // 32)``."""
        padded = self.log_mel.pad(waveforms)
        frames = self.log_mel.count(padded)
        parts = []
        for first, last, kept in self.spans(frames):
            samples = waveforms[:, first * COLUMN : None if last == frames else last * COLUMN]
            log_mel = self.log_mel.of_padded(self.log_mel.span(padded, first, last))
            parts.append(self.heard_with(log_mel, samples)[:, :, kept])
        return torch.cat(parts, dim=2)

    def heard_with(self, log_mel: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Return the last maps, averaged over bands, of ``(batch, frames, 64)`` and the samples of the same time."""
        body: Any = self.body
        maps = body.conv_block1(self.normed(log_mel), pool_size=POOLS[0], pool_type="avg")
        # Each layer would need a sixth of a gigabyte of new memory for a batch's maps of samples.
        singly = samples.split(1 if samples.device.type == "cpu" else len(samples))
        wavegram = torch.cat([body.wavegram(some) for some in singly])
        columns = min(maps.shape[2], wavegram.shape[2])
        maps = torch.cat([maps[:, :, :columns], wavegram[:, :, :columns]], dim=1)
        return self.through(maps, first=1)


class Body(nn.Module):
    """Wavegram-LogMel-CNN14 with the names of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_conv0 = nn.Conv1d(1, 64, 11, stride=STRIDE, padding=5, bias=False)
        self.pre_bn0 = nn.BatchNorm1d(64)
        self.pre_block1 = SamplesBlock(64, 64)
        self.pre_block2 = SamplesBlock(64, 128)
        self.pre_block3 = SamplesBlock(128, 128)
        self.pre_block4 = conv_block(128 // BANDS, 64)
        self.bn0 = nn.BatchNorm2d(64)
        channels = (1, 128, 128, 256, 512, 1024), (64, 128, 256, 512, 1024, 2048)
        for number, (given, made) in enumerate(zip(*channels, strict=True), start=1):
            setattr(self, f"conv_block{number}", conv_block(given, made))
        self.fc1 = nn.Linear(2048, 2048)
        self.fc_audioset = nn.Linear(2048, CLASSES)

    def wavegram(self, samples: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 64, columns // 2, 32)`` of ``(batch, time)``."""
        maps = F.relu(self.pre_bn0(self.pre_conv0(samples[:, None])))
        for block in (self.pre_block1, self.pre_block2, self.pre_block3):
            maps = block(maps)
        maps = maps.unflatten(1, (-1, BANDS)).transpose(2, 3)
        found: torch.Tensor = self.pre_block4(maps, pool_size=(2, 1), pool_type="avg")
        return found


class SamplesBlock(nn.Module):
    """Two convolutions along time, the second one with a dilation of 2, and the largest of each four samples."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(given, made, 3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(made, made, 3, padding=2, dilation=2, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(made), nn.BatchNorm1d(made)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, made, time // 4)`` of ``(batch, given, time)``."""
        maps = F.relu(self.bn1(self.conv1(maps)))
        return F.max_pool1d(F.relu(self.bn2(self.conv2(maps))), POOLED)
