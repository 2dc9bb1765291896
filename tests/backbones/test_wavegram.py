"""Wavegram-LogMel-CNN14 against kadtk's committed outputs, on random weights in the published format."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from audiogen_metrics.backbones import BACKBONES, panns
from audiogen_metrics.backbones.panns import POOLED_FRAMES
from audiogen_metrics.backbones.wavegram import COLUMN, SHORTEST, WavegramLogmelCnn14, WavegramNetwork
from audiogen_metrics.errors import InsufficientDataError, MissingWeightsError
from audiogen_metrics.testing import check_backbone
from tests.checkpoints import write_panns

GOLDEN = Path(__file__).parent.parent / "peers" / "golden" / "wavegram.npz"
PEER = Path(__file__).parent.parent / "peers" / "run_wavegram.py"
PEER_PYTHON = os.environ.get("AGM_KADTK_PYTHON")
RATE = 32_000
SAMPLES = {"ten": 10 * RATE, "again": 10 * RATE, "eight": 8 * RATE, "three": 3 * RATE, "frame": 10 * RATE + 320,
           "odd": 70_001, "shortest": SHORTEST}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread_and_own_cache() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGM_CACHE_DIR", folder)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Path]:
    """A random checkpoint; not under tmp_path, whose last three versions of 330 MB pytest would keep."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_panns(Path(folder, "wavegram.pth"), WavegramLogmelCnn14)


@pytest.fixture(scope="module")
def wavegram(checkpoint: Path) -> WavegramLogmelCnn14:
    return WavegramLogmelCnn14(weights=checkpoint)


def clip(name: str) -> torch.Tensor:
    """Return ``(1, time)``: tones that swell, in noise."""
    rng = np.random.default_rng(list(SAMPLES).index(name))
    at = np.arange(SAMPLES[name]) / RATE
    tones = [np.sin(2 * np.pi * pitch * at) for pitch in rng.uniform(80, 9000, 3)]
    swell = 0.5 + 0.5 * np.sin(rng.uniform(1, 9) * at)
    samples = 0.1 * swell * sum(tones) + 10 ** rng.uniform(-4, -1) * rng.normal(size=len(at))
    return torch.from_numpy(samples.astype(np.float32))[None]


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_outputs_are_kadtks(wavegram: WavegramLogmelCnn14, name: str) -> None:
    features = wavegram(clip(name))
    with np.load(GOLDEN) as golden:
        for what, mine in (("embedding", features.embeddings), ("logits", features.logits)):
            known = golden[f"{name}.{what}"]
            np.testing.assert_allclose(mine[0].numpy(), known, rtol=0, atol=1e-5 * np.abs(known).max())  # type: ignore[index]


def test_the_committed_outputs_differ() -> None:
    """Else equality with them would prove nothing."""
    with np.load(GOLDEN) as golden:
        for what in ("embedding", "logits"):
            assert np.std([golden[f"{name}.{what}"] for name in SAMPLES], axis=0).mean() > 0.5


@pytest.mark.peers
@pytest.mark.skipif(PEER_PYTHON is None, reason="needs an environment with kadtk and torchlibrosa: AGM_KADTK_PYTHON")
def test_the_committed_outputs_are_kadtks(wavegram: WavegramLogmelCnn14, checkpoint: Path, tmp_path: Path) -> None:
    """Write them again with ``AGM_WRITE_GOLDEN=1``."""
    np.savez(tmp_path / "in.npz", **{name: clip(name)[0].numpy() for name in SAMPLES})
    command = [str(PEER_PYTHON), PEER, checkpoint, tmp_path / "in.npz", tmp_path / "out.npz"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    batch = torch.cat([clip("ten"), clip("again")])
    ours = [timed(lambda: wavegram(batch)) for _ in range(4)]
    subprocess.run(command, check=True, env=environment, timeout=300)
    with np.load(tmp_path / "out.npz") as out:
        print(f"two clips of 10 s: ours {min(ours[1:]):.2f} s, kadtk {out['seconds'][1]:.2f} s")
        found = {name: out[name] for name in out.files if name != "seconds"}
    if os.environ.get("AGM_WRITE_GOLDEN"):
        np.savez_compressed(GOLDEN, **found)
    with np.load(GOLDEN) as golden:
        assert set(golden.files) == set(found)
        for name, value in found.items():
            np.testing.assert_allclose(golden[name], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_parameters_are_the_papers() -> None:
    assert sum(tensor.numel() for tensor in WavegramLogmelCnn14().build().parameters()) == 81_065_487


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_shapes_without_numbers(mode: str) -> None:
    clips = (2, 3 * RATE)
    if mode == "meta":
        features = WavegramLogmelCnn14().build().eval().to("meta")(torch.empty(clips, device="meta"))
    else:
        network = WavegramLogmelCnn14().build().eval()
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with FakeTensorMode():
            fake = {name: torch.empty(tensor.shape, device="cpu") for name, tensor in tensors.items()}
            features = torch.func.functional_call(network, fake, (torch.empty(clips),))
    shapes = {name: tuple(tensor.shape) for name, tensor in features.named().items()}
    assert shapes == {"embeddings": (2, 2048), "logits": (2, 527)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*random weights")
def test_keeps_what_the_library_relies_on(wavegram: WavegramLogmelCnn14) -> None:
    assert BACKBONES.get(wavegram.name) is WavegramLogmelCnn14
    assert wavegram.labels[0] == "Speech"
    check_backbone(wavegram)


def test_one_sample_less_gives_no_column(wavegram: WavegramLogmelCnn14) -> None:
    clips = clip("shortest")
    assert wavegram(clips).embeddings is not None
    with pytest.raises(InsufficientDataError, match="fewer than 10236"):
        wavegram(clips[:, 1:])
    with pytest.raises(RuntimeError, match="too small"):
        wavegram.network(clips[:, 1:])


@pytest.mark.slow
@pytest.mark.parametrize("samples", [287 * COLUMN, 288 * COLUMN, 320 * COLUMN - 1, 320 * COLUMN, 400 * COLUMN + 77])
def test_strips_say_what_the_whole_does(
    wavegram: WavegramLogmelCnn14, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    network = wavegram.network
    assert isinstance(network, WavegramNetwork)
    wave = torch.cat([clip("ten"), clip("eight")], dim=1)[:, :samples]
    with torch.inference_mode():
        whole = network.maps(wave)
        monkeypatch.setattr(panns, "STRIP_FRAMES", 3 * POOLED_FRAMES)
        assert len(list(network.spans(1 + samples // COLUMN))) > 1
        parts = network.maps(wave)
    assert parts.shape == whole.shape
    assert (parts - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda state: state.pop("pre_block2.bn1.running_var"), r"1 missing tensors \(pre_block2.bn1.running_var"),
        (lambda state: state.pop("logmel_extractor.melW"), r"1 missing tensors \(logmel_extractor.melW"),
        (lambda state: state.update(more=torch.zeros(1)), r"1 unexpected tensors \(more"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    checkpoint: Path, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], object], reason: str
) -> None:
    state = torch.load(checkpoint, weights_only=False, mmap=True)["model"]
    spoil(state)
    torch.save({"model": state}, tmp_path / "wavegram.pth")
    with pytest.raises(MissingWeightsError, match=reason):
        _ = WavegramLogmelCnn14(weights=tmp_path / "wavegram.pth").network
    (tmp_path / "wavegram.pth").unlink()
