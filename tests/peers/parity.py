"""Ours beside the peers' on the same files: rows of a table, each with its tolerance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiogen_metrics.embedding.sides import FolderSide
from audiogen_metrics.evaluation import embed_folder
from audiogen_metrics.evaluation.one_score import compute
from audiogen_metrics.protocols import get_protocol

Features = Mapping[str, npt.NDArray[np.float32]]
PROTOCOL = "audioldm-0.0.3"


@dataclass(frozen=True)
class Row:
    """One quantity, ours and the peer's; ``difference`` is relative, for features the worst over clips."""

    quantity: str
    peer: str
    difference: float
    tolerance: float
    ours: float | None = None
    theirs: float | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        values = ("" if value is None else f"{value:.8g}" for value in (self.ours, self.theirs))
        return (self.quantity, self.peer, *values, f"{self.difference:.1e}", f"{self.tolerance:.0e}", self.note)


@dataclass(frozen=True)
class Peers:
    """What ``run_peers.py`` wrote."""

    scores: Mapping[str, Any]
    features: Features

    @classmethod
    def load(cls, stem: Path) -> Peers:
        """Read both files; FileNotFoundError if one is missing."""
        scores = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
        with np.load(f"{stem}.npz") as content:
            return cls(scores, {name: content[name] for name in content.files})

    def matrix(self, side: str, kind: str) -> npt.NDArray[np.float64]:
        """Return one kind of feature of one folder, all rows in the order of the file names."""
        names = sorted(name for name in self.features if name.startswith(f"{side}/") and name.endswith(kind))
        return np.vstack([self.features[name].astype(np.float64) for name in names])


def rows(gen: Path, ref: Path, weights: Mapping[str, Path], peers: Peers) -> Iterator[Row]:
    """Yield every comparison of one run."""
    sides = {
        name: embed_folder(folder, name=name, protocol=PROTOCOL, weights=weights, cache=False)[0]
        for name, folder in (("gen", gen), ("ref", ref))
    }
    yield from feature_rows(sides, peers)
    yield from score_rows(sides, peers)


def feature_rows(sides: Mapping[str, FolderSide], peers: Peers) -> Iterator[Row]:
    """Yield the worst difference of each kind of feature."""
    recipes = get_protocol(PROTOCOL).recipes
    for kind, metric, output in (
        ("embedding", "fd", "embeddings"), ("logits", "kl", "logits"), ("vggish", "fad", "windows"),
    ):  # fmt: skip
        worst = max(
            _relative(clip[output].numpy(), peers.features[name])
            for side in sides
            for name, clip in _by_file(sides[side].features(recipes[metric]).features, side, kind, peers)
        )
        peer = {"vggish": "torchvggish in audioldm-eval's FAD"}.get(kind, "CNN14 in audioldm-eval")
        yield Row(f"{kind}, worst clip", peer, worst, 1e-4)
    gen = sides["gen"].features(recipes["fd"]).features
    pairs = list(_by_file(gen, "panns-inference", "embedding", peers))
    if pairs:
        worst = max(_relative(clip["embeddings"].numpy(), peers.features[name]) for name, clip in pairs)
        yield Row("embedding, worst clip", "panns-inference", worst, 1e-4)
        worst = max(
            float(
                np.abs(
                    clip["logits"].sigmoid().numpy() - peers.features[name.replace("embedding", "probabilities")]
                ).max()
            )
            for name, clip in pairs
        )
        # The scaled random head spreads logits over tens: 6e-5 of their norm, the row above, is 1e-3 of one near 0.
        note = "the logits' difference, where the sigmoid is steepest"
        yield Row("probabilities (absolute), worst clip", "panns-inference", worst, 1e-3, note=note)


def score_rows(sides: Mapping[str, FolderSide], peers: Peers) -> Iterator[Row]:
    """Yield every score, and the Fréchet distances also against a plain one on the peer's own features."""
    ours = {}
    for metric, recipe in get_protocol(PROTOCOL).recipes.items():
        ours[metric] = compute(recipe, sides["gen"].features(recipe), sides["ref"].features(recipe))
    theirs, errors = peers.scores["audioldm_eval"], peers.scores["errors"]
    for metric, name, kind in (
        ("fd", "frechet_distance", "embedding"), ("fad", "frechet_audio_distance", "vggish"),
    ):  # fmt: skip
        value = ours[metric].value
        oracle = plain_frechet(peers.matrix("gen", kind), peers.matrix("ref", kind))
        note = f"float64 oracle on the peer's features; the peer itself: {errors.get(name) or f'{theirs[name]:.8g}'}"
        yield _score_row(metric.upper(), "audioldm-eval", value, oracle, note=note)
        if theirs[name] is not None and metric == "fad":
            yield _score_row("FAD", "audioldm-eval", value, theirs[name])
    if peers.scores["frechet_audio_distance"] is not None:
        yield _score_row("FAD", "frechet-audio-distance", ours["fad"].value, peers.scores["frechet_audio_distance"])
    if theirs["inception_score_mean"] is None:  # NaN there for fewer clips than splits; here there is no value either
        assert ours["is"].value is None
    else:
        mean = ours["is"].value
        assert mean is not None
        yield _score_row("IS mean − 1", "audioldm-eval", mean - 1, theirs["inception_score_mean"] - 1)
        yield _score_row("IS std", "audioldm-eval", ours["is"].std, theirs["inception_score_std"])
    for metric, form in (("kl", "softmax"), ("kl_sigmoid", "sigmoid")):
        name = f"kullback_leibler_divergence_{form}"
        yield _score_row(f"KL {form}", "audioldm-eval", ours[metric].value, theirs[name])


def plain_frechet(gen: npt.NDArray[np.float64], ref: npt.NDArray[np.float64]) -> float:
    """Return the Fréchet distance by its textbook formula: eigenvalues of ``√C₁ C₂ √C₁``, slow and obvious."""
    first, second = np.cov(gen, rowvar=False), np.cov(ref, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(min=0)).sum()
    difference = gen.mean(0) - ref.mean(0)
    return float(difference @ difference + np.trace(first) + np.trace(second) - 2 * trace)


def table(found: list[Row]) -> str:
    """Return rows as a Markdown table."""
    head = ("quantity", "peer", "ours", "peer's", "relative difference", "tolerance", "")
    lines = [head, ("---",) * len(head), *(row.cells() for row in found)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _score_row(quantity: str, peer: str, ours: float | None, theirs: float, note: str = "") -> Row:
    assert ours is not None, quantity
    return Row(quantity, peer, abs(ours - theirs) / abs(theirs), 1e-4, ours, theirs, note)


def _by_file(features: Mapping[str, Any], side: str, kind: str, peers: Peers) -> Iterator[tuple[str, Any]]:
    """Yield the peer's name of each clip's feature with our features of that clip."""
    names = [name for name in peers.features if name.startswith(f"{side}/") and name.endswith(f"/{kind}")]
    for name in names:
        yield name, features[Path(name.split("/")[1]).stem]


def _relative(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    exact = theirs.astype(np.float64)
    return float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))
