"""Backbones whose weights are files, which are found, verified, read without running code, and converted once."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import re
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import nn

from audiogen_metrics.audio.signatures import HEAD, identify
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.backbones.published import WEIGHTS, weights_name
from audiogen_metrics.backbones.weights import find, read_json, write_json
from audiogen_metrics.errors import MissingDependencyError, MissingWeightsError
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import written_whole

State = dict[str, torch.Tensor]

CONVERTER_VERSION = 1
"""Raised by hand whenever the conversion changes."""


class PretrainedBackbone(Backbone):
    """A backbone whose weights are a published file, or a file of the user's.

    A subclass defines `build` and, if its checkpoint is more than a state dict, `unwrap`.

    Parameters
    ----------
    device, autocast, tf32
        As for `Backbone`.
    weights
        A file in the published format, with any digest, which is recorded. None takes the published file from this
        machine (see `audiogen_metrics.backbones.weights.candidates`) and verifies its digest, without downloading.

    Attributes
    ----------
    converts
        Whether a converted copy is kept, which loads faster; False for files that are published as safetensors.
    """

    converts: ClassVar[bool] = True

    def __init__(
        self,
        device: str | torch.device = "cpu",
        autocast: torch.dtype | None = None,
        weights: str | Path | None = None,
        tf32: bool | None = None,
    ) -> None:
        super().__init__(device, autocast, tf32)
        self._given = None if weights is None else as_path(weights).absolute()
        self._beside: dict[str, Path] = {}

    def take(self, files: Mapping[str, str | Path]) -> None:
        """Use these files, by name, in place of the published files beside the weights."""
        self._beside |= {name: as_path(path).absolute() for name, path in files.items()}

    def beside(self, name: str) -> Path:
        """Return a file beside the weights: the given one, or the published one.

        Raises
        ------
        MissingWeightsError
            The file is missing.
        """
        path = self._beside.get(name)
        if path is None:
            return find(WEIGHTS.get(name))
        if not path.is_file():
            raise MissingWeightsError("there is no such file", where=path)
        return path

    def __getstate__(self) -> dict[str, Any]:
        """Leave the network out, since its class and its weights come from files."""
        return {name: value for name, value in self.__dict__.items() if name != "network"}

    @abstractmethod
    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""

    def unwrap(self, checkpoint: object, path: Path) -> Mapping[str, object]:
        """Return the state dict inside a checkpoint, without tensors that only the front end needs."""
        if not isinstance(checkpoint, Mapping):
            raise _unusable(f"holds a {type(checkpoint).__name__} where a state dict belongs", path)
        return checkpoint

    @cached_property
    def weights_file(self) -> Path:
        """The weights file in use.

        Raises
        ------
        MissingWeightsError
            The file is missing.
        """
        if self._given is None:
            return find(WEIGHTS.get(weights_name(self.name)))
        if not self._given.is_file():
            raise MissingWeightsError("there is no such weights file", where=self._given)
        return self._given

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file."""
        try:
            return sha256_of(self.weights_file)
        except OSError as error:
            if isinstance(error, MissingWeightsError):
                raise
            raise MissingWeightsError(f"cannot be read ({error.strerror})", where=self.weights_file) from error

    def load(self) -> PretrainedNetwork:
        """Return the network with its weights.

        Raises
        ------
        MissingWeightsError
            The checkpoint is damaged, would run code, or has other tensors than the network.
        """
        network = self.build()
        network.body.load_state_dict(self._state(network.layout()), assign=True)
        return network

    def _state(self, layout: dict[str, torch.Size]) -> State:
        """Return the tensors for ``layout``, from the converted file if it exists."""
        digest = self.weights_sha256
        state = _read_converted(digest, layout) if self.converts else None
        if state is None:
            checkpoint = read_checkpoint(self.weights_file, digest)
            state = checked(self.unwrap(checkpoint, self.weights_file), layout, self.weights_file)
            if self.converts:
                _write_converted(digest, state)
        return state


class PretrainedNetwork(nn.Module):
    """This library's front end, then another package's network, ``body``."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def layout(self) -> dict[str, torch.Size]:
        """Return name and shape of each tensor that the checkpoint must have."""
        return {name: tensor.shape for name, tensor in self.body.state_dict().items() if not _is_counter(name)}


def definitions(package: str, file: str, names: Mapping[str, object]) -> dict[str, Any]:
    """Return what a module of an installed package defines, without running its imports or the package's.

    Importing panns_inference downloads into the home folder; importing torchvggish compiles a resampler with
    numba, which may write there too. The networks that they define need neither.

    Parameters
    ----------
    package, file
        Import name of the package, and the module's file in it.
    names
        Names that the definitions take from imports.

    Raises
    ------
    MissingDependencyError
        The package is not installed, or its file has changed.
    """
    fix = f"pip install --force-reinstall --no-deps {package.replace('_', '-')}"
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise MissingDependencyError(f"the package {package} is not installed", fix=fix)
    path = Path(next(iter(folders)), file)
    namespace: dict[str, Any] = {"__name__": f"{__name__}.{package}", **names}
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(tree, str(path), "exec"), namespace)
    except (OSError, SyntaxError, NameError) as error:
        raise MissingDependencyError(f"cannot be used ({error})", where=path, fix=fix) from error
    return namespace


def read_checkpoint(path: Path, digest: str) -> object:
    """Return the content of a checkpoint of torch or safetensors, without running code in it.

    A checkpoint of torch may have tensors, Python's plain types and numpy numbers and arrays; anything else is refused.

    Parameters
    ----------
    path, digest
        The file, and its SHA-256 in reports; the bytes that are read must have this digest.

    Raises
    ------
    MissingWeightsError
        The file cannot be read, has changed meanwhile, is damaged, or refers to code.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(f"cannot be read ({error.strerror})", path) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _unusable("the file changed while it was read", path)
    try:
        # A length of eight bytes and JSON: no pickle and no zip file begins so.
        return load(content) if content[8:10] == b'{"' else load_tensors(io.BytesIO(content))
    except (ValueError, SafetensorError) as error:
        raise _unusable(f"the file {error}", path) from error


def load_tensors(file: Path | io.BytesIO, harmless: Sequence[Any] = (), *, mapped: bool = False) -> object:
    """Return what torch has saved, without running code in it.

    Parameters
    ----------
    file
        File that torch wrote.
    harmless
        Substitutes for code that the file refers to, in the form of ``torch.serialization.safe_globals``.
    mapped
        Leave tensors on the disk until they are used.

    Raises
    ------
    ValueError
        The file is wrong; the message is a clause, without torch's advice on how to run the code in the file.
    """
    try:
        # Warnings about old formats are for those who save checkpoints.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([*_numpy_globals(), *harmless]):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # with a damaged file, torch may raise anything
        text = str(error).strip()
        forbidden = re.search(r"GLOBAL (\S+)", text)
        if forbidden:
            raise ValueError(f"refers to code ({forbidden[1]}) and was not loaded") from error
        if other := other_content(file):
            raise ValueError(f"is damaged or is not a checkpoint: it is {other}") from error
        reason = "not only tensors are in it" if "weights_only" in text else text.partition("\n")[0][:160]
        raise ValueError(f"is damaged or is not a checkpoint ({type(error).__name__}: {reason})") from error


def other_content(file: Path | io.BytesIO) -> str:
    """Return the kind of a file that torch did not write, such as a web page; empty if torch may have written it."""
    if isinstance(file, io.BytesIO):
        head = file.getvalue()[:HEAD]
    else:
        with file.open("rb") as content:
            head = content.read(HEAD)
    kind = None if head.startswith((b"PK", b"\x80")) else identify(head)
    return "" if kind is None else kind.name


def checked(state: Mapping[str, object], layout: Mapping[str, torch.Size], path: Path) -> State:
    """Return the tensors of ``state`` as float32, after a check that they are exactly those of ``layout``.

    Raises
    ------
    MissingWeightsError
        Missing or unexpected tensors, other shapes, or values that are not finite numbers.
    """
    # The number of batches of the training is not used here, and the oldest checkpoints lack it.
    state = {name: value for name, value in state.items() if not _is_counter(name)}
    missing, unexpected = sorted(layout.keys() - state.keys()), sorted(map(str, state.keys() - layout.keys()))
    if missing or unexpected:
        faults = [
            f"{len(names)} {kind} tensors ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for kind, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise _unusable("the checkpoint is of another network: " + ", ".join(faults), path)
    return {name: _checked_tensor(name, state[name], shape, path) for name, shape in layout.items()}


def _checked_tensor(name: str, value: object, shape: torch.Size, path: Path) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        kind = f"{value.dtype}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise _unusable(f"{name} is of type {kind}, not a floating-point tensor", path)
    if value.shape != shape:
        raise _unusable(f"{name} has the shape {tuple(value.shape)} where {tuple(shape)} belongs", path)
    lowest, highest = value.aminmax()  # NaN passes through both
    if not bool(lowest.isfinite() & highest.isfinite()):
        raise _unusable(f"{name} has values that are not finite", path)
    return value.detach().float().contiguous()


def _is_counter(name: object) -> bool:
    return str(name).endswith("num_batches_tracked")


def _unusable(what: str, path: Path) -> MissingWeightsError:
    return MissingWeightsError(what, where=path, fix="Fetch the published file with agm weights fetch")


def _numpy_globals() -> list[Any]:
    """Return what the published 16 kHz PANNs file has besides tensors: its training sampler's numpy integers."""
    functions = [(np.int64(0).__reduce__()[0], "scalar"), (np.empty(0).__reduce__()[0], "_reconstruct")]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
    kinds = {type(np.dtype(code)) for code in ("i4", "i8", "f4", "f8")}
    return [(f, f"{module}.{name}") for f, name in functions for module in modules] + [np.ndarray, np.dtype, *kinds]


def _converted(digest: str) -> tuple[Path, Path]:
    """Return the safetensors file made from a checkpoint, and the file that records how."""
    stem = cache_dir() / "weights" / "converted" / digest
    return stem.with_suffix(".safetensors"), stem.with_suffix(".json")


def _read_converted(digest: str, layout: Mapping[str, torch.Size]) -> State | None:
    file, record = _converted(digest)
    try:
        known = {"source_sha256": digest, "converter": CONVERTER_VERSION, "sha256": sha256_of(file)}
        state = load_file(file) if read_json(record) == known else None
    except (OSError, SafetensorError):
        return None
    fits = state is not None and {name: tensor.shape for name, tensor in state.items()} == dict(layout)
    return state if fits else None


def _write_converted(digest: str, state: State) -> None:
    """Keep ``state`` as safetensors, which loads faster and cannot run code; go on if the disk is full."""
    file, record = _converted(digest)
    try:
        with written_whole(file) as part:
            save_file(state, part)
        write_json(record, {"source_sha256": digest, "converter": CONVERTER_VERSION, "sha256": sha256_of(file)})
    except (OSError, SafetensorError):
        return
