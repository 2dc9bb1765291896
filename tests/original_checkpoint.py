"""A random checkpoint in the format of AudioLDM's own code, for converting it.

Names and shapes are spelt out as haoheliu/AudioLDM has them, not taken from the networks under test; its own modules
load the file strictly.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from audiogen_metrics.backbones.panns import LogMel
from tests.checkpoints import laion_shapes, laion_tensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]

SCALE_FACTOR = 0.91
JOINT = 64
"""Size of CLAP's embeddings."""


def write_original(
    path: Path,
    seed: int = 0,
    *,
    width: int = 32,
    multiples: Sequence[int] = (1, 2),
    layers: int = 2,
    average: bool = True,
    layout: Literal["published", "training"] = "published",
    half: bool = False,
) -> Path:
    """Write a Lightning checkpoint of a tiny AudioLDM and return ``path``.

    Parameters
    ----------
    path, seed
        Where, and of the weights.
    width, multiples, layers
        Of the denoiser: channels of the first level, of each level as multiples, residual blocks a level.
    average
        Whether the moving average is in it.
    layout
        As the paper's models are published, or as AudioLDM-training-finetuning saves: conditions are a list, and the
        state has a second CLAP, mel filters and the loss of the autoencoder.
    half
        Write float16.
    """
    state = original_state(seed, width, multiples, layers, average)
    if layout == "training":
        state = _as_trained(state)
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-4}]}
    content = {
        "epoch": 2,
        "global_step": 1000,
        "pytorch-lightning_version": "1.8.1",
        "state_dict": OrderedDict(state),
        "callbacks": {"ModelCheckpoint{'monitor': 'val/loss'}": {"best_model_score": torch.tensor(0.5), "kth": {}}},
        "optimizer_states": [optimizer],
        "lr_schedulers": [],
        "hyper_parameters": {"learning_rate": 1e-4, "channel_mult": [1, 2]},
    }
    torch.save(content, path)
    return path


def original_state(
    seed: int = 0, width: int = 32, multiples: Sequence[int] = (1, 2), layers: int = 2, average: bool = True
) -> dict[str, torch.Tensor]:
    """Return the state dict of a published checkpoint."""
    generator = torch.Generator().manual_seed(seed)
    unet = {name: _tensor(name, shape, generator) for name, shape in unet_shapes(width, multiples, layers)}
    first_stage = {name: _tensor(name, shape, generator) for name, shape in (*_autoencoder(), *_vocoder())}
    first_stage["vocoder.conv_post.weight"] *= 5  # a sound that is no silence
    clap = {name: laion_tensor(name, shape, generator) for name, shape in _clap()}
    clap |= {
        f"audio_branch.{name}": value for name, value in LogMel(48_000, 1024, 480, 50.0, 14_000.0).constants().items()
    }
    clap["audio_branch.bn0.running_mean"] = torch.full((64,), -30.0)
    clap["audio_branch.bn0.running_var"] = torch.full((64,), 60.0)
    state = {"logvar": torch.zeros(1000), **_schedule(), "scale_factor": torch.tensor(SCALE_FACTOR)}
    state |= {f"model.diffusion_model.{name}": value for name, value in unet.items()}
    if average:
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1000, dtype=torch.int)}
        for name, value in unet.items():
            kept = value + 0.01 * torch.randn(value.shape, generator=generator)
            state[f"model_ema.{f'diffusion_model.{name}'.replace('.', '')}"] = kept
    state |= {f"first_stage_model.{name}": value for name, value in first_stage.items()}
    return state | {f"cond_stage_model.model.{name}": value for name, value in clap.items()}


def _as_trained(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {name.replace("cond_stage_model.", "cond_stage_models.0."): value for name, value in state.items()}
    mel = {"mel_transform.spectrogram.window": torch.ones(1024), "mel_transform.mel_scale.fb": torch.ones(513, 64)}
    for place in ("clap", "cond_stage_models.0"):
        renamed |= {f"{place}.{name}": value for name, value in mel.items()}
    loss = {
        "logvar": torch.zeros(()),
        "perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1),
        "discriminator.main.3.num_batches_tracked": torch.tensor(7),
    }
    renamed |= {f"first_stage_model.loss.{name}": value for name, value in loss.items()}
    return renamed | {"clap.model.logit_scale_a": torch.tensor(2.0), "clap.model.audio_branch.norm.bias": torch.ones(8)}


def _clap() -> Shapes:
    return laion_shapes(16, (1, 2), text_width=32, text_layers=1, joint=JOINT)


def _schedule() -> dict[str, torch.Tensor]:
    """Return the buffers of DDPM, as the original code computes them."""
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    alphas = 1 - betas
    kept = alphas.cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    variance = betas * (1 - before) / (1 - kept)
    buffers = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - kept),
    }
    return {name: value.float() for name, value in buffers.items()}


def unet_shapes(width: int, multiples: Sequence[int], layers: int, joint: int = JOINT) -> Shapes:
    """Yield name and shape of a denoiser's tensors, in the order of its modules."""
    embedding, last = 4 * width, len(multiples) - 1
    yield from _layer("time_embed.0", embedding, width)
    yield from _layer("time_embed.2", embedding, embedding)
    yield from _layer("film_emb", embedding, joint)
    yield from _layer("input_blocks.0.0", width, 8, 3, 3)
    block, channels, skips = 1, width, [width]
    for level, multiple in enumerate(multiples):
        for _ in range(layers):
            yield from _residual(f"input_blocks.{block}.0", channels, multiple * width, embedding)
            channels = multiple * width
            if level:
                yield from _attention(f"input_blocks.{block}.1", channels)
            skips.append(channels)
            block += 1
        if level < last:
            yield from _layer(f"input_blocks.{block}.0.op", channels, channels, 3, 3)
            skips.append(channels)
            block += 1
    yield from _residual("middle_block.0", channels, channels, embedding)
    yield from _attention("middle_block.1", channels)
    yield from _residual("middle_block.2", channels, channels, embedding)
    block = 0
    for level, multiple in reversed(list(enumerate(multiples))):
        for number in range(layers + 1):
            yield from _residual(f"output_blocks.{block}.0", channels + skips.pop(), multiple * width, embedding)
            channels = multiple * width
            if level:
                yield from _attention(f"output_blocks.{block}.1", channels)
            if level and number == layers:
                yield from _layer(f"output_blocks.{block}.2.conv", channels, channels, 3, 3)
            block += 1
    yield from _layer("out.0", channels)
    yield from _layer("out.2", 8, channels, 3, 3)


def _residual(name: str, before: int, after: int, embedding: int) -> Shapes:
    yield from _layer(f"{name}.in_layers.0", before)
    yield from _layer(f"{name}.in_layers.2", after, before, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", after, 2 * embedding)
    yield from _layer(f"{name}.out_layers.0", after)
    yield from _layer(f"{name}.out_layers.3", after, after, 3, 3)
    if before != after:
        yield from _layer(f"{name}.skip_connection", after, before, 1, 1)


def _attention(name: str, channels: int) -> Shapes:
    yield from _layer(f"{name}.norm", channels)
    yield from _layer(f"{name}.proj_in", channels, channels, 1, 1)
    inner = f"{name}.transformer_blocks.0"
    for attention in ("attn1", "attn2"):
        for part in ("to_q", "to_k", "to_v"):
            yield f"{inner}.{attention}.{part}.weight", (channels, channels)
        yield from _layer(f"{inner}.{attention}.to_out.0", channels, channels)
    yield from _layer(f"{inner}.ff.net.0.proj", 8 * channels, channels)
    yield from _layer(f"{inner}.ff.net.2", channels, 4 * channels)
    for number in (1, 2, 3):
        yield from _layer(f"{inner}.norm{number}", channels)
    yield from _layer(f"{name}.proj_out", channels, channels, 1, 1)


def _autoencoder(width: int = 32, multiples: Sequence[int] = (1, 1, 2), layers: int = 2) -> Shapes:
    top = width * multiples[-1]
    yield from _layer("encoder.conv_in", width, 1, 3, 3)
    channels, last = width, len(multiples) - 1
    for level, multiple in enumerate(multiples):
        for number in range(layers):
            yield from _plain_residual(f"encoder.down.{level}.block.{number}", channels, width * multiple)
            channels = width * multiple
        if level < last:
            yield from _layer(f"encoder.down.{level}.downsample.conv", channels, channels, 3, 3)
    yield from _middle("encoder.mid", top)
    yield from _layer("encoder.norm_out", top)
    yield from _layer("encoder.conv_out", 16, top, 3, 3)
    yield from _layer("decoder.conv_in", top, 8, 3, 3)
    yield from _middle("decoder.mid", top)
    for level, multiple in reversed(list(enumerate(multiples))):
        for number in range(layers + 1):
            yield from _plain_residual(f"decoder.up.{level}.block.{number}", channels, width * multiple)
            channels = width * multiple
        if level:
            yield from _layer(f"decoder.up.{level}.upsample.conv", channels, channels, 3, 3)
    yield from _layer("decoder.norm_out", width)
    yield from _layer("decoder.conv_out", 1, width, 3, 3)
    yield from _layer("quant_conv", 16, 16, 1, 1)
    yield from _layer("post_quant_conv", 8, 8, 1, 1)


def _middle(name: str, channels: int) -> Shapes:
    yield from _plain_residual(f"{name}.block_1", channels, channels)
    yield from _layer(f"{name}.attn_1.norm", channels)
    for part in ("q", "k", "v", "proj_out"):
        yield from _layer(f"{name}.attn_1.{part}", channels, channels, 1, 1)
    yield from _plain_residual(f"{name}.block_2", channels, channels)


def _plain_residual(name: str, before: int, after: int) -> Shapes:
    yield from _layer(f"{name}.norm1", before)
    yield from _layer(f"{name}.conv1", after, before, 3, 3)
    yield from _layer(f"{name}.norm2", after)
    yield from _layer(f"{name}.conv2", after, after, 3, 3)
    if before != after:
        yield from _layer(f"{name}.nin_shortcut", after, before, 1, 1)


def _vocoder(channels: int = 64) -> Shapes:
    yield from _layer("vocoder.conv_pre", channels, 64, 7)
    for number, kernel in enumerate((16, 16, 8, 4, 4)):
        yield f"vocoder.ups.{number}.weight", (channels, channels // 2, kernel)
        yield f"vocoder.ups.{number}.bias", (channels // 2,)
        channels //= 2
        for branch, width in enumerate((3, 7, 11)):
            for convolution in range(3):
                for side in ("convs1", "convs2"):
                    name = f"vocoder.resblocks.{3 * number + branch}.{side}.{convolution}"
                    yield from _layer(name, channels, channels, width)
    yield from _layer("vocoder.conv_post", 1, channels, 7)


def _layer(name: str, *shape: int) -> Shapes:
    yield from ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))


def _tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        return 0.1 * noise
    return 1 + 0.2 * noise if len(shape) == 1 else noise / math.sqrt(math.prod(shape[1:]))
