"""What AudioLDM costs: parameters and arithmetic of every size, counted; one step of the small one, measured.

Architectures are those of the published checkpoints, with random weights: ``python benchmarks/audioldm_cost.py s``.
The table in docs/generation.md is its output.
"""

from __future__ import annotations

import resource
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.snapshots import original_heads

WIDTHS = {"s": (128, 256, 384, 640), "m": (192, 384, 576, 960), "l": (256, 512, 768, 1280)}
LATENT = (8, 256, 16)
"""Of 10.24 s."""


def unet(size: str) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=128,
        in_channels=8,
        out_channels=8,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
        up_block_types=(*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
        block_out_channels=WIDTHS[size],
        cross_attention_dim=WIDTHS[size],
        attention_head_dim=original_heads(list(WIDTHS[size])),
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=512,
        class_embeddings_concat=True,
    ).eval()


def decoder() -> torch.nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=[128, 256, 512],
        layers_per_block=2,
        latent_channels=8,
    ).eval()


def vocoder() -> torch.nn.Module:
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(
        model_in_dim=64,
        upsample_initial_channel=1024,
        upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4],
        normalize_before=False,
    )
    return SpeechT5HifiGan(config).eval()


def parameters(module: torch.nn.Module) -> float:
    return sum(weight.numel() for weight in module.parameters()) / 1e6


def multiply_adds(function: object) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        function()  # type: ignore[operator]
    return counter.get_total_flops() / 2e9


def step(network: torch.nn.Module, batch: int, device: str) -> object:
    latents, labels = torch.randn(batch, *LATENT, device=device), torch.randn(batch, 512, device=device)
    return lambda: network(latents, torch.tensor(500, device=device), encoder_hidden_states=None, class_labels=labels)


def main(sizes: list[str]) -> None:
    require()
    with torch.device("meta"):
        vae, voice = decoder(), vocoder()
        ends = [
            ("VAE decoder", parameters(vae), multiply_adds(lambda: vae.decode(torch.randn(1, *LATENT, device="meta")))),
            ("vocoder", parameters(voice), multiply_adds(lambda: voice(torch.randn(1, 1024, 64, device="meta")))),
        ]
        for name, count, work in ends:
            print(f"{name}: {count:.0f} M parameters, {work:.0f} G multiply-adds for 10.24 s")
        tail = sum(work for _, _, work in ends)
        print("| size | UNet parameters | float32 | G multiply-adds a step | T a clip: 200 steps, guided |")
        print("|---|---|---|---|---|")
        for size in WIDTHS:
            network = unet(size)
            count, work = parameters(network), multiply_adds(step(network, 1, "meta"))
            total = (work * 2 * 200 + tail) / 1e3
            print(f"| {size} | {count:.0f} M | {count * 4 / 1e3:.2f} GB | {work:.1f} | {total:.1f} |")
    for size in sizes:
        network = unet(size)
        run = step(network, 2, "cpu")
        with torch.inference_mode():
            run()  # type: ignore[operator]
            begin = time.perf_counter()
            run()  # type: ignore[operator]
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        threads = torch.get_num_threads()
        print(f"{size}: one guided step of one clip {seconds:.2f} s on {threads} threads; peak {peak:.1f} GB")
        train(network, size)


def train(network: torch.nn.Module, size: str) -> None:
    """Time one optimiser step on one clip, forward and backward."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    run = step(network, 1, "cpu")
    begin = time.perf_counter()
    run().sample.square().mean().backward()  # type: ignore[operator]
    optimizer.step()
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{size}: one training step on one clip {seconds:.1f} s; peak {peak:.1f} GB")


if __name__ == "__main__":
    main(sys.argv[1:])
