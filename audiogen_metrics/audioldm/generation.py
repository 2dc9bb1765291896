"""AudioLDM from text or recordings: clips that depend on their id and seed, not on their batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
import torch

from audiogen_metrics.audioldm.conditioning import RECIPE, Clap, TextTower
from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.model_options import Heads, ModelOptions
from audiogen_metrics.audioldm.sampling import TRAINED_SECONDS, Sampling, remarks, time_steps
from audiogen_metrics.audioldm.snapshots import (
    LocalCheckpoint,
    load_part,
    load_unet,
    locate,
    torch_dtype,
)
from audiogen_metrics.backbones.transformers import quiet
from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import NumericsError, UsageError, option
from audiogen_metrics.generation.base import Generated, Request
from audiogen_metrics.generation.prompts import requests_from_prompts
from audiogen_metrics.precision import full_precision
from audiogen_metrics.settings import resolve_device, tf32_allowed

_TOLD: set[str] = set()


class AudioLDM:
    """A loaded checkpoint; made by `from_pretrained`.

    Attributes
    ----------
    sample_rate
        Of what it makes, in Hz.
    settings
        Model, digests, heads, CLAP, dtype and device type, as JSON values.
    """

    def __init__(
        self,
        snapshot: LocalCheckpoint,
        device: torch.device,
        dtype: str,
        heads: Heads,
        clap: str | Path | None,
    ) -> None:
        from diffusers import AutoencoderKL, DDIMScheduler
        from transformers import SpeechT5HifiGan

        self.snapshot = snapshot
        self.device = device
        self.dtype: torch.dtype = torch_dtype(dtype)
        self.text: TextTower = TextTower(snapshot, device)
        with quiet():  # which modules "should stay in float32": none here
            self.unet: Any = load_unet(snapshot.folder / "unet", heads).to(device, self.dtype)
        self.vae: Any = load_part(AutoencoderKL, snapshot.folder / "vae").to(device)
        self.vocoder: Any = load_part(SpeechT5HifiGan, snapshot.folder / "vocoder").to(device)
        self.schedule: Any = DDIMScheduler.load_config(str(snapshot.folder / "scheduler"), local_files_only=True)
        self.sample_rate: int = int(self.vocoder.config.sampling_rate)
        self._hop = math.prod(self.vocoder.config.upsample_rates)
        self._shrink = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self._clap: Clap | None = None
        self._clap_choice = clap
        self._largest_batch = 2**16
        # Torch lets cuDNN round, and AudioLDM's own code leaves it at that. Without cuDNN a shorter type would be slow.
        self.tf32: bool = self.dtype != torch.float32 or tf32_allowed(unless_set=True)
        self.settings: dict[str, Any] = {
            "system": "audioldm",
            "model": snapshot.name,
            "random_weights": snapshot.is_random,
            "weights_sha256": snapshot.digests(),
            "heads": heads,
            "attention_head_dim": self.unet.config.attention_head_dim,
            "dtype": dtype,
            "device": device.type,
            **({"tf32": int(self.tf32)} if device.type == "cuda" else {}),
            **({"converted_from": source} if (source := snapshot.converted_from) else {}),
        }

    @classmethod
    @takes(ModelOptions)
    def from_pretrained(cls, model: str | Path, **options: Unpack[ModelOptions]) -> AudioLDM:
        """Load a checkpoint.

        Parameters
        ----------
        model
            A name on the hub such as ``"cvssp/audioldm-s-full-v2"``, a folder laid out like one, a checkpoint of
            AudioLDM's own code (``.ckpt``), which is converted once, or ``"tiny-random"``.

        Raises
        ------
        MissingDependencyError, MissingWeightsError
            The extra, or the checkpoint, is not on this machine; or the checkpoint does not fit its configuration.
        UsageError
            An unknown device, dtype or choice of heads.

        Examples
        --------
        >>> from audiogen_metrics.audioldm import AudioLDM
        >>> model = AudioLDM.from_pretrained("tiny-random", device="cpu")  # doctest: +SKIP
        >>> model.generate(["rain"], seconds=1.0, steps=4)[0].waveform.shape  # doctest: +SKIP
        (16000,)
        """
        chosen = ModelOptions(**options)
        require()
        place = resolve_device(chosen["device"])
        snapshot = locate(model)
        origin = snapshot.origin
        if "licence" in origin and snapshot.name not in _TOLD:
            _TOLD.add(snapshot.name)
            model = origin.get("model", snapshot.name)
            source = "" if model == snapshot.name else f" come from {model} and"
            warnings.warn(f"the weights of {snapshot.name}{source} are licensed {origin['licence']}", stacklevel=2)
        if snapshot.is_random:
            warnings.warn(f"{snapshot.name} has random weights: its sound means nothing", stacklevel=2)
        return cls(snapshot, place, chosen["dtype"], chosen["heads"], chosen["clap"])

    @property
    def clap(self) -> Clap:
        """The full CLAP, loaded on first use."""
        if self._clap is None:
            self._clap = Clap(self._clap_choice, self.snapshot, self.text, self.device)
            self.settings |= {"clap_sha256": self._clap.digests, "audio_recipe": RECIPE}
        return self._clap

    def generate(
        self,
        prompts: Sequence[str] | None = None,
        *,
        audio: Sequence[str | Path] | None = None,
        seconds: float = 10.0,
        seed: int = 0,
        ids: Sequence[str] | None = None,
        **sampling: Any,
    ) -> list[Generated]:
        """Make a clip per prompt or recording.

        Parameters
        ----------
        prompts, audio
            Texts, or files to imitate; one of the two.
        seconds
            Length of every clip.
        seed, ids
            A clip's noise is drawn from both: by default ids are the numbers 0, 1, … as text.
        **sampling
            As in `Sampling`: steps, guidance, eta, candidates, negative, batch_size, spacing.

        Returns
        -------
        list of Generated
            Waveforms ``(time,)``, float32 at `sample_rate`, not clipped; the notes have CLAP's likeness if there were
            candidates.

        Raises
        ------
        NumericsError
            A clip with NaN or infinite values.
        """
        if (prompts is None) == (audio is None):
            raise UsageError("pass prompts or audio, and not both", where="generate")
        sources = list(prompts or audio or [])
        names = list(ids) if ids is not None else [str(index) for index in range(len(sources))]
        if prompts is not None:
            requests = requests_from_prompts(list(prompts), seconds, seed, names)
        else:
            pairs = zip(names, sources, strict=True)
            requests = [Request(name, audio=Path(file), seconds=seconds, seed=seed) for name, file in pairs]
        return self.sample(requests, Sampling(**sampling))

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Generated]:
        """Make a clip per request, all of one length."""
        if not requests:
            return []
        if len({request.seconds for request in requests}) > 1:
            raise UsageError("requests of one call have one length", where="seconds")
        self._check_length(requests[0])
        self._check_steps(sampling)
        conditions = self.conditions(requests)
        jobs = [
            (condition, request.stream(candidate), f"{request.clip_id} (candidate {candidate})")
            for request, condition in zip(requests, conditions, strict=True)
            for candidate in range(request.candidate, request.candidate + sampling.candidates)
        ]
        waveforms = list(self._in_batches(jobs, requests[0].seconds, sampling))
        if sampling.candidates == 1:
            return [Generated(waveform) for waveform in waveforms]
        return [
            self._best(waveforms[start : start + sampling.candidates], conditions[index], requests[index])
            for index, start in enumerate(range(0, len(waveforms), sampling.candidates))
        ]

    def conditions(self, requests: Sequence[Request]) -> torch.Tensor:
        """Return the unit CLAP embedding of each request's prompt or recording, ``(requests, size)``."""
        return torch.stack([self._condition(request) for request in requests])

    def _condition(self, request: Request) -> torch.Tensor:
        if request.audio is not None:
            return self.clap.embed_files([request.audio])[0]
        return self.text.embed([request.prompt or ""])[0]

    def _best(self, waveforms: Sequence[Any], condition: torch.Tensor, request: Request) -> Generated:
        likeness = self.clap.similarity(waveforms, condition.expand(len(waveforms), -1))
        chosen = int(likeness.argmax())
        notes = {
            "candidate": chosen,
            "candidate_seed": request.stream(request.candidate + chosen),
            "clap_similarity": [round(float(value), 6) for value in likeness],
        }
        return Generated(waveforms[chosen], notes)

    def _in_batches(self, jobs: Sequence[_Job], seconds: float, sampling: Sampling) -> Iterator[Any]:
        start = 0
        while start < len(jobs):
            batch = jobs[start : start + min(sampling.batch_size, self._largest_batch)]
            try:
                made = self._waveforms(batch, seconds, sampling)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                made = None
            # Outside the handler, whose traceback keeps the failed batch's tensors alive.
            if made is None:
                self._largest_batch = len(batch) // 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
                warnings.warn(
                    f"out of memory with {len(batch)} clips at a time; now {self._largest_batch}", stacklevel=3
                )
                continue
            yield from made
            start += len(batch)

    @torch.inference_mode()
    def _waveforms(self, jobs: Sequence[_Job], seconds: float, sampling: Sampling) -> list[Any]:
        frames = math.ceil(int(seconds * self.sample_rate / self._hop) / self._shrink)
        shape = (self.unet.config.in_channels, frames, self.vocoder.config.model_in_dim // self._shrink)
        with torch.device(self.device), full_precision(self.device, tf32=self.tf32):
            latents = self._denoise(torch.stack([job[0] for job in jobs]), [job[1] for job in jobs], shape, sampling)
            mel = self.vae.decode(latents.float() / self.vae.config.scaling_factor).sample.squeeze(1)
            waveforms = self.vocoder(mel)[:, : int(seconds * self.sample_rate)].float().cpu().numpy()
        broken = [job[2] for job, waveform in zip(jobs, waveforms, strict=True) if not np.isfinite(waveform).all()]
        if broken:
            raise NumericsError(
                "has NaN or infinite samples",
                broken[0],
                f"Use {option('dtype', 'float32')}, and check the checkpoint",
            )
        return list(waveforms)

    def _denoise(
        self, conditions: torch.Tensor, seeds: Sequence[int], shape: tuple[int, ...], sampling: Sampling
    ) -> torch.Tensor:
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(self.schedule)
        times = time_steps(scheduler, sampling).to(self.device)
        # Drawn on the CPU: one seed gives one noise on every device.
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]

        def noise() -> torch.Tensor:
            drawn = [
                torch.randn((1, *shape), generator=stream, dtype=torch.float32, device="cpu") for stream in streams
            ]
            return torch.cat(drawn).to(self.device, self.dtype, non_blocking=True)

        latents = noise() * scheduler.init_noise_sigma
        labels = conditions.to(self.dtype)
        guided = sampling.guidance != 1.0
        if guided:
            without = self.text.embed([sampling.negative]).to(self.dtype).expand_as(labels)
            labels = torch.cat([without, labels])
        for step in times:
            inputs = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, step)
            predicted = self.unet(inputs, step, encoder_hidden_states=None, class_labels=labels).sample
            if guided:
                free, conditioned = predicted.chunk(2)
                predicted = free + sampling.guidance * (conditioned - free)
            variance = noise() if sampling.eta > 0 else None
            latents = scheduler.step(predicted, step, latents, eta=sampling.eta, variance_noise=variance).prev_sample
        return cast("torch.Tensor", latents)

    def _check_length(self, request: Request) -> None:
        seconds, shortest = request.seconds, self._hop * self._shrink / self.sample_rate
        if seconds < shortest:
            raise UsageError(f"{seconds:g} s is less than one latent frame, {shortest:g} s", where=request.clip_id)
        if seconds > TRAINED_SECONDS:
            warnings.warn(
                f"{seconds:g} s is more than the {TRAINED_SECONDS} s that AudioLDM was trained on: "
                "expect noise or repetition",
                stacklevel=3,
            )

    def _check_steps(self, sampling: Sampling) -> None:
        from diffusers import DDIMScheduler

        for remark in remarks(DDIMScheduler.from_config(self.schedule), sampling):
            warnings.warn(remark, stacklevel=3)


_Job = tuple[torch.Tensor, int, str]
"""A condition, the seed of its noise, and what to call it in an error."""


class AudioLDMGenerator:
    """A `Generator` for `generate_folder` and the benchmark: a model and how it samples."""

    def __init__(self, model: AudioLDM, sampling: Sampling | None = None, *, needs_clap: bool = False) -> None:
        self.model = model
        self.sampling: Sampling = sampling or Sampling()
        if needs_clap or self.sampling.candidates > 1:
            _ = model.clap  # before any clip: a missing one stops the run at once
        self.sample_rate: int = model.sample_rate
        self.batch_size: int = max(1, self.sampling.batch_size // self.sampling.candidates)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Model and sampling, as JSON values."""
        return {**self.model.settings, **self.sampling.settings}

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        """Return one clip per request, in order."""
        return self.model.sample(requests, self.sampling)
