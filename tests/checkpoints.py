"""Seeded random checkpoints in the published formats, for machines without the published ones.

Random weights say nothing about sound, but a network with them must still be a network: each batch norm is set to
the statistics of the layer below on noise, tones and clicks, so that signals neither die nor explode, outputs
differ between clips, and logits spread as a trained classifier's do.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from audiogen_metrics.backbones.panns import Cnn14
from audiogen_metrics.backbones.panns import Network as Cnn14Network
from audiogen_metrics.backbones.vggish import Network as VGGishNetwork
from audiogen_metrics.backbones.vggish import VGGish

LOGIT_SPREAD = 3.0
"""Standard deviation of the random CNN14's logits on the calibration clips: far from uniform, far from one-hot."""


def write_panns(path: Path, backbone: type[Cnn14], seed: int = 0, *, legacy: bool = False) -> Path:
    """Write ``{"iteration": 0, "model": state_dict, "sampler": …}`` for a random CNN14 and return ``path``.

    Parameters
    ----------
    path
        File to write.
    backbone
        `Cnn14At16k` or `Cnn14At32k`.
    seed
        Of the random weights.
    legacy
        Use torch's format of 2020, which the published files are in, and numpy 1's names for numpy integers.
    """
    network = backbone().build()
    generator = torch.Generator().manual_seed(seed)
    network.body.to_empty(device="cpu")
    _initialise(network.body, generator)
    _calibrate(network, calibration_clips(backbone.sample_rate, generator))
    state = OrderedDict(network.body.state_dict())
    state.update(network.log_mel.constants())
    sampler = {"indexes_per_class": [np.arange(3)], "pointer": np.int64(7), "queue": [1, 2]}
    content = {"iteration": 0, "model": state, "sampler": sampler}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if legacy:
        path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
    return path


def write_vggish(path: Path, seed: int = 0) -> Path:
    """Write the plain state dict of a random VGGish and return ``path``."""
    network = VGGish().build()
    generator = torch.Generator().manual_seed(seed)
    network.body.to_empty(device="cpu")
    _initialise(network.body, generator)
    _spread(network, calibration_clips(VGGish.sample_rate, generator))
    torch.save(network.body.state_dict(), path)
    return path


def calibration_clips(sample_rate: int, generator: torch.Generator, seconds: float = 1.0) -> torch.Tensor:
    """Return eight clips ``(8, time)``: noise, tones and clicks at several levels, some decaying or half silent."""
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    noise = torch.randn(len(time), generator=generator)
    smooth = nn.functional.avg_pool1d(noise[None], 15, stride=1, padding=7)[0]
    clicks = (torch.rand(len(time), generator=generator) > 0.999).float()
    tones = [torch.sin(2 * math.pi * pitch * time) for pitch in (110.0, 1000.0, 5000.0)]
    clips = [0.3 * noise, 0.01 * noise, smooth, clicks, *(0.3 * tone for tone in tones), 0.2 * sum(tones)]  # type: ignore[arg-type]
    clips = torch.stack(clips)
    clips[::2] *= torch.exp(-8 * time)
    clips[::3, len(time) // 2 :] = 0
    return clips


def _initialise(body: nn.Module, generator: torch.Generator) -> None:
    """Fill convolutions and linear layers after He, so that ReLUs keep the size of signals."""
    with torch.no_grad():
        for module in body.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.02, generator=generator)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
                module.weight.uniform_(0.8, 1.2, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)


def _calibrate(network: Cnn14Network, clips: torch.Tensor) -> None:
    """Set every batch norm to the statistics that it meets, then the spread of the logits."""
    for module in network.body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = None  # a plain mean over batches, of which there is one
        else:
            module.training = False
    with torch.no_grad():
        network(clips)
        network.body.eval()
        logits = network(clips).logits
        scale = LOGIT_SPREAD / (logits - logits.mean(dim=0)).std()
        network.body.fc_audioset.weight.mul_(scale)
        network.body.fc_audioset.bias.sub_(scale * logits.mean(dim=0))


def _spread(network: VGGishNetwork, clips: torch.Tensor) -> None:
    """Scale the last layer so that embeddings vary by about 1 between clips."""
    with torch.no_grad():
        windows = network(clips).windows.flatten(0, 1)
        last = network.body.embeddings[-1]
        scale = 1 / (windows - windows.mean(dim=0)).std()
        last.weight.mul_(scale)
        last.bias.mul_(scale).sub_(scale * windows.mean(dim=0) * 0.5)
