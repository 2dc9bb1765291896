"""What AudioLDM's own code calls the weights that diffusers and transformers call otherwise.

All functions go from the names of today's libraries to the original ones, so that errors can speak of what is in the
file. Facts from haoheliu/AudioLDM and huggingface/diffusers (scripts/convert_original_audioldm_to_diffusers.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_Pairs = tuple[tuple[str, str], ...]

_UNET: _Pairs = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("class_embedding.", "film_emb."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)

_RESNET: _Pairs = (
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".conv_shortcut.", ".skip_connection."),
)

_VAE: _Pairs = (
    (".conv_norm_out.", ".norm_out."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.group_norm.", ".mid.attn_1.norm."),
    (".mid_block.attentions.0.to_q.", ".mid.attn_1.q."),
    (".mid_block.attentions.0.to_k.", ".mid.attn_1.k."),
    (".mid_block.attentions.0.to_v.", ".mid.attn_1.v."),
    (".mid_block.attentions.0.to_out.0.", ".mid.attn_1.proj_out."),
)

_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.")


def unet_names(names: Iterable[str], layers: int) -> dict[str, str]:
    """Return the original name of every weight of a UNet.

    Parameters
    ----------
    names
        Of ``UNet2DConditionModel``.
    layers
        Residual blocks per level on the way down; on the way up there is one more.

    Examples
    --------
    >>> unet_names(["down_blocks.1.resnets.0.conv1.weight"], layers=2)
    {'down_blocks.1.resnets.0.conv1.weight': 'input_blocks.4.0.in_layers.2.weight'}
    """
    names = list(names)
    attending = {match[2] for name in names if (match := _BLOCK.match(name)) and match[1] + match[3] == "upattentions"}

    def place(match: re.Match[str]) -> str:
        way, block, kind, number = match[1], int(match[2]), match[3], int(match[4])
        first = block * (layers + 1)
        if way == "down":
            blocks = {"resnets": f"{1 + first + number}.0.", "attentions": f"{1 + first + number}.1."}
            return f"input_blocks.{blocks.get(kind, f'{1 + first + layers}.0.op.')}"
        blocks = {"resnets": f"{first + number}.0.", "attentions": f"{first + number}.1."}
        # The upsampler comes last in its block, behind an attention where there is one.
        return f"output_blocks.{blocks.get(kind, f'{first + layers}.{2 if match[2] in attending else 1}.conv.')}"

    return {name: _unet_name(name, place(match) if (match := _BLOCK.match(name)) else "") for name in names}


def _unet_name(name: str, place: str) -> str:
    inside = _RESNET if ".resnets." in name else ()
    if place:
        rest = _BLOCK.sub("", name, count=1)
        return _replaced(place + rest.removeprefix("conv." if ".op." in place or ".conv." in place else ""), inside)
    for theirs, ours in _UNET:
        if name.startswith(theirs):
            return _replaced(ours + name.removeprefix(theirs), inside)
    return name


def vae_names(names: Iterable[str], levels: int) -> dict[str, str]:
    """Return the original name of every weight of an autoencoder with so many levels.

    Examples
    --------
    >>> vae_names(["decoder.up_blocks.0.resnets.1.conv1.bias"], levels=3)
    {'decoder.up_blocks.0.resnets.1.conv1.bias': 'decoder.up.2.block.1.conv1.bias'}
    """

    def place(match: re.Match[str]) -> str:
        way, block, kind, number = match[1], int(match[2]), match[3], match[4]
        level = block if way == "down" else levels - 1 - block
        return f"{way}.{level}." + (f"block.{number}." if kind == "resnets" else f"{kind.removesuffix('rs')}.")

    return {name: _replaced(_BLOCK.sub(place, name), _VAE) for name in names}


def vocoder_names(names: Iterable[str]) -> dict[str, str]:
    """Return the original name of every weight of a vocoder."""
    return {name: name.replace("upsampler.", "ups.") for name in names}


def average_name(name: str) -> str:
    """Return what the moving average of a weight is called, where no name may have a dot.

    Examples
    --------
    >>> average_name("out.2.bias")
    'diffusion_modelout2bias'
    """
    return f"diffusion_model.{name}".replace(".", "")


def _replaced(name: str, pairs: _Pairs) -> str:
    for theirs, ours in pairs:
        name = name.replace(theirs, ours)
    return name
