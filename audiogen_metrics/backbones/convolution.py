"""Faster convolutions: with batch norm folded in, by Winograd's algorithm, and on large maps one at a time."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from audiogen_metrics.backbones.products import (
    TILES_TOGETHER,
    Grouped,
    Multiplies,
    batched,
    is_plain,
)

POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Points of Winograd's polynomials, besides infinity; these keep rounding small (Barabasz et al., 2020)."""

TILES_PER_STRIP = 128
"""Tiles transformed at a time: few enough to stay in the cache, and enough to be worth reading the weights for."""

FEW_WEIGHTS = 256 * 256
"""Pairs of channels up to which oneDNN computes all products of a strip in one call, which takes as long for a few
tiles as for 64. With more pairs, each product is a separate call."""

Convolution = TypeVar("Convolution", nn.Conv1d, nn.Conv2d)


class Winograd(Multiplies):
    """A 3×3 convolution of stride 1 and padding 1 by Winograd's algorithm, as products of matrices.

    Each tile of ``tile × tile`` outputs takes (tile + 2)² products per pair of channels instead of 9 tile²: 2.25 times
    fewer for tiles of 2, and 4 times for 4. Tiles are transformed into such products and back, a strip of the maps at a
    time, which pays if there are many channels. The result differs from a plain convolution's by at most 5e-6 of its
    largest value with tiles of 2, and by 7e-6 with tiles of 4. Lavin and Gray, "Fast Algorithms for Convolutional
    Neural Networks", 2015.

    Parameters
    ----------
    convolution
        The layer to replace, with a bias.
    tile
        1 to 4.
    """

    def __init__(self, convolution: nn.Conv2d, tile: int) -> None:
        super().__init__()
        given = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.dilation)
        assert given == ((3, 3), (1, 1), (1, 1), (1, 1)), given
        assert convolution.groups == 1
        assert convolution.bias is not None
        self.tile = tile
        points = torch.tensor(POINTS[: tile + 1], dtype=torch.float64, device="cpu")
        inputs, outputs = torch.linalg.inv(_powers(points, tile + 2)).T, _powers(points, tile).T
        filters = torch.kron(_powers(points, 3), _powers(points, 3)).float()
        weight = convolution.weight.detach()
        # A view (products, in, out) of (products, out, in), since a copy may take hundreds of megabytes.
        products = (filters @ weight.flatten(2).flatten(0, 1).T).unflatten(1, weight.shape[:2]).transpose(1, 2)
        self.register_buffer("weight", products, persistent=False)
        self.register_buffer("bias", convolution.bias.detach(), persistent=False)
        self.register_buffer("inputs", torch.kron(inputs, inputs).float(), persistent=False)
        self.register_buffer("outputs", torch.kron(outputs, outputs).float(), persistent=False)
        self.weight: torch.Tensor
        self.bias: torch.Tensor
        self.inputs: torch.Tensor
        self.outputs: torch.Tensor
        self.multiply = torch.bmm
        self.grouped: Grouped | None = None

    def by_onednn(self) -> None:
        """Multiply by oneDNN from now on."""
        self.multiply = batched
        self.grouped = Grouped() if self.weight[0].numel() <= FEW_WEIGHTS else None

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, out, height, width)``, channels last in memory, of ``(batch, in, height, width)``."""
        tile, (batch, _, height, width), filters = self.tile, maps.shape, len(self.bias)
        down, across = -(-height // tile), -(-width // tile)
        grouped = self.grouped if is_plain(maps, self.weight) else None
        rows = max(1, (TILES_PER_STRIP if grouped is None else TILES_TOGETHER) // (batch * across))
        out = maps.new_empty(batch, height, width, filters)
        for top in range(0, height, rows * tile):
            bottom = min(top + rows * tile, down * tile)
            edges = (1, tile * across + 1 - width, int(top == 0), max(bottom + 1 - height, 0))
            strip = F.pad(maps[:, :, max(top - 1, 0) : bottom + 1], edges)
            tiles = strip.unfold(2, tile + 2, tile).unfold(3, tile + 2, tile)
            joined = self._one_by_one(tiles) if grouped is None else self._together(tiles, grouped)
            target = out[:, top:bottom]
            torch.add(joined[:, : target.shape[1], :width], self.bias, out=target)
        return out.permute(0, 3, 1, 2)

    def _one_by_one(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, height, width, out)`` of ``(batch, in, down, across, tile + 2, tile + 2)``."""
        batch, channels, _, across = tiles.shape[:4]
        columns = tiles.permute(4, 5, 0, 2, 3, 1).reshape(len(self.inputs), -1)
        products = self.multiply((self.inputs @ columns).unflatten(1, (-1, channels)), self.weight)
        back = (self.outputs @ products.flatten(1)).unflatten(1, (batch, -1, across, len(self.bias)))
        apart = back.unflatten(0, (self.tile, self.tile)).permute(2, 3, 0, 4, 1, 5)
        joined: torch.Tensor = apart.flatten(3, 4).flatten(1, 2)
        return joined

    def _together(self, tiles: torch.Tensor, grouped: Grouped) -> torch.Tensor:
        """Return the same, with all products of 64 tiles in one call; missing tiles are zeros."""
        batch, channels, down, across = tiles.shape[:4]
        columns = tiles.permute(0, 2, 3, 4, 5, 1).reshape(batch * down * across, len(self.inputs), channels)
        parts = []
        for some in columns.split(TILES_TOGETHER):
            given = torch.bmm(self.inputs.expand(len(some), -1, -1), some)
            if len(some) < TILES_TOGETHER:
                given = F.pad(given, (0, 0, 0, 0, 0, TILES_TOGETHER - len(some)))
            products = grouped(given, self.weight)[: len(some)]
            parts.append(torch.bmm(self.outputs.expand(len(some), -1, -1), products))
        back = torch.cat(parts) if len(parts) > 1 else parts[0]
        apart = back.unflatten(0, (batch, down, across)).unflatten(3, (self.tile, self.tile))
        joined: torch.Tensor = apart.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        return joined


class Pointwise(Multiplies):
    """A 1×1 convolution as a product of matrices, which does not copy maps that are channels last in memory.

    Parameters
    ----------
    convolution
        The layer to replace.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        given = (convolution.kernel_size, convolution.stride, convolution.padding, convolution.groups)
        assert given == ((1, 1), (1, 1), (0, 0), 1), given
        self.weight: torch.Tensor = convolution.weight
        self.bias: torch.Tensor | None = convolution.bias

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return ``(batch, out, height, width)``, channels last in memory, of ``(batch, in, height, width)``."""
        return self.multiply(maps.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class OneByOne(nn.Module):
    """A network that takes the items of a batch one by one, so that the memory of large maps is small and reused."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: torch.Tensor, **options: object) -> torch.Tensor:
        """Return what the network returns for each item of ``(batch, ...)``, joined along the batch."""
        return torch.cat([self.network(item, **options) for item in maps.split(1)])


def pad_within(convolution: nn.Conv2d) -> nn.Conv2d:
    """Return one convolution that does what a 3×3 one does on maps with zeros on the right and below.

    Its filters get zeros on the left and above. With padding on all sides, which needs no copy, the result is the same.
    """
    assert (convolution.kernel_size, convolution.padding) == ((3, 3), (0, 0))
    channels, wider, groups = convolution.in_channels, convolution.out_channels, convolution.groups
    down, across = convolution.stride
    padded = nn.Conv2d(channels, wider, 4, (down, across), padding=1, groups=groups, device="meta")
    padded.weight = nn.Parameter(F.pad(convolution.weight.detach(), (1, 0, 1, 0)), requires_grad=False)
    padded.bias = convolution.bias
    return padded


def fold_batch_norm(convolution: Convolution, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Convolution:
    """Return one convolution that does what both do in evaluation mode; its values differ by rounding."""
    with torch.no_grad():
        return fuse_conv_bn_eval(convolution.eval(), norm.eval())


def _powers(points: torch.Tensor, count: int) -> torch.Tensor:
    """Return the powers ``(points + 1, count)`` of each point, and those of infinity: 0, but 1 for the highest."""
    last = points.new_zeros(1, count)
    last[0, -1] = 1
    return torch.cat([points[:, None] ** torch.arange(count, dtype=torch.int64, device=points.device), last])
