"""Sets that are in the cache already, of rows that no network has made: ``python benchmarks/cached.py FOLDER N``.

The cache is that of ``AGM_CACHE_DIR``.

Files of a few samples, each of another content, and shards that hold rows of CNN14 and VGGish under their hashes, so
that ``agm score`` goes the way of any warm run. The rows have spectra that fall like those of networks.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from audiogen_metrics.audio.files import scan  # noqa: E402
from audiogen_metrics.audio.preflight import ClipFacts  # noqa: E402
from audiogen_metrics.backbones.panns import Cnn14At16k  # noqa: E402
from audiogen_metrics.embedding.cache import CachedClip, ClipFeatures  # noqa: E402
from audiogen_metrics.embedding.lanes import ExtractionOptions, Lane  # noqa: E402
from audiogen_metrics.evaluation.networks import find_networks  # noqa: E402
from audiogen_metrics.file_hashes import HashMemo, digest_of, identity_of, memo_folder  # noqa: E402
from audiogen_metrics.protocols import get_protocol  # noqa: E402
from tests.checkpoints import write_panns, write_vggish  # noqa: E402

PROTOCOL = "audioldm-0.0.3"
WIDTHS = {"panns-cnn14-16k": {"embeddings": 2048, "logits": 527}, "vggish": {"windows": 128}}
WINDOWS = 10
FACTS = ClipFacts(10.0, 16_000, 1, 0.5, clipped=0.0, constant=False, unheard=False)
AT_ONCE = 1000


def weights(folder: Path) -> dict[str, Path]:
    """Return random checkpoints of the protocol's networks."""
    files = {name: folder / f"{name}.pth" for name in WIDTHS}
    if not files["vggish"].exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_panns(files["panns-cnn14-16k"], Cnn14At16k)
        write_vggish(files["vggish"])
    return files


def build(folder: Path, count: int, checkpoints: dict[str, Path]) -> tuple[Path, Path]:
    """Write two folders of so many clips, and their rows into the cache, and return the folders."""
    recipes = get_protocol(PROTOCOL).select(None)
    networks = find_networks(recipes, "cpu", checkpoints).backbones
    preparations = {recipe.backbone: recipe.preprocessing for recipe in recipes}
    lanes = [Lane(networks[name], preparations[name], ExtractionOptions()) for name in WIDTHS]
    for seed, side in enumerate(("gen", "ref")):
        place = folder / str(count) / side
        place.mkdir(parents=True)
        memo = HashMemo(memo_folder(), place)
        for start in range(0, count, AT_ONCE):
            places = range(start, min(count, start + AT_ONCE))
            digests = [_write(place / f"{number:07d}.wav", seed, number) for number in places]
            for lane in lanes:
                _keep(lane, digests, np.random.default_rng([seed, start, len(lane.backbone.name)]))
        for clip in scan(place).clips:
            memo.remember(clip.path, identity_of(clip.path), digest_of(clip.path.read_bytes()))
        memo.save()
    for lane in lanes:
        lane.close()
    return folder / str(count) / "gen", folder / str(count) / "ref"


def _write(path: Path, seed: int, number: int) -> str:
    samples = struct.pack("<Q", number * 2 + seed)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 44, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", 8)
    path.write_bytes(head + samples)
    return digest_of(head + samples)


def _keep(lane: Lane, digests: list[str], rng: np.random.Generator) -> None:
    rows = {}
    for output, width in WIDTHS[lane.backbone.name].items():
        shape = (len(digests), WINDOWS, width) if output == "windows" else (len(digests), width)
        scale = np.arange(1, width + 1, dtype=np.float32) ** -0.5
        rows[output] = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * scale)
    assert lane.cache is not None
    for place, digest in enumerate(digests):
        features: ClipFeatures = {output: every[place] for output, every in rows.items()}  # type: ignore[misc]
        lane.cache.put(digest, CachedClip(features, FACTS))


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(sys.argv[2]), weights(Path(sys.argv[1]) / "weights"))
