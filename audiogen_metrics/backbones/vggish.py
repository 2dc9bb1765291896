"""VGGish: torchvggish's network behind a front end in torch.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", 2017. The front end is that of
``torchvggish.vggish_input``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.frontend import full_precision, power_spectrogram
from audiogen_metrics.backbones.mel import htk_mel_filterbank
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork, definitions

FRAME, HOP, FFT = 400, 160, 512
EXAMPLE_FRAMES = 96
EXAMPLE_SAMPLES = (EXAMPLE_FRAMES - 1) * HOP + FRAME
EXAMPLE_HOP_SAMPLES = EXAMPLE_FRAMES * HOP
EXAMPLES_PER_PASS = 32
"""Examples that go through the network together: enough to keep it busy, and a bound on its memory."""


class VGGish(PretrainedBackbone):
    """VGGish: 128-d embeddings of examples of 0.96 s, one after the other.

    An incomplete last example is dropped. The embedding is the last linear layer before its ReLU, without PCA and
    quantisation.
    """

    name = "vggish"
    sample_rate = 16_000
    outputs = frozenset[Output]({"windows"})
    minimum_samples = EXAMPLE_SAMPLES

    def build(self) -> Network:
        """Return the network, its weights still on the meta device."""
        return Network()

    def usable_samples(self, samples: int) -> int:
        """Return the samples up to the end of the last whole example."""
        if samples < EXAMPLE_SAMPLES:
            return samples
        return EXAMPLE_SAMPLES + (samples - EXAMPLE_SAMPLES) // EXAMPLE_HOP_SAMPLES * EXAMPLE_HOP_SAMPLES


class Network(PretrainedNetwork):
    """Log-mel examples, then torchvggish's ``VGG`` without its last ReLU."""

    def __init__(self) -> None:
        defined = _definitions()
        with torch.device("meta"):  # 72 million random numbers would be drawn for nothing
            body = defined["VGG"](defined["make_layers"](), postprocess=False)
        body.embeddings = body.embeddings[:-1]
        super().__init__(body)
        filterbank = htk_mel_filterbank(FFT // 2 + 1, VGGish.sample_rate, 64, 125.0, 7500.0)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.filterbank: torch.Tensor

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        examples = self.examples(waveforms)
        windows = [self.body(part) for part in examples.flatten(0, 1)[:, None].split(EXAMPLES_PER_PASS)]
        return Features(windows=torch.cat(windows).float().unflatten(0, examples.shape[:2]))

    def examples(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return log-mel examples ``(batch, examples, 96, 64)`` of ``(batch, time)``."""
        count = 1 + (waveforms.shape[1] - EXAMPLE_SAMPLES) // EXAMPLE_HOP_SAMPLES
        used = EXAMPLE_SAMPLES + (count - 1) * EXAMPLE_HOP_SAMPLES
        with full_precision(waveforms):
            magnitude = power_spectrogram(waveforms[:, :used], FFT, HOP, FRAME).sqrt()
            log_mel = torch.log(magnitude @ self.filterbank + 0.01)
        return log_mel.reshape(-1, count, EXAMPLE_FRAMES, log_mel.shape[-1])


@cache
def _definitions() -> dict[str, Any]:
    return definitions("torchvggish", "torchvggish.py", {"torch": torch, "nn": nn})
