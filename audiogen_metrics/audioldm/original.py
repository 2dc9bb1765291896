"""AudioLDM's own checkpoints, ``.ckpt``, made into the folders that diffusers and transformers open.

The paper's models are published in this format, and AudioLDM's training code writes it. One file holds the denoiser, a
moving average of it, the autoencoder, the vocoder and the whole CLAP whose embeddings are the condition.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.original_file import (
    Original,
    Tensors,
    differences,
    read_original,
    stamp_of,
    unusable,
)
from audiogen_metrics.audioldm.original_names import average_name, unet_names, vae_names, vocoder_names
from audiogen_metrics.audioldm.original_shapes import (
    UnknownLayoutError,
    clap_config,
    scheduler_config,
    unet_config,
    vae_config,
    vocoder_config,
)
from audiogen_metrics.audioldm.snapshots import ORIGIN, original_heads
from audiogen_metrics.audioldm.tiny import write_index
from audiogen_metrics.backbones.laion_clap import TOKENIZER, roberta_tokenizer
from audiogen_metrics.backbones.laion_names import fill_in_counts, translated
from audiogen_metrics.backbones.pretrained import checked
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.backbones.weights import find_all
from audiogen_metrics.errors import MissingWeightsError, UsageError, option, spoken
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.text import quoted
from audiogen_metrics.writing import encoded, json_text, unwritable, write_atomically

VERSION = 1
"""Raised by hand whenever converted folders would come out otherwise."""

PUBLISHED_WIDTHS = (128, 192, 256)
"""Channels of the first level of the published denoisers: s, m and l."""

LONGEST = 512
"""Tokens of a prompt."""

_TRAINED, _AVERAGE = "model.diffusion_model.", "model_ema."
"""Where the two sets of the denoiser's weights are."""

_Names = Callable[[Iterable[str]], dict[str, str]]
"""From a network's own names to those in the file."""


def converted(path: Path) -> Path:
    """Return the folder in the cache that a checkpoint was converted into, which is done on first use.

    Raises
    ------
    MissingWeightsError
        As `convert_checkpoint`.
    """
    require()
    vocabulary, merges = _tokenizer_files(path)
    made_from = [sha256_of(file) for file in (path, vocabulary, merges)]
    name = hashlib.sha256(json.dumps([VERSION, *made_from]).encode()).hexdigest()[:32]
    folder = cache_dir() / "models" / f"original-{name}"
    if not folder.is_dir():
        warnings.warn(f"{path} is converted once, into {folder}", stacklevel=2)
        _write(read_original(path), folder, None, roberta_tokenizer(vocabulary, merges, model_max_length=LONGEST))
    return folder


def convert_checkpoint(
    path: str | Path, output: str | Path, *, ema: bool | None = None, tokenizer: str | Path | None = None
) -> Path:
    """Write an original AudioLDM checkpoint as a folder that `AudioLDM.from_pretrained` and diffusers open.

    Nothing in the file is run. Every tensor of it goes into the folder or is on the list of those that nothing needs;
    one that is neither, or is missing, is an error.

    Parameters
    ----------
    path
        ``audioldm-s-full.ckpt``, for instance, or what AudioLDM's training code has saved.
    output
        New or empty folder.
    ema
        Whether to take the moving average of the denoiser's weights, as AudioLDM's own code does when it generates, or
        the weights as trained, as diffusers' script does unless it is told otherwise. None takes the average where the
        file has one.
    tokenizer
        Folder with RoBERTa's tokenizer, which no checkpoint holds: ``vocab.json`` and ``merges.txt``, or
        ``tokenizer.json``. None takes the two from beside the checkpoint, else the published ones from this machine.

    Returns
    -------
    Path
        The folder, with the full CLAP in ``clap``.

    Raises
    ------
    MissingWeightsError
        The file cannot be read, refers to code, or is not AudioLDM's; or there is no tokenizer.
    MissingDependencyError
        The extra audioldm is not installed.
    UsageError
        The folder is not empty or cannot be written; an average is asked for that the file does not have.

    Examples
    --------
    >>> convert_checkpoint("audioldm-s-full.ckpt", "audioldm-s-full")  # doctest: +SKIP
    PosixPath('audioldm-s-full')
    """
    require()
    path, output = as_path(path), as_path(output)
    if not path.is_file():
        raise MissingWeightsError("there is no such checkpoint", where=path)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError("is not a new or empty folder", where=output, fix="Choose another one")
    words = _tokenizer(path, tokenizer)
    _write(read_original(path), output, ema, words)
    return output


def _write(original: Original, output: Path, ema: bool | None, tokenizer: Any) -> None:
    """Write all parts, or nothing."""
    weights, taken = _denoiser(original, ema)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}.", dir=output.parent))
        try:
            part.chmod(0o755)
            with quiet():
                _save_parts(original, weights, taken, part, tokenizer)
            # Tensors were read from the disk until here.
            if stamp_of(original.path) != original.stamp:
                raise unusable("changed while it was read", original.path)
            origin = {"model": original.path.name, "sha256": original.sha256, "denoiser": taken.rstrip(".")}
            write_atomically(part / ORIGIN, encoded(json_text(origin)))
            try:
                part.rename(output)  # which replaces an empty folder
            except OSError:
                if not (output / ORIGIN).is_file():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        if isinstance(error, MissingWeightsError):
            raise
        raise unwritable(error, output) from error


def _denoiser(original: Original, ema: bool | None) -> tuple[Tensors, str]:
    """Return the denoiser's weights by their names, and which of the two sets they are."""
    average = {average_name(name): name for name in original.unet}
    if original.average and average.keys() != original.average.keys():
        missing, unexpected = (average.keys() - original.average.keys()), (original.average.keys() - average.keys())
        clause = differences(*({f"model_ema.{name}" for name in names} for names in (missing, unexpected)))
        raise unusable(f"is of another network: {clause}", original.path)
    if ema and not original.average:
        fix = f"Leave out {option('ema')}: it has the weights as trained alone"
        raise UsageError("has no moving average of its weights", where=original.path, fix=fix)
    if ema is False or not original.average:
        return original.unet, _TRAINED
    if original.updates == 0:
        warnings.warn(
            f"{original.path}: its moving average was never brought up to date; "
            f"{spoken('convert_checkpoint(…, ema=False)', 'agm convert --no-ema')} takes the weights as trained",
            stacklevel=4,
        )
    return {average[name]: value for name, value in original.average.items()}, _AVERAGE


def _save_parts(original: Original, weights: Tensors, taken: str, folder: Path, tokenizer: Any) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import ClapConfig, ClapModel, ClapTextModelWithProjection, SpeechT5HifiGan, SpeechT5HifiGanConfig

    with _understanding(original.path):
        unet, vae = unet_config(_shapes(weights)), vae_config(_shapes(original.vae), original.scaling)
        towers = translated(original.clap, "AudioLDM", original.path)
        vocoder, clap = vocoder_config(_shapes(original.vocoder)), clap_config(_shapes(towers))
        schedule = scheduler_config(original.betas)
    _check_words(tokenizer, clap["text_config"]["vocab_size"], original.path)
    _remark_on(unet["block_out_channels"], original.path)
    text = {name: value for name, value in towers.items() if name.startswith(("text_model.", "text_projection."))}
    bands = vocoder["model_in_dim"]
    # Not used, since nothing is normalised, but part of the network.
    zeros = torch.zeros(bands, dtype=torch.float32, device="cpu")
    sound = original.vocoder | {"mean": zeros, "scale": torch.ones_like(zeros)}
    levels, layers = len(vae["block_out_channels"]), unet["layers_per_block"]

    def save(part: str, build: Callable[[], Any], state: Mapping[str, object], names: _Names, place: str) -> None:
        with _understanding(original.path):
            network = _network(build, state, names, place, original.path)
        network.save_pretrained(folder / part)

    save("unet", lambda: UNet2DConditionModel(**unet), weights, lambda own: unet_names(own, layers), taken)
    save("vae", lambda: AutoencoderKL(**vae), original.vae, lambda own: vae_names(own, levels), "first_stage_model.")
    hifigan, both = SpeechT5HifiGanConfig(**vocoder), ClapConfig(**clap)
    words: Any = both.text_config
    save("vocoder", lambda: SpeechT5HifiGan(hifigan), sound, vocoder_names, "first_stage_model.vocoder.")
    save("clap", lambda: ClapModel(both), towers, _same, "CLAP's ")
    save("text_encoder", lambda: ClapTextModelWithProjection(words), text, _same, "CLAP's ")
    scheduler: Any = DDIMScheduler(**schedule)
    scheduler.save_pretrained(folder / "scheduler")
    for part in ("tokenizer", "clap"):
        tokenizer.save_pretrained(folder / part)
    write_index(folder)


def _network(build: Callable[[], Any], state: Mapping[str, object], names: _Names, place: str, path: Path) -> Any:
    """Return a network with the tensors of the file, each proven to be there and to fit."""
    try:
        with torch.device("meta"):
            network = build()
    except Exception as error:  # each library has its own for a configuration that makes no sense
        raise UnknownLayoutError(f"has shapes that no network has ({error})") from error
    whole = network.state_dict()
    fill_in_counts(network)
    own = {name: tensor.shape for name, tensor in network.state_dict().items()}
    theirs = names(own)
    layout = {place + theirs[name]: _stored(name, shape) for name, shape in own.items() if not _counts(name)}
    found = checked({place + name: value for name, value in state.items()}, layout, path)
    tensors = {name: found[place + theirs[name]].reshape(shape) for name, shape in own.items() if not _counts(name)}
    counters = {name: torch.zeros((), dtype=torch.int64, device="cpu") for name in own if _counts(name)}
    network.load_state_dict(tensors | counters, assign=True)
    for name in whole.keys() - own.keys():
        module, _, buffer = name.rpartition(".")
        owner = network.get_submodule(module)
        owner.register_buffer(buffer, getattr(owner, buffer))
    return network


def _stored(name: str, shape: torch.Size) -> torch.Size:
    """Return the shape in the file: the autoencoder's attention has convolutions of one pixel."""
    flat = len(shape) == 2 and ".mid_block.attentions." in name and ".transformer_blocks." not in name
    return torch.Size([*shape, 1, 1]) if flat else shape


def _counts(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _same(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


@contextmanager
def _understanding(path: Path) -> Iterator[None]:
    """Say of whatever does not fit that it is in this file, and what else can be tried."""
    try:
        yield
    except UnknownLayoutError as error:
        raise unusable(str(error), path) from error
    except MissingWeightsError as error:
        raise unusable(error.what, path) from error


def _remark_on(channels: Sequence[int], path: Path) -> None:
    if channels[0] not in PUBLISHED_WIDTHS:
        warnings.warn(
            f"{path}: no published AudioLDM has {channels[0]} channels. How many of them an attention head has is not "
            f"in the file; {channels[-1] // original_heads(list(channels))[-1]} are assumed",
            stacklevel=5,
        )


def _tokenizer_files(path: Path) -> tuple[Path, Path]:
    """Return RoBERTa's two files, from beside the checkpoint or as published."""
    beside = path.parent / "vocab.json", path.parent / "merges.txt"
    if all(file.is_file() for file in beside):
        return beside
    try:
        vocabulary, merges = find_all([WEIGHTS.get(name) for name in TOKENIZER])
    except MissingWeightsError as error:
        read_original(path)  # what is not a checkpoint needs no tokenizer
        fix = f"Run agm weights fetch {' '.join(TOKENIZER)}, or put roberta-base's vocab.json and merges.txt beside it"
        what = f"needs RoBERTa's tokenizer, which no checkpoint holds; {error.what}"
        raise MissingWeightsError(what, where=path, fix=fix) from error
    return vocabulary, merges


def _tokenizer(path: Path, given: str | Path | None) -> Any:
    if given is None:
        return roberta_tokenizer(*_tokenizer_files(path), model_max_length=LONGEST)
    folder = as_path(given)
    files = folder / "vocab.json", folder / "merges.txt"
    if all(file.is_file() for file in files):
        return roberta_tokenizer(*files, model_max_length=LONGEST)
    if not (folder / "tokenizer.json").is_file():
        raise MissingWeightsError("has neither vocab.json and merges.txt nor tokenizer.json", where=folder)
    from transformers import RobertaTokenizer

    try:
        return RobertaTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise MissingWeightsError(f"is not a tokenizer of RoBERTa ({error})", where=folder) from error


def _check_words(tokenizer: Any, words: int, path: Path) -> None:
    highest = max(tokenizer.get_vocab().values())
    if highest >= words:
        fix = f"Convert it with that of RoBERTa: agm convert {quoted(path)} --tokenizer FOLDER -o OUT"
        raise MissingWeightsError(f"knows {words} tokens, and its tokenizer has numbers up to {highest}", path, fix)
