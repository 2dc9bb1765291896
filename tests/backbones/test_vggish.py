"""VGGish against torchvggish itself, on random weights and real recordings."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from audiogen_metrics.audio.decoding import decode
from audiogen_metrics.audio.preparation import Preprocessing, prepare
from audiogen_metrics.backbones.vggish import VGGish, VGGishNetwork
from audiogen_metrics.errors import InsufficientDataError
from tests.checkpoints import write_vggish
from tests.conftest import EXAMPLES

REFERENCE = EXAMPLES / "reference"


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
    """A random checkpoint; not under tmp_path, whose last three versions of 290 MB pytest would keep."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_vggish(Path(folder, "vggish.pth"))


@pytest.fixture(scope="module")
def vggish(checkpoint: Path) -> VGGish:
    return VGGish(weights=checkpoint)


@functools.cache
def recordings() -> list[torch.Tensor]:
    """All reference recordings, ``(time,)``, of their own lengths from 2 s."""
    preprocessing = Preprocessing(16_000, minimum_samples=32_000)
    files = sorted(path for path in REFERENCE.rglob("*") if path.is_file())
    assert len(files) >= 30
    return [prepare(decode(path, path.read_bytes()), preprocessing) for path in files]


def peer_examples(waveform: torch.Tensor) -> torch.Tensor:
    from torchvggish.vggish_input import waveform_to_examples

    return waveform_to_examples(waveform.numpy(), 16_000).detach()[:, 0]


@pytest.mark.peers
def test_examples_are_torchvggishs() -> None:
    network = VGGishNetwork()
    for waveform in recordings():
        theirs = peer_examples(waveform)
        mine = network.examples(waveform[None])[0]
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize(
    "samples",
    [15_600, 15_601, 15_759, 15_760, 15_999, 16_000, 30_719, 30_720, 30_959, 30_960, 30_961, 32_000, 46_319, 46_320]
    + [int(n) for n in np.random.default_rng(0).integers(15_600, 170_000, 40)],
)
def test_the_incomplete_tail_is_dropped_as_torchvggish_drops_it(samples: int) -> None:
    waveform = torch.randn(samples, generator=torch.Generator().manual_seed(samples))
    theirs = peer_examples(waveform)
    usable = VGGish().usable_samples(samples)
    assert usable <= samples
    network = VGGishNetwork()
    whole, cut = network.examples(waveform[None]), network.examples(waveform[None, :usable])
    torch.testing.assert_close(whole[0], theirs, rtol=0, atol=1e-5)
    assert torch.equal(whole, cut)
    if usable > 15_600:
        assert len(peer_examples(waveform[: usable - 1])) == len(theirs) - 1


@pytest.mark.peers
def test_torchvggish_raises_below_the_minimum() -> None:
    """Its front end returns no example, and its network does not take none."""
    from torchvggish.torchvggish import VGG, make_layers

    examples = peer_examples(torch.zeros(VGGish.minimum_samples - 1))
    assert len(examples) == 0
    with torch.device("meta"):
        peer = VGG(make_layers(), postprocess=False)
    with pytest.raises(RuntimeError, match="0 elements"):
        peer(examples[:, None].to("meta"))


@pytest.mark.slow
def test_less_than_the_minimum_is_refused(vggish: VGGish) -> None:
    assert vggish(torch.zeros(1, 15_600)).windows.shape == (1, 1, 128)
    with pytest.raises(InsufficientDataError, match="15599 samples, fewer than 15600"):
        vggish(torch.zeros(1, 15_599))


@pytest.mark.parametrize(("seconds", "rows"), [(2, 2), (10, 10)])
def test_rows_per_clip(seconds: int, rows: int) -> None:
    assert VGGishNetwork().examples(torch.zeros(1, seconds * 16_000)).shape == (1, rows, 96, 64)


@pytest.mark.peers
def test_windows_are_torchvggishs_before_the_last_relu(vggish: VGGish, checkpoint: Path) -> None:
    from torchvggish.torchvggish import VGG, make_layers

    peer = VGG(make_layers(), postprocess=False).eval()
    peer.load_state_dict(torch.load(checkpoint, weights_only=True))
    for waveform in recordings()[:4]:
        waveform = waveform[:32_000]
        mine = vggish(waveform[None]).windows[0]
        with torch.inference_mode():
            theirs = peer(peer_examples(waveform)[:, None])
        assert mine.min() < 0 < mine.max()
        assert (mine.relu() - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_random_network_tells_clips_apart(vggish: VGGish) -> None:
    """Else parity on it would prove nothing."""
    windows = vggish(torch.stack([waveform[:16_000] for waveform in recordings()[:8]])).windows
    assert windows.shape == (8, 1, 128)
    assert 0.1 < windows.std(dim=0).mean() < 10


def test_batch_items_equal_single_calls(vggish: VGGish) -> None:
    clips = torch.stack([waveform[:32_000] for waveform in recordings()[:3]])
    together = vggish(clips).windows
    apart = torch.cat([vggish(clip[None]).windows for clip in clips])
    assert (together - apart).abs().max() <= 1e-5 * apart.abs().max()


def test_many_examples_pass_in_parts(vggish: VGGish, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = recordings()[0][None, :32_000].repeat(2, 1)
    expected = vggish(clip).windows
    monkeypatch.setattr("audiogen_metrics.backbones.vggish.EXAMPLES_PER_PASS", 3)
    assert (vggish(clip).windows - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_network_and_front_end_run_on_the_meta_device() -> None:
    network = VGGishNetwork().eval().to("meta")
    waveforms = torch.empty(3, 160_000, device="meta")
    assert network.examples(waveforms).shape == (3, 10, 96, 64)
    windows = network(waveforms).windows
    assert (windows.device.type, windows.shape, windows.dtype) == ("meta", (3, 10, 128), torch.float32)


def test_autocast_leaves_the_front_end_alone() -> None:
    clip, network = recordings()[0][None], VGGishNetwork()
    expected = network.examples(clip)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.examples(clip), expected)


@pytest.mark.peers
@pytest.mark.slow
def test_front_end_is_faster_than_torchvggishs() -> None:
    network = VGGishNetwork()
    clips = 0.1 * torch.randn(8, 160_000, generator=torch.Generator().manual_seed(0))
    peer_examples(clips[0])
    with torch.inference_mode():
        times = [
            (timed(lambda: network.examples(clips)), timed(lambda: [peer_examples(clip) for clip in clips]))
            for _ in range(9)
        ]
    ours, theirs = zip(*times, strict=True)
    assert min(ours) < min(theirs)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
