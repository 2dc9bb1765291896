"""The network of LAION's CLAP: laion_clap's front end, then transformers' towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.laion_frontend import FRAMES, HOP, WINDOW, htk, slaney
from audiogen_metrics.backbones.laion_names import fill_in_counts
from audiogen_metrics.backbones.pretrained import PretrainedNetwork
from audiogen_metrics.backbones.products import Multiplies
from audiogen_metrics.backbones.transformers import transformers_module

WINDOWS_PER_PASS = {"cpu": 2, "other": 64}
"""Windows that go through the network together: on a CPU few enough for their maps to stay in the cache."""

Tower = Literal["tiny", "base"]
_TOWERS: Mapping[Tower, dict[str, Any]] = {
    "tiny": {"patch_embeds_hidden_size": 96, "depths": [2, 2, 6, 2], "hidden_size": 768},
    "base": {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
}
"""HTSAT's two sizes."""


class CLAPNetwork(PretrainedNetwork):
    """Log-mel front end, then the towers of transformers' ``ClapModel``, ``body``.

    Parameters
    ----------
    tower
        Size of HTSAT, the audio tower.
    fusion
        Whether it was trained with feature fusion, which has other mel filters.
    repeats
        Whether short clips are repeated before zeros are appended.
    hop_samples
        Samples from one window to the next; 0 takes a clip as a whole.
    outputs
        ``windows``, or ``embeddings``, the mean of the windows.
    """

    def __init__(self, tower: Tower, fusion: bool, repeats: bool, hop_samples: int, outputs: frozenset[Output]) -> None:
        configurations = transformers_module("models.clap.configuration_clap")
        audio = {**_TOWERS[tower], "enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None}
        text = {"layer_norm_eps": 1e-5}  # RoBERTa's, not the default of transformers' CLAP
        configuration = configurations.ClapConfig(audio_config=audio, text_config=text)
        with torch.device("meta"):  # avoids drawing 200 million random numbers
            body = transformers_module("models.clap.modeling_clap").ClapModel(configuration)
        fill_in_counts(body)
        super().__init__(body)
        self.encoder: Any = body.audio_model.audio_encoder
        self.fusion, self.repeats, self.hop_samples = fusion, repeats, hop_samples
        self.outputs = outputs
        self.log_mel = htk() if fusion else slaney()

    def fuse_attention(self) -> None:
        """Make each block of the audio tower compute its attention in fewer, larger steps."""
        for stage in self.encoder.layers:
            for block in stage.blocks:
                block.attention.self = WindowAttention(block.attention.self)

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        if self.hop_samples:
            return self._of_windows(waveforms)
        if self.fusion:
            return Features(embeddings=self._in_parts(self._fused(waveforms), waveforms.shape[1] >= WINDOW + HOP))
        return Features(embeddings=self._in_parts(self.log_mel(self.filled(waveforms[:, :WINDOW]))[:, None]))

    def filled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 480 000)`` of at most as many samples, repeated as often as they fit, then zeros."""
        if self.repeats:
            waveforms = waveforms.repeat(1, WINDOW // waveforms.shape[1])
        return F.pad(waveforms, (0, WINDOW - waveforms.shape[1]))

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings ``(batch, 512)`` of token numbers ``(batch, length)``, which have no padding."""
        pooled = self.body.text_model(input_ids=ids).pooler_output  # type: ignore[operator]
        return F.normalize(self.body.text_projection(pooled).float(), dim=-1)  # type: ignore[operator]

    def hear(self, log_mel: torch.Tensor, longer: bool = False) -> torch.Tensor:
        """Return the embeddings ``(batch, 512)`` of log-mel spectrograms ``(batch, channels, 1001, 64)``.

        Parameters
        ----------
        log_mel
            One channel, or four with feature fusion.
        longer
            Whether the other three channels are used.
        """
        maps = self.encoder.batch_norm(log_mel.transpose(1, 3)).transpose(1, 3)
        which = torch.arange(len(maps) if longer else 0, dtype=torch.long, device=maps.device)
        tokens = self.encoder.patch_embed(self.encoder.reshape_mel2img(maps), which)
        for stage, size in zip(self.encoder.layers, self.encoder.input_resolutions, strict=True):
            tokens = stage(tokens, size)[0]
        projected = self.body.audio_projection(self.encoder.norm(tokens).mean(dim=1))  # type: ignore[operator]
        return F.normalize(projected.float(), dim=-1)

    def _in_parts(self, log_mel: torch.Tensor, longer: bool = False) -> torch.Tensor:
        size = WINDOWS_PER_PASS["cpu" if log_mel.device.type == "cpu" else "other"]
        return torch.cat([self.hear(part, longer) for part in log_mel.split(size)])

    def _of_windows(self, waveforms: torch.Tensor) -> Features:
        """Return windows that begin every hop, as long as there is sound left, followed by zeros."""
        samples = waveforms.shape[1]
        starts = range(0, samples, self.hop_samples)
        rows = torch.stack(
            [
                self._in_parts(self.log_mel(self.filled(waveforms[:, start : start + WINDOW]))[:, None])
                for start in starts
            ],
            dim=1,
        )
        if "windows" in self.outputs:
            return Features(windows=rows.half().float())
        lengths = [min(WINDOW, samples - start) / samples for start in starts]
        weights = torch.tensor(lengths, dtype=torch.float32, device=rows.device)
        return Features(embeddings=F.normalize((rows * weights[:, None]).sum(dim=1), dim=-1))

    def _fused(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return four spectrograms ``(batch, 4, 1001, 64)``: the whole shrunk, beginning, middle, end."""
        samples = waveforms.shape[1]
        log_mel: torch.Tensor = self.log_mel(waveforms if samples > WINDOW else self.filled(waveforms))
        spare = log_mel.shape[1] - FRAMES
        if not spare:
            return log_mel[:, None].expand(-1, 4, -1, -1)
        whole: torch.Tensor = F.interpolate(
            log_mel[:, None], (FRAMES, log_mel.shape[2]), mode="bilinear", antialias=True
        )
        parts = [log_mel[:, None, start : start + FRAMES] for start in _middles(spare + 1)]
        return torch.cat([whole, *parts], dim=1)


class WindowAttention(Multiplies):
    """Attention within the windows of HTSAT, with three products as one, and torch's fused attention.

    Parameters
    ----------
    attention
        The module of transformers to replace.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_attention_heads
        layers = (attention.query, attention.key, attention.value)
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]))
        size = attention.relative_position_index.shape[0]
        table = attention.relative_position_bias_table[attention.relative_position_index.view(-1)]
        self.position = nn.Parameter(table.view(size, size, self.heads).permute(2, 0, 1).contiguous())

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: object
    ) -> tuple[torch.Tensor]:
        """Return ``(windows, tokens, channels)`` of an input of the same shape.

        The mask, ``(windows of a clip, tokens, tokens)``, says which tokens are neighbours.
        """
        windows, tokens, channels = hidden_states.shape
        three = self.multiply(hidden_states, self.weight, self.bias).view(windows, tokens, 3, self.heads, -1)
        query, key, value = three.permute(2, 0, 3, 1, 4)
        if attention_mask is None:
            heard = F.scaled_dot_product_attention(query, key, value, self.position[None].to(query.dtype))
        else:
            # The windows of the mask are moved to the heads, so that one bias serves every clip of the batch.
            several = len(attention_mask)
            bias = (self.position + attention_mask[:, None]).flatten(0, 1)[None].to(query.dtype)
            shape = (windows // several, several * self.heads, tokens, -1)
            query, key, value = query.reshape(shape), key.reshape(shape), value.reshape(shape)
            heard = F.scaled_dot_product_attention(query, key, value, bias).view(windows, self.heads, tokens, -1)
        return (heard.transpose(1, 2).reshape(windows, tokens, channels),)


def _middles(count: int) -> list[int]:
    """Return the middle of each third of ``count`` places; for an empty third 0, as in laion_clap."""
    size, more = divmod(count, 3)
    sizes = [size + (part < more) for part in range(3)]
    return [sum(sizes[:part]) + (sizes[part] - 1) // 2 if sizes[part] else 0 for part in range(3)]
