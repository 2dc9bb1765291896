"""Parity with the published evaluators on the same files and the same random checkpoints.

The small form runs always: eight pairs of clips against committed outputs of the peers. The full form runs the peers
themselves, in an environment of their own: ``make parity``, which also writes docs/parity.md.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics.audio.resampling import resample
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.functional import GaussianStatistics, frechet_distance, inception_score, kl_divergence
from tests.checkpoints import write_panns, write_vggish
from tests.peers.clips import RATES, build
from tests.peers.parity import Peers, Row, rows, table

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "small"
PAGE = HERE.parent.parent / "docs" / "parity.md"
PEERS_PYTHON = os.environ.get("AGM_PEERS_PYTHON")

SMALL = {"count": 8, "shortest": 3.0, "longest": 3.0, "seed": 0}
TEN_SECONDS = {"count": 24, "shortest": 10.0, "longest": 10.0, "seed": 1}
MIXED = {"count": 16, "shortest": 0.5, "longest": 12.0, "seed": 2}

pytestmark = pytest.mark.peers
needs_peers = pytest.mark.skipif(PEERS_PYTHON is None, reason="needs the peers' own environment: make parity")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    folder = tmp_path_factory.mktemp("weights")
    yield {
        "panns-cnn14-16k": write_panns(folder / "panns.pth", Cnn14At16k),
        "vggish": write_vggish(folder / "vggish.pth"),
    }
    for path in folder.iterdir():
        path.unlink()


def check(found: list[Row]) -> None:
    failed = [row.cells() for row in found if not row.difference <= row.tolerance]
    assert not failed, table(found)


def test_small_form_against_committed_outputs(weights: Mapping[str, Path], tmp_path: Path) -> None:
    gen, ref = build(tmp_path, **SMALL)  # type: ignore[arg-type]
    found = list(rows(gen, ref, weights, Peers.load(GOLDEN)))
    assert len(found) >= 10
    check(found)


def test_statistics_of_small_peers_on_the_same_features() -> None:
    import torchmetrics
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torchmetrics.image.fid import _compute_fid

    peers = Peers.load(GOLDEN)
    gen, ref = (torch.from_numpy(peers.matrix(side, "vggish")) for side in ("gen", "ref"))
    # Sixteen of 128 dimensions: the matrix square root needs more rows than dimensions.
    gen, ref = gen[:, :16], ref[:, :16]
    ours = frechet_distance(*(GaussianStatistics.from_embeddings(side) for side in (gen, ref))).value
    fidelity = fid_statistics_to_metric(fid_features_to_statistics(gen), fid_features_to_statistics(ref), False)
    assert ours == pytest.approx(fidelity["frechet_inception_distance"], rel=1e-6)
    assert ours == pytest.approx(float(_compute_fid(gen.mean(0), gen.T.cov(), ref.mean(0), ref.T.cov())), rel=1e-6)

    gen, ref = (torch.from_numpy(peers.matrix(side, "logits")) for side in ("gen", "ref"))
    score = isc_features_to_metric(gen, splits=4, shuffle=True, rng_seed=2020)
    mine = inception_score(gen, splits=4, seed=2020)
    assert mine.mean == pytest.approx(score["inception_score_mean"], rel=1e-9)
    assert mine.std == pytest.approx(score["inception_score_std"], rel=1e-9)
    divergence = torchmetrics.KLDivergence(log_prob=True)(ref.log_softmax(1), gen.log_softmax(1))
    assert kl_divergence(gen, ref).mean == pytest.approx(float(divergence), rel=1e-6)


@needs_peers
def test_full_form(weights: Mapping[str, Path], tmp_path: Path) -> None:
    """Both orders of 24 + 24 ten-second clips, and 16 + 16 of 0.5 to 12 s; the page is written before it is judged."""
    gen, ref = build(tmp_path / "ten", **TEN_SECONDS)  # type: ignore[arg-type]
    mixed_gen, mixed_ref = build(tmp_path / "mixed", **MIXED)  # type: ignore[arg-type]
    swapped = _swapped(gen, ref, tmp_path / "swapped")
    runs = {
        "24 + 24 clips of ten seconds": (gen, ref),
        "The same, gen and ref exchanged": swapped,
        "16 + 16 clips of 0.5 to 12 s": (mixed_gen, mixed_ref),
    }
    results = {}
    for index, (title, folders) in enumerate(runs.items()):
        peers = run_peers(*folders, weights, tmp_path / f"run{index}")
        results[title] = list(rows(*folders, weights, peers))
    PAGE.write_text(_page(results, peers.scores["versions"]), encoding="utf-8")
    for found in results.values():
        check(found)


@needs_peers
def test_the_committed_outputs_are_the_peers(weights: Mapping[str, Path], tmp_path: Path) -> None:
    """Write them again with ``AGM_WRITE_GOLDEN=1``."""
    gen, ref = build(tmp_path / "small", **SMALL)  # type: ignore[arg-type]
    fresh = run_peers(gen, ref, weights, tmp_path / "run")
    if os.environ.get("AGM_WRITE_GOLDEN"):
        for suffix in (".json", ".npz"):
            Path(f"{GOLDEN}{suffix}").write_bytes(Path(f"{tmp_path / 'run' / 'out'}{suffix}").read_bytes())
    committed = Peers.load(GOLDEN)
    assert committed.features.keys() == fresh.features.keys()
    for name, value in fresh.features.items():
        np.testing.assert_allclose(committed.features[name], value, rtol=0, atol=1e-4 * float(np.abs(value).max()))


@needs_peers
def test_resampler_is_torchaudios_to_the_bit(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np, torch; from torchaudio.functional import resample; torch.set_num_threads(1); "
        "found = dict(np.load(sys.argv[1])); "
        "np.savez(sys.argv[2], **{k: resample(torch.from_numpy(v), int(k), 16000).numpy() for k, v in found.items()})"
    )
    noise = {str(rate): np.random.default_rng(rate).normal(size=2 * rate + 1).astype(np.float32) for rate in RATES}
    np.savez(tmp_path / "in.npz", **noise)
    subprocess.run([str(PEERS_PYTHON), "-c", script, tmp_path / "in.npz", tmp_path / "out.npz"], check=True)
    theirs = np.load(tmp_path / "out.npz")
    for rate, waveform in noise.items():
        ours = resample(torch.from_numpy(waveform), int(rate), 16_000, "torchaudio").numpy()
        np.testing.assert_array_equal(ours, theirs[rate])


def run_peers(gen: Path, ref: Path, weights: Mapping[str, Path], folder: Path) -> Peers:
    """Run ``run_peers.py`` in the peers' environment, in a home of its own and without a proxy to any network."""
    folder.mkdir()
    _labels(folder)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "MPLCONFIGDIR": str(folder / "mpl"),
        "NUMBA_CACHE_DIR": str(folder / "numba"), "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    }  # fmt: skip
    command = [str(PEERS_PYTHON), HERE / "run_peers.py", gen, ref, *weights.values(), folder / "out"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Peers.load(folder / "out")


def _labels(home: Path) -> None:
    """Put a label list where panns_inference would download one when imported; only its length matters."""
    (home / "panns_data").mkdir()
    lines = ["index,mid,display_name", *(f"{index},/m/{index},class {index}" for index in range(527))]
    (home / "panns_data" / "class_labels_indices.csv").write_text("\n".join(lines) + "\n")


def _swapped(gen: Path, ref: Path, target: Path) -> tuple[Path, Path]:
    target.mkdir()
    folders = target / "gen", target / "ref"
    for folder, source in zip(folders, (ref, gen), strict=True):
        folder.symlink_to(source)
    return folders


def _page(results: Mapping[str, list[Row]], versions: Mapping[str, str]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    tables = "\n".join(f"## {title}\n\n{table(found)}" for title, found in results.items())
    return (HERE / "page.md").read_text(encoding="utf-8").format(named=named, tables=tables)
