"""Checkpoints laid out as on the Hugging Face hub: found, checked, loaded whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.model_options import Heads
from audiogen_metrics.audioldm.tiny import MARKER, TINY, tiny_folder
from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.backbones.weights import offline
from audiogen_metrics.errors import MissingWeightsError, UsageError, option
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.precision import full_precision

if TYPE_CHECKING:
    import torch


PARTS = ("unet", "vae", "text_encoder", "vocoder", "tokenizer", "scheduler")

LICENCE = "CC BY-NC-SA 4.0, non-commercial"

PUBLISHED: dict[str, str | None] = {
    "cvssp/audioldm": None,
    "cvssp/audioldm-s-full-v2": "sanchit-gandhi/clap-htsat-unfused-s-full-v2",
    "cvssp/audioldm-m-full": "sanchit-gandhi/clap-htsat-unfused-m-full",
    "cvssp/audioldm-l-full": None,
}
"""Published checkpoints, each with the full CLAP that its text tower came from, where the hub has one."""

ORIGIN = "origin.json"
"""In a checkpoint that was made from another one: which, its CLAP and licence where known; see `Snapshot.origin`."""

_WEIGHTS = ("*.safetensors", "*.bin")
_FILES = ("*.json", "*.txt", "*.safetensors", "*.bin")


@dataclass(frozen=True)
class LocalCheckpoint:
    """A checkpoint on this machine: its name as given, and its folder."""

    name: str
    folder: Path

    @property
    def is_random(self) -> bool:
        """Whether its weights are known to be random, as `write_tiny` marks them."""
        return (self.folder / MARKER).exists()

    @property
    def origin(self) -> Mapping[str, str]:
        """Return what a checkpoint comes from.

        ``model``, and ``clap`` and ``licence`` where known; behind what was converted from a checkpoint of AudioLDM's
        own code also its ``sha256``, and which weights of it were taken as ``denoiser``.

        Raises
        ------
        MissingWeightsError
            The checkpoint says it in a file that cannot be read.
        """
        path = self.folder / ORIGIN
        if not path.exists():
            found = {"model": self.name, "clap": PUBLISHED.get(self.name)}
            licence = LICENCE if self.name in PUBLISHED else None
            return {name: value for name, value in {**found, "licence": licence}.items() if value}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return {str(name): str(value) for name, value in content.items()}
        except (OSError, ValueError, AttributeError) as error:
            fix = "Delete it, restore it, or convert the checkpoint again"
            raise MissingWeightsError("cannot be read", where=path, fix=fix) from error

    @property
    def converted_from(self) -> dict[str, str]:
        """Return ``model``, ``sha256`` and ``denoiser`` of `origin`; nothing unless AudioLDM's own code wrote it."""
        origin = self.origin
        return {name: origin[name] for name in ("model", "sha256", "denoiser") if "sha256" in origin}

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every weights file by its path in the snapshot."""
        files = sorted({file for part in PARTS for file in weights_files(self.folder / part)})
        return {file.relative_to(self.folder).as_posix(): sha256_of(file) for file in files}

    def configurations(self) -> dict[str, str]:
        """Return the SHA-256 of every other file of its parts by its path in the snapshot: sizes, schedule, words."""
        files = [file for part in PARTS for file in configuration_files(self.folder / part)]
        return {file.relative_to(self.folder).as_posix(): sha256_of(file) for file in files}


def locate(model: str | Path) -> LocalCheckpoint:
    """Find a checkpoint: a folder, ``tiny-random``, or a name on the hub, downloaded once if that is allowed.

    A file is taken as a checkpoint of AudioLDM's own code, and converted once.

    Raises
    ------
    MissingWeightsError
        Not on this machine and not to be had; the message says where it was looked for.
    """
    if str(model) == TINY:
        require()
        return LocalCheckpoint(TINY, tiny_folder())
    folder = as_path(model)
    if folder.is_dir():
        missing = [part for part in PARTS if not (folder / part).is_dir()]
        if missing:
            raise MissingWeightsError(
                f"is not an AudioLDM checkpoint: it has no {', '.join(missing)}",
                where=folder,
                fix=f"Pass a folder with {', '.join(PARTS)}, as in cvssp/audioldm-s-full-v2",
            )
        return LocalCheckpoint(str(model), folder)
    if folder.is_file():
        from audiogen_metrics.audioldm.original import converted

        return LocalCheckpoint(str(model), converted(folder))
    if folder.suffix in (".ckpt", ".safetensors"):
        raise MissingWeightsError("there is no such checkpoint", where=folder)
    require()
    return LocalCheckpoint(str(model), _from_hub(str(model)))


def locate_clap(clap: str | Path | None, snapshot: LocalCheckpoint) -> Path:
    """Find the full CLAP of a checkpoint: the one given, the checkpoint's own ``clap``, or the one known to fit.

    Raises
    ------
    MissingWeightsError
        It is not on this machine, or which one fits is not known.
    """
    known = snapshot.origin.get("clap")
    if clap is None and (snapshot.folder / "clap").is_dir():
        return snapshot.folder / "clap"
    if clap is None and known is None:
        fitting = ", ".join(f"{name} for {model}" for model, name in PUBLISHED.items() if name)
        raise MissingWeightsError(
            f"no CLAP with an audio tower is known for {snapshot.name}; audio conditions and candidates need one",
            where="clap",
            fix=f"Pass {option('clap', 'FOLDER')}, converted from the same checkpoint. On the hub: {fitting}",
        )
    return locate_folder(clap or str(known))


def locate_folder(name: str | Path) -> Path:
    """Find a folder, or a name on the hub, downloaded once if that is allowed; errors as in `locate`."""
    folder = as_path(name)
    return folder if folder.is_dir() else _from_hub(str(name))


def _from_hub(name: str) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UsageError(
            f"{name!r} is neither a folder nor a name on the hub",
            "model",
            f"Try {', '.join(PUBLISHED)}, {TINY} or a folder",
        )
    require("clap")  # the least that brings the hub's client
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    closed = offline() or bool(constants.HF_HUB_OFFLINE)
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES), local_files_only=closed))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, RuntimeError) as error:  # the last: no home folder
        state = (
            "downloads are switched off (AGM_OFFLINE or HF_HUB_OFFLINE)"
            if closed
            else f"{type(error).__name__}: {_first(error)}"
        )
        raise MissingWeightsError(
            f"is not on this machine, and {state}",
            where=name,
            fix=f"On a machine with a connection: hf download {name}; then copy the folder and pass it as the model. "
            f"Looked in {constants.HF_HUB_CACHE}",
        ) from error


def weights_files(folder: Path) -> list[Path]:
    """Return the weights files of one part, sorted; safetensors hide ``.bin`` files beside them, as in loading."""
    return next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])


def configuration_files(folder: Path) -> list[Path]:
    """Return the other files of one part that shape what it does, sorted: configuration, and words of a tokenizer."""
    return sorted(file for file in folder.glob("*") if file.suffix in {".json", ".txt"} and file.is_file())


def load_part(kind: type[Any], folder: Path, **options: Any) -> Any:
    """Return a network of diffusers or transformers in eval mode, on the CPU, in float32.

    Raises
    ------
    MissingWeightsError
        Files missing or unreadable, or weights that do not fit the configuration: nothing is ever left random.
    """
    import torch

    if not weights_files(folder):
        raise MissingWeightsError("has no weights file", where=folder, fix="Download the checkpoint again, whole")
    try:
        # Else these networks take the host's default type and device.
        with quiet(), torch.device("cpu"), full_precision(torch.device("cpu")):
            network, report = kind.from_pretrained(
                str(folder), output_loading_info=True, local_files_only=True, **options
            )
    except Exception as error:
        raise MissingWeightsError(
            f"cannot be loaded as {kind.__name__} ({_first(error)})", folder, "Download the checkpoint again, whole"
        ) from error
    wrong = [
        f"{len(report[what])} {what.split('_')[0]} weights, {sorted(map(str, report[what]))[0]} first"
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if report.get(what)
    ]
    if wrong:
        raise MissingWeightsError(
            f"does not fit its configuration: {'; '.join(wrong)}",
            where=folder,
            fix="Use weights and config.json of one checkpoint: a partly random network is never used",
        )
    return network.eval().float().requires_grad_(False)


def load_unet(folder: Path, heads: Heads) -> Any:
    """Return the UNet with its attention heads as trained, or as the published configuration has them."""
    from diffusers import UNet2DConditionModel

    config = read_config(folder)
    given = config.get("attention_head_dim")
    if heads == "original" and given == 8:
        return load_part(UNet2DConditionModel, folder, attention_head_dim=original_heads(config["block_out_channels"]))
    return load_part(UNet2DConditionModel, folder)


def original_heads(channels: list[int]) -> list[int]:
    """Return the number of attention heads a level in the original UNet: 32 channels each, 64 in the l model.

    Published configurations say ``attention_head_dim: 8``, which diffusers reads as eight heads at every level.

    Examples
    --------
    >>> original_heads([128, 256, 384, 640])
    [4, 8, 12, 20]
    >>> original_heads([256, 512, 768, 1280])
    [4, 8, 12, 20]
    """
    width = 64 if channels[0] >= 256 else 32
    return [max(1, count // width) for count in channels]


def read_config(folder: Path) -> Mapping[str, Any]:
    """Return config.json of a part; MissingWeightsError if there is none."""
    try:
        content: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingWeightsError(f"has no readable config.json ({error})", where=folder) from error
    return content


def largest_difference(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> float:
    """Return the largest absolute difference between two sets of weights; infinite if names or shapes differ."""
    names = {name for name in ours if not name.endswith("position_ids")}
    if names != {name for name in theirs if not name.endswith("position_ids")}:
        return float("inf")
    if any(ours[name].shape != theirs[name].shape for name in names):
        return float("inf")
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in names)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def torch_dtype(name: str) -> torch.dtype:
    """Return a dtype by name; UsageError for one that networks do not run in."""
    import torch

    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise UsageError(f"unknown dtype {name!r}", where="dtype", fix=f"Use {', '.join(known)}")
    return known[name]
