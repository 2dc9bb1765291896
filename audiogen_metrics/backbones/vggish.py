"""VGGish: a front end in torch, then torchvggish's network.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", 2017. The front end is that of
``torchvggish.vggish_input``.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, cast

import torch
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.convolution import Winograd
from audiogen_metrics.backbones.frontend import power_spectrogram, window_blocks
from audiogen_metrics.backbones.mel import htk_mel_filterbank
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork, definitions
from audiogen_metrics.precision import full_precision

FRAME, HOP, FFT = 400, 160, 512
EXAMPLE_FRAMES = 96
EXAMPLE_SAMPLES = (EXAMPLE_FRAMES - 1) * HOP + FRAME
EXAMPLE_HOP_SAMPLES = EXAMPLE_FRAMES * HOP
EXAMPLES_PER_PASS = 16
"""Examples that go through the network together: enough to keep it busy, and few enough to reuse memory."""


class VGGish(PretrainedBackbone):
    """VGGish: 128-d embeddings of examples of 0.96 s, one after the other.

    An incomplete last example is dropped. The embedding is the last linear layer before its ReLU, without PCA and
    quantisation.
    """

    name = "vggish"
    sample_rate = 16_000
    outputs: ClassVar[frozenset[Output]] = frozenset({"windows"})
    minimum_samples = EXAMPLE_SAMPLES
    numerics_version = 4
    chooses_products = True
    hop_samples: ClassVar[int] = EXAMPLE_HOP_SAMPLES
    rounding: ClassVar[torch.dtype] = torch.float32

    def build(self) -> VGGishNetwork:
        """Return the network, its weights still on the meta device."""
        return VGGishNetwork(self.minimum_samples, self.hop_samples, self.rounding)

    def load(self) -> VGGishNetwork:
        """Return the network with its weights, and with the form of convolutions that suits the device."""
        network = cast("VGGishNetwork", super().load())
        if self.plain_cpu:
            network.suit_cpu()
        return network

    def usable_samples(self, samples: int) -> int:
        """Return the samples up to the end of the last whole example."""
        if samples < self.minimum_samples:
            return samples
        return self.minimum_samples + (samples - self.minimum_samples) // self.hop_samples * self.hop_samples


class OverlappingVGGish(VGGish):
    """VGGish on overlapping windows of 1 s, one every 0.5 s, as in google-research's evaluator.

    The first 0.96 s of each window are one example.
    """

    name = "vggish-overlapping"
    minimum_samples = 16_000
    hop_samples = 8_000


class Float16VGGish(VGGish):
    """VGGish with embeddings rounded to float16, as fadtk stores them."""

    name = "vggish-float16"
    rounding: ClassVar[torch.dtype] = torch.float16


class VGGishNetwork(PretrainedNetwork):
    """Log-mel examples, then torchvggish's ``VGG`` without its last ReLU."""

    def __init__(
        self,
        window_samples: int = EXAMPLE_SAMPLES,
        hop_samples: int = EXAMPLE_HOP_SAMPLES,
        rounding: torch.dtype = torch.float32,
    ) -> None:
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.rounding = rounding
        defined = _definitions()
        with torch.device("meta"):  # avoids drawing 72 million random numbers
            body = defined["VGG"](defined["make_layers"](), postprocess=False)
        body.embeddings = body.embeddings[:-1]
        super().__init__(body)
        self.convolutions: nn.Sequential = body.features
        self.linear: nn.Sequential = body.embeddings
        filterbank = htk_mel_filterbank(FFT // 2 + 1, VGGish.sample_rate, 64, 125.0, 7500.0)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.filterbank: torch.Tensor

    def suit_cpu(self) -> None:
        """Rearrange convolutions for a CPU: channels last, and fewer products from the second layer on."""
        self.body.to(memory_format=torch.channels_last)
        for place, layer in enumerate(self.convolutions):
            if isinstance(layer, nn.Conv2d) and layer.in_channels > 1:
                self.convolutions[place] = Winograd(layer, tile=4)

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``, whose examples are processed block by block to save memory."""
        blocks = window_blocks(waveforms, self.window_samples, self.hop_samples)
        return Features(windows=torch.cat([self.rows(block) for block in blocks], dim=1))

    def rows(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the embeddings ``(batch, examples, 128)`` of ``(batch, time)``."""
        examples = self.examples(waveforms)
        maps = [self.convolutions(part) for part in examples.flatten(0, 1)[:, None].split(EXAMPLES_PER_PASS)]
        # TensorFlow's order, channels last. All at once, because reading the next layer's weights takes 200 MB.
        windows: torch.Tensor = self.linear(torch.cat(maps).permute(0, 2, 3, 1).flatten(1))
        rows: torch.Tensor = windows.float().to(self.rounding).float()
        return rows.view(*examples.shape[:2], -1)

    def examples(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return log-mel examples ``(batch, examples, 96, 64)`` of ``(batch, time)``."""
        count = 1 + (waveforms.shape[1] - self.window_samples) // self.hop_samples
        used = EXAMPLE_SAMPLES + (count - 1) * self.hop_samples
        with full_precision(waveforms.device):
            magnitude = power_spectrogram(waveforms[:, :used], FFT, HOP, FRAME).sqrt()
            log_mel = torch.log(magnitude @ self.filterbank + 0.01)
        return log_mel.unfold(1, EXAMPLE_FRAMES, self.hop_samples // HOP).transpose(2, 3)


@cache
def _definitions() -> dict[str, Any]:
    return definitions("torchvggish", "torchvggish.py", {"torch": torch, "nn": nn})
