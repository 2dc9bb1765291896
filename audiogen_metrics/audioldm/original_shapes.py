"""The configuration of each part of an original AudioLDM checkpoint, read from the shapes of its tensors.

What shapes do not tell (attention heads, strides of the vocoder, epsilon of the text tower's norms) is as in the
configuration files of haoheliu/AudioLDM and AudioLDM-training-finetuning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

import torch

from audiogen_metrics.audioldm.snapshots import original_heads

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

RATES = {(16, 16, 8, 4, 4): [5, 4, 2, 2, 2]}
"""Strides of the vocoder by the widths of its kernels; the shapes do not tell them."""

DILATIONS = [1, 3, 5]

HEAD_CHANNELS = 64
"""Of an attention head of RoBERTa."""


class UnknownLayoutError(Exception):
    """What is not as in the published checkpoints, as a clause."""


def unet_config(shapes: Shapes) -> Config:
    """Return the configuration of ``UNet2DConditionModel``."""
    if "film_emb.weight" not in shapes:
        raise UnknownLayoutError("has no film_emb, so its condition is not one CLAP embedding, as AudioLDM's is")
    inputs = _blocks(shapes, "input_blocks")
    downs = [index for index in range(inputs) if f"input_blocks.{index}.0.op.weight" in shapes]
    layers = (downs[0] if downs else inputs) - 1
    if not layers or [(layers + 1) * (level + 1) for level in range(len(downs))] != downs:
        raise UnknownLayoutError(f"has its downsampling in blocks {downs} of the denoiser, which is not regular")
    firsts = [1 + (layers + 1) * level for level in range(len(downs) + 1)]
    channels = [_shape(shapes, f"input_blocks.{first}.0.out_layers.3.weight")[0] for first in firsts]
    attending = [f"input_blocks.{first}.1.norm.weight" in shapes for first in firsts]
    if channels[0] % 32 or any(width % 32 for width in channels):
        raise UnknownLayoutError(f"has {channels} channels in the denoiser, which 32 does not divide")
    latent = _shape(shapes, "input_blocks.0.0.weight")[1]
    return {
        "sample_size": 128,
        "in_channels": latent,
        "out_channels": _shape(shapes, "out.2.weight")[0],
        "down_block_types": tuple("CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attending),
        "up_block_types": tuple("CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attending)),
        "block_out_channels": tuple(channels),
        "layers_per_block": layers,
        "cross_attention_dim": tuple(channels),
        "attention_head_dim": tuple(original_heads(channels)),
        "class_embed_type": "simple_projection",
        "projection_class_embeddings_input_dim": _shape(shapes, "film_emb.weight", 2)[1],
        # The embedding of the time step has as many channels again where the condition stands beside it.
        "class_embeddings_concat": _shape(shapes, "input_blocks.1.0.emb_layers.1.weight", 2)[1]
        == 2 * _shape(shapes, "time_embed.2.weight", 2)[0],
    }


def vae_config(shapes: Shapes, scaling: float) -> Config:
    """Return the configuration of ``AutoencoderKL``."""
    levels = _blocks(shapes, "encoder.down")
    channels = [_shape(shapes, f"encoder.down.{level}.block.0.conv1.weight")[0] for level in range(levels)]
    if not levels or any(width % 32 for width in channels):
        raise UnknownLayoutError(f"has {channels} channels in the autoencoder, which 32 does not divide")
    return {
        "sample_size": 512,
        "in_channels": _shape(shapes, "encoder.conv_in.weight")[1],
        "out_channels": _shape(shapes, "decoder.conv_out.weight")[0],
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(channels),
        "latent_channels": _shape(shapes, "post_quant_conv.weight")[0],
        "layers_per_block": _blocks(shapes, "encoder.down.0.block"),
        "scaling_factor": scaling,
    }


def vocoder_config(shapes: Shapes) -> Config:
    """Return the configuration of ``SpeechT5HifiGan``."""
    kernels = tuple(_shape(shapes, f"ups.{index}.weight", 3)[2] for index in range(_blocks(shapes, "ups")))
    if kernels not in RATES:
        raise UnknownLayoutError(f"has a vocoder with kernels of {list(kernels)}, whose strides are not known")
    branches = _blocks(shapes, "resblocks") // len(kernels)
    initial, bands, _ = _shape(shapes, "conv_pre.weight", 3)
    return {
        "model_in_dim": bands,
        "sampling_rate": 16_000,
        "upsample_initial_channel": initial,
        "upsample_rates": RATES[kernels],
        "upsample_kernel_sizes": list(kernels),
        "resblock_kernel_sizes": [_shape(shapes, f"resblocks.{j}.convs1.0.weight", 3)[2] for j in range(branches)],
        "resblock_dilation_sizes": [DILATIONS] * branches,
        "normalize_before": False,
    }


def clap_config(shapes: Shapes) -> Config:
    """Return the configuration of ``ClapModel``, of shapes under transformers' names."""
    text, audio = "text_model", "audio_model.audio_encoder"
    words, width = _shape(shapes, f"{text}.embeddings.word_embeddings.weight", 2)
    projected = _shape(shapes, "text_projection.linear1.weight", 2)[0]
    stages = range(_blocks(shapes, f"{audio}.layers"))
    tables = [f"{audio}.layers.{n}.blocks.0.attention.self.relative_position_bias_table" for n in stages]
    maps, _, patch, _ = _shape(shapes, f"{audio}.patch_embed.proj.weight")
    return {
        "text_config": {
            "vocab_size": words,
            "hidden_size": width,
            "num_hidden_layers": _blocks(shapes, f"{text}.encoder.layer"),
            "num_attention_heads": max(1, width // HEAD_CHANNELS),
            "intermediate_size": _shape(shapes, f"{text}.encoder.layer.0.intermediate.dense.weight", 2)[0],
            "max_position_embeddings": _shape(shapes, f"{text}.embeddings.position_embeddings.weight", 2)[0],
            "layer_norm_eps": 1e-5,  # RoBERTa's, not the default of transformers' CLAP
            "projection_dim": projected,
        },
        "audio_config": {
            "num_mel_bins": _shape(shapes, f"{audio}.batch_norm.weight", 1)[0],
            "patch_size": patch,
            "patch_embeds_hidden_size": maps,
            "depths": [_blocks(shapes, f"{audio}.layers.{n}.blocks") for n in stages],
            "num_attention_heads": [_shape(shapes, table, 2)[1] for table in tables],
            "hidden_size": _shape(shapes, f"{audio}.norm.weight", 1)[0],
            "projection_dim": projected,
        },
        "projection_dim": projected,
    }


def scheduler_config(betas: torch.Tensor) -> Config:
    """Return the configuration of ``DDIMScheduler`` for a schedule whose square roots lie on a line."""
    if betas.ndim != 1 or len(betas) < 2 or not betas.is_floating_point():
        raise UnknownLayoutError(f"has betas of the shape {tuple(betas.shape)}")
    # Half precision keeps three digits.
    steps, precision = len(betas), torch.finfo(betas.dtype).eps
    first, last = (float(f"{float(beta):.{6 if precision < 1e-6 else 3}g}") for beta in (betas[0], betas[-1]))
    line = torch.linspace(abs(first) ** 0.5, abs(last) ** 0.5, steps, dtype=torch.float64, device="cpu") ** 2
    if steps != 1000 or not float((line - betas.double()).abs().max()) <= max(1e-7, precision * last):
        raise UnknownLayoutError(f"has another schedule of noise than AudioLDM ({steps} steps, {first:g} to {last:g})")
    return {
        "num_train_timesteps": steps,
        "beta_start": first,
        "beta_end": last,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon",
    }


def _blocks(shapes: Shapes, prefix: str) -> int:
    """Return how many numbers, from 0 on, follow a prefix without a gap."""
    numbered = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    found = {int(match[1]) for name in shapes if (match := numbered.match(name))}
    return next(number for number in count() if number not in found)


def _shape(shapes: Shapes, name: str, dimensions: int = 4) -> tuple[int, ...]:
    if name not in shapes:
        raise UnknownLayoutError(f"lacks {name}")
    if len(shapes[name]) != dimensions or not all(shapes[name]):
        raise UnknownLayoutError(f"has {name} in the shape {shapes[name]}")
    return shapes[name]
