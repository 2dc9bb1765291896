"""Names of tensors in laion_clap's published checkpoints, and their names in the network of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audiogen_metrics.backbones.laion_frontend import slaney
from audiogen_metrics.backbones.pretrained import checked
from audiogen_metrics.errors import MissingWeightsError

FORMAT = "A CLAP checkpoint is {'state_dict': {'module.audio_branch…'}, …}; agm weights list names the published files"

_UNUSED = re.compile(
    r"audio_branch\.(tscam_conv|head)\."
    r"|(audio|text)_transform\."
    r"|.*\.(attn_mask|relative_position_index|position_ids|token_type_ids)$"
)
"""Tensors for training (a classifier, a second pair of projections), and tensors that follow from the architecture."""

_NAMES = (
    ("text_branch.", "text_model."),
    ("audio_branch.bn0.", "audio_model.audio_encoder.batch_norm."),
    ("audio_branch.", "audio_model.audio_encoder."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    ("_projection.0.", "_projection.linear1."),
    ("_projection.2.", "_projection.linear2."),
)
"""Names in laion_clap, and the same in transformers."""


def translated(state: Mapping[str, object], network: str, path: Path) -> dict[str, object]:
    """Return tensors of laion_clap under transformers' names, after a check that their front end is ours.

    Parameters
    ----------
    state
        Tensors of a network without feature fusion, by name.
    network, path
        The network that it should be, and the file of the tensors, for the message.

    Raises
    ------
    MissingWeightsError
        The front end is another one, or missing.
    """
    constants = {f"audio_branch.{name}": value for name, value in slaney().constants().items()}
    stored = checked(
        {name: state[name] for name in constants if name in state},
        {name: tensor.shape for name, tensor in constants.items()},
        path,
    )
    for name, expected in constants.items():
        if (stored[name] - expected).abs().max() > 1e-3 * expected.abs().max():
            raise MissingWeightsError(f"{name} is not that of {network}", where=path, fix=FORMAT)
    return dict(_renamed({name: value for name, value in state.items() if name not in constants}))


def _renamed(state: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in state.items():
        if _UNUSED.match(name):
            continue
        for theirs, ours in _NAMES:
            name = name.replace(theirs, ours)
        if ".self.qkv." in name and isinstance(value, torch.Tensor) and value.ndim and len(value) % 3 == 0:
            for part, tensor in zip(("query", "key", "value"), value.chunk(3), strict=True):
                yield name.replace("qkv", part), tensor
        else:
            yield name, value


def fill_in_counts(body: nn.Module) -> None:
    """Set the buffers that follow from the architecture, and leave them out of the state dict."""
    module: Any
    for module in body.modules():
        made = {}
        if hasattr(module, "create_relative_position_index"):
            made["relative_position_index"] = module.create_relative_position_index()
        elif hasattr(module, "token_type_ids"):
            positions = torch.arange(module.position_ids.shape[1], dtype=torch.long, device="cpu")[None]
            made |= {"position_ids": positions, "token_type_ids": torch.zeros_like(positions)}
        for name, value in made.items():
            delattr(module, name)
            module.register_buffer(name, value, persistent=False)
