"""CLAP as a backbone, and the CLAP score: do clips sound like their prompts?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.pairing import pair
from audiogen_metrics.audioldm.conditioning import CLAP_RATE, CLAP_SAMPLES
from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.snapshots import load_part, locate_folder, weights_files
from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.weights import sha256_of
from audiogen_metrics.embedding.extraction import ExtractionOptions, extract
from audiogen_metrics.errors import DataError, MissingWeightsError, remedies
from audiogen_metrics.functional.uncertainty import Spread, interval
from audiogen_metrics.generation.prompts import requests_from_file
from audiogen_metrics.protocols import get_protocol
from audiogen_metrics.settings import resolve_device

PUBLISHED_CLAP = "laion/clap-htsat-unfused"

CLAP_AUDIO = get_protocol("clap").recipes["fd"].preprocessing
"""Mean of the channels, 48 kHz, the first ten seconds: the published extractor would crop at random."""


class CLAP(Backbone):
    """CLAP's audio tower: one embedding of unit length per clip, of its first ten seconds.

    Parameters
    ----------
    device, autocast, tf32
        As in `Backbone`.
    weights
        Folder in the layout of transformers, or a name on the hub; None is ``laion/clap-htsat-unfused``.
    """

    name: ClassVar[str] = "clap"
    sample_rate: ClassVar[int] = CLAP_RATE
    outputs: ClassVar[frozenset[Output]] = frozenset({"embeddings"})
    minimum_samples: ClassVar[int] = 1
    numerics_version: ClassVar[int] = 2

    def __init__(
        self,
        device: str | torch.device = "cpu",
        autocast: torch.dtype | None = None,
        weights: str | Path | None = None,
        tf32: bool | None = None,
    ) -> None:
        super().__init__(device, autocast, tf32)
        self._weights = weights or PUBLISHED_CLAP

    @cached_property
    def folder(self) -> Path:
        """The checkpoint; MissingWeightsError if it is not on this machine."""
        return locate_folder(self._weights)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the digests of the weights files."""
        files = weights_files(self.folder)
        if not files:
            raise MissingWeightsError("has no weights file", where=self.folder, fix="Download the checkpoint again")
        return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()

    def usable_samples(self, samples: int) -> int:
        """Return at most ten seconds."""
        return min(samples, CLAP_SAMPLES)

    def load(self) -> nn.Module:
        """Return the audio tower with its front end."""
        require("clap")
        return _AudioTower(self.folder)


class _AudioTower(nn.Module):
    def __init__(self, folder: Path) -> None:
        from transformers import ClapFeatureExtractor, ClapModel

        super().__init__()
        self.clap = load_part(ClapModel, folder)
        self.extractor = ClapFeatureExtractor(
            truncation="rand_trunc", padding="pad", frequency_min=50, frequency_max=14_000
        )

    def forward(self, waveforms: torch.Tensor) -> Features:
        """Return unit embeddings ``(batch, size)`` of ``(batch, time)`` at 48 kHz."""
        clips = [waveform.numpy() for waveform in waveforms[:, :CLAP_SAMPLES].cpu()]
        with torch.device("cpu"):
            inputs = self.extractor(clips, sampling_rate=CLAP_RATE, return_tensors="pt")
        found: Any = self.clap.get_audio_features(
            input_features=inputs["input_features"].to(waveforms.device),
            is_longer=inputs["is_longer"].to(waveforms.device),
        )
        return Features(embeddings=F.normalize(getattr(found, "pooler_output", found).float(), dim=-1))


@dataclass(frozen=True)
class ClapScore:
    """Mean cosine of clips and their prompts, in [−1, 1]; higher is better.

    Attributes
    ----------
    value, ci95
        The mean over clips, and its 95 % interval.
    n
        Clips with a prompt.
    per_clip
        The cosine of each.
    gen_only, prompts_only
        Clip ids that are on one side only.
    weights_sha256
        Of CLAP.
    warnings
        Clips that could not be used, or nearly pair with a prompt.
    """

    value: float
    ci95: tuple[float, float]
    n: int
    per_clip: Mapping[str, float]
    gen_only: tuple[str, ...]
    prompts_only: tuple[str, ...]
    weights_sha256: str
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON values."""
        return asdict(self)


def clap_score(
    gen: str | Path,
    prompts: str | Path,
    *,
    clap: str | Path | None = None,
    device: str | torch.device = "auto",
    batch_size: int = 16,
    workers: int | None = None,
    cache: bool = True,
    progress: bool = False,
    suffixes: str | Iterable[str] = (),
) -> ClapScore:
    """Return how much the clips of a folder sound like their prompts, to CLAP's ear.

    Parameters
    ----------
    gen
        Folder of generated audio.
    prompts
        File with the columns ``clip_id`` and ``prompt``, as `agm generate` takes it.
    clap
        Folder or hub name of CLAP; None is ``laion/clap-htsat-unfused``. Scores of two CLAPs cannot be compared.
    device, batch_size, workers, cache, progress, suffixes
        As in `score`.

    Raises
    ------
    DataError
        No clip has a prompt.
    MissingWeightsError, MissingDependencyError
        CLAP, or the extra clap, is not on this machine.
    """
    require("clap")
    backbone = CLAP(resolve_device(device), weights=clap)
    folder = scan(gen, suffixes)
    requests = {request.clip_id: request.prompt or "" for request in requests_from_file(prompts)}
    options = ExtractionOptions(batch_size, workers, cache, progress=progress)
    extraction = extract(folder, [backbone], CLAP_AUDIO, options)
    features = extraction.sets[backbone.name]
    matched = pair(features.clip_ids, requests)
    near = matched.near_misses("gen", "prompts")
    if len(matched.paired) < 2:
        raise DataError(
            f"{len(matched.paired)} clips have a prompt ({near or f'gen has {features.clip_ids[0]!r}'})",
            where=prompts,
            fix="Give every prompt the clip_id of its clip",
        )
    text = _embed_text(backbone.folder, [requests[name] for name in matched.paired], backbone.device)
    cosines = (features.select(matched.paired).rows("embeddings").double() * text.double()).sum(1)
    value = float(cosines.mean())
    found = interval(value, Spread(float(cosines.std()) / math.sqrt(len(cosines)), len(cosines) - 1))
    return ClapScore(
        value,
        (found.low, found.high),
        len(cosines),
        dict(zip(matched.paired, cosines.tolist(), strict=True)),
        matched.gen_only,
        matched.ref_only,
        backbone.weights_sha256,
        (
            *(f"skipped {failure.path}: {failure.reason}" for failure in extraction.failures),
            *remedies(failure.fix for failure in extraction.failures),
            *([f"clips and prompts do not pair: {near}"] if near else []),
        ),
    )


@torch.inference_mode()
def _embed_text(folder: Path, prompts: list[str], device: torch.device) -> torch.Tensor:
    from transformers import ClapModel, RobertaTokenizer

    network = load_part(ClapModel, folder).to(device)
    try:
        tokenizer = RobertaTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise MissingWeightsError(f"has no readable tokenizer ({error})", where=folder) from error
    rows = []
    for prompt in prompts:
        longest = network.config.text_config.max_position_embeddings - 2
        tokens = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=longest).to(device)
        found: Any = network.get_text_features(**tokens)
        rows.append(F.normalize(getattr(found, "pooler_output", found).float(), dim=-1)[0].cpu())
    return torch.stack(rows)
