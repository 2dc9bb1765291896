"""Distances between the statistics in fadtk's FMA-Pop file: ``python -m benchmarks.others_references FILE``.

FILE is ``fma_pop.npz``, or the wheel of fadtk 1.1.0 that holds it (``pip download fadtk==1.1.0 --no-deps``). Prints
distances beside those by a matrix square root of scipy, and those of every network's statistics from themselves. Half a
minute on one core.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from scipy import linalg

from audiogen_metrics.embedding.foreign import ForeignStatistics, open_foreign
from audiogen_metrics.functional import GaussianStatistics, frechet_distance

MEMBER = "fadtk/stats/fma_pop.npz"
SHA256 = "74746819873d7082498b0caec0c7846b2e7967050353761a3fdcfcabf3f11dcb"
PAIRS = (("clap-laion-audio", "clap-laion-music"), ("MERT-v1-95M", "MERT-v1-95M-11"))


def opened(path: Path, folder: Path) -> ForeignStatistics:
    """Return FMA-Pop's statistics from their file, or from the wheel; ValueError for another version of them."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            path = Path(wheel.extract(MEMBER, folder))
    found = open_foreign(path)
    if found is None or found.summary.digest != SHA256:
        raise ValueError(f"{path} is not the fma_pop.npz of fadtk 1.1.0")
    return found


def by_root(gen: GaussianStatistics, ref: GaussianStatistics) -> float:
    """Return the distance by the definition."""
    first, second = gen.covariance.numpy(), ref.covariance.numpy()
    offset = (gen.mean - ref.mean).numpy()
    root = linalg.sqrtm(first @ second).real
    return float(offset @ offset + np.trace(first + second - 2 * root))


def main() -> None:
    """Print the distances."""
    with tempfile.TemporaryDirectory() as folder:
        held = opened(Path(sys.argv[1]), Path(folder))
        for gen, ref in PAIRS:
            pair = held.gaussian(gen), held.gaussian(ref)
            ours, root = frechet_distance(*pair).value, by_root(*pair)
            print(f"{gen} | {ref}: {ours:.9g}, by sqrtm {root:.9g} (relative {abs(ours / root - 1):.1e})")
        own = {name: frechet_distance(held.gaussian(name), held.gaussian(name)).value for name in held.moments}
        variances = {name: float(held.gaussian(name).factor.square().sum()) for name in own}
        worst = max(own, key=lambda name: own[name] / variances[name])
        print(
            f"{len(own)} distances to themselves: at most {own[worst] / variances[worst]:.1e} of the variance ({worst})"
        )
        print(f"by sqrtm, {worst}: {by_root(held.gaussian(worst), held.gaussian(worst)):.1e}")


if __name__ == "__main__":
    main()
