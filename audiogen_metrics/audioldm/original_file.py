"""What is in an original AudioLDM checkpoint: read without running it, sorted by part, every tensor accounted for."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from audiogen_metrics.backbones.pretrained import load_tensors, other_content
from audiogen_metrics.errors import MissingWeightsError
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.text import quoted

Tensors = dict[str, torch.Tensor]

SCRIPT = "convert_original_audioldm_to_diffusers.py"
"""diffusers' own converter, under scripts in its repository; docs/original-checkpoints.md says how it is run."""

_PARTS = (
    ("unet", re.compile(r"model\.diffusion_model\.")),
    ("average", re.compile(r"model_ema\.")),
    ("vocoder", re.compile(r"first_stage_model\.vocoder\.")),
    ("vae", re.compile(r"first_stage_model\.(?=(encoder|decoder|quant_conv|post_quant_conv)\.)")),
    ("clap", re.compile(r"cond_stage_model(s\.0)?\.model\.")),
)
"""Where each part's tensors are. AudioLDM's training code has a list of conditions, and says so in the name."""

_SCHEDULE = (
    "(sqrt_|log_)?(one_minus_)?alphas_cumprod|alphas_cumprod_prev|sqrt_recipm?1?_alphas_cumprod|"
    "posterior_variance|posterior_log_variance_clipped|posterior_mean_coef[12]"
)

IGNORED = re.compile(
    rf"({_SCHEDULE}|logvar)$"  # they follow from the betas; a weight of the loss
    r"|first_stage_model\.loss\."  # of the autoencoder's training: a discriminator
    r"|(clap|cond_stage_model(s\.0)?)\.mel_transform\."  # the training code's front ends
    r"|clap\.model\."  # the training code's second CLAP, which ranks what it makes in its validation
)
"""What nothing needs that is done here. CLAP's own surplus is named in `audiogen_metrics.backbones.laion_clap`."""

_NEEDED = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "vocoder": "first_stage_model.vocoder.",
    "clap": "cond_stage_model.model.",
}

_HARMLESS = {"argparse", "collections", "lightning", "lightning_fabric", "omegaconf", "pathlib", "pytorch_lightning"}
"""Packages whose classes training code leaves in checkpoints: settings, paths, names of callbacks."""


@dataclass(frozen=True)
class Original:
    """The tensors of a checkpoint by part, without the part's prefix.

    Attributes
    ----------
    path, sha256, stamp
        The file, and what tells that it is still the same.
    unet, vae, vocoder, clap
        By original names.
    average
        Of the denoiser's weights, by their names without dots; empty where the training kept none.
    updates
        How often the average was brought up to date; None where that is not said.
    betas
        The schedule of noise.
    scaling
        Of latents.
    """

    path: Path
    sha256: str
    stamp: tuple[int, ...]
    unet: Tensors
    average: Tensors
    updates: int | None
    vae: Tensors
    vocoder: Tensors
    clap: Tensors
    betas: torch.Tensor
    scaling: float


def read_original(path: Path) -> Original:
    """Return what is in a checkpoint; its tensors stay on the disk until they are used.

    Raises
    ------
    MissingWeightsError
        It cannot be read, refers to code, or has tensors that no AudioLDM has, or lacks some.
    """
    try:
        stamp, digest = stamp_of(path), sha256_of(path)
        content = _content(path)
    except MissingWeightsError:  # an OSError, too
        raise
    except OSError as error:
        raise unusable(f"cannot be read ({error.strerror or error})", path) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise unusable("has no state dict", path)
    strangers = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if strangers:
        raise unusable(f"has {strangers[0]}, which is not a tensor", path)
    return _sorted(dict(state), path, digest, stamp)


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes with a file: size, times and place on the disk."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _sorted(state: Tensors, path: Path, digest: str, stamp: tuple[int, ...]) -> Original:
    parts: dict[str, Tensors] = {part: {} for part, _ in _PARTS}
    rest = {}
    for name, value in state.items():
        for part, prefix in _PARTS:
            if prefix.match(name):
                parts[part][prefix.sub("", name, count=1)] = value
                break
        else:
            if not IGNORED.match(name):
                rest[name] = value
    absent = [prefix for part, prefix in _NEEDED.items() if not parts[part]]
    if absent:
        found = f"none of its {len(state)} tensors begins with {absent[0]}"
        raise unusable(f"is not a checkpoint of AudioLDM: {found}", path)
    lost = [name for name in ("betas", "scale_factor") if name not in rest]
    nothing = torch.empty(0, dtype=torch.float32, device="cpu")
    betas, scale = rest.pop("betas", nothing), rest.pop("scale_factor", nothing)
    if rest or lost:
        raise unusable(f"is of another network: {differences(lost, rest)}", path)
    _, updates = (parts["average"].pop(name, None) for name in ("decay", "num_updates"))
    if scale.numel() != 1 or not bool(scale.isfinite().all() & (scale > 0).all()):
        raise unusable("has a scale_factor that is not one positive number", path)
    return Original(
        path=path,
        sha256=digest,
        stamp=stamp,
        betas=betas,
        scaling=float(scale),
        updates=int(updates) if updates is not None and updates.numel() == 1 else None,
        **parts,
    )


def differences(missing: Any, unexpected: Any) -> str:
    """Return how many names are missing and unexpected, with the first of each, as a clause."""
    faults = []
    for kind, names in (("missing", sorted(missing)), ("unexpected", sorted(unexpected))):
        if names:
            more = ", …" if len(names) > 3 else ""
            faults.append(f"{len(names)} {kind} tensors ({', '.join(names[:3])}{more})")
    return ", ".join(faults)


def unusable(what: str, path: Path) -> MissingWeightsError:
    """Return the error that says so, and how diffusers' own script is asked."""
    given = quoted(path)
    command = f"python {SCRIPT} --checkpoint_path {given} --extract_ema --to_safetensors --dump_path OUT"
    fix = f"If it is an AudioLDM, convert it with diffusers' script (diffusers 0.16.1) and pass OUT: {command}"
    return MissingWeightsError(what, where=path, fix=fix)


def _content(path: Path) -> object:
    try:
        with path.open("rb") as file:
            if file.read(10)[8:10] == b'{"':  # a length of eight bytes and JSON, as safetensors has it
                return load_file(path)
        return load_tensors(path, _harmless(path), mapped=zipfile.is_zipfile(path))
    except (ValueError, SafetensorError) as error:
        if isinstance(error, ValueError) and other_content(path):
            fix = "Pass the checkpoint itself; if this was a download, repeat it"
            raise MissingWeightsError(f"the file {error}", where=path, fix=fix) from error
        raise unusable(f"the file {error}", path) from error


class _Inert:
    """What stands for an object of another package in a checkpoint: it takes everything and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...


def _harmless(path: Path) -> list[Any]:
    """Return stand-ins for the classes that training code leaves beside the tensors."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # whatever is wrong with it, reading it says
        return []
    known = [name for name in names if name.partition(".")[0] in _HARMLESS or name == "typing.Any"]
    kinds = {"AttributeDict": dict, "defaultdict": _empty}
    return [(kinds.get(name.rpartition(".")[2], _Inert), name) for name in known]


def _empty(*_: object) -> dict[object, object]:
    return {}
