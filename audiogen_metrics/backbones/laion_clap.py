"""LAION's CLAP from its published ``.pt`` files: transformers' network behind laion_clap's front end in torch.

Wu et al., "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023. Both towers are here: a clip's embedding and a text's are of unit length, and their product is
the cosine that papers call the CLAP score.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.base import Features, Output
from audiogen_metrics.backbones.laion_frontend import FRAMES, HOP, RATE, WINDOW, htk, slaney
from audiogen_metrics.backbones.laion_names import FORMAT, fill_in_counts, translated
from audiogen_metrics.backbones.pretrained import PretrainedBackbone, PretrainedNetwork
from audiogen_metrics.backbones.products import Multiplies
from audiogen_metrics.backbones.published import WEIGHTS
from audiogen_metrics.backbones.transformers import require_transformers, transformers_module
from audiogen_metrics.backbones.weights import find_all
from audiogen_metrics.errors import DataError, MissingWeightsError
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.options import as_path
from audiogen_metrics.precision import full_precision

__all__ = ["Music", "MusicSeconds", "MusicSpeech", "MusicTens", "Sounds", "SoundsFusion"]

TOKENS = 77
"""Of a text, its two ends among them; what is longer is cut, as in laion_clap."""

TOKENIZER = ("roberta-base-vocab", "roberta-base-merges")
"""Weights entries of the tokenizer, which the checkpoints do not hold."""

WINDOWS_PER_PASS = {"cpu": 2, "other": 64}
"""Windows that go through the network together: on a CPU so few that their maps stay in the cache."""

TEXTS_PER_PASS = 32

Tower = Literal["tiny", "base"]
_TOWERS: Mapping[Tower, dict[str, Any]] = {
    "tiny": {"patch_embeds_hidden_size": 96, "depths": [2, 2, 6, 2], "hidden_size": 768},
    "base": {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
}
"""HTSAT's two sizes."""


class LaionCLAP(PretrainedBackbone):
    """CLAP by LAION: one embedding of unit length, 512-d, per clip, and one per text.

    A clip shorter than ten seconds is repeated as often as it fits, whole, and zeros fill the rest; of a longer one the
    first ten seconds are heard.

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
        """Raise MissingWeightsError or MissingDependencyError where the weights or transformers are not here."""
        super().require()
        require_transformers()

    def build(self) -> PretrainedNetwork:
        """Return the network, its weights still on the meta device."""
        return CLAPNetwork(self.tower, self.fusion, self.repeats, self.hop_samples, self.outputs)

    def load(self) -> PretrainedNetwork:
        """Return the network with its weights, its attention in the form that takes less time."""
        network = cast("CLAPNetwork", super().load())
        network.fuse_attention()
        return network

    def unwrap(self, checkpoint: object, path: Path) -> Mapping[str, object]:
        """Return the network's tensors under transformers' names, after proof that the front end is this one.

        The optimiser's state, two thirds of a published file, is left behind.
        """
        state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else None
        if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
            raise MissingWeightsError("the checkpoint has no state dict under 'state_dict'", where=path, fix=FORMAT)
        return translated({name.removeprefix("module."): value for name, value in state.items()}, self.name, path)

    def usable_samples(self, samples: int) -> int:
        """Return at most ten seconds, unless the network hears all of a longer clip."""
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
            Something else than text.
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
            # Both that are missing are named at once.
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
        """SHA-256 over the digests of the tokenizer's two files: part of what shapes a text's embedding."""
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
    """CLAP for music on windows of ten seconds, one every second, zeros behind the last nine: fadtk's FAD.

    Like it, this rounds embeddings to float16.
    """

    name = "clap-laion-music-hop1"
    outputs: ClassVar[frozenset[Output]] = frozenset[Output]({"windows"})
    repeats = False
    hop_samples = RATE


class MusicTens(Music):
    """CLAP for music on windows of ten seconds, one after the other, zeros behind the last; their mean by length."""

    name = "clap-laion-music-hop10"
    repeats = False
    hop_samples = WINDOW


class Sounds(LaionCLAP):
    """CLAP for sounds, ``630k-audioset-best.pt``: fadtk's ``clap-laion-audio``."""

    name = "clap-laion-630k"
    tower: ClassVar[Tower] = "tiny"


class SoundsFusion(LaionCLAP):
    """CLAP with feature fusion, ``630k-audioset-fusion-best.pt``, which hears all of a longer clip.

    It looks at the whole clip, shrunk to ten seconds, and at ten seconds of its beginning, middle and end. laion_clap
    draws the three at random, and another number comes out each time; here they are the middle ones of those that
    it draws from.
    """

    name = "clap-laion-630k-fusion"
    tower: ClassVar[Tower] = "tiny"
    fusion = True


class CLAPNetwork(PretrainedNetwork):
    """Log-mel front end, then the towers of transformers' ``ClapModel``, ``body``.

    Parameters
    ----------
    tower
        Size of HTSAT, the audio tower.
    fusion
        Whether it was trained with feature fusion, and with the other mel filters that come with it.
    repeats
        Whether short clips are repeated before zeros are appended.
    hop_samples
        Distance of windows; 0 takes a clip as a whole.
    outputs
        ``windows``, or ``embeddings``: of windows, their mean.
    """

    def __init__(self, tower: Tower, fusion: bool, repeats: bool, hop_samples: int, outputs: frozenset[Output]) -> None:
        configurations = transformers_module("models.clap.configuration_clap")
        audio = {**_TOWERS[tower], "enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None}
        text = {"layer_norm_eps": 1e-5}  # RoBERTa's, not the default of transformers' CLAP
        configuration = configurations.ClapConfig(audio_config=audio, text_config=text)
        with torch.device("meta"):  # 200 million random numbers would be drawn for nothing
            body = transformers_module("models.clap.modeling_clap").ClapModel(configuration)
        fill_in_counts(body)
        super().__init__(body)
        self.encoder: Any = body.audio_model.audio_encoder
        self.fusion, self.repeats, self.hop_samples = fusion, repeats, hop_samples
        self.outputs = outputs
        self.log_mel = htk() if fusion else slaney()

    def fuse_attention(self) -> None:
        """Let each block of the audio tower compute its attention in fewer, larger steps."""
        for stage in self.encoder.layers:
            for block in stage.blocks:
                block.attention.self = WindowAttention(block.attention.self)

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return the features of ``(batch, time)``."""
        if self.hop_samples:
            return self._of_windows(waveforms)
        if self.fusion:
            return Features(embeddings=self._in_parts(self._fused(waveforms), waveforms.shape[1] >= WINDOW + HOP))
        return Features(embeddings=self._in_parts(self.log_mel(self.filled(waveforms[:, :WINDOW]))[:, None]))

    def filled(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, 480 000)`` of at most so many samples: repeated as often as they fit, then zeros."""
        if self.repeats:
            waveforms = waveforms.repeat(1, WINDOW // waveforms.shape[1])
        return F.pad(waveforms, (0, WINDOW - waveforms.shape[1]))

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings ``(batch, 512)`` of token numbers ``(batch, length)``, none of them padding."""
        pooled = self.body.text_model(input_ids=ids).pooler_output  # type: ignore[operator]
        return F.normalize(self.body.text_projection(pooled).float(), dim=-1)  # type: ignore[operator]

    def hear(self, log_mel: torch.Tensor, longer: bool = False) -> torch.Tensor:
        """Return the embeddings ``(batch, 512)`` of log-mel spectrograms ``(batch, channels, 1001, 64)``.

        Parameters
        ----------
        log_mel
            One channel, or four where features are fused.
        longer
            Whether the other three channels are looked at.
        """
        maps = self.encoder.batch_norm(log_mel.transpose(1, 3)).transpose(1, 3)
        which = torch.arange(len(maps) if longer else 0, dtype=torch.long, device=maps.device)
        tokens = self.encoder.patch_embed(self.encoder.reshape_mel2img(maps), which)
        for stage, size in zip(self.encoder.layers, self.encoder.input_resolutions, strict=True):
            tokens = stage(tokens, size)[0]
        projected = self.body.audio_projection(self.encoder.norm(tokens).mean(dim=1))  # type: ignore[operator]
        return F.normalize(projected.float(), dim=-1)

    def _in_parts(self, log_mel: torch.Tensor, longer: bool = False) -> torch.Tensor:
        size = WINDOWS_PER_PASS["cpu" if log_mel.device.type == "cpu" else "other"]
        return torch.cat([self.hear(part, longer) for part in log_mel.split(size)])

    def _of_windows(self, waveforms: torch.Tensor) -> Features:
        """Windows that begin every hop, as long as there is sound left, zeros behind it."""
        samples = waveforms.shape[1]
        starts = range(0, samples, self.hop_samples)
        rows = torch.stack(
            [
                self._in_parts(self.log_mel(self.filled(waveforms[:, start : start + WINDOW]))[:, None])
                for start in starts
            ],
            dim=1,
        )
        if "windows" in self.outputs:
            return Features(windows=rows.half().float())
        lengths = [min(WINDOW, samples - start) / samples for start in starts]
        weights = torch.tensor(lengths, dtype=torch.float32, device=rows.device)
        return Features(embeddings=F.normalize((rows * weights[:, None]).sum(dim=1), dim=-1))

    def _fused(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return four spectrograms ``(batch, 4, 1001, 64)``: the whole shrunk, beginning, middle, end."""
        samples = waveforms.shape[1]
        log_mel: torch.Tensor = self.log_mel(waveforms if samples > WINDOW else self.filled(waveforms))
        spare = log_mel.shape[1] - FRAMES
        if not spare:
            return log_mel[:, None].expand(-1, 4, -1, -1)
        whole: torch.Tensor = F.interpolate(
            log_mel[:, None], (FRAMES, log_mel.shape[2]), mode="bilinear", antialias=True
        )
        parts = [log_mel[:, None, start : start + FRAMES] for start in _middles(spare + 1)]
        return torch.cat([whole, *parts], dim=1)


class WindowAttention(Multiplies):
    """Attention within the windows of HTSAT: three products as one, and torch's fused attention.

    Parameters
    ----------
    attention
        The module of transformers to replace.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_attention_heads
        layers = (attention.query, attention.key, attention.value)
        self.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]))
        self.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]))
        size = attention.relative_position_index.shape[0]
        table = attention.relative_position_bias_table[attention.relative_position_index.view(-1)]
        self.position = nn.Parameter(table.view(size, size, self.heads).permute(2, 0, 1).contiguous())

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: object
    ) -> tuple[torch.Tensor]:
        """Return ``(windows, tokens, channels)`` of as many.

        The mask, ``(windows of a clip, tokens, tokens)``, says which tokens are neighbours.
        """
        windows, tokens, channels = hidden_states.shape
        three = self.multiply(hidden_states, self.weight, self.bias).view(windows, tokens, 3, self.heads, -1)
        query, key, value = three.permute(2, 0, 3, 1, 4)
        if attention_mask is None:
            heard = F.scaled_dot_product_attention(query, key, value, self.position[None].to(query.dtype))
        else:
            # The mask's windows go with the heads, so that one bias serves every clip of the batch.
            several = len(attention_mask)
            bias = (self.position + attention_mask[:, None]).flatten(0, 1)[None].to(query.dtype)
            shape = (windows // several, several * self.heads, tokens, -1)
            query, key, value = query.reshape(shape), key.reshape(shape), value.reshape(shape)
            heard = F.scaled_dot_product_attention(query, key, value, bias).view(windows, self.heads, tokens, -1)
        return (heard.transpose(1, 2).reshape(windows, tokens, channels),)


_VOCABULARY = 50_265


def _middles(count: int) -> list[int]:
    """Return the middle of each third of ``count`` places; a third without any begins at 0, as in laion_clap."""
    size, more = divmod(count, 3)
    sizes = [size + (part < more) for part in range(3)]
    return [sum(sizes[:part]) + (sizes[part] - 1) // 2 if sizes[part] else 0 for part in range(3)]
