"""PaSST: a transformer over patches of a log-mel spectrogram, trained on AudioSet's 527 classes.

Koutini et al., "Efficient Training of Audio Transformers with Patchout", 2022. The network is written here with the
names of the published file and tested to equal the authors' hear21passt, which needs timm and torchaudio, prints while
it runs, and computes the attention of all tokens where two are used. Patchout is for training only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.frontend import power_spectrogram
from audiogen_metrics.backbones.mel import kaldi_mel_filterbank
from audiogen_metrics.backbones.panns import CLASSES, audioset_labels
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork, checked
from audiogen_metrics.backbones.products import Multiplies
from audiogen_metrics.precision import full_precision

RATE = 32_000
WINDOW = 10 * RATE
"""Samples of a window: the network has not learnt positions beyond it."""

SCENE_HOP = WINDOW // 4
"""Samples between the windows of a longer clip, as in hear21passt."""

OVERLAPPING_HOP, SHORTEST_PADDED = WINDOW // 2, WINDOW * 15 // 100
"""Samples between windows in stable-audio-metrics, and samples up to which it appends no zeros."""

FFT, FRAME, HOP = 1024, 800, 320
BANDS, LOW_HZ, HIGH_HZ = 128, 0.0, 15_000.0
EMPHASIS = 0.97
"""Share of each sample that is taken from the next one before anything else."""

PATCH, STRIDE = 16, 10
"""Frames and bands of a patch, and from one patch to the next."""

SHORTEST = (PATCH - 1) * HOP + 1
"""Samples of one patch, a little more than 0.15 s."""

WIDTH, FEED_FORWARD, HEADS, LAYERS = 768, 3072, 12, 12
DOWN, ACROSS = (BANDS - PATCH) // STRIDE + 1, 99
"""Number of patches that have their own position, along frequency and time."""

TOKENS = 2
"""Rows before those of the patches, which the classifier reads: one for the class, one from distillation."""

WINDOWS_PER_PASS = {"cpu": 1, "other": 32}
"""Windows that go through the network together: on a CPU, the 1190 tokens of one window are enough."""

WINDOWS_PER_BLOCK = 64
"""Windows that are copied out of overlapping ones at a time, 80 MB."""

_UNREAD = {"head_dist.weight": torch.Size([CLASSES, WIDTH]), "head_dist.bias": torch.Size([CLASSES])}
"""A second classifier, which only the training uses."""

Cut = Literal["scene", "first", "overlapping", "segments"]


class PaSST(PretrainedBackbone):
    """PaSST-S: 527 AudioSet classes, 768-d embeddings, one row per clip.

    ``embeddings`` are the mean of the class and distillation tokens, from which the classifier makes the ``logits``. A
    clip shorter than ten seconds is followed by zeros. A longer one is cut as in hear21passt, into windows of ten
    seconds every 2.5 seconds, the first and last of them half filled with the mirrored clip; their rows are averaged.

    Attributes
    ----------
    cut
        How a clip becomes windows.
    """

    name = "passt"
    sample_rate = RATE
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"embeddings", "logits"})
    numerics_version = 1
    chooses_products = True
    cut: ClassVar[Cut] = "scene"

    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""
        return PaSSTNetwork(self.cut)

    def unwrap(self, checkpoint: object, path: Path) -> Mapping[str, object]:
        """Return the network's tensors, without the second classifier."""
        state = dict(super().unwrap(checkpoint, path))
        checked({name: state.pop(name) for name in _UNREAD if name in state}, _UNREAD, path)
        return state

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The 527 class names."""
        return audioset_labels()


class Joint(PaSST):
    """PaSST's logits and embedding of the first ten seconds as one row of 1295 numbers: kadtk's ``passt-base-10s``.

    They are rounded to float16, as in kadtk.
    """

    name = "passt-kadtk"
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"embeddings"})
    cut: ClassVar[Cut] = "first"

    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""
        return JointNetwork(self.cut)

    def usable_samples(self, samples: int) -> int:
        """Return at most ten seconds."""
        return min(samples, WINDOW)

    @property
    def labels(self) -> None:
        """None: the logits are part of the embedding."""
        return


class Overlapping(PaSST):
    """PaSST's logits and embeddings as means over windows of ten seconds that overlap by half: stable-audio-metrics.

    A shorter last window is followed by zeros; a clip of 1.5 s or less is used as it is.
    """

    name = "passt-hop5"
    minimum_samples = SHORTEST
    cut: ClassVar[Cut] = "overlapping"


class Segments(PaSST):
    """PaSST's logits for each ten seconds of a clip, and for the rest at its end without zeros: AudioCraft.

    ``windows`` are the logits of each segment. A rest of 0.15 s or less is left out.
    """

    name = "passt-segments"
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"windows"})
    window_logits = True
    minimum_samples = SHORTEST
    cut: ClassVar[Cut] = "segments"

    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""
        return SegmentsNetwork(self.cut)

    def usable_samples(self, samples: int) -> int:
        """Return the samples of the segments."""
        rest = samples % WINDOW
        return samples - rest if samples > WINDOW and rest < SHORTEST else samples


def _filled(waveforms: torch.Tensor) -> torch.Tensor:
    return F.pad(waveforms, (0, WINDOW - waveforms.shape[1]))[:, None]


def _scene(waveforms: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield windows: one for up to ten seconds, otherwise overlapping by three quarters, with mirrored ends."""
    if waveforms.shape[1] <= WINDOW:
        yield _filled(waveforms)
    else:
        yield F.pad(waveforms, (WINDOW // 2, WINDOW // 2), mode="reflect").unfold(1, WINDOW, SCENE_HOP)


def _first(waveforms: torch.Tensor) -> Iterator[torch.Tensor]:
    yield _filled(waveforms[:, :WINDOW])


def _overlapping(waveforms: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield windows until half of a window of sound, or less, is left."""
    samples = waveforms.shape[1]
    whole = 0
    if samples >= WINDOW:
        yield (windows := waveforms.unfold(1, WINDOW, OVERLAPPING_HOP))
        whole = windows.shape[1]
    rest = waveforms[:, whole * OVERLAPPING_HOP :]
    if not whole or rest.shape[1] > OVERLAPPING_HOP:
        yield _filled(rest) if rest.shape[1] > SHORTEST_PADDED else rest[:, None]


def _segments(waveforms: torch.Tensor) -> Iterator[torch.Tensor]:
    if waveforms.shape[1] >= WINDOW:
        yield waveforms.unfold(1, WINDOW, WINDOW)
    rest = waveforms[:, waveforms.shape[1] // WINDOW * WINDOW :]
    if rest.shape[1] >= SHORTEST:
        yield rest[:, None]


_CUTS: Mapping[Cut, Callable[[torch.Tensor], Iterator[torch.Tensor]]] = {
    "scene": _scene,
    "first": _first,
    "overlapping": _overlapping,
    "segments": _segments,
}
"""Functions that yield ``(batch, windows, time)`` of ``(batch, time)``, once for each length of windows."""


class PaSSTNetwork(PretrainedNetwork):
    """Windows, a log-mel spectrogram of each, and the transformer, ``body``.

    Parameters
    ----------
    cut
        How a clip becomes windows.
    """

    def __init__(self, cut: Cut) -> None:
        with torch.device("meta"):  # avoids drawing 86 million random numbers
            super().__init__(Body())
        self.cut = cut
        self.log_mel = KaldiLogMel()

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        logits, embeddings = self.windows(waveforms).mean(dim=1).split((CLASSES, WIDTH), dim=1)
        return Features(embeddings=embeddings, logits=logits)

    def windows(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return logits and embedding of each window of ``(batch, time)``: ``(batch, windows, 1295)``."""
        batch = len(waveforms)
        together = max(1, WINDOWS_PER_BLOCK // batch)
        parts = [part for group in _CUTS[self.cut](waveforms) for part in group.split(together, dim=1)]
        return torch.cat([self.rows(part.flatten(0, 1)).unflatten(0, (batch, -1)) for part in parts], dim=1)

    def rows(self, windows: torch.Tensor) -> torch.Tensor:
        """Return logits and embedding ``(windows, 1295)`` of ``(windows, time)``, at most ten seconds long."""
        size = WINDOWS_PER_PASS["cpu" if windows.device.type == "cpu" else "other"]
        return torch.cat([self.body(self.log_mel(part)).float() for part in windows.split(size)])


class JointNetwork(PaSSTNetwork):
    """A network that returns logits and embedding as one row."""

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        return Features(embeddings=self.windows(waveforms).mean(dim=1).half().float())


class SegmentsNetwork(PaSSTNetwork):
    """A network that returns the logits of each window."""

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        return Features(windows=self.windows(waveforms)[:, :, :CLASSES])


class KaldiLogMel(nn.Module):
    """Logarithm of Kaldi's mel power spectrogram of the differences of samples: centred frames, reflected edges.

    The window, a Hann window that is 0 at both ends, is shorter than the FFT.
    """

    def __init__(self) -> None:
        super().__init__()
        filterbank = kaldi_mel_filterbank(FFT // 2 + 1, RATE, BANDS, LOW_HZ, HIGH_HZ)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.filterbank: torch.Tensor

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 1 + (time - 1) // 320, 128)`` of ``(batch, time)``."""
        with full_precision(waveforms.device):
            differences = waveforms[:, 1:] - EMPHASIS * waveforms[:, :-1]
            padded = F.pad(differences, (FRAME // 2, FRAME // 2), mode="reflect")
            mel = power_spectrogram(padded, FFT, HOP, FRAME, periodic=False) @ self.filterbank
            return ((mel + 1e-5).log() + 4.5) / 5


class Body(nn.Module):
    """The published network, with its own names."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token, self.dist_token = _table(1, 1, WIDTH), _table(1, 1, WIDTH)
        self.new_pos_embed = _table(1, TOKENS, WIDTH)
        self.freq_new_pos_embed = _table(1, WIDTH, DOWN, 1)
        self.time_new_pos_embed = _table(1, WIDTH, 1, ACROSS)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, WIDTH, PATCH, STRIDE)})
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))

    def forward(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return logits and embedding ``(batch, 1295)`` of ``(batch, frames, 128)``, 16 to 1005 frames."""
        rows = self.embed(log_mel)
        for block in self.blocks[:-1]:
            rows = block(rows, rows.shape[1])
        embeddings = self.norm(self.blocks[-1](rows, TOKENS)).mean(dim=1)
        return torch.cat([self.head(embeddings), embeddings], dim=1)

    def embed(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 2 + patches, 768)``: the two tokens, then the patches with their positions."""
        patches = self.patch_embed["proj"](log_mel.transpose(1, 2)[:, None])
        patches = patches + self.time_new_pos_embed[..., : patches.shape[3]] + self.freq_new_pos_embed
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        return torch.cat([tokens.expand(len(log_mel), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)


def _table(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=torch.float32, device="meta"))


class Block(nn.Module):
    """One transformer layer, with its norms before attention and before the feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = Attention()
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(WIDTH, FEED_FORWARD), "fc2": nn.Linear(FEED_FORWARD, WIDTH)})

    def forward(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """Return the first ``count`` rows of ``(batch, tokens, 768)``; all are attended to."""
        kept = rows[:, :count] + self.attn(self.norm1(rows), count)
        found: torch.Tensor = kept + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(kept))))
        return found


class Attention(Multiplies):
    """Self-attention; queries, keys and values are one product in the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, rows: torch.Tensor, count: int) -> torch.Tensor:
        """Return what the first ``count`` rows of ``(batch, tokens, 768)`` attend to."""
        (of_query, of_pair), (to_query, to_pair) = (
            tensor.split((WIDTH, 2 * WIDTH)) for tensor in (self.qkv.weight, self.qkv.bias)
        )
        query = self.multiply(rows[:, :count], of_query, to_query).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key, value = self.multiply(rows, of_pair, to_pair).unflatten(-1, (2, HEADS, -1)).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(query, key, value)
        mixed: torch.Tensor = self.proj(heard.transpose(1, 2).flatten(2))
        return mixed
