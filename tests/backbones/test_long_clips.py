"""Long clips go through the networks piece by piece: the same numbers, in memory that their length does not fill."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from audiogen_metrics.backbones import frontend, panns
from audiogen_metrics.backbones.base import Backbone
from audiogen_metrics.backbones.frontend import power_spectrogram
from audiogen_metrics.backbones.panns import POOLED_FRAMES, Cnn14At16k, Cnn14At32k, Cnn14Network
from audiogen_metrics.backbones.vggish import EXAMPLES_PER_PASS, OverlappingVGGish, VGGish
from audiogen_metrics.backbones.yamnet import PATCHES_PER_PASS, YAMNet
from tests.checkpoints import write_panns, write_vggish
from tests.memory import LINUX_ONLY, printed


@pytest.fixture(scope="module")
def backbones() -> Iterator[dict[str, Backbone]]:
    """One of each kind, with random weights; not under tmp_path, whose last versions pytest would keep."""
    with tempfile.TemporaryDirectory() as folder:
        cnn14 = write_panns(Path(folder, "cnn14.pth"), Cnn14At16k)
        vggish = write_vggish(Path(folder, "vggish.pth"))
        both = VGGish(weights=vggish), OverlappingVGGish(weights=vggish)
        yield {backbone.name: backbone for backbone in (Cnn14At16k(weights=cnn14), *both, YAMNet())}


def sound(samples: int, batch: int = 1) -> torch.Tensor:
    """Noise and a glide that swell and fade, so that no part is like another."""
    time = torch.arange(samples) / 16_000
    noise = torch.randn(batch, samples, generator=torch.Generator().manual_seed(samples))
    return 0.1 * noise * (1.1 + torch.sin(3 * time)) + 0.2 * torch.sin(2000 * time * (1 + time / 50))


@pytest.mark.parametrize("frames", [287, 288, 417, 600])
def test_strips_of_cnn14_say_what_the_whole_does(
    backbones: dict[str, Backbone], monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    """Frame by frame; a halo that is one output frame too short would show in the first or last one of each strip."""
    network = backbones["panns-cnn14-16k"].network
    assert isinstance(network, Cnn14Network)
    clip = sound((frames - 1) * Cnn14At16k.hop)
    with torch.inference_mode():
        whole, features = network.heard(network.log_mel(clip)), network(clip)
        monkeypatch.setattr(panns, "STRIP_FRAMES", 3 * POOLED_FRAMES)
        strips = list(network.strips(clip))
        parts = torch.cat([network.heard(strip)[:, :, kept] for strip, kept in strips], dim=2)
        again = network(clip)
    assert len(strips) > 1
    assert parts.shape == whole.shape == (1, 2048, frames // POOLED_FRAMES)
    assert (parts - whole).abs().max() <= 1e-5 * whole.abs().max()
    for name, tensor in features.named().items():
        assert (again.named()[name] - tensor).abs().max() <= 5e-6 * tensor.abs().max()


def test_the_halo_is_no_longer_than_it_must_be(backbones: dict[str, Backbone], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would say nothing about it."""
    network = backbones["panns-cnn14-16k"].network
    assert isinstance(network, Cnn14Network)
    clip = sound(64_000)
    with torch.inference_mode():
        whole = network.heard(network.log_mel(clip))
        monkeypatch.setattr(panns, "STRIP_FRAMES", 3 * POOLED_FRAMES)
        monkeypatch.setattr(panns, "HALO", panns.HALO - POOLED_FRAMES)
        parts = torch.cat([network.heard(strip)[:, :, kept] for strip, kept in network.strips(clip)], dim=2)
    assert (parts - whole).abs().max() > 1e-4 * whole.abs().max()


def test_clips_of_ordinary_length_are_one_strip() -> None:
    for backbone in (Cnn14At16k, Cnn14At32k):
        network = backbone().build().to("meta")
        assert len(list(network.strips(torch.empty(1, 80 * backbone.sample_rate, device="meta")))) == 1
        assert len(list(network.strips(torch.empty(1, 90 * backbone.sample_rate, device="meta")))) == 2


@pytest.mark.parametrize("name", ["vggish", "vggish-overlapping", "yamnet"])
def test_blocks_of_windows_say_what_the_whole_does(
    backbones: dict[str, Backbone], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    backbone = backbones[name]
    clip = sound(backbone.minimum_samples + 48_000 * (16 if name == "vggish" else 8) + 77)
    whole = backbone(clip).named()
    assert whole["windows"].shape[1] > PATCHES_PER_PASS + 1
    monkeypatch.setattr(frontend, "WINDOWS_PER_BLOCK", PATCHES_PER_PASS if name == "yamnet" else EXAMPLES_PER_PASS)
    parts = backbone(clip).named()
    assert parts.keys() == whole.keys()
    for output, tensor in whole.items():
        if name == "yamnet":
            assert torch.equal(parts[output], tensor)
        else:  # its linear layers take all windows of a block at once
            torch.testing.assert_close(parts[output], tensor, rtol=2e-6, atol=2e-6 * float(tensor.abs().max()))


def test_blocks_cut_every_clip_of_a_batch(backbones: dict[str, Backbone], monkeypatch: pytest.MonkeyPatch) -> None:
    clips = sound(100_000, batch=3)
    whole = backbones["yamnet"](clips).named()
    monkeypatch.setattr(frontend, "WINDOWS_PER_BLOCK", 2)
    for output, tensor in backbones["yamnet"](clips).named().items():
        torch.testing.assert_close(tensor, whole[output], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("fft", "hop", "frame"), [(512, 160, None), (512, 160, 400), (1024, 320, None)])
def test_spectra_do_not_depend_on_how_many_are_computed_together(
    monkeypatch: pytest.MonkeyPatch, fft: int, hop: int, frame: int | None
) -> None:
    clips = sound(40_000, batch=2)
    whole = power_spectrogram(clips, fft, hop, frame)
    assert whole.shape == (2, 1 + (40_000 - (frame or fft)) // hop, fft // 2 + 1)
    monkeypatch.setattr(frontend, "FRAMES_PER_PASS", 13)
    assert torch.equal(power_spectrogram(clips, fft, hop, frame), whole)


GROWTH = """
    from audiogen_metrics.backbones import BACKBONES

    name, weights, seconds = sys.argv[1:]
    backbone = BACKBONES.get(name)("cpu", **({"weights": weights} if weights else {}))
    backbone.network
    clip = torch.full((1, int(seconds) * 16_000), 0.1)
    forget()  # the peak of loading
    before = peak()
    assert all(tensor.isfinite().all() for tensor in backbone(clip).named().values())
    print(peak() - before)
"""


@pytest.mark.slow
@LINUX_ONLY
@pytest.mark.parametrize(
    ("name", "seconds", "limit"),
    [("panns-cnn14-16k", 600, 1000), ("vggish", 1200, 400), ("yamnet", 3600, 400)],
)
def test_memory_does_not_follow_the_length(tmp_path: Path, name: str, seconds: int, limit: int) -> None:
    """In megabytes beyond the loaded network and the waveform: CNN14 took 3000 for ten minutes, YAMNet 4000 here."""
    file = tmp_path / "weights.pth"
    if name == "vggish":
        write_vggish(file)
    elif name != "yamnet":
        write_panns(file, Cnn14At16k)
    [growth] = printed(GROWTH, name, file if file.exists() else "", seconds)
    file.unlink(missing_ok=True)
    assert growth < limit
