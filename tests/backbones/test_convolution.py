"""Rearranged convolutions give what plain ones give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from audiogen_metrics.backbones.convolution import OneByOne, Pointwise, Winograd, fold_batch_norm, pad_within
from audiogen_metrics.backbones.panns import Cnn14At16k
from audiogen_metrics.backbones.pretrained import PretrainedBackbone
from audiogen_metrics.backbones.vggish import VGGish
from tests.checkpoints import calibration_clips, write_panns, write_vggish


def layer(channels: int, wider: int) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, wider, 3, padding=1).requires_grad_(False)


@pytest.mark.parametrize("tile", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (31, 2), (7, 9), (53, 40)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_winograd_is_a_convolution(tile: int, size: tuple[int, int], memory: torch.memory_format) -> None:
    plain = layer(24, 17)
    maps = torch.randn(3, 24, *size).to(memory_format=memory)
    exact = F.conv2d(maps.double(), plain.weight.double(), plain.bias.double(), padding=1)
    found = Winograd(plain, tile)(maps)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 5e-6 * exact.abs().max()


def test_winograd_takes_no_other_convolution() -> None:
    with pytest.raises(AssertionError):
        Winograd(nn.Conv2d(2, 2, 3, padding=1, stride=2), 2)


def test_one_by_one_joins_what_items_give() -> None:
    plain = layer(3, 4)
    maps = torch.randn(5, 3, 6, 7)
    torch.testing.assert_close(OneByOne(plain)(maps), plain(maps))
    batches = []

    class Scaled(nn.Module):
        def forward(self, maps: torch.Tensor, by: float = 1) -> torch.Tensor:
            batches.append(len(maps))
            return by * maps

    assert torch.equal(OneByOne(Scaled())(maps, by=3), 3 * maps)
    assert batches == [1] * 5


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize("groups", [1, 4])
def test_padding_within_is_padding_on_the_far_sides(size: tuple[int, int], groups: int) -> None:
    plain = nn.Conv2d(4, 8, 3, stride=2, groups=groups)
    maps = torch.randn(2, 4, *size)
    torch.testing.assert_close(pad_within(plain)(maps), plain(F.pad(maps, (0, 1, 0, 1))))


def test_pointwise_is_a_convolution() -> None:
    plain = nn.Conv2d(24, 17, 1).requires_grad_(False)
    maps = torch.randn(3, 24, 5, 7)
    torch.testing.assert_close(Pointwise(plain)(maps), plain(maps))


def test_folding_keeps_what_a_batch_norm_does() -> None:
    plain = nn.Conv2d(5, 6, 3, padding=1, bias=False)
    norm = nn.BatchNorm2d(6).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 2)
    maps = torch.randn(2, 5, 8, 8)
    torch.testing.assert_close(fold_batch_norm(plain, norm)(maps), norm(plain(maps)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Cnn14At16k, VGGish])
def test_networks_compute_what_their_authors_do(
    kind: type[PretrainedBackbone], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The network as loaded for a CPU against the package's own layers, one by one."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    if kind is VGGish:
        write_vggish(path)
    else:
        write_panns(path, Cnn14At16k)
    backbone = kind(weights=path)
    tuned, plain = backbone.network, PretrainedBackbone.load(backbone).eval()
    assert any(isinstance(module, Winograd) for module in tuned.modules())
    assert not any(isinstance(module, Winograd) for module in plain.modules())
    clips = calibration_clips(16_000, torch.Generator().manual_seed(3), seconds=2.5)
    with torch.inference_mode():
        for name, exact in plain(clips).named().items():
            found = tuned(clips).named()[name]
            worst = ((found - exact).norm(dim=-1) / exact.norm(dim=-1)).max()
            assert 0 < worst < 2e-5, name
