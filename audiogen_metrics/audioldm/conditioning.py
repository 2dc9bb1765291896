"""Conditions of AudioLDM: CLAP embeddings of text or of recordings, unit length, from the CLAP that the model knows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from audiogen_metrics.audio.decoding import DECODER_VERSION, Audio, decode
from audiogen_metrics.audio.preflight import inspect
from audiogen_metrics.audio.resampling import RESAMPLING_VERSION, resample
from audiogen_metrics.audioldm.snapshots import (
    LocalCheckpoint,
    largest_difference,
    load_part,
    locate_clap,
    weights_files,
)
from audiogen_metrics.embedding.cache import CachedClip, EmbeddingCache
from audiogen_metrics.errors import AudioFileError, MissingWeightsError
from audiogen_metrics.file_hashes import digest_of, sha256_of
from audiogen_metrics.precision import full_precision

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLE_RATE = 16_000
CLAP_RATE = 48_000
SEGMENT = 163_840
"""Samples of the longest condition at 16 kHz: 10.24 s."""

CLAP_SAMPLES = 480_000
"""What CLAP hears of it, 10 s at 48 kHz; cut here, because the extractor would cut at random."""

RECIPE = "first channel; 16 kHz; mean removed; peak 0.5; zero-padded to 10.24 s; 48 kHz; first 10 s"

TOLERANCE = 1e-5
"""Largest difference between weights of the two text towers of one checkpoint."""


class TextTower:
    """Prompts to unit embeddings, by the text tower inside the checkpoint."""

    def __init__(self, snapshot: LocalCheckpoint, device: torch.device) -> None:
        from transformers import ClapTextModelWithProjection, RobertaTokenizer

        self.network: Any = load_part(ClapTextModelWithProjection, snapshot.folder / "text_encoder").to(device)
        try:
            tokenizer = RobertaTokenizer.from_pretrained(str(snapshot.folder / "tokenizer"), local_files_only=True)
        except Exception as error:
            raise MissingWeightsError(f"has no readable tokenizer ({error})", snapshot.folder / "tokenizer") from error
        self.tokenizer: Any = tokenizer
        self._device = device
        self._known: dict[str, torch.Tensor] = {}

    @torch.inference_mode()
    def embed(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return ``(prompts, size)``; a prompt beyond the tower's length is cut, with a warning."""
        for prompt in dict.fromkeys(prompts):
            if prompt not in self._known:
                self._known[prompt] = self._embed(prompt)
        return torch.stack([self._known[prompt] for prompt in prompts])

    def _embed(self, prompt: str) -> torch.Tensor:
        # One at a time: the embedding of a prompt then does not depend on its company.
        longest = min(int(self.tokenizer.model_max_length), self.network.config.max_position_embeddings - 2)
        tokens = self.tokenizer(prompt, verbose=False)["input_ids"]
        if len(tokens) > longest:
            warnings.warn(f"a prompt of {len(tokens)} tokens is cut to {longest}: {prompt[:40]!r} …", stacklevel=2)
            tokens = self.tokenizer(prompt, truncation=True, max_length=longest)["input_ids"]
        with full_precision(self._device):
            found = self.network(torch.tensor([tokens], dtype=torch.long, device=self._device)).text_embeds
        return F.normalize(found.float(), dim=-1)[0]


class Clap:
    """The full CLAP of a checkpoint: recordings to unit embeddings, and likeness of sound and condition.

    Raises
    ------
    MissingWeightsError
        Not on this machine, or not the one whose text tower the checkpoint carries.
    """

    def __init__(
        self, clap: str | Path | None, snapshot: LocalCheckpoint, text: TextTower, device: torch.device
    ) -> None:
        from transformers import ClapFeatureExtractor, ClapModel

        self.folder: Path = locate_clap(clap, snapshot)
        network = load_part(ClapModel, self.folder)
        state = network.state_dict()
        tower = {name: value for name, value in state.items() if name.startswith(("text_model.", "text_projection."))}
        difference = largest_difference({k: v.cpu() for k, v in text.network.state_dict().items()}, tower)
        if difference > TOLERANCE:
            raise MissingWeightsError(
                f"is not the CLAP of {snapshot.name}: their text towers differ by {difference:.3g}",
                where=self.folder,
                fix="Use the one converted from the same checkpoint, such as "
                "sanchit-gandhi/clap-htsat-unfused-s-full-v2 for cvssp/audioldm-s-full-v2",
            )
        del network.text_model, network.text_projection
        self.network: Any = network.to(device)
        self.extractor: Any = ClapFeatureExtractor(
            truncation="rand_trunc", padding="pad", frequency_min=50, frequency_max=14_000
        )
        self.digests: dict[str, str] = {file.name: sha256_of(file) for file in weights_files(self.folder)}
        self._device = device
        self._cache = EmbeddingCache(
            {
                "clap": self.digests,
                "recipe": RECIPE,
                "decoder": DECODER_VERSION,
                "resampling": RESAMPLING_VERSION,
                "device": device.type,
            },
            "clap-audio",
        )

    def embed_files(self, files: Sequence[Path]) -> torch.Tensor:
        """Return ``(files, size)``, from the cache where it has them; AudioFileError for one that cannot be used."""
        rows = []
        for path in files:
            try:
                content = path.read_bytes()
            except OSError as error:
                raise AudioFileError(f"cannot be read ({error.strerror})", path) from error
            digest = digest_of(content)
            row = self.recall(digest)
            rows.append(self.embed_recording(decode(path, content), digest) if row is None else row)
        self.keep()
        return torch.stack(rows).to(self._device)

    def knows(self, digest: str) -> bool:
        """Tell whether the cache should have a recording, by the hash of its file."""
        return digest in self._cache

    def recall(self, digest: str) -> torch.Tensor | None:
        """Return the embedding ``(size,)`` of a recording from the cache; None if it must be computed."""
        cached = self._cache.get([digest]).get(digest)
        return None if cached is None else cached.features["embeddings"]

    def embed_recording(self, audio: Audio, digest: str) -> torch.Tensor:
        """Return the embedding ``(size,)`` of a recording on the CPU; `keep` writes it to the cache."""
        row = self.embed(condition_waveform(audio)[None]).cpu()[0]
        self._cache.put(digest, CachedClip({"embeddings": row}, inspect(audio)))
        return row

    def keep(self) -> None:
        """Write what was embedded to the cache."""
        self._cache.flush()

    @torch.inference_mode()
    def embed(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return unit embeddings ``(batch, size)`` of waveforms ``(batch, time)`` at 48 kHz, at most 10 s."""
        clips = [waveform.cpu().numpy() for waveform in waveforms]
        with full_precision(self._device):
            with torch.device("cpu"):
                inputs = self.extractor(clips, sampling_rate=CLAP_RATE, return_tensors="pt")
            found: Any = self.network.get_audio_features(
                input_features=inputs["input_features"].to(self._device), is_longer=inputs["is_longer"].to(self._device)
            )
        # transformers 5 gives an object, normalised already; doing it again changes nothing.
        return F.normalize(getattr(found, "pooler_output", found).float(), dim=-1)

    def similarity(self, waveforms: Sequence[npt.NDArray[np.float32]], conditions: torch.Tensor) -> torch.Tensor:
        """Return the cosine of each waveform, at 16 kHz, with its condition: ``(batch,)`` in [−1, 1]."""
        heard = [condition_waveform(Audio(waveform[:, None], SAMPLE_RATE)) for waveform in waveforms]
        return (self.embed(torch.stack(heard)) * conditions.to(self._device)).sum(-1)


def condition_waveform(audio: Audio) -> torch.Tensor:
    """Return what AudioLDM lets CLAP hear of a recording: ``(480000,)`` at 48 kHz (see `RECIPE`).

    A recording longer than 10.24 s gives its beginning; AudioLDM's own code takes a random part.
    """
    waveform = resample(torch.from_numpy(audio.samples[:, 0].copy()), audio.sample_rate, SAMPLE_RATE, "torchaudio")
    waveform = waveform - waveform.mean()
    waveform = 0.5 * waveform / (waveform.abs().max() + 1e-8)
    waveform = F.pad(waveform[:SEGMENT], (0, max(0, SEGMENT - len(waveform))))
    return resample(waveform, SAMPLE_RATE, CLAP_RATE, "torchaudio")[:CLAP_SAMPLES]
