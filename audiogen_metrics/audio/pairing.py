"""Pair the clips of two sets by clip id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

PairingMode = Literal["auto", "id", "none"]
"""``auto``: pair what matches; ``id``: every clip must match; ``none``: the sets are unpaired."""


@dataclass(frozen=True)
class Pairing:
    """Clip ids in both sets, and those in one only; all sorted."""

    paired: tuple[str, ...]
    gen_only: tuple[str, ...]
    ref_only: tuple[str, ...]


def pair(gen_ids: Iterable[str], ref_ids: Iterable[str]) -> Pairing:
    """Match two sets of clip ids.

    Examples
    --------
    >>> pair(["dog", "rain"], ["rain", "wind"])
    Pairing(paired=('rain',), gen_only=('dog',), ref_only=('wind',))
    """
    gen, ref = set(gen_ids), set(ref_ids)
    return Pairing(tuple(sorted(gen & ref)), tuple(sorted(gen - ref)), tuple(sorted(ref - gen)))
