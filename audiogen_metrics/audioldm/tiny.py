"""A random model in AudioLDM's real architecture, tiny: for tests, documentation and trying the machinery.

Its sound means nothing. It is seeded, built offline in seconds, and marked, so that nothing takes it for a real one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import json_text

TINY = "tiny-random"
"""Name of the tiny model, wherever a model is asked for."""

VERSION = 2
"""Rises when the weights change."""

MARKER = "RANDOM_WEIGHTS.txt"
"""A checkpoint with this file in it has random weights, or was trained from such."""

CONDITION_SIZE = 32
MEL_BANDS = 64


def tiny_folder() -> Path:
    """Return the tiny model's folder in the cache, written on first use."""
    folder = cache_dir() / "models" / f"{TINY}-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{TINY}.", dir=folder.parent))
        try:
            write_tiny(part / "model")
            if not folder.is_dir():  # else another process was faster
                (part / "model").rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def write_tiny(
    folder: str | Path,
    *,
    seed: int = 0,
    channels: Sequence[int] = (8, 16),
    safetensors: bool = True,
    clap: bool = True,
) -> Path:
    """Write a random AudioLDM checkpoint, laid out as those on the hub.

    Parameters
    ----------
    folder
        Where; made if need be.
    seed
        Of the weights; the global random state is left alone.
    channels
        Widths of the UNet's levels, multiples of 8. The first level has no attention, as in AudioLDM.
    safetensors
        False writes ``.bin`` files, as older checkpoints have.
    clap
        Also write the full CLAP, under ``clap``.

    Returns
    -------
    Path
        The folder, which `AudioLDM.from_pretrained` and diffusers' ``AudioLDMPipeline.from_pretrained`` open.
    """
    require()
    import torch

    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = _networks(tuple(channels))
        _make_audible(parts)
    tower = parts["clap"]
    parts["text_encoder"].load_state_dict(_text_tower(tower.state_dict()))
    if not clap:
        del parts["clap"]
    with quiet():
        for name, part in parts.items():
            _save(part, folder / name, safetensors)
        if clap:
            parts["tokenizer"].save_pretrained(folder / "clap")
    write_index(folder)
    (folder / MARKER).write_text("Random weights: what comes out means nothing.\n", encoding="utf-8")
    return folder


def write_index(folder: Path) -> None:
    """Write the file in which diffusers finds what the parts of a checkpoint are."""
    diffusers = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    transformers = {
        "text_encoder": "ClapTextModelWithProjection",
        "tokenizer": "RobertaTokenizer",
        "vocoder": "SpeechT5HifiGan",
    }
    index: dict[str, object] = {"_class_name": "AudioLDMPipeline", "_diffusers_version": "0.33.1"}
    index |= {part: ["diffusers", kind] for part, kind in diffusers.items()}
    index |= {part: ["transformers", kind] for part, kind in transformers.items()}
    (folder / "model_index.json").write_text(json_text(index), encoding="utf-8")


def _networks(channels: tuple[int, ...]) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import ClapConfig, ClapModel, ClapTextModelWithProjection, SpeechT5HifiGan, SpeechT5HifiGanConfig

    levels = len(channels)
    config = _clap_config(ClapConfig)
    return {
        "unet": UNet2DConditionModel(
            sample_size=128,
            in_channels=8,
            out_channels=8,
            down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * (levels - 1)),
            up_block_types=(*["CrossAttnUpBlock2D"] * (levels - 1), "UpBlock2D"),
            block_out_channels=channels,
            cross_attention_dim=channels,
            attention_head_dim=8,
            norm_num_groups=8,
            class_embed_type="simple_projection",
            projection_class_embeddings_input_dim=CONDITION_SIZE,
            class_embeddings_concat=True,
        ),
        "vae": AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            block_out_channels=[8, 8, 8],
            layers_per_block=1,
            latent_channels=8,
            norm_num_groups=4,
            scaling_factor=0.9393,
        ),
        "vocoder": SpeechT5HifiGan(
            SpeechT5HifiGanConfig(
                model_in_dim=MEL_BANDS,
                sampling_rate=16_000,
                upsample_initial_channel=32,
                upsample_rates=[5, 4, 2, 2, 2],
                upsample_kernel_sizes=[16, 16, 8, 4, 4],
                resblock_kernel_sizes=[3],
                resblock_dilation_sizes=[[1, 3]],
                normalize_before=False,
            )
        ),
        "clap": ClapModel(config),
        "text_encoder": ClapTextModelWithProjection(config.text_config),
        "tokenizer": _tokenizer(),
        "scheduler": DDIMScheduler(
            beta_start=0.0015,
            beta_end=0.0195,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }


def _clap_config(kind: Any) -> Any:
    return kind(
        text_config={
            "vocab_size": 260,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 514,
            "projection_dim": CONDITION_SIZE,
        },
        audio_config={
            "spec_size": 256,
            "num_mel_bins": MEL_BANDS,
            "patch_embeds_hidden_size": 8,
            "depths": [1, 1],
            "num_attention_heads": [2, 2],
            "hidden_size": 16,
            "projection_dim": CONDITION_SIZE,
        },
        projection_dim=CONDITION_SIZE,
    )


def _tokenizer() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    return RobertaTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=512)


def _make_audible(parts: dict[str, Any]) -> None:
    """Scale the random vocoder, whose output is near 1e-10, to a peak of about a third on random latents."""
    import torch

    vae, vocoder = parts["vae"].eval(), parts["vocoder"].eval()
    with torch.inference_mode():
        mel = vae.decode(torch.randn(1, 8, 64, 16, dtype=torch.float32, device="cpu")).sample.squeeze(1)
    heard = []
    handle = vocoder.conv_post.register_forward_hook(lambda _module, _inputs, output: heard.append(output.detach()))
    try:
        with torch.inference_mode():
            vocoder(mel)
    finally:
        handle.remove()
    with torch.no_grad():
        mean, peak = heard[0].mean(), (heard[0] - heard[0].mean()).abs().max()
        scale = 0.35 / peak
        vocoder.conv_post.bias.sub_(mean).mul_(scale)
        weight = vocoder.conv_post
        (weight.parametrizations.weight.original0 if hasattr(weight, "parametrizations") else weight.weight).mul_(scale)


def _text_tower(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name.startswith(("text_model.", "text_projection."))}


def _save(part: Any, folder: Path, safetensors: bool) -> None:
    import torch
    from safetensors.torch import save_file

    part.save_pretrained(folder)
    # Of several processes, transformers lets only the first one write, and each has a folder of its own here.
    if hasattr(part, "state_dict") and not any(folder.glob("*.safetensors")):
        part.config.save_pretrained(folder)
        save_file(part.state_dict(), folder / "model.safetensors", {"format": "pt"})
    if hasattr(part, "state_dict") and not safetensors:
        (file,) = folder.glob("*.safetensors")
        file.unlink()
        name = "diffusion_pytorch_model.bin" if "diffusion" in file.name else "pytorch_model.bin"
        torch.save(part.state_dict(), folder / name)
