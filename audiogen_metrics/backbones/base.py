"""The base of all backbones: a network with its front end, and a fingerprint of everything that shapes its numbers."""

from __future__ import annotations

import hashlib
import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import PurePath
from typing import ClassVar, Literal

import torch

from audiogen_metrics.backbones.products import Engine, engine, use_onednn
from audiogen_metrics.errors import DataError, InsufficientDataError, UsageError
from audiogen_metrics.precision import full_precision
from audiogen_metrics.settings import tf32_allowed, with_index

__all__ = ["Backbone", "Features", "Output"]

Output = Literal["embeddings", "windows", "logits", "ratings", "similarity"]
"""``embeddings``: a row for each clip; ``windows``: a row for each window; ``logits``: class logits of a clip;
``ratings``: how people would rate a clip, a number for each axis; ``similarity``: of a clip's embedding to those of its
captions, which is computed from two outputs of a network."""


@dataclass(frozen=True)
class Features:
    """Outputs for a batch of clips of one length, float32; None for outputs that the backbone does not have.

    Parameters
    ----------
    embeddings
        ``(batch, d)``, a row for each clip.
    windows
        ``(batch, windows, d)``, a row for each window, in time order.
    logits
        ``(batch, classes)``, before softmax or sigmoid.
    ratings
        ``(batch, axes)``, in the units that people rate in.
    """

    embeddings: torch.Tensor | None = None
    windows: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    ratings: torch.Tensor | None = None

    def named(self) -> dict[Output, torch.Tensor]:
        """Return the outputs of this batch, by name."""
        every: dict[Output, torch.Tensor | None] = {
            "embeddings": self.embeddings,
            "windows": self.windows,
            "logits": self.logits,
            "ratings": self.ratings,
        }
        return {name: tensor for name, tensor in every.items() if tensor is not None}


_PLAIN = (int, float, str, bytes, tuple, list, dict, set, frozenset, Enum, PurePath, torch.dtype, torch.device)
"""Types of attributes that are settings."""


class Backbone(ABC):
    """A network with its front end, loaded when first used.

    A subclass sets the class attributes, defines `load` and `weights_sha256`, and is registered under its name in
    `BACKBONES` or announced by an entry point.

    Parameters
    ----------
    device
        Device on which it runs.
    autocast
        Lower precision for the network (not for its front end), for example ``torch.bfloat16``; None is float32.
    tf32
        On CUDA, round products of float32 to TF32, which is faster and moves scores by up to 1.3e-3 (relative). None
        takes ``AGM_TF32``, by default False.

    Attributes
    ----------
    name
        Registered name, part of every report.
    sample_rate
        Rate in Hz of the waveforms it takes.
    outputs
        Names of its outputs. FD needs ``embeddings``, FAD ``windows``, IS and KL ``logits``, PQ, PC, CE and CU
        ``ratings``.
    window_logits
        Whether its ``windows`` are class logits, not embeddings.
    axes
        Names of the ratings in the order of their columns; empty without ratings.
    reads_text
        Whether it embeds texts into the same space as clips, by `embed_text`.
    minimum_samples
        Shortest waveform it takes; shorter clips are zero-padded to it.
    numerics_version
        Raised by hand whenever a change of code changes numbers, so that cached embeddings are not used any more.
    chooses_products
        Whether the engine chosen for this machine, ``products``, multiplies its matrices in float32 on a CPU.

    Notes
    -----
    Plain attributes of an instance (numbers, texts, paths, types, and containers of them) are part of `settings` if
    their names do not begin with an underscore. A subclass with an option such as a layer keeps it in such an
    attribute, and adds to `settings` whatever else shapes its numbers.
    """

    name: ClassVar[str]
    sample_rate: ClassVar[int]
    outputs: ClassVar[frozenset[Output]]
    window_logits: ClassVar[bool] = False
    axes: ClassVar[tuple[str, ...]] = ()
    reads_text: ClassVar[bool] = False
    minimum_samples: ClassVar[int] = 1
    numerics_version: ClassVar[int] = 1
    chooses_products: ClassVar[bool] = False

    def __init__(
        self, device: str | torch.device = "cpu", autocast: torch.dtype | None = None, tf32: bool | None = None
    ) -> None:
        self.device: torch.device = with_index(device)
        self.autocast = autocast
        self.tf32: bool = tf32_allowed() if tf32 is None else tf32
        self.products: Engine = engine() if self.chooses_products and self.plain_cpu else "torch"
        self.instance: str = uuid.uuid4().hex

    @abstractmethod
    def load(self) -> torch.nn.Module:
        """Return the network, which turns waveforms ``(batch, time)`` into `Features`; called once, when needed."""

    @property
    @abstractmethod
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, hex; found without loading the network."""

    def require(self) -> None:
        """Raise MissingWeightsError or MissingDependencyError if something that the network needs is not here.

        It is called before anything is computed, so it must be quick and load nothing. A backbone that needs an
        optional package checks for it here.
        """
        _ = self.settings

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names in the order of the logits; None without logits."""
        return None

    @property
    def text_settings(self) -> dict[str, str | int]:
        """What shapes the embeddings of texts besides `settings`, such as the digest of the tokenizer."""
        return {}

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:  # noqa: ARG002  # what subclasses take
        """Return the embeddings of texts, ``(texts, d)`` float32 of unit length, on the CPU.

        Raises
        ------
        UsageError
            The network does not read texts.
        """
        raise UsageError("reads no texts", where=self.name, fix="Use a CLAP")

    def cut_texts(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts are longer than `embed_text` reads."""
        return [False] * len(texts)

    def usable_samples(self, samples: int) -> int:
        """Return how many of a clip's first ``samples`` samples can reach the outputs.

        A backbone that drops an incomplete last window overrides this: clips are then cut to fewer distinct lengths,
        which makes larger batches with the same numbers.
        """
        return samples

    @property
    def plain_cpu(self) -> bool:
        """Whether the network runs in float32 on a CPU, so that its convolutions may be rearranged."""
        return self.device.type == "cpu" and self.autocast is None

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network on its device, in evaluation mode."""
        # Networks of other packages take the host's default type and device while they are built.
        with full_precision(self.device), torch.no_grad():
            with torch.device("cpu"):
                loaded = self.load()
            if self.products == "onednn":
                use_onednn(loaded)
            return loaded.eval().requires_grad_(False).to(self.device)

    @property
    def settings(self) -> dict[str, str | int]:
        """Everything that shapes this backbone's numbers, for reports and cache keys."""
        settings: dict[str, str | int] = {
            "name": self.name,
            "weights_sha256": self.weights_sha256,
            "numerics_version": self.numerics_version,
            "device_type": self.device.type,
            "dtype": "float32" if self.autocast is None else str(self.autocast).removeprefix("torch."),
        }
        if self.device.type == "cuda":
            settings["tf32"] = int(self.tf32)
            settings["cudnn"] = int(self.tf32 or self.autocast is not None)
        if self.products != "torch":
            settings["products"] = self.products
        return settings | self._own_settings()

    def _own_settings(self) -> dict[str, str | int]:
        """Return the plain public attributes that an instance adds, such as a layer or a pooling."""
        known = ("device", "autocast", "tf32", "products", "instance")
        return {
            name: _told(value)
            for name, value in sorted(vars(self).items())
            if isinstance(value, _PLAIN)
            and name not in known
            and not name.startswith("_")
            and not isinstance(getattr(type(self), name, None), cached_property)
        }

    @property
    def fingerprint(self) -> str:
        """Hash of `settings`."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    def __call__(self, waveforms: torch.Tensor) -> Features:
        """Return the features of clips of one length.

        Parameters
        ----------
        waveforms
            ``(batch, time)``, floating, at `sample_rate`, full scale ±1, ``time ≥ minimum_samples``.

        Raises
        ------
        DataError
            The shape or type is another one.
        InsufficientDataError
            The clips are too short.
        """
        if waveforms.ndim != 2 or not waveforms.is_floating_point():
            raise DataError(
                f"waveforms of shape {tuple(waveforms.shape)} and type {waveforms.dtype}",
                where=self.name,
                fix="Pass floating-point (batch, time)",
            )
        if waveforms.shape[1] < self.minimum_samples:
            raise InsufficientDataError(
                f"clips of {waveforms.shape[1]} samples, fewer than {self.minimum_samples}",
                where=self.name,
                fix="Zero-pad them on the right",
            )
        waveforms = waveforms.to(self.device, torch.float32, non_blocking=True)
        network = self.network
        with torch.inference_mode(), full_precision(self.device, self.autocast, self.tf32):
            features = network(waveforms)
        assert isinstance(features, Features)
        return features


def _told(value: object) -> str | int:
    """Return an attribute as settings hold it."""
    if isinstance(value, set | frozenset):
        return ", ".join(sorted(map(str, value)))
    return value if isinstance(value, int | str) else repr(value)
