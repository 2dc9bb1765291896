"""Would eigenvalues do for the Fréchet distance? ``python -m benchmarks.once.eigenvalues [FILE]``.

``A Aᵀ`` has the squares of the singular values of ``A = F_gen F_refᵀ`` as eigenvalues, which take a third of the time
or less. They are off by at most ``δ = c ε λmax``; so is a root ``√λ`` by ``min(√δ, δ / (√λ + √max(λ − δ, 0)))``. The
path could be taken where the sum of these stays below 1e-9 of the distance. Prints that for YAMNet's windows of the
examples and, with the FILE of `benchmarks.others_references`, for rows drawn from each of FMA-Pop's covariances against
that covariance: with ``c = 1``, which is a hope, with ``c = d``, which is a bound, and how far the eigenvalues are off
in fact. A minute on one core.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.files import scan
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones import BACKBONES
from audiogen_metrics.functional import GaussianStatistics, frechet_distance
from benchmarks.others_references import opened

EXAMPLES = Path(__file__).parents[2] / "examples"
NEGLIGIBLE = 1e-9
"""Of the distance."""

Pair = tuple[str, GaussianStatistics, GaussianStatistics]


def windows(folder: Path) -> torch.Tensor:
    """Return YAMNet's rows of all windows of a folder, begun at 24 offsets, so that there are more than dimensions."""
    backbone, preparation = BACKBONES.get("yamnet")("cpu"), Preprocessing(16_000)
    clips = [prepare(decode(clip.path, clip.path.read_bytes()), preparation) for clip in scan(folder).clips]
    parts = [clip[offset:] for clip in clips for offset in range(0, 16_000, 667)]
    return torch.cat([backbone(part[None]).named()["windows"][0] for part in parts if len(part) >= 16_000])


def pairs(*files: str) -> Iterator[Pair]:
    """Yield names and statistics."""
    fit = GaussianStatistics.from_embeddings
    gen, ref = windows(EXAMPLES / "generated"), windows(EXAMPLES / "reference")
    noise = torch.randn(gen.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    yield "YAMNet, examples", fit(gen), fit(ref)
    yield "YAMNet, every other window", fit(ref[::2]), fit(ref[1::2])
    yield "YAMNet, with noise of 1e-2", fit(gen), fit(gen + 0.01 * noise)
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            held = opened(Path(file), Path(folder))
            for name in held.moments:
                whole = held.gaussian(name)
                yield f"FMA-Pop, {name}", fit(drawn(whole)), whole


def drawn(whole: GaussianStatistics) -> torch.Tensor:
    """Return rows of a normal distribution, twice as many as dimensions."""
    shape = 2 * whole.dimension, len(whole.factor)
    return (
        whole.mean + torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ whole.factor
    )


def bound(eigenvalues: np.ndarray, scale: float) -> float:
    """Return the largest error of the sum of the roots where each eigenvalue may be off by ``scale ε λmax``."""
    values = eigenvalues.clip(min=0)
    delta = scale * np.finfo(np.float64).eps * values.max()
    roots = np.sqrt(values) + np.sqrt((values - delta).clip(min=0))
    return float(np.minimum(np.sqrt(delta), delta / roots.clip(min=1e-300)).sum())


def main() -> None:
    """Print a line for each pair, and how often the path would be taken."""
    taken, count = {"1": 0, "d": 0}, 0
    for name, gen, ref in pairs(*sys.argv[1:]):
        distance, product = frechet_distance(gen, ref).value, (gen.factor @ ref.factor.T).numpy()
        squares = np.linalg.eigvalsh(product @ product.T)
        off = abs(np.sqrt(squares.clip(min=0)).sum() - np.linalg.svd(product, compute_uv=False).sum()) * 2 / distance
        bounds = {"1": bound(squares, 1) * 2 / distance, "d": bound(squares, gen.dimension) * 2 / distance}
        shown = ", ".join(f"c = {scale}: {share:.0e}" for scale, share in bounds.items())
        print(f"{name}: bound over distance {shown}; off by {off:.0e}", flush=True)
        count += 1
        for scale, share in bounds.items():
            taken[scale] += share <= NEGLIGIBLE
    print(f"taken for {taken['1']} of {count} pairs with c = 1, for {taken['d']} with c = d")


if __name__ == "__main__":
    main()
