"""The CLAP score as a metric object, and the base of all metric objects that need prompts."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from audiogen_metrics.embedding.similarity import read_texts, similarity
from audiogen_metrics.errors import DataError, UsageError
from audiogen_metrics.functional.validation import Array
from audiogen_metrics.metrics.clap import COSINES
from audiogen_metrics.objects.base import AudioMetric, Ready
from audiogen_metrics.objects.batch import Waveforms
from audiogen_metrics.objects.taking import Texts
from audiogen_metrics.prompts import as_texts

if TYPE_CHECKING:
    from audiogen_metrics.embedding.cache import ClipFeatures
    from audiogen_metrics.metrics.definition import Side
    from audiogen_metrics.objects.state import Clips

ROUNDING = 1e-5
"""Amount by which a cosine of float32 vectors may exceed 1."""


class SimilarityMetric(AudioMetric):
    """A metric on the similarity of clips to their prompts."""

    ready_as: ClassVar[Ready] = "similarity"

    def update(
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        prompts: Texts | None = None,
        gen_similarity: Array | None = None,
    ) -> None:
        """Add generated clips with their prompts; ref is accepted and ignored.

        Parameters
        ----------
        gen, ref, sample_rate, ids
            As in `FD.update`.
        prompts
            The prompt of each generated clip, or several captions.
        gen_similarity
            Cosines instead of waveforms, ``(clips, 2)``: the mean over the captions of each clip, and the best.

        Raises
        ------
        DataError, UsageError
            As in `FD.update`; also if prompts are missing, or their number is not that of the clips.
        """
        self._add(self.sound({"gen": gen, "ref": ref}, {"gen": gen_similarity, "ref": None}, sample_rate, ids, prompts))

    def _rows(self, features: Sequence[ClipFeatures | None], prompts: Texts | None) -> list[torch.Tensor | None]:
        if prompts is None:
            raise UsageError("the prompts of the clips are missing", where=self.score_id, fix="Pass prompts=[…]")
        if isinstance(prompts, (str, Mapping, Set)) or not isinstance(prompts, Collection):
            kind = type(prompts).__name__
            raise UsageError(f"prompts is a {kind}", where=self.score_id, fix="Pass a list with one for each clip")
        if len(prompts) != len(features):
            raise DataError(
                f"{len(prompts)} prompts for {len(features)} clips", where=self.score_id, fix="Pass one each"
            )
        captions = [as_texts(own) for own in prompts]
        for place, own in enumerate(captions):
            if not own or not all(map(str.strip, own)):
                fix = "Pass a text, or several; leave clips without one out of this update"
                raise DataError(f"prompts[{place}] is {prompts[place]!r}", where=self.score_id, fix=fix)
        texts = [*dict.fromkeys(text for own in captions for text in own)]
        read = read_texts(self.runner.backbone, texts)
        if cut := sum(each.cut for each in read):
            backbone = self.recipe.backbone
            warnings.warn(f"{cut} prompts are longer than {backbone} reads, which takes their beginning", stacklevel=5)
        rows = {text: each.row for text, each in zip(texts, read, strict=True)}
        return [
            None if found is None else similarity(found["embeddings"], own, rows)
            for found, own in zip(features, captions, strict=True)
        ]

    def _from_rows(self, side: Side, rows: Array, ids: Any) -> Clips:
        clips = super()._from_rows(side, rows, ids)
        if clips.rows.shape[1] != len(COSINES):
            what = f"gen_similarity of shape {tuple(clips.rows.shape)}"
            raise DataError(what, where=self.score_id, fix=f"Pass (clips, {len(COSINES)}): {' and '.join(COSINES)}")
        if len(clips.rows) and float(clips.rows.abs().max()) > 1 + ROUNDING:
            raise DataError("gen_similarity has values beyond ±1", where=self.score_id, fix="Pass cosines")
        return clips


class CLAPScore(SimilarityMetric):
    """How much clips sound like their prompts: the mean cosine of their CLAP embeddings. Higher is better.

    Takes the arguments of `AudioMetric`. The protocol decides which CLAP: ``clap-laion`` has the one that most papers
    report, and so has every protocol without its own CLAP. An interval takes clips as independent: with several
    samples of one prompt it is too narrow. Use `audiogen_metrics.score` then, whose interval is right.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics.metrics import CLAPScore
    >>> clap = CLAPScore()
    >>> clap.update(gen=batch, sample_rate=48000, prompts=["rain", "a dog"])  # doctest: +SKIP
    >>> clap.update(gen_similarity=torch.tensor([[0.25, 0.25], [0.35, 0.35]]))
    >>> round(float(clap.compute()), 6)
    0.3
    """

    metric_name = "clap"
    higher_is_better: bool | None = True
