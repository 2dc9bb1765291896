"""Training clips as the denoiser sees them: moments of the autoencoder and a condition, computed once if possible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from tqdm import tqdm

from audiogen_metrics.audio.decoding import DECODER_VERSION, Audio, decode
from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.audioldm.conditioning import condition_waveform
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.mel import HOP, SAMPLE_RATE, log_mel
from audiogen_metrics.datasets.base import Clip, prompt
from audiogen_metrics.embedding.cache import checksum_of
from audiogen_metrics.embedding.memo import digest_of
from audiogen_metrics.errors import AudioFileError, DataError
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import write_atomically

Condition = Literal["text", "audio"]

SHORTEST = 0.1
"""Seconds: less is no sound to train on."""


@dataclass(frozen=True)
class Example:
    """One draw of a clip: moments ``(16, frames / 4, 16)`` of its latent, and its condition ``(size,)``."""

    moments: torch.Tensor
    condition: torch.Tensor


class TrainingClips:
    """The clips of a training set, ready to be drawn.

    A clip that fits is encoded once, zero-padded, and kept on the disk as float16 moments under the digests of its file
    and of the autoencoder. A longer one gives another random part each time, encoded when it is drawn.

    Parameters
    ----------
    model
        Gives the autoencoder and CLAP; they are only read.
    clips
        Their audio is there.
    condition
        What the denoiser is told: the CLAP embedding of the prompt or of the recording.
    seconds
        Length of what it sees.
    template
        Prompt for class labels.

    Attributes
    ----------
    digests
        Content hash and prompt of each clip by its id.

    Raises
    ------
    DataError
        No clips, one that cannot be used, a missing caption; all of a kind are named together.
    """

    def __init__(
        self,
        model: AudioLDM,
        clips: Sequence[Clip],
        condition: Condition,
        seconds: float = 10.24,
        template: str = "label",
        progress: bool = False,
    ) -> None:
        if not clips:
            raise DataError("has no clips to train on", where="data")
        self.clips: list[Clip] = list(clips)
        self._model, self._condition = model, condition
        shrink = HOP * 4
        self.samples: int = max(1, round(seconds * SAMPLE_RATE / shrink)) * shrink
        weights = {name: digest for name, digest in model.snapshot.digests().items() if name.startswith("vae/")}
        space = json.dumps({"vae": weights, "samples": self.samples, "decoder": DECODER_VERSION}, sort_keys=True)
        self.folder: Path = cache_dir() / "latents" / hashlib.sha256(space.encode()).hexdigest()[:24]
        self._texts = [prompt(clip, template) for clip in clips]
        wordless = [clip.clip_id for clip, text in zip(clips, self._texts, strict=True) if not text.strip()]
        if wordless and condition == "text":
            raise DataError(
                f"{len(wordless)} clips have no caption, {wordless[0]!r} first",
                where="data",
                fix="Give captions or labels, or train with the condition audio",
            )
        self.digests: dict[str, str] = {}
        self._moments: dict[int, torch.Tensor] = {}
        self._conditions: dict[int, torch.Tensor] = {}
        self._long: set[int] = set()
        self._prepare(progress)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def cached_bytes(self) -> int:
        """Size of the moments that are kept."""
        return sum(moments.nbytes for moments in self._moments.values())

    @property
    def cropped(self) -> int:
        """Number of clips that are longer than what the denoiser sees."""
        return len(self._long)

    def draw(self, index: int, rng: np.random.Generator) -> Example:
        """Return a clip; ``rng`` chooses the part of a long one."""
        if index not in self._long:
            return Example(self._moments[index].float(), self._conditions[index])
        audio = self._read(index)[0]
        length = int(self.samples * audio.sample_rate / SAMPLE_RATE)
        start = int(rng.integers(max(1, len(audio.samples) - length)))
        part = Audio(audio.samples[start : start + length], audio.sample_rate)
        condition = self._conditions.get(index)
        if condition is None:
            condition = self._model.clap.embed(condition_waveform(part)[None]).cpu()[0]
        return Example(self._encode(part), condition)

    def _prepare(self, progress: bool) -> None:
        broken = []
        for index in tqdm(range(len(self.clips)), desc="encoding", unit="clip", disable=not progress):
            try:
                self._prepare_clip(index)
            except AudioFileError as error:
                broken.append(f"{self.clips[index].clip_id} ({error.what})")
        if broken:
            raise DataError(
                f"{len(broken)} of {len(self.clips)} clips cannot be used: {', '.join(broken[:5])}",
                where="data",
                fix="Repair them or take them out: a training set is used whole or not at all",
            )

    def _prepare_clip(self, index: int) -> None:
        audio, digest = self._read(index)
        self.digests[self.clips[index].clip_id] = f"{digest} {self._texts[index]}"
        if len(audio.samples) < SHORTEST * audio.sample_rate:
            raise AudioFileError(f"lasts less than {SHORTEST} s", self.clips[index].path)
        if self._condition == "text":
            self._conditions[index] = self._model.text.embed([self._texts[index]])[0].cpu()
        if len(audio.samples) * SAMPLE_RATE > self.samples * audio.sample_rate:
            self._long.add(index)
            return
        if self._condition == "audio":
            path = self.clips[index].path
            assert path is not None
            self._conditions[index] = self._model.clap.embed_files([path])[0].cpu()
        moments = self._recall(digest)
        if moments is None:
            moments = self._encode(audio).half()
            self._keep(digest, moments)
        self._moments[index] = moments

    def _read(self, index: int) -> tuple[Audio, str]:
        path = self.clips[index].path
        if path is None:
            raise AudioFileError("its audio is missing", self.clips[index].clip_id)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise AudioFileError(f"cannot be read ({error.strerror})", path) from error
        return decode(path, content), digest_of(content)

    @torch.inference_mode()
    def _encode(self, audio: Audio) -> torch.Tensor:
        waveform = training_waveform(audio, self.samples)
        mel = log_mel(waveform[None].to(self._model.device))
        return cast("torch.Tensor", self._model.vae.encode(mel).latent_dist.parameters[0].cpu())

    def _recall(self, digest: str) -> torch.Tensor | None:
        try:
            tensors = load((self.folder / f"{digest}.safetensors").read_bytes())
            checksum = (self.folder / f"{digest}.sum").read_text(encoding="ascii")
        except (OSError, SafetensorError):
            return None
        return tensors["moments"] if checksum_of(tensors) == checksum else None

    def _keep(self, digest: str, moments: torch.Tensor) -> None:
        tensors = {"moments": moments.contiguous()}
        try:
            write_atomically(self.folder / f"{digest}.safetensors", save(tensors))
            write_atomically(self.folder / f"{digest}.sum", checksum_of(tensors).encode())
        except OSError:
            return  # the cache only saves time


def training_waveform(audio: Audio, samples: int) -> torch.Tensor:
    """Return ``(samples,)`` at 16 kHz: first channel, mean removed, peak 0.5, cut or zero-padded."""
    waveform = resample(torch.from_numpy(audio.samples[:, 0].copy()), audio.sample_rate, SAMPLE_RATE, "torchaudio")
    waveform = waveform[:samples] - waveform[:samples].mean()
    waveform = 0.5 * waveform / (waveform.abs().max() + 1e-8)
    return F.pad(waveform, (0, samples - len(waveform)))
