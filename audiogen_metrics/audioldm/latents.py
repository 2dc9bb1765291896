"""Training clips as the denoiser sees them: moments of the autoencoder and a condition, computed once if possible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from tqdm import tqdm

from audiogen_metrics import distributed
from audiogen_metrics.audio.decoding import DECODER_VERSION, Audio, claimed_samples, decode
from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.audioldm.conditioning import condition_waveform
from audiogen_metrics.audioldm.finetune_settings import Condition
from audiogen_metrics.audioldm.generation import AudioLDM
from audiogen_metrics.audioldm.mel import HOP, SAMPLE_RATE, log_mel
from audiogen_metrics.datasets.base import DatasetClip, prompt
from audiogen_metrics.embedding.admission import Admission, load_ahead
from audiogen_metrics.embedding.cache import checksum_of
from audiogen_metrics.embedding.extraction import MAX_LOADED_SAMPLES
from audiogen_metrics.errors import NO_MEMORY, AudioFileError, DataError, is_out_of_memory
from audiogen_metrics.file_hashes import digest_of
from audiogen_metrics.precision import full_precision
from audiogen_metrics.settings import cache_dir
from audiogen_metrics.writing import write_atomically

SHORTEST = 0.1
"""Seconds: less is not sound to train on."""


@dataclass(frozen=True)
class Example:
    """One draw of a clip: moments ``(16, frames / 4, 16)`` of its latent, and its condition ``(size,)``."""

    moments: torch.Tensor
    condition: torch.Tensor


@dataclass(frozen=True)
class _Prepared:
    """A clip as it goes to all processes; the condition and the moments of a long one are of the part that is drawn."""

    digest: str = ""
    condition: torch.Tensor | None = None
    moments: torch.Tensor | None = None
    fault: str = ""


@dataclass(frozen=True)
class _Loaded:
    """A clip as the threads hand it over: decoded, unless all that is wanted of it is cached."""

    digest: str = ""
    moments: torch.Tensor | None = None
    is_long: bool = False
    audio: Audio | None = None
    fault: str = ""


class TrainingClips:
    """The clips of a training set, ready to be drawn.

    A clip that fits is encoded once, zero-padded, and kept on the disk as float16 moments under the digests of its file
    and of the autoencoder. A longer one gives another random part each time, encoded when it is drawn; that it is long
    is kept, so that nothing is decoded twice before the training.

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
    progress
        Show a progress bar on stderr.
    distributed
        All processes of the process group call together; each prepares a share, and all get all.

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
        clips: Sequence[DatasetClip],
        condition: Condition,
        seconds: float = 10.24,
        template: str = "label",
        progress: bool = False,
        *,
        distributed: bool = False,
    ) -> None:
        if not clips:
            raise DataError("has no clips to train on", where="data")
        self.clips: list[DatasetClip] = list(clips)
        self._model, self._condition = model, condition
        shrink = HOP * 4
        self.samples: int = max(1, round(seconds * SAMPLE_RATE / shrink)) * shrink
        weights = {name: digest for name, digest in model.snapshot.digests().items() if name.startswith("vae/")}
        place = {} if model.device.type == "cpu" else {"device": model.device.type}
        space = {"vae": weights, "samples": self.samples, "decoder": DECODER_VERSION, **place}
        digest = hashlib.sha256(json.dumps(space, sort_keys=True).encode()).hexdigest()
        self.folder: Path = cache_dir() / "latents" / digest[:24]
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
        self._take(self._prepared(progress, distributed))

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
        audio = self._decode(index, self._content(index))
        length = int(self.samples * audio.sample_rate / SAMPLE_RATE)
        start = int(rng.integers(max(1, len(audio.samples) - length)))
        part = Audio(audio.samples[start : start + length], audio.sample_rate)
        condition = self._conditions.get(index)
        if condition is None:
            condition = self._model.clap.embed(condition_waveform(part)[None]).cpu()[0]
        return Example(self._encode(part), condition)

    def _prepared(self, progress: bool, shared: bool) -> list[_Prepared]:
        """Return every clip, in order; each of several processes prepares a share of every block."""
        processes, own = (distributed.count(), distributed.rank()) if shared else (1, 0)
        prepared: list[_Prepared] = []
        total = len(range(own, len(self.clips), processes))
        with tqdm(total=total, desc="encoding", unit="clip", disable=not progress) as bar:
            for start in range(0, len(self.clips), processes * distributed.BLOCK):
                block = range(start, min(start + processes * distributed.BLOCK, len(self.clips)))
                with distributed.together() if shared else nullcontext():
                    shares = [self._share(block[own::processes], bar)]
                shares = distributed.all_gather(shares[0]) if shared else shares
                prepared += [shares[place % processes][place // processes] for place in range(len(block))]
        return prepared

    def _take(self, prepared: Sequence[_Prepared]) -> None:
        """Keep the clips, or raise DataError with all that is wrong with them."""
        pairs = zip(self.clips, prepared, strict=True)
        broken = [f"{clip.clip_id} ({each.fault})" for clip, each in pairs if each.fault]
        if broken:
            raise DataError(
                f"{len(broken)} of {len(self.clips)} clips cannot be used: {', '.join(broken[:5])}",
                where="data",
                fix="Repair them or take them out: a training set is used whole or not at all",
            )
        for index, each in enumerate(prepared):
            self.digests[self.clips[index].clip_id] = f"{each.digest} {self._texts[index]}"
            if each.condition is not None:
                self._conditions[index] = each.condition
            if each.moments is None:
                self._long.add(index)
            else:
                self._moments[index] = each.moments

    def _share(self, indices: Sequence[int], bar: tqdm[NoReturn]) -> list[_Prepared]:
        """Return some clips, decoded ahead by threads and encoded one by one: no batch, no process shapes a number."""
        self._admission = Admission(MAX_LOADED_SAMPLES)
        clap = self._model.clap if self._condition == "audio" else None  # opened here, not by several threads at once
        prepared = []
        for index, loaded in zip(indices, load_ahead(indices, self._load, self._admission, int), strict=True):
            try:
                prepared.append(self._prepare(index, loaded))
            except AudioFileError as error:
                prepared.append(_Prepared(fault=error.what))
            bar.update()
        if clap is not None:
            clap.keep()
        return prepared

    def _load(self, index: int) -> _Loaded:
        """Read and hash a clip, and decode it if it must be."""
        try:
            content = self._content(index)
            digest = digest_of(content)
            moments, is_long = self._recall(digest), (self.folder / f"{digest}.long").exists()
            heard = self._condition == "text" or is_long or self._model.clap.knows(digest)
            if is_long or (moments is not None and heard):
                return _Loaded(digest, moments, is_long)
            self._admission.enter(index, claimed_samples(content))
            return _Loaded(digest, moments, audio=self._decode(index, content))
        except AudioFileError as error:
            return _Loaded(fault=error.what)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return _Loaded(fault=NO_MEMORY)

    def _prepare(self, index: int, loaded: _Loaded) -> _Prepared:
        """Compute what the networks make of a clip, as far as it is not cached."""
        if loaded.fault:
            return _Prepared(fault=loaded.fault)
        text = self._model.text.embed([self._texts[index]])[0].cpu() if self._condition == "text" else None
        audio, digest = loaded.audio, loaded.digest
        is_long = loaded.is_long or (audio is not None and self._is_long(audio))
        if is_long:
            if not loaded.is_long:
                self._keep(digest, None)
            return _Prepared(digest, text)
        condition = self._heard(index, loaded) if text is None else text
        moments = loaded.moments
        if moments is None:
            assert audio is not None
            moments = self._encode(audio).half()
            self._keep(digest, moments)
        return _Prepared(digest, condition, moments)

    def _heard(self, index: int, loaded: _Loaded) -> torch.Tensor:
        row = self._model.clap.recall(loaded.digest)
        if row is None:  # also where a shard of the cache turns out to be damaged
            audio = loaded.audio or self._decode(index, self._content(index))
            row = self._model.clap.embed_recording(audio, loaded.digest)
        return row

    def _is_long(self, audio: Audio) -> bool:
        return len(audio.samples) * SAMPLE_RATE > self.samples * audio.sample_rate

    def _content(self, index: int) -> bytes:
        path = self.clips[index].path
        if path is None:
            raise AudioFileError("its audio is missing", self.clips[index].clip_id)
        try:
            return path.read_bytes()
        except OSError as error:
            raise AudioFileError(f"cannot be read ({error.strerror})", path) from error

    def _decode(self, index: int, content: bytes) -> Audio:
        path = self.clips[index].path
        assert path is not None
        audio = decode(path, content)
        if len(audio.samples) < SHORTEST * audio.sample_rate:
            raise AudioFileError(f"lasts less than {SHORTEST} s", path)
        return audio

    @torch.inference_mode()
    def _encode(self, audio: Audio) -> torch.Tensor:
        waveform = training_waveform(audio, self.samples)
        with full_precision(self._model.device):
            mel = log_mel(waveform[None].to(self._model.device))
            return cast("torch.Tensor", self._model.vae.encode(mel).latent_dist.parameters[0].cpu())

    def _recall(self, digest: str) -> torch.Tensor | None:
        try:
            tensors = load((self.folder / f"{digest}.safetensors").read_bytes())
            checksum = (self.folder / f"{digest}.sum").read_text(encoding="ascii")
        except (OSError, SafetensorError):
            return None
        return tensors["moments"] if checksum_of(tensors) == checksum else None

    def _keep(self, digest: str, moments: torch.Tensor | None) -> None:
        """Write the moments of a clip to the cache, or, where there are none, that it is long."""
        try:
            if moments is None:
                write_atomically(self.folder / f"{digest}.long", b"")
                return
            tensors = {"moments": moments.contiguous()}
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
