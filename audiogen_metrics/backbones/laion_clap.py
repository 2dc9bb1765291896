"""LAION's CLAP from its published ``.pt`` files: laion_clap's front end in torch, then transformers' network.

Wu et al., "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023. It has both towers: the embeddings of clips and texts have unit length, and their product is
the cosine that papers call the CLAP score.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, cast

import torch

from audiogen_metrics.backbones.base import Output
from audiogen_metrics.backbones.laion_frontend import RATE, WINDOW
from audiogen_metrics.backbones.laion_names import FORMAT, translated
from audiogen_metrics.backbones.laion_network import CLAPNetwork, Tower
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.backbones.transformers import require_transformers, transformers_module
from audiogen_metrics.backbones.weights import find_all
from audiogen_metrics.errors import DataError, MissingWeightsError
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.precision import full_precision

__all__ = ["Music", "MusicSeconds", "MusicSpeech", "MusicTens", "Sounds", "SoundsFusion"]

TOKENS = 77
"""Tokens of a text, including those for its beginning and end; longer texts are cut, as in laion_clap."""

TOKENIZER = ("roberta-base-vocab", "roberta-base-merges")
"""Weights entries of the tokenizer, which is not in the checkpoints."""

TEXTS_PER_PASS = 32


class LaionCLAP(PretrainedBackbone):
    """CLAP by LAION: one embedding of unit length, 512-d, per clip, and one per text.

    A clip shorter than ten seconds is repeated whole as often as it fits, and zeros fill the rest; of a longer clip the
    first ten seconds are used.

    Parameters
    ----------
    device, autocast, weights, tf32
        As for `PretrainedBackbone`.
    tokenizer
        Folder with RoBERTa's ``vocab.json`` and ``merges.txt``, for `embed_text`; None takes the published files from
        this machine.
    """

    sample_rate = RATE
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"embeddings"})
    reads_text = True
    minimum_samples = 1
    numerics_version = 1
    chooses_products = True
    tower: ClassVar[Tower]
    fusion: ClassVar[bool] = False
    repeats: ClassVar[bool] = True
    hop_samples: ClassVar[int] = 0

    def __init__(
        self,
        device: str | torch.device = "cpu",
        autocast: torch.dtype | None = None,
        weights: str | Path | None = None,
        tf32: bool | None = None,
        tokenizer: str | Path | None = None,
    ) -> None:
        super().__init__(device, autocast, weights, tf32)
        self._tokenizer_folder = None if tokenizer is None else as_path(tokenizer).absolute()

    def require(self) -> None:
        """Raise MissingWeightsError or MissingDependencyError if the weights or transformers are not here."""
        super().require()
        require_transformers()

    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""
        return CLAPNetwork(self.tower, self.fusion, self.repeats, self.hop_samples, self.outputs)

    def load(self) -> PretrainedNetwork:
        """Return the network with its weights, and with its faster form of attention."""
        network = cast("CLAPNetwork", super().load())
        network.fuse_attention()
        return network

    def unwrap(self, checkpoint: object, path: Path) -> Mapping[str, object]:
        """Return the network's tensors under transformers' names, after a check that the front end is this one.

        The optimiser's state, two thirds of a published file, is left out.
        """
        state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise MissingWeightsError("the checkpoint has no state dict under 'state_dict'", where=path, fix=FORMAT)
        return translated({name.removeprefix("module."): value for name, value in state.items()}, self.name, path)

    def usable_samples(self, samples: int) -> int:
        """Return at most ten seconds, unless the network uses all of a longer clip."""
        return samples if self.fusion or self.hop_samples else min(samples, WINDOW)

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the embeddings of texts, ``(texts, 512)`` float32 of unit length, on the CPU.

        Parameters
        ----------
        texts
            Prompts or captions; cut to 77 tokens.

        Raises
        ------
        MissingWeightsError
            The network or its tokenizer is not on this machine.
        DataError
            An item is not text.
        """
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"text {index} is a {type(text).__name__}", where=self.name, fix="Pass str")
        tokens = self._tokens(texts)
        rows = torch.empty(len(tokens), 512, dtype=torch.float32, device="cpu")
        # Texts of one length need no padding, so no text's embedding depends on the others'.
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        network = cast("CLAPNetwork", self.network)
        with torch.inference_mode(), full_precision(self.device, None, self.tf32):
            for _, group in groupby(order, key=lambda index: len(tokens[index])):
                same = list(group)
                for start in range(0, len(same), TEXTS_PER_PASS):
                    part = same[start : start + TEXTS_PER_PASS]
                    ids = torch.tensor([tokens[index] for index in part], dtype=torch.long, device=self.device)
                    rows[part] = network.read(ids).cpu()
        return rows

    @cached_property
    def tokenizer_files(self) -> tuple[Path, Path]:
        """RoBERTa's vocabulary and merges; MissingWeightsError if they are not on this machine."""
        if self._tokenizer_folder is None:
            # If both are missing, one error names both.
            find_all([WEIGHTS.get(name) for name in TOKENIZER if name not in self._beside])
            vocabulary, merges = map(self.beside, TOKENIZER)
            return vocabulary, merges
        files = self._tokenizer_folder / "vocab.json", self._tokenizer_folder / "merges.txt"
        for path in files:
            if not path.is_file():
                raise MissingWeightsError("there is no such tokenizer file", where=path)
        return files

    @property
    def text_settings(self) -> dict[str, str | int]:
        """SHA-256 over the digests of the tokenizer's two files."""
        return {"tokenizer_sha256": self.tokenizer_sha256}

    @property
    def tokenizer_sha256(self) -> str:
        """SHA-256 over the digests of the tokenizer's two files, which shape a text's embedding."""
        return hashlib.sha256("".join(map(sha256_of, self.tokenizer_files)).encode()).hexdigest()

    def cut_texts(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts have more than 77 tokens."""
        return [len(tokens) > TOKENS for tokens in self._tokens(texts, whole=True)]

    def _tokens(self, texts: Sequence[str], *, whole: bool = False) -> list[list[int]]:
        tokenizer = roberta_tokenizer(*self.tokenizer_files)
        cut = {} if whole else {"truncation": True, "max_length": TOKENS}
        return [tokenizer(text, **cut)["input_ids"] for text in texts]


def roberta_tokenizer(vocabulary: Path, merges: Path, **options: Any) -> Any:
    """Return RoBERTa's tokenizer from its ``vocab.json`` and ``merges.txt``; MissingWeightsError for other files."""
    try:
        known = json.loads(vocabulary.read_text(encoding="utf-8"))
        lines = merges.read_text(encoding="utf-8").splitlines()
        pairs = [(left, right) for left, right in (line.split(" ") for line in lines if line[:9] != "#version:")]
        special = {name: known[name] for name in ("<s>", "<pad>", "</s>", "<unk>")}
        if list(special.values()) != [0, 1, 2, 3] or max(known.values()) >= _VOCABULARY:
            raise ValueError(f"other numbers than RoBERTa's: {special}")
        kind = transformers_module("models.roberta.tokenization_roberta").RobertaTokenizer
        return kind(vocab=known, merges=pairs, **options)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MissingWeightsError(f"is not a tokenizer of RoBERTa ({error})", where=vocabulary.parent) from error


class MusicSpeech(LaionCLAP):
    """CLAP for music, speech and sounds, ``music_speech_audioset_epoch_15_esc_89.98.pt``: av-benchmark's."""

    name = "clap-laion-music-speech"
    tower: ClassVar[Tower] = "base"


class Music(LaionCLAP):
    """CLAP for music and sounds, ``music_audioset_epoch_15_esc_90.14.pt``: fadtk's ``clap-laion-music``."""

    name = "clap-laion-music"
    tower: ClassVar[Tower] = "base"


class MusicSeconds(Music):
    """CLAP for music on windows of ten seconds, one every second, zeros after the last nine, as in fadtk's FAD.

    Embeddings are rounded to float16, as in fadtk.
    """

    name = "clap-laion-music-hop1"
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"windows"})
    repeats = False
    hop_samples = RATE


class MusicTens(Music):
    """CLAP for music: the mean, by length, of windows of ten seconds, one after the other, zeros after the last."""

    name = "clap-laion-music-hop10"
    repeats = False
    hop_samples = WINDOW


class Sounds(LaionCLAP):
    """CLAP for sounds, ``630k-audioset-best.pt``: fadtk's ``clap-laion-audio``."""

    name = "clap-laion-630k"
    tower: ClassVar[Tower] = "tiny"


class SoundsFusion(LaionCLAP):
    """CLAP with feature fusion, ``630k-audioset-fusion-best.pt``, which uses all of a longer clip.

    It takes the whole clip, shrunk to ten seconds, and ten seconds each of its beginning, middle and end. laion_clap
    draws these three at random, so that its number changes from run to run; here they are the middle ones of those
    that it draws from.
    """

    name = "clap-laion-630k-fusion"
    tower: ClassVar[Tower] = "tiny"
    fusion = True


_VOCABULARY = 50_265
