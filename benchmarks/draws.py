"""How the sets are drawn on which the statements about uncertainty are checked: real clips, and laws that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from population import Population

from audiogen_metrics.embedding.given import GivenFeatures
from audiogen_metrics.functional import GaussianStatistics

Places = npt.NDArray[np.int64]
Rows = npt.NDArray[np.floating]
Draw = Callable[[np.random.Generator], tuple[GivenFeatures, GivenFeatures]]
Rivalry = Callable[[np.random.Generator], tuple[GivenFeatures, GivenFeatures, GivenFeatures]]
"""Draws A, B and the reference."""

Tournament = Callable[[np.random.Generator], list[GivenFeatures]]
"""Draws several systems, then the reference."""

Pairing = Literal["pairs", "half", "none"]
"""Which clips of gen have a partner in ref: a pair has one id."""


def names(n: int, side: str, pairing: Pairing = "none") -> tuple[str, ...]:
    """Return ids, those of the pairs the same on every side; they keep the order."""
    pairs = paired(n, pairing)
    return tuple(f"{place:05d}{'' if place < pairs else side}" for place in range(n))


def paired(n: int, pairing: Pairing) -> int:
    """Return how many of n clips have partners."""
    return {"pairs": n, "half": n // 2, "none": 0}[pairing]


def given(
    ids: Sequence[str],
    rows: Rows | torch.Tensor | None = None,
    counts: Sequence[int] | None = None,
    logits: Rows | torch.Tensor | None = None,
) -> GivenFeatures:
    """Return a set of clips by their rows or logits."""
    embeddings = None if rows is None else torch.as_tensor(rows)
    return GivenFeatures(
        tuple(ids),
        None if embeddings is None else GaussianStatistics.from_embeddings(embeddings),
        None if logits is None else torch.as_tensor(logits),
        embeddings=embeddings,
        row_counts=None if counts is None else tuple(counts),
    )


@dataclass(frozen=True)
class Real:
    """Sets of one population; ``condition`` is gen's, ref is clean."""

    conditions: dict[str, Population]
    among: Places

    def embeddings(
        self, n: int, condition: str = "clean", pairing: Pairing = "none", *, exchange: bool = False
    ) -> Draw:
        """Draw gen and ref of n clips each; ``exchange`` makes one distribution of them by a coin for every clip."""

        def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures]:
            sides = self._sides(rng, n, pairing, exchange)
            damaged, clean = self.conditions[condition].embeddings, self.conditions["clean"].embeddings
            gen, ref = (
                given(names(n, side, pairing), np.where(flags[:, None], damaged[places], clean[places]))
                for side, (places, flags) in zip("gr", sides, strict=True)
            )
            return gen, ref

        return draw

    def windows(self, n: int, condition: str = "clean", pairing: Pairing = "none", *, exchange: bool = False) -> Draw:
        """Draw the windows of n clips each."""
        clean, damaged = self.conditions["clean"], self.conditions[condition]
        ends = clean.counts.cumsum()

        def side(name: str, places: Places, flags: npt.NDArray[np.bool_]) -> GivenFeatures:
            rows = [
                (damaged if flag else clean).windows[ends[place] - clean.counts[place] : ends[place]]
                for place, flag in zip(places, flags, strict=True)
            ]
            return given(names(n, name, pairing), np.concatenate(rows), [len(block) for block in rows])

        def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures]:
            gen, ref = self._sides(rng, n, pairing, exchange)
            return side("g", *gen), side("r", *ref)

        return draw

    def logits(self, n: int, condition: str) -> Draw:
        """Draw the logits of n clips, damaged and clean."""

        def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures]:
            places = rng.permutation(self.among)[:n]
            sides = self.conditions[condition], self.conditions["clean"]
            gen, ref = (given(names(n, "", "pairs"), logits=side.logits[places]) for side in sides)
            return gen, ref

        return draw

    def astray(self, n: int, together: bool) -> Rivalry:
        """Draw two systems, moved as far as 20 dB of noise moves the mean, one there and one the other way."""
        clean = self.conditions["clean"].embeddings
        move = (self.conditions["noise20"].embeddings[self.among] - clean[self.among]).mean(0, dtype=np.float64)

        def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures, GivenFeatures]:
            order = rng.permutation(self.among)
            a, b, ref = order[:n], order[:n] if together else order[2 * n : 3 * n], order[n : 2 * n]
            ids = [names(n, side, "pairs" if together else "none") for side in "ab"]
            return given(ids[0], clean[a] + move), given(ids[1], clean[b] - move), given(names(n, "r"), clean[ref])

        return draw

    def _sides(
        self, rng: np.random.Generator, n: int, pairing: Pairing, exchange: bool
    ) -> list[tuple[Places, npt.NDArray[np.bool_]]]:
        """Return the clips of gen and of ref, and which of them are damaged."""
        order, pairs = rng.permutation(self.among), paired(n, pairing)
        ours, theirs = order[:n], np.concatenate([order[:pairs], order[n : 2 * n - pairs]])
        flags = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
        if exchange:
            flags = rng.random(n) < 0.5, rng.random(n) < 0.5
            flags[1][:pairs] = ~flags[0][:pairs]
        return [(ours, flags[0]), (theirs, flags[1])]


def synthetic(
    n: int, d: int, law: str = "normal", windows: int = 1, *, shared: float = 0.0, pairing: Pairing = "none"
) -> Draw:
    """Draw sets of a known law.

    ``spectrum``: a power law, gen shifted and wider, the windows of a clip alike. Of the others gen and ref are one
    distribution of independent features. Pairs have ``shared`` of their variance in common.
    """
    scales = np.arange(1, d + 1) ** -0.5
    laws: dict[str, Callable[[np.random.Generator], Rows]] = {
        "normal": lambda rng: rng.standard_normal((n, d)),
        "t(3)": lambda rng: rng.standard_t(3, (n, d)),
        "lognormal": lambda rng: rng.lognormal(size=(n, d)),
    }

    def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures]:
        ids = [names(n, side, pairing) for side in "gr"]
        if law != "spectrum":
            sides = [laws[law](rng), laws[law](rng)]
            if shared:
                sides = _sharing(rng, sides, shared, paired(n, pairing))
            return given(ids[0], sides[0]), given(ids[1], sides[1])
        clips = [rng.standard_normal((n, 1, d)) + 0.5 * rng.standard_normal((n, windows, d)) for _ in range(2)]
        if shared:
            clips = _sharing(rng, clips, shared, n)
        gen, ref = ((side * scales).reshape(-1, d) for side in clips)
        counts = None if windows == 1 else [windows] * n
        return given(ids[0], 1.2 * gen + 0.2, counts), given(ids[1], ref, counts)

    return draw


def _sharing(rng: np.random.Generator, sides: Sequence[Rows], shared: float, count: int) -> list[Rows]:
    """Return sets whose first ``count`` rows have a share of their variance in common."""
    common, mixed = rng.standard_normal(sides[0].shape), []
    for side in sides:
        whole = np.sqrt(shared) * common + np.sqrt(1 - shared) * side
        mixed.append(np.concatenate([whole[:count], side[count:]]))
    return mixed


def synthetic_pairs(n: int, classes: int = 50) -> Draw:
    """Draw logits of gen that are near those of ref."""

    def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures]:
        ref = 3 * rng.standard_normal((n, classes))
        ids = names(n, "", "pairs")
        return given(ids, logits=ref + rng.standard_normal((n, classes))), given(ids, logits=ref)

    return draw


def systems(
    n: int,
    d: int,
    shifts: tuple[float, float] = (0.0, 0.0),
    widths: tuple[float, float] = (1.0, 1.0),
    *,
    axes: Literal["one", "all"] = "one",
    shared: float | None = 0.5,
    larger: int = 0,
) -> Rivalry:
    """Draw normal systems A and B, shifted and widened, and a reference.

    ``shared`` is what the clips of one id have in common, in share of their variance; None has no pairs. B has
    ``larger`` more clips.
    """

    def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures, GivenFeatures]:
        sides = [rng.standard_normal((n + (larger if side == "b" else 0), d)) for side in "abr"]
        pairing: Pairing = "none" if shared is None else "pairs"
        if shared:
            sides = _sharing(rng, sides, shared, n)
        for side, shift, width in zip(sides, shifts, widths, strict=False):
            side *= width
            side[:, : 1 if axes == "one" else d] += shift
        a, b, ref = (given(names(len(side), name, pairing), side) for side, name in zip(sides, "abr", strict=True))
        return a, b, ref

    return draw


def several(n: int, d: int, shifts: Sequence[float], *, shared: float | None = 0.5) -> Tournament:
    """Draw normal systems, each shifted on every axis, one there and the next one the other way, and a reference.

    ``shared`` is what the clips of one id have in common, in share of their variance; None has no pairs.
    """

    def draw(rng: np.random.Generator) -> list[GivenFeatures]:
        sides = [rng.standard_normal((n, d)) for _ in range(len(shifts) + 1)]
        pairing: Pairing = "none" if shared is None else "pairs"
        if shared:
            sides = _sharing(rng, sides, shared, n)
        for place, shift in enumerate(shifts):
            sides[place] += shift * (-1) ** place
        labels = [f"s{place}" for place in range(len(shifts))] + ["r"]
        return [given(names(n, label, pairing), side) for label, side in zip(labels, sides, strict=True)]

    return draw


def classifiers(n: int, together: bool, classes: int = 50) -> Rivalry:
    """Draw the logits of two equally distributed systems, and of a reference."""

    def draw(rng: np.random.Generator) -> tuple[GivenFeatures, GivenFeatures, GivenFeatures]:
        ref = 3 * rng.standard_normal((n, classes))
        sides = [ref + rng.standard_normal((n, classes)) for _ in range(2)]
        if not together:
            more = 3 * rng.standard_normal((n, classes))
            sides[1], ref = more + sides[1] - ref, np.concatenate([ref, more])
        ids = [f"{place:05d}" for place in range(len(ref))]
        return (
            given(ids[:n], logits=sides[0]),
            given(ids[-n:], logits=sides[1]),
            given(ids, logits=ref),
        )

    return draw
