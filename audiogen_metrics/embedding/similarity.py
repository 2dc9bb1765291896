"""How much clips sound like their captions: cosines of embeddings of clips and of texts, which are cached too."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from audiogen_metrics.audio.preflight import ClipFacts
from audiogen_metrics.embedding.cache import CachedClip, ClipFeatures, EmbeddingCache
from audiogen_metrics.embedding.extraction import EmbeddingSet
from audiogen_metrics.errors import DataError, NumericsError

if TYPE_CHECKING:
    from audiogen_metrics.backbones.base import Backbone


def with_similarity(
    clips: EmbeddingSet, backbone: Backbone, captions: Mapping[str, Sequence[str]], *, cache: bool = True
) -> tuple[EmbeddingSet, int]:
    """Return the clips that have captions, each with its ``similarity``: mean and largest of the cosines.

    And how many of the captions are longer than the backbone reads.

    Parameters
    ----------
    clips
        With embeddings of unit length by the same backbone.
    backbone
        Reads the captions.
    captions
        By clip id.
    cache
        Keep the embeddings of texts in the cache folder and reuse them.
    """
    own = {clip: captions[clip] for clip in clips.clip_ids if clip in captions}
    texts = [*dict.fromkeys(text for several in own.values() for text in several)]
    read = dict(zip(texts, read_texts(backbone, texts, cache=cache), strict=True))
    rows = {text: each.row for text, each in read.items()}
    known = clips.features
    features: dict[str, ClipFeatures] = {
        clip: {**known[clip], "similarity": similarity(known[clip]["embeddings"], several, rows)}
        for clip, several in own.items()
    }
    return EmbeddingSet(features, clips.left_out), sum(each.cut for each in read.values())


def similarity(embedding: torch.Tensor, texts: Sequence[str], rows: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return mean and largest of the cosines of a clip and its captions, ``(2,)`` float64."""
    cosines = torch.stack([rows[text] for text in texts]).double() @ embedding.double().cpu()
    return torch.stack([cosines.mean(), cosines.max()])


@dataclass(frozen=True)
class ReadText:
    """The embedding of a text, ``(d,)``, and whether the network takes its beginning only."""

    row: torch.Tensor
    cut: bool


def read_texts(backbone: Backbone, texts: Sequence[str], *, cache: bool = True) -> list[ReadText]:
    """Return what a network makes of each text; what is cached is not computed again.

    Raises
    ------
    NumericsError
        The network gave NaN or infinity.
    """
    keys = {text: hashlib.blake2b(text.encode(), digest_size=20).hexdigest() for text in texts}
    space = {"texts": backbone.settings | backbone.text_settings}
    kept = EmbeddingCache(space, f"{backbone.name}-texts") if cache else None
    known = {} if kept is None else kept.get(keys.values())
    found = {key: ReadText(clip.features["embeddings"], clip.facts.clipped > 0) for key, clip in known.items()}
    missing = [text for text in keys if keys[text] not in found]
    if missing:
        rows = backbone.embed_text(missing)
        if rows.ndim != 2 or len(rows) != len(missing):
            raise DataError(f"{len(missing)} texts gave {tuple(rows.shape)}", where=backbone.name)
        if not rows.isfinite().all():
            raise NumericsError("gave NaN or infinity for a text", where=backbone.name, fix="Check its weights")
        for text, row, cut in zip(missing, rows, backbone.cut_texts(missing), strict=True):
            found[keys[text]] = ReadText(row, cut)
            if kept is not None:
                # Of what the cache keeps of a clip's sound, a text has one thing: whether it is cut.
                facts = ClipFacts(0.0, 1, 1, 0.0, clipped=float(cut), constant=False, unheard=False)
                kept.put(keys[text], CachedClip({"embeddings": row}, facts))
        if kept is not None:
            kept.flush()
    return [found[keys[text]] for text in texts]
