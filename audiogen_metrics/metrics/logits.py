"""IS and KL as metric objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from audiogen_metrics.embedding.reference import FeatureSource
from audiogen_metrics.errors import DataError
from audiogen_metrics.functional.validation import Array
from audiogen_metrics.metrics.base import AudioMetric, Side
from audiogen_metrics.metrics.runner import Waveforms
from audiogen_metrics.metrics.state import Clips


class IS(AudioMetric):
    """Inception score of the generated set. Higher is better; it depends on n, splits and the order of clips.

    Clips are sorted by id, so pass ids where the order of arrival may vary; on several processes they are needed.
    Takes the arguments of `AudioMetric`, though a reference plays no part.

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
    higher_is_better = True

    def update(
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        gen_logits: Array | None = None,
    ) -> None:
        """Add generated clips; ``ref`` is accepted beside them, for collections, and not looked at.

        Parameters
        ----------
        gen, ref, sample_rate, ids
            As in `FD.update`.
        gen_logits
            Ready logits ``(clips, classes)``, before softmax, instead of waveforms.

        Raises
        ------
        DataError, UsageError
            As in `FD.update`.
        """
        self._add({"gen": gen, "ref": ref}, {"gen": gen_logits, "ref": None}, sample_rate, ids)


class KL(AudioMetric):
    """Kullback–Leibler divergence between the classes of each generated clip and its reference. Lower is better.

    Clips pair by id; where no clip has one, by order of arrival, for which both sets must have equally many. On several
    processes ids are needed.

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
    higher_is_better = False

    def _check_batches(self, batches: Mapping[Side, Clips]) -> None:
        """Raise DataError for batches of unequal size without ids: all later pairs would be shifted."""
        sizes = {side: len(batch.ids) for side, batch in batches.items() if not any(batch.ids)}
        if len(sizes) == 2:
            _require_equal(sizes["gen"], sizes["ref"])

    def _check_sets(self, gen: FeatureSource, ref: FeatureSource | None) -> None:
        """Raise DataError for sets that cannot be paired by order of arrival."""
        named = [getattr(source, "named", True) for source in (gen, ref)]
        if ref is None or all(named):
            return
        if any(named):
            without, with_ids = ("ref", "gen") if named[0] else ("gen", "ref")
            raise DataError(
                f"{without} clips have no ids, and {with_ids} clips have: they cannot be paired",
                fix="Pass ids to every update, equal for the two clips of a pair",
            )
        _require_equal(len(gen), len(ref))

    def update(
        self,
        gen: Waveforms | None = None,
        ref: Waveforms | None = None,
        sample_rate: int | None = None,
        ids: Sequence[str] | None = None,
        gen_logits: Array | None = None,
        ref_logits: Array | None = None,
    ) -> None:
        """Add clips to one or both sets.

        Parameters
        ----------
        gen, ref, sample_rate, ids
            As in `FD.update`.
        gen_logits, ref_logits
            Ready logits ``(clips, classes)``, before softmax, instead of waveforms.

        Raises
        ------
        DataError, UsageError
            As in `FD.update`.
        """
        self._add({"gen": gen, "ref": ref}, {"gen": gen_logits, "ref": ref_logits}, sample_rate, ids)


def _require_equal(gen: int, ref: int) -> None:
    if gen != ref:
        raise DataError(
            f"{gen} gen and {ref} ref clips without ids: pairs by order of arrival would be shifted",
            fix="Pass ids to every update; clips without a partner are then left out of KL",
        )
