"""CLAP as a backbone, and the CLAP score: do clips sound like their prompts?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast

import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.audioldm.conditioning import CLAP_RATE, CLAP_SAMPLES
from audiogen_metrics.audioldm.dependencies import require
from audiogen_metrics.audioldm.snapshots import load_part, locate_folder, weights_files
from audiogen_metrics.backbones.base import Backbone, Features, Output
from audiogen_metrics.backbones.transformers import require_transformers
from audiogen_metrics.declaring import takes
from audiogen_metrics.errors import MissingWeightsError, UsageError, option, spoken
from audiogen_metrics.evaluation import score
from audiogen_metrics.file_hashes import sha256_of
from audiogen_metrics.precision import full_precision
from audiogen_metrics.run_options import FolderOptions

if TYPE_CHECKING:
    from audiogen_metrics.evaluation import Evaluation
    from audiogen_metrics.prompts import Prompts

__all__ = ["ClapScore", "clap_score"]

PUBLISHED_CLAP = "laion/clap-htsat-unfused"

_TOKENIZER = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")


class CLAP(Backbone):
    """CLAP in the layout of transformers: one embedding of unit length per clip, and one per text.

    Of a clip the first ten seconds are heard, where the published extractor crops at random; a shorter one is repeated
    as often as it fits, whole, and zeros fill the rest.

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
    reads_text: ClassVar[bool] = True
    numerics_version: ClassVar[int] = 3

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

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer; MissingWeightsError if it has none."""
        require("clap")
        from transformers import RobertaTokenizer

        try:
            return RobertaTokenizer.from_pretrained(str(self.folder), local_files_only=True)
        except Exception as error:
            raise MissingWeightsError(f"has no readable tokenizer ({error})", where=self.folder) from error

    @property
    def text_settings(self) -> dict[str, str | int]:
        """SHA-256 over the digests of the tokenizer's files; MissingWeightsError if it has none that can be read."""
        _ = self.tokenizer
        files = [self.folder / name for name in _TOKENIZER if (self.folder / name).is_file()]
        return {"tokenizer_sha256": hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()}

    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the embeddings of texts, ``(texts, d)`` float32 of unit length, on the CPU.

        Texts go through the network one by one, cut to what it takes.
        """
        tower = cast("_Towers", self.network)
        rows = []
        with torch.inference_mode(), full_precision(self.device, None, self.tf32):
            for text in texts:
                tokens = self.tokenizer(text, return_tensors="pt", truncation=True, max_length=self._longest)
                rows.append(_unit(tower.clap.get_text_features(**tokens.to(self.device)))[0].cpu())
        return torch.stack(rows)

    def cut_texts(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts have more tokens than the network takes."""
        return [len(self.tokenizer(text, verbose=False)["input_ids"]) > self._longest for text in texts]

    @property
    def _longest(self) -> int:
        longest: int = cast("_Towers", self.network).clap.config.text_config.max_position_embeddings - 2
        return longest

    def usable_samples(self, samples: int) -> int:
        """Return at most ten seconds."""
        return min(samples, CLAP_SAMPLES)

    def require(self) -> None:
        """Raise MissingWeightsError without the checkpoint, and MissingDependencyError without transformers."""
        super().require()
        require_transformers()

    def load(self) -> nn.Module:
        """Return the audio tower with its front end."""
        require("clap")
        return _Towers(self.folder)


class _Towers(nn.Module):
    """Both towers; as a network, the audio tower behind the published extractor."""

    def __init__(self, folder: Path) -> None:
        from transformers import ClapFeatureExtractor, ClapModel

        super().__init__()
        self.clap = load_part(ClapModel, folder)
        self.extractor = ClapFeatureExtractor(
            truncation="rand_trunc", padding="repeatpad", frequency_min=50, frequency_max=14_000
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
        return Features(embeddings=_unit(found))


def _unit(found: Any) -> torch.Tensor:
    """Return embeddings of unit length from what transformers gives, which depends on its version."""
    return F.normalize(getattr(found, "pooler_output", found).float(), dim=-1)


@dataclass(frozen=True)
class ClapScore:
    """Mean cosine of clips and their prompts, in [−1, 1]; higher is better.

    Attributes
    ----------
    value, ci95
        The mean over clips, and its 95 % interval; None where the warnings say why there is none.
    n
        Clips with a prompt.
    per_clip
        The cosine of each.
    gen_only, prompts_only
        Ids of clips that have no prompt, and of prompts that have no clip.
    weights_sha256
        Of CLAP.
    warnings
        What to know before it is believed: clips that could not be used, and what did not pair.
    """

    value: float
    ci95: tuple[float, float] | None
    n: int
    per_clip: Mapping[str, float]
    gen_only: tuple[str, ...]
    prompts_only: tuple[str, ...]
    weights_sha256: str
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON values."""
        return asdict(self)


@takes(FolderOptions)
def clap_score(
    gen: str | Path,
    prompts: Prompts,
    *,
    clap: str | Path | None = None,
    **options: Unpack[FolderOptions],
) -> ClapScore:
    """Return how much the clips of a folder sound like their prompts, to CLAP's ear.

    Parameters
    ----------
    gen
        Folder of generated audio.
    prompts
        As in `score`: a file with the columns ``clip_id`` and ``prompt``, or a text or several by clip id.
    clap
        Folder or hub name of CLAP, as ``weights`` may name it too; None is ``laion/clap-htsat-unfused``. Scores of two
        CLAPs cannot be compared.

    Raises
    ------
    DataError
        No clip has a prompt.
    MissingWeightsError, MissingDependencyError
        CLAP, or the extra clap, is not on this machine.
    """
    given = FolderOptions(**options)
    if clap is not None:
        if CLAP.name in (given["weights"] or {}):
            fix = f"Leave out {option('weights', {CLAP.name: 'FILE'})}"
            raise UsageError("it is given twice", where=spoken("clap", "--clap"), fix=fix)
        given["weights"] = {**(given["weights"] or {}), CLAP.name: clap}
    require("clap")
    seen: list[Evaluation] = []
    report = score(gen, metrics="clap", protocol="clap", prompts=prompts, observe=seen.append, **given)
    found, evaluation = report["clap"], seen[0]
    assert found.value is not None  # asked for by name
    per_clip = evaluation.measured(evaluation.recipes[0]).measurement.by_clip or {}
    return ClapScore(
        found.value,
        found.ci95,
        found.n_gen,
        per_clip,
        tuple(clip for clip in evaluation.gen.clip_ids if clip not in per_clip),
        () if evaluation.gen.captions is None else tuple(evaluation.gen.captions.unused),
        str(report.backbones[CLAP.name]["weights_sha256"]),
        (*found.remarks, *report.warnings),
    )
