"""Which clips of the two sets belong together: pairs, samples of one prompt, copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen_metrics.functional.blocks import Places
    from audiogen_metrics.metrics.definition import Side


@dataclass(frozen=True)
class Links:
    """What ties clips to each other, by clip id.

    Clips that are tied within a set are not independent samples: they leave it together when an interval is computed.

    Parameters
    ----------
    paired
        Whether clips of gen have partners in ref.
    prompts
        The reference of each generated clip, where several may share one; None pairs equal ids.
    contents
        By side, labels of clips, such as the hash of a file: clips with equal labels are copies, or as good as.
    """

    paired: bool = True
    prompts: Mapping[str, str] | None = None
    contents: Mapping[Side, Sequence[Mapping[str, str]]] = field(default_factory=dict)

    def partner(self, gen_id: str) -> str:
        """Return the id that the reference of a generated clip has."""
        return gen_id if self.prompts is None else self.prompts.get(gen_id, gen_id)

    def ties(self, gen_ids: Sequence[str], ref_ids: Sequence[str]) -> tuple[Places, Places]:
        """Return a number for each clip of gen and of ref: equal for clips that leave together.

        Copies do; and so does a reference with all that was made for it, where the sets pair.
        """
        known = set(ref_ids) if self.paired else set()
        prompts = [self.partner(clip) for clip in gen_ids]
        own: dict[Side, list[Any]] = {"gen": [*enumerate(gen_ids)], "ref": [*enumerate(ref_ids, len(gen_ids))]}
        pairs = [name if name in known else alone for name, alone in zip(prompts, own["gen"], strict=True)]
        labels: list[list[Any]] = [[*pairs, *ref_ids]]
        labels += [[one.get(clip, (place, clip)) for place, clip in own["gen"]] + own["ref"] for one in self._of("gen")]
        labels += [own["gen"] + [one.get(clip, (place, clip)) for place, clip in own["ref"]] for one in self._of("ref")]
        numbers = _tied(len(gen_ids) + len(ref_ids), labels)
        return numbers[: len(gen_ids)], numbers[len(gen_ids) :]

    def strata(self, gen_ids: Sequence[str], ref_ids: Sequence[str]) -> Places:
        """Return a number for each clip of gen, then of ref: equal for clips that may change sides with each other."""
        import numpy as np

        known = set(ref_ids) & set(map(self.partner, gen_ids)) if self.paired else set()
        names = [self.partner(clip) for clip in gen_ids] + list(ref_ids)
        place = {name: number for number, name in enumerate(sorted(known), 1)}
        return np.array([place.get(name, 0) for name in names], dtype=np.int64)

    def told(self, captions: Mapping[str, Sequence[str]]) -> Links:
        """Return the links where generated clips with equal captions leave together too: samples of one prompt."""
        labels = {clip: repr(sorted(texts)) for clip, texts in captions.items()}
        return replace(self, contents={**self.contents, "gen": (*self._of("gen"), labels)})

    def copies(self, side: Side, ids: Sequence[str]) -> int:
        """Return how many clips of a set are copies of others."""
        labels = [[one.get(clip, (clip,)) for clip in ids] for one in self._of(side)]
        return len(ids) - len(set(_tied(len(ids), labels).tolist()))

    def _of(self, side: Side) -> Sequence[Mapping[str, str]]:
        return self.contents.get(side, ())


def _tied(count: int, labels: Iterable[Sequence[Any]]) -> Places:
    """Return a number for each of ``count`` things: equal where a chain of equal labels ties them."""
    import numpy as np

    group = list(range(count))

    def first(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    for given in labels:
        seen: dict[Any, int] = {}
        for place, label in enumerate(given):
            one, other = sorted((first(place), first(seen.setdefault(label, place))))
            group[other] = one
    return np.array([first(place) for place in range(count)], dtype=np.int64)
