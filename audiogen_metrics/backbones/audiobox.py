"""Audiobox Aesthetics: four ratings of a clip, by WavLM-base and a small head for each axis.

Tjandra et al., "Meta Audiobox Aesthetics", 2025; Chen et al., "WavLM", 2022. The network is written here with the names
of the published file, and tested to equal the authors' and transformers' WavLM, which takes seconds to import and
computes attention weights that are not used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork, checked
from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.errors import MissingWeightsError
from audiogen_metrics.file_hashes import sha256_of

WINDOW = 160_000
"""Samples that are rated together, 10 s; windows do not overlap."""

HOP, FIELD = 320, 400
"""Samples between frames, and samples that one frame sees."""

FRAMES = (WINDOW - FIELD) // HOP + 1

SAMPLES_PER_PASS = {"cpu": WINDOW}
"""Samples that go through the network together, by type of device: on a CPU one window, which fills its caches."""

SAMPLES_ELSEWHERE = 16 * WINDOW
"""Samples that go through the network together on other devices: the first layer's maps take 65 MB for a window."""

WIDTH, FEED_FORWARD, HEADS, LAYERS = 768, 3072, 12, 12
CHANNELS = 512
KERNELS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
"""Kernel and stride of the convolutions over samples."""

BUCKETS, FARTHEST = 320, 800
"""Number of biases for distances between frames, and the distance from which on all share one."""

POSITION_KERNEL, POSITION_GROUPS = 128, 16

CONFIG = "config.json"

_POSITION = "wavlm_model.encoder.pos_conv.0"
_MASK = "wavlm_model.mask_emb"


@dataclass(frozen=True)
class Head:
    """What the published ``config.json`` says about the network after WavLM.

    Parameters
    ----------
    mean, std
        Mean and standard deviation of each axis' ratings, the units of a head's output.
    layers
        Linear layers of a head.
    norm
        Whether a layer norm follows each layer but the last.
    dropout
        Dropout of the training, which shifts the numbers in the tensors' names.
    unit
        Whether a head takes vectors of length 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    layers: int = 1
    norm: bool = False
    dropout: float = 0.0
    unit: bool = True

    @classmethod
    def read(cls, path: Path) -> Head:
        """Return what a config file says; MissingWeightsError if it is missing, damaged or of another form."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            axes = [content["target_transform"][axis] for axis in AESTHETICS]
            head = cls(
                tuple(float(axis["mean"]) for axis in axes),
                tuple(float(axis["std"]) for axis in axes),
                int(content.get("proj_num_layer", cls.layers)),
                bool(content.get("proj_ln", cls.norm)),
                float(content.get("proj_dropout", cls.dropout)),
                bool(content.get("normalize_embed", cls.unit)),
            )
        except OSError as error:
            raise MissingWeightsError(f"cannot be read ({error.strerror})", where=path, fix=_BESIDE) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"is not Audiobox Aesthetics' config ({type(error).__name__}: {error})"
            raise MissingWeightsError(what, where=path, fix=_BESIDE) from error
        fixed = {"nth_layer": LAYERS + 1, "use_weighted_layer_sum": True, "output_dim": 1, "proj_act_fn": "gelu"}
        other = [f"{name} {content[name]!r}" for name, value in fixed.items() if content.get(name, value) != value]
        if not (all(map(math.isfinite, head.mean + head.std)) and head.layers >= 1):
            other.append(f"means {head.mean}, standard deviations {head.std}, {head.layers} layers")
        if other:
            raise MissingWeightsError(f"is of another network: {', '.join(other)}", where=path, fix=_BESIDE)
        return head


_BESIDE = f"Put the {CONFIG} that was published with the weights into their folder: agm weights fetch fetches both"


class AudioboxAesthetics(PretrainedBackbone):
    """Audiobox Aesthetics: how people would rate a clip, on four axes from about 1 to 10.

    ``ratings`` are in the order of `AESTHETICS`. Each window of 10 s is rated by itself, the last one filled with
    zeros, and a clip's rating is their mean, weighted by length.

    Parameters
    ----------
    device, autocast, tf32
        As for `Backbone`.
    weights
        A ``model.safetensors`` in the published format, with its ``config.json`` in the same folder. None takes the
        published files from this machine.
    """

    name = "audiobox-aesthetics"
    sample_rate = 16_000
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"ratings"})
    axes: ClassVar[tuple[str, ...]] = AESTHETICS
    converts = False
    chooses_products = True

    @cached_property
    def config_file(self) -> Path:
        """The config in use: the given one, the one beside given weights, or the published one."""
        if self._given is None or f"{self.name}-config" in self._beside:
            return self.beside(f"{self.name}-config")
        return self.weights_file.with_name(CONFIG)

    @property
    def settings(self) -> dict[str, str | int]:
        """Everything that shapes this backbone's numbers; the config holds the mean and spread of each axis."""
        try:
            return super().settings | {"config_sha256": sha256_of(self.config_file)}
        except OSError as error:
            if isinstance(error, MissingWeightsError):
                raise
            raise MissingWeightsError(f"cannot be read ({error.strerror})", self.config_file, _BESIDE) from error

    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""
        return AestheticsNetwork(Head.read(self.config_file))

    def unwrap(self, checkpoint: object, path: Path) -> Mapping[str, object]:
        """Return the network's tensors, without the one for training, and with the position weights in one piece."""
        state = dict(super().unwrap(checkpoint, path))
        shapes = {
            _MASK: torch.Size([WIDTH]),
            f"{_POSITION}.weight_g": torch.Size([1, 1, POSITION_KERNEL]),
            f"{_POSITION}.weight_v": torch.Size([WIDTH, WIDTH // POSITION_GROUPS, POSITION_KERNEL]),
        }
        parts = checked({name: state.pop(name) for name in shapes if name in state}, shapes, path)
        _, size, direction = parts.values()
        state[f"{_POSITION}.weight"] = direction * (size / direction.norm(dim=(0, 1), keepdim=True))
        return state


class AestheticsNetwork(PretrainedNetwork):
    """Windows of 10 s, WavLM-base, and a rating of each axis by its own mixture of WavLM's layers.

    Zeros after a short window are not computed. They only reach the first layer's norm, which takes its mean over the
    whole window, and their part of it is known.

    Parameters
    ----------
    head
        Description of the heads after WavLM.
    """

    def __init__(self, head: Head) -> None:
        with torch.device("meta"):  # avoids drawing 100 million random numbers
            super().__init__(Body(head))
        self.body: Body
        self.register_buffer("mean", _row(head.mean), persistent=False)
        self.register_buffer("std", _row(head.std), persistent=False)
        self.mean: torch.Tensor
        self.std: torch.Tensor

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the ratings of ``(batch, time)``."""
        whole, rest = divmod(waveforms.shape[1], WINDOW)
        total = waveforms.new_zeros(len(waveforms), len(AESTHETICS))
        if whole:
            windows = waveforms[:, : whole * WINDOW].reshape(-1, WINDOW)
            total = total + self.rated(windows).view(len(waveforms), whole, -1).sum(dim=1)
        if rest:
            total = total + self.rated(waveforms[:, whole * WINDOW :]) * (rest / WINDOW)
        return Features(ratings=total / (whole + rest / WINDOW))

    def rated(self, windows: torch.Tensor) -> torch.Tensor:
        """Return ``(windows, 4)`` of ``(windows, time)``, at most 10 s long."""
        frames = min(-(-windows.shape[1] // HOP), FRAMES)
        used = WINDOW if frames == FRAMES else (frames - 1) * HOP + FIELD
        windows = F.pad(windows, (0, used - windows.shape[1]))
        together = max(1, SAMPLES_PER_PASS.get(windows.device.type, SAMPLES_ELSEWHERE) // used)
        rows = torch.cat([self.body(part) for part in windows.split(together)])
        return rows.float() * self.std + self.mean


def _row(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu")


class Body(nn.Module):
    """The published network, with its own names, without the parts for training."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.unit = head.unit
        self.wavlm_model = WavLM()
        self.proj_layer = nn.ModuleDict({axis: _head(head) for axis in AESTHETICS})
        self.layer_weights = nn.ParameterDict(
            {axis: nn.Parameter(torch.empty(LAYERS + 1, dtype=torch.float32, device="meta")) for axis in AESTHETICS}
        )

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return ``(windows, 4)``, in the units of the heads."""
        heard: torch.Tensor = self.wavlm_model(windows)
        rows = []
        for axis in AESTHETICS:
            mixed = self.layer_weights[axis].softmax(dim=0) @ heard
            rows.append(self.proj_layer[axis](F.normalize(mixed, dim=-1) if self.unit else mixed))
        return torch.cat(rows, dim=1)


def _head(head: Head) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(head.layers - 1):
        layers += [nn.Linear(WIDTH, WIDTH), *[nn.LayerNorm(WIDTH)] * head.norm, nn.GELU()]
        layers += [nn.Dropout(head.dropout)] * (head.dropout != 0)
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


class WavLM(nn.Module):
    """WavLM-base: convolutions over samples, then twelve transformer layers, each averaged over time."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_extractor = nn.ModuleDict({"conv_layers": nn.ModuleList(_convolutions())})
        self.layer_norm = nn.LayerNorm(CHANNELS)
        self.post_extract_proj = nn.Linear(CHANNELS, WIDTH)
        self.encoder = Encoder()

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return ``(windows, 13, 768)`` of ``(windows, time)``: the first layer's input, and each layer's output."""
        maps = windows[:, None]
        for layer in cast("nn.ModuleList", self.feature_extractor["conv_layers"]):
            maps = layer(maps)
        heard: torch.Tensor = self.encoder(self.post_extract_proj(self.layer_norm(maps.transpose(1, 2))))
        return heard


def _convolutions() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 1
    for kernel, stride in KERNELS:
        convolution = nn.Conv1d(channels, CHANNELS, kernel, stride, bias=False)
        norm = [] if layers else [WindowNorm(CHANNELS, CHANNELS)]
        # The published names count a dropout too.
        layers.append(nn.Sequential(convolution, nn.Identity(), *norm, nn.GELU()))
        channels = CHANNELS
    return layers


class WindowNorm(nn.GroupNorm):
    """Group norm of each channel over a window of 10 s, whose end may be missing if it is zero."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, channels, frames)`` with mean 0 and variance 1 over the window, scaled and shifted."""
        kernel, stride = KERNELS[0]
        missing = (WINDOW - kernel) // stride + 1 - maps.shape[2]
        if missing == 0:
            return super().forward(maps)
        maps = maps.float()
        count = maps.shape[2] + missing
        mean = maps.sum(dim=2, keepdim=True) / count
        centred = maps - mean
        variance = (centred.square().sum(dim=2, keepdim=True) + missing * mean.square()) / count
        return centred * (self.weight[:, None] * (variance + self.eps).rsqrt()) + self.bias[:, None]


class Encoder(nn.Module):
    """Convolutional positions, then layers whose attention has one bias for each distance, gated by each query."""

    def __init__(self) -> None:
        super().__init__()
        positions = nn.Conv1d(WIDTH, WIDTH, POSITION_KERNEL, padding=POSITION_KERNEL // 2, groups=POSITION_GROUPS)
        self.pos_conv = nn.Sequential(positions)
        self.layer_norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Layer(first=number == 0) for number in range(LAYERS))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 13, 768)`` of ``(batch, frames, 768)``."""
        # An even kernel gives one frame too many.
        rows = self.layer_norm(rows + F.gelu(self.pos_conv(rows.transpose(1, 2))[:, :, :-1]).transpose(1, 2))
        bias = cast("Layer", self.layers[0]).self_attn.distance_bias(rows.shape[1])
        means = [rows.mean(dim=1)]
        for layer in self.layers:
            rows = layer(rows, bias)
            means.append(rows.mean(dim=1))
        return torch.stack(means, dim=1)


class Layer(nn.Module):
    """One transformer layer, with its norms after the sums."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(first)
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, FEED_FORWARD), nn.Linear(FEED_FORWARD, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, rows: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, frames, 768)``."""
        rows = self.self_attn_layer_norm(rows + self.self_attn(rows, bias))
        found: torch.Tensor = self.final_layer_norm(rows + self.fc2(F.gelu(self.fc1(rows))))
        return found


class Attention(nn.Module):
    """Self-attention with a gated bias; the first layer holds the biases of all."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.grep_linear = nn.Linear(WIDTH // HEADS, 8)
        self.grep_a = nn.Parameter(torch.empty(1, HEADS, 1, 1, dtype=torch.float32, device="meta"))
        if first:
            self.relative_attention_bias = nn.Embedding(BUCKETS, HEADS)

    def forward(self, rows: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, frames, 768)``."""
        gates = self.grep_linear(_by_head(rows)).unflatten(-1, (2, 4)).sum(dim=-1).sigmoid()
        gate = gates[..., :1] * (gates[..., 1:] * self.grep_a - 1) + 2
        query, key, value = (_by_head(layer(rows)) for layer in (self.q_proj, self.k_proj, self.v_proj))
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=gate * bias)
        mixed: torch.Tensor = self.out_proj(found.transpose(1, 2).flatten(2))
        return mixed

    def distance_bias(self, frames: int) -> torch.Tensor:
        """Return the biases ``(heads, frames, frames)``: exact for near frames, in logarithmic steps for others."""
        places = torch.arange(frames, dtype=torch.int64, device=self.relative_attention_bias.weight.device)
        apart = places - places[:, None]
        side, near = BUCKETS // 2, BUCKETS // 4
        steps = torch.log(apart.abs().clamp(min=1).float() / near) / math.log(FARTHEST / near) * (side - near)
        far = (near + steps.to(torch.int64)).clamp(max=side - 1)
        buckets = torch.where(apart.abs() < near, apart.abs(), far) + side * (apart > 0)
        bias: torch.Tensor = self.relative_attention_bias(buckets)
        return bias.permute(2, 0, 1)


def _by_head(rows: torch.Tensor) -> torch.Tensor:
    """Return ``(batch, heads, frames, d)`` of ``(batch, frames, heads · d)``."""
    heads: torch.Tensor = rows.unflatten(-1, (HEADS, -1))
    return heads.transpose(1, 2)
