"""Run the networks of AudioLDM's own code on a checkpoint; runs where einops and torchlibrosa are installed, too.

``python run_audioldm_networks.py SOURCE CHECKPOINT IN.pt OUT.pt`` takes ``latents``, ``times``, ``labels`` and ``mel``
from ``IN.pt``, and writes what denoiser (averaged weights), autoencoder and vocoder make of them. ``SOURCE`` is a copy
of haoheliu/AudioLDM. Sizes are those of tests/original_checkpoint.py; all weights are loaded strictly.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from torch import nn


def main(source: str, checkpoint: str, given: str, out: str) -> None:
    """Load every network but CLAP, and run each."""
    sys.path.insert(0, source)
    torch.set_num_threads(1)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    inputs = torch.load(given, weights_only=True)
    unet, vae = _denoiser(state), _autoencoder(state)
    with torch.no_grad():
        decoded = vae.decode(inputs["latents"])
        encoded = vae.encode(inputs["mel"])
        made = {
            "noise": unet(inputs["latents"], inputs["times"], y=inputs["labels"]),
            "decoded": decoded,
            "mean": encoded.mean,
            "waveform": vae.vocoder(decoded.squeeze(1).permute(0, 2, 1)).squeeze(1),
        }
    torch.save(made, out)


def _denoiser(state: dict[str, torch.Tensor]) -> Any:
    networks = importlib.import_module("audioldm.latent_diffusion.openaimodel")
    wrapper = nn.Module()
    wrapper.diffusion_model = networks.UNetModel(
        image_size=64,
        extra_film_condition_dim=64,
        extra_film_use_concat=True,
        in_channels=8,
        out_channels=8,
        model_channels=32,
        attention_resolutions=[2],
        num_res_blocks=2,
        channel_mult=[1, 2],
        num_head_channels=32,
        use_spatial_transformer=True,
    )
    average = importlib.import_module("audioldm.latent_diffusion.ema").LitEma(wrapper)
    wrapper.load_state_dict(_below("model.", state))
    average.load_state_dict(_below("model_ema.", state))
    average.copy_to(wrapper)
    return wrapper.diffusion_model.eval()


def _autoencoder(state: dict[str, torch.Tensor]) -> Any:
    importlib.import_module("audioldm.hifigan.utilities").HIFIGAN_16K_64["upsample_initial_channel"] = 64
    module = importlib.import_module("audioldm.variational_autoencoder.autoencoder")
    sizes = {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 2, "attn_resolutions": [], "resolution": 256}
    vae = module.AutoencoderKL(ddconfig={"z_channels": 8, "in_channels": 1, "out_ch": 1, **sizes}, embed_dim=8)
    vae.load_state_dict(_below("first_stage_model.", state))
    return vae.eval()


def _below(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


if __name__ == "__main__":
    main(*sys.argv[1:])
