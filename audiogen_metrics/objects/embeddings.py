"""Metric objects on embeddings, such as FD, FAD, KID and KAD, and their base."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from audiogen_metrics.errors import DataError
from audiogen_metrics.functional.validation import Array, as_tensor, float64_tensor
from audiogen_metrics.metrics.definition import Side
from audiogen_metrics.objects.base import AudioMetric
from audiogen_metrics.objects.batch import Waveforms
from audiogen_metrics.objects.state import Clips, check_ids


class EmbeddingMetric(AudioMetric):
    """A metric on embeddings or windows."""

    def update(
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        gen_embeddings: Array | None = None,
        ref_embeddings: Array | None = None,
    ) -> None:
        """Add clips to one or both sets; a metric that uses only gen accepts ref and ignores it.

        Parameters
        ----------
        gen, ref
            Waveforms ``(batch, time)``, ``(batch, channels, time)`` or ``(time,)``, floating, full scale ±1; clips of
            unequal length as a sequence of ``(time,)`` or ``(channels, time)``. They are prepared as the protocol
            prepares files; it also chooses or mixes the channels. An array ``(2, time)`` is a batch of two mono clips;
            a single stereo clip is ``[clip]``. Samples of −100 at the end of a clip, with which transformers' Trainer
            pads shorter clips, are removed.
        sample_rate
            Rate of the waveforms in Hz.
        ids
            One clip id per clip, the same for both sets; clips with the same id are counted once.
        gen_embeddings, ref_embeddings
            Embeddings ``(clips, d)`` instead of waveforms.

        Raises
        ------
        DataError
            Shapes or types that cannot be scored, NaN or infinite values.
        UsageError
            The sample rate is missing, or arguments exclude each other.
        """
        self._add(
            self.sound({"gen": gen, "ref": ref}, {"gen": gen_embeddings, "ref": ref_embeddings}, sample_rate, ids)
        )

    def _from_rows(self, side: Side, rows: Array, ids: Any) -> Clips:
        if self.definition.output != "windows":
            return super()._from_rows(side, rows, ids)
        tensor = as_tensor(rows, f"{side}_embeddings")
        if tensor.ndim == 3:
            clips, windows = tensor.shape[:2]
            checked = float64_tensor(tensor.flatten(0, 1), f"{side}_embeddings", ndim=2)
            names = check_ids(ids, clips, f"{side} clips")
            return Clips(checked, torch.full((clips,), windows, dtype=torch.int64, device="cpu"), names)
        checked = float64_tensor(tensor, f"{side}_embeddings", ndim=2)
        names = check_ids(ids, len(checked), f"{side} rows")
        if ids is None:
            return Clips(checked, torch.ones(len(checked), dtype=torch.int64, device="cpu"), names)
        runs = [(clip_id, len(list(group))) for clip_id, group in groupby(names)]
        if len({clip_id for clip_id, _ in runs}) < len(runs):
            raise DataError(f"rows of one clip are apart in {side}_embeddings", fix="Put the rows of a clip together")
        return Clips(
            checked,
            torch.tensor([count for _, count in runs], dtype=torch.int64, device="cpu"),
            [name for name, _ in runs],
        )


class FD(EmbeddingMetric):
    """Fréchet distance between two sets of clips, one embedding per clip. Lower is better; it depends on n.

    Takes the arguments of `AudioMetric`: ``protocol``, ``backbone``, ``ref``, ``streaming``, ``weights``,
    ``batch_size``, ``on_missing``, ``on_bad_clip``.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import FD
    >>> rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    >>> fd = FD(protocol="yamnet", ref=rows)
    >>> for batch in rows.split(20):
    ...     fd.update(gen_embeddings=batch + torch.tensor([3.0] + 7 * [0.0]))
    >>> round(float(fd.compute()), 4)  # the squared length of the shift
    9.0
    """

    metric_name = "fd"
    higher_is_better: bool | None = False


class FAD(EmbeddingMetric):
    """Fréchet audio distance: the distance of `FD` over windows of all clips. Lower is better; it depends on n.

    It streams by default. Embeddings are ``(clips, windows, d)``, or ``(rows, d)`` with one id per *row*: rows of one
    clip stand together and repeat its id. Without ids, each row counts as a clip.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import FAD
    >>> windows = torch.randn(30, 5, 4, generator=torch.Generator().manual_seed(0))
    >>> fad = FAD(protocol="yamnet", ref=windows)
    >>> fad.update(gen_embeddings=windows)
    >>> round(float(fad.compute()), 9)
    0.0
    >>> fad.compute_score().n_gen
    30
    """

    metric_name = "fad"
    higher_is_better: bool | None = False
    streams_by_default = True


class KID(EmbeddingMetric):
    """Kernel distance with a cubic kernel, one embedding per clip. Lower is better; unbiased, so n matters little.

    Takes the arguments of `AudioMetric`, but cannot stream: it needs the embeddings themselves.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics.metrics import KID
    >>> rows = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> kid = KID(protocol="yamnet", ref=rows[:50])
    >>> kid.update(gen_embeddings=rows[50:])
    >>> abs(float(kid.compute())) < 0.1
    True
    """

    metric_name = "kid"
    higher_is_better: bool | None = False


class KAD(EmbeddingMetric):
    """Kernel audio distance: a Gaussian kernel as wide as the reference, times 100. Lower is better.

    Takes the arguments of `AudioMetric`, but cannot stream: it needs the embeddings themselves.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics.metrics import KAD
    >>> rows = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    >>> kad = KAD(protocol="yamnet", ref=rows[:50])
    >>> kad.update(gen_embeddings=rows[50:] + 1)
    >>> float(kad.compute()) > 1
    True
    """

    metric_name = "kad"
    higher_is_better: bool | None = False


class Precision(EmbeddingMetric):
    """Share of the generated clips that lie among the reference: fidelity. Higher is better.

    Takes the arguments of `AudioMetric`, and ``nearest``: the neighbour that bounds a neighbourhood, by default the
    fifth. It needs the embeddings themselves, so it cannot stream.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import Precision
    >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> precision = Precision(protocol="yamnet", ref=rows, nearest=3)
    >>> precision.update(gen_embeddings=rows / 10)
    >>> float(precision.compute())
    1.0
    """

    metric_name = "precision"
    higher_is_better: bool | None = True


class Recall(EmbeddingMetric):
    """Share of the reference that lies among the generated clips: variety. Higher is better.

    Takes the arguments of `Precision`.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import Recall
    >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> recall = Recall(protocol="yamnet", ref=rows)
    >>> recall.update(gen_embeddings=rows / 10)
    >>> float(recall.compute()) < 0.5
    True
    """

    metric_name = "recall"
    higher_is_better: bool | None = True


class Density(EmbeddingMetric):
    """How many neighbourhoods of the reference a generated clip lies in, on average. Higher is better; not bounded.

    Takes the arguments of `Precision`.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import Density
    >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> density = Density(protocol="yamnet", ref=rows)
    >>> density.update(gen_embeddings=rows / 10)
    >>> float(density.compute()) > 1
    True
    """

    metric_name = "density"
    higher_is_better: bool | None = True


class Coverage(EmbeddingMetric):
    """Share of the reference's neighbourhoods with a generated clip in them. Higher is better.

    Takes the arguments of `Precision`.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import Coverage
    >>> rows = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    >>> coverage = Coverage(protocol="yamnet", ref=rows)
    >>> coverage.update(gen_embeddings=rows)
    >>> float(coverage.compute())
    1.0
    """

    metric_name = "coverage"
    higher_is_better: bool | None = True
