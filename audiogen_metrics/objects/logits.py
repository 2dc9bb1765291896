"""Metric objects on logits, such as IS and KL, and their base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from audiogen_metrics.functional.validation import Array
from audiogen_metrics.objects.base import AudioMetric, Ready
from audiogen_metrics.objects.batch import Waveforms


class LogitMetric(AudioMetric):
    """A metric on class logits."""

    ready_as: ClassVar[Ready] = "logits"

    def update(
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        gen_logits: Array | None = None,
        ref_logits: Array | None = None,
    ) -> None:
        """Add clips to one or both sets; a metric that uses only gen accepts ref and ignores it.

        Parameters
        ----------
        gen, ref, sample_rate, ids
            As in `FD.update`.
        gen_logits, ref_logits
            Logits ``(clips, classes)``, before softmax, instead of waveforms.

        Raises
        ------
        DataError, UsageError
            As in `FD.update`.
        """
        self._add(self.sound({"gen": gen, "ref": ref}, {"gen": gen_logits, "ref": ref_logits}, sample_rate, ids))


class IS(LogitMetric):
    """Inception score of the generated set. Higher is better; it depends on n, splits and the order of clips.

    Clips are sorted by id, so pass ids if the order of arrival may vary; several processes need them.
    Takes the arguments of `AudioMetric`, but does not use a reference.

    Examples
    --------
    Ten classes, each clip certain of its own; ten splits of one clip see no variety.

    >>> import torch
    >>> from audiogen_metrics import IS
    >>> inception = IS(protocol="yamnet")
    >>> inception.update(gen_logits=100 * torch.eye(10), ids=[f"clip-{index}" for index in range(10)])
    >>> round(float(inception.compute()), 6)
    1.0
    """

    metric_name = "is"
    higher_is_better: bool | None = True


class KL(LogitMetric):
    """Kullback–Leibler divergence between the classes of each generated clip and its reference. Lower is better.

    Clips pair by id. Without ids they pair by order of arrival, and both sets must have equally many clips. Several
    processes need ids.

    Examples
    --------
    >>> import torch
    >>> from audiogen_metrics import KL
    >>> logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    >>> kl = KL(protocol="yamnet", ref={f"clip-{index}": row for index, row in enumerate(logits)})
    >>> kl.update(gen_logits=logits.flip(0), ids=[f"clip-{index}" for index in reversed(range(6))])
    >>> abs(float(kl.compute())) < 1e-5
    True
    """

    metric_name = "kl"
    higher_is_better: bool | None = False
